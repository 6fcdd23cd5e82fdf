/* heap.h — a heap: one thread's allocator state. It outlives its thread and is adopted whole by
 * another; its id and its memory are never reused for anything else (type-stable).
 *
 *   owner thread, no lock    bins, previous, windows, outbox and its room, shelf
 *   heap lock                depot, slabs, counters, fault
 *   any thread               inbox (push), absence, generation (atomics)
 */
#ifndef HEAP_H
#define HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "bin.h"
#include "magazine.h"
#include "rt_lock.h"
#include "slab.h"

/* As many threads as there are processors have a heap each that is its own `home`. More of them
 * do not need as many half empty slabs: their heaps are guests, and use a home's lock, depot, slabs
 * and inbox. What a guest allocates is the home's, so that among the threads of one home no free is
 * remote. A home that takes guests is a host.
 *
 *   thread -> heap (bins, outbox) -+
 *   thread -> heap (bins, outbox) -+-> home (lock, depot, slabs, inbox; and bins of its own thread)
 *
 * docs/decisions/0022.
 */

/* Three static heaps belong to no one thread: `none` (every thread starts with it), `booting`
 * (while the process starts) and `exit` (threads that have given up theirs). Their bins stay
 * empty for ever; what they allocate comes straight from the bitmaps under their lock. `booting` is
 * never current: until the process is ready the starting thread stays on `none`. A fourth, `busy`,
 * is current while a thread is inside its slow path, and allocates nothing: it is all zero.
 */

enum {
  OUTBOX_SLOTS = 64,
  OUTBOX_MIXES = 16, /* counted: docs/decisions/0018 */
  OUTBOX_SLOTS_ALL = OUTBOX_SLOTS + OUTBOX_MIXES,
  OUTBOX_MIX_OBJECTS = 64, /* of a mix, at most */
  OUTBOX_BYTES = 131072,   /* of objects, at most; measured: docs/decisions/0013 */
  SAMPLE_INTERVAL_BYTES = 524288,
};

/* What a slow path found wrong with an object on its way to a bitmap. */
enum heap_fault_kind { FAULT_NONE, FAULT_DOUBLE_FREE, FAULT_CORRUPTED };
struct heap_fault {
  enum heap_fault_kind kind;
  void *object;
};

/* Why none of a home's threads is there. ASLEEP is set by the last of them that falls asleep, and
 * taken back in the next locked slow path of any; ORPHAN is on the list of orphans, or about to be.
 */
enum heap_absence { HEAP_PRESENT, HEAP_ASLEEP, HEAP_ORPHAN };

struct heap_class {
  _Atomic(struct magazine *) loaded;   /* owner: the bin's slots; NULL without */
  _Atomic(struct magazine *) previous; /* owner: older objects than the bin's; NULL until needed */
  struct magazine *depot_newest;       /* lock: full magazines, linked newest to oldest */
  struct magazine *depot_oldest;
  struct slab *slabs;   /* lock: those with free objects, latest first */
  uint32_t taken_count; /* lock: objects out of the bitmaps (live, or in bin, depot, mail) */
  uint16_t depot_count; /* lock: magazines */
  uint16_t window;      /* owner: how many objects the bin may hold */
  bool is_underflowed;  /* owner: the bin ran empty since the window last grew */
  bool was_full;     /* owner: what made bin and `previous` exchange last: no room, or no object */
  uint8_t lender;    /* owner: the class that lent an object last; 0: none did */
  uint8_t streak;    /* owner: refills from slabs since the bin was full last */
  bool is_borrowing; /* owner: malloc takes the objects of the lender for those of this class */
  _Atomic(bool) is_dry; /* no free object was on a resident page, and none has been put back since;
                         * lock; read by threads that may borrow */
};

/* Objects of one other heap and class, or of one other heap (a mix), collected until there is a
 * magazine full. Owner thread: outbox.h. */
struct outbox_slot {
  _Atomic(uint32_t) entry; /* slab-map entry, of a mix with MAP_CLASS_OTHER; 0 when unused */
  uint32_t mix_bytes;      /* of the objects in a mix */
  _Atomic(struct magazine *) objects;
};

struct heap {
  struct bin bin[CLASS_COUNT];
  uint32_t key;                 /* map_entry(home's id, 0); constant while a thread has it. No
                                 * object's map entry fits 0 */
  bool is_owned;                /* one thread's: not static. Constant */
  bool is_guest;                /* of another's home, never its own. Constant */
  bool is_asleep;               /* owner, with the home's lock: counted in its asleep_count */
  _Atomic(uint8_t) absence;     /* enum heap_absence; seq_cst with the inbox: see mail.h */
  _Atomic(uint32_t) generation; /* fork_generation of the process that its thread runs in */
  /* Beside the former, since a child's fork handler writes to all of them: one page to copy. */
  _Atomic(uint32_t) thread_count; /* that it is home to; written under orphans lock */
  uint32_t asleep_count;          /* lock: of these, that said by hak_thread_idle that they idle */
  struct heap *home;         /* whose lock, depot, slabs and inbox its thread uses: often its own.
                              * Constant while a thread has it */
  uint32_t split_count;      /* owner: size_class_split_count as of `request` */
  uint32_t outbox_room;      /* owner: OUTBOX_BYTES less the bytes of the objects in the outbox */
  uint32_t outbox_next_slot; /* owner: where the search for one to post goes on */
  uint32_t trim_seen;        /* owner: the trim epoch honoured last */
  uint32_t quiet_room;       /* owner, as the next: outbox_room as idle_send_is_due saw it last */
  uint32_t overflow_run;     /* owner, as the next: bins that overflowed since one ran empty, and
                              * looks that found nothing to shrink; window.h */
  uint32_t overflow_class;   /* that of the last, if there are many; window.h */
  uint32_t window_victim;    /* class whose window shrank last */
  uint32_t quiet_count;      /* how often in a row; nothing was posted meanwhile */
  _Atomic(uint32_t) idle_slow_count; /* ticks: slow_count when looked at last */
  _Atomic(uint64_t) idle_since_ms;   /* ticks: when that was new; 0: seen to */
  /* Owner: size_class_table.tiny, but for classes on loan, whose requests go to their lender's bin.
   * Zero in shared heaps: no bin of theirs ever has an object. */
  uint16_t request[TINY_REQUESTS];
  struct rt_lock lock HAK_CACHE_ALIGNED;
  size_t depot_bytes;           /* lock, as all to the next blank line */
  uint32_t depot_evict_class;   /* where the next eviction looks first */
  uint32_t depot_unwanted;      /* evictions since a magazine was taken out: depot.h */
  struct slab *empty_slab;      /* the one slab kept though empty */
  uint32_t preferred_superslab; /* where the last slab came from, or a lower one where one went */
  int64_t sample_countdown_bytes;
  size_t taken_bytes;      /* of the objects of all classes' taken_count */
  struct magazine *strays; /* of what magazines of h's held, objects of slabs that others have
                            * pulled since: to be freed once more */
  size_t stray_lost_count; /* strays for which there was no memory: they stay allocated */
  struct heap_fault fault; /* noted while objects went to this heap's bitmaps */
  struct magazine *spare[MAGAZINE_KIND_COUNT]; /* one empty magazine a kind, before the stock */
  _Atomic(size_t) objects_out;                 /* moved from slabs into bins, since the start */
  _Atomic(size_t) samples_due;
  _Atomic(uint32_t) slow_count; /* locked slow paths; read by ticks */

  struct heap *next_orphan; /* orphans lock, as the next: list of homes, or of guests */
  bool has_thread;          /* somebody's bins are here: a home may have but guests */
  struct heap *next_host;   /* ring of homes that take guests */

  struct heap_class cls[CLASS_COUNT];
  _Atomic(size_t) slab_bytes;     /* lock; read by senders */
  _Atomic(uint32_t) subslab_next; /* chunk at which a purge inside slabs goes on; 0: none is on */
  size_t subslab_free_bytes; /* lock: free in slabs at the last purge inside them, or less since */
  struct outbox_slot outbox[OUTBOX_SLOTS_ALL]; /* owner, as the next two: the mixes come last */
  struct magazine *to_free; /* owner: strays of this heap and of others that the thread flushed */
  bool frees_strays;        /* owner: at it */
  uint32_t stray_rounds;    /* owner: how often */
  struct magazine_shelf shelf;
  struct heap_fault mail_fault; /* found by this thread in another heap, whose mail it emptied */
  _Atomic(struct magazine *) inbox HAK_CACHE_ALIGNED; /* pushed by anyone, emptied under lock */
};

extern HAK_HIDDEN struct heap heap_none, heap_booting, heap_exit, heap_busy;
/* The calling thread's heap. The only thread-local variable of the shipped library: 8 bytes. */
extern HAK_HIDDEN _Thread_local struct heap *heap_current
    __attribute__((tls_model("initial-exec")));

/* The bin of a class times MAP_CLASS_SCALE, as size_class_scaled and the slab map have it. budget:
 * 1 instruction */
_Static_assert(sizeof(struct bin) == MAP_CLASS_SCALE, "a scaled class is the offset of a bin");
_Static_assert(offsetof(struct heap, bin) == 0, "bins come first");
HAK_INLINE struct bin *heap_bin(struct heap *h, size_t scaled) {
  return (struct bin *)(void *)((char *)h + scaled);
}

/* The only thread of a forked child has the heap h: it lives on here, and is alone in its home.
 * That thread; no other can be in a slow path of h's home. In home.c. */
void home_survive_fork(struct heap *h);

/* While the owner changes bins and magazines outside the hot path, `busy` is current: a signal
 * handler that comes in between finds no bins, and then that it must do without (entry_signal.h).
 * The fences keep the compiler from moving the changes out of the brackets. */
HAK_INLINE void heap_busy_begin(void) {
  heap_current = &heap_busy;
  signal_fence_full();
}
HAK_INLINE void heap_busy_end(struct heap *h) {
  signal_fence_full();
  /* A handler that forked in between could not tell whose heap lives on (entry_thread_fork_child).
   */
  if (HAK_UNLIKELY(load_relaxed(&h->generation) != load_relaxed(&fork_generation)))
    home_survive_fork(h);
  heap_current = h;
}

/* The same where h may be a shared heap: nobody's that a fork could leave behind. */
HAK_INLINE void heap_busy_end_any(struct heap *h) {
  if (HAK_LIKELY(h->is_owned)) {
    heap_busy_end(h);
    return;
  }
  signal_fence_full();
  heap_current = h;
}

/* Ready the static heaps. Called once, before all else: anything may allocate. */
void heap_init(void);
/* The `booting` heap. Only the thread that starts the process, until it is ready. */
HAK_MUST_USE struct heap *heap_booting_get(void);
/* The `exit` heap; NULL on self-entry: a handler that interrupted one who holds heap_none's lock.
 * The caller holds no lock. */
HAK_MUST_USE struct heap *heap_exit_get(void);
/* The calling thread is served by the `exit` heap from now on; on self-entry by `none`, until its
 * next slow path. Returns the one it is. The caller holds no lock. */
struct heap *heap_make_exit_current(void);
/* A new heap: a home, or a guest of `home`. Its own id leads to it from now on; its home's is in
 * its key. NULL without memory. The caller holds heap_none's lock. */
HAK_MUST_USE struct heap *heap_new(struct heap *home);
/* The heap with this id, or NULL. Any thread. */
HAK_MUST_USE struct heap *heap_of_id(uint32_t id);
/* How many ids have been given out, reserved ones included: ids below it may be passed above. */
uint32_t heap_id_end(void);
/* Objects that all heaps have moved out of slabs since the start. */
size_t heap_objects_out_total(void);
/* Lock the home of `own`, the calling thread's heap, and `home` besides (which may be the same),
 * waiting for it while holding nothing. False, with nothing held, on self-entry. */
HAK_MUST_USE bool heap_enter_with(struct heap *own, struct heap *home);
void heap_leave_with(struct heap *own, struct heap *home);
/* True when no thread of the home h will look at its inbox soon: all have exited, or were left
 * behind by a fork, or said by hak_thread_idle that they do nothing for a while. */
HAK_INLINE bool heap_is_away(struct heap *h) {
  return load_seq(&h->absence) != HEAP_PRESENT ||
         load_relaxed(&h->generation) != load_relaxed(&fork_generation);
}
/* Objects in the bin of class c. The owner's thread. */
HAK_INLINE uint32_t heap_bin_count(struct heap *h, uint32_t c) {
  struct magazine *m = load_relaxed(&h->cls[c].loaded);
  return m == NULL ? 0 : (uint32_t)(load_relaxed(&h->bin[c].sp) + 1 - m->slot);
}
/* `request` is as size_class_table says: no class borrows. The owner's thread. */
void heap_requests_reset(struct heap *h);
/* malloc of class c < CLASS_TINY_COUNT finds the bin of class `to`, c itself or its lender. The
 * owner's thread. */
void heap_requests_direct(struct heap *h, uint32_t c, uint32_t to);
/* The newest object goes into its slot: the loaded magazine's slots are as they say. */
HAK_INLINE void heap_bin_spill(struct heap *h, uint32_t c) {
  *load_relaxed(&h->bin[c].sp) = h->bin[c].top;
}
/* The bin of class c has no magazine any more; the caller has taken it. */
HAK_INLINE void heap_bin_reset(struct heap *h, uint32_t c) {
  store_relaxed(&h->cls[c].loaded, NULL);
  bin_reset(&h->bin[c]);
}
/* What free needs of class c is in its bin: of a tailored class it may have become known since the
 * heap was made. The owner's thread, before the bin has room. */
HAK_INLINE void heap_bin_fit(struct heap *h, uint32_t c) {
  h->bin[c].high_mask = size_classes[c].high_mask;
  h->bin[c].minus_reciprocal = 0u - size_classes[c].reciprocal;
}
/* Of its home. */
HAK_INLINE uint32_t heap_id(const struct heap *h) { return map_entry_id(h->key); }
HAK_INLINE bool heap_is_home(const struct heap *h) { return !h->is_guest; }
/* The map entry of its home's slabs of class c. */
HAK_INLINE uint32_t heap_entry(const struct heap *h, uint32_t c) {
  return h->key | c * MAP_CLASS_SCALE;
}
/* Structural invariants; the caller holds the lock. */
bool heap_is_valid(struct heap *h);

#endif
