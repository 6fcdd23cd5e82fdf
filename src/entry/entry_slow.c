/* entry_slow.c — the cold sides of malloc and free for objects that live in bins.
 *
 *   malloc: second magazine -> (lock) mail, depot, slabs -> reclaim and once more -> ENOMEM
 *   free:   second magazine -> (lock) wider window, depot, bitmaps
 *           another heap's object: outbox, its inbox -> (lock) more empty magazines
 *                                  -> (both locks) its bitmap
 */
#include <errno.h>

#include "base_size.h"
#include "entry.h"
#include "entry_background.h"
#include "entry_hot.h"
#include "entry_large.h"
#include "entry_limit.h"
#include "entry_signal.h"
#include "entry_thread.h"
#include "flush.h"
#include "mail.h"
#include "os_check.h"
#include "outbox.h"
#include "refill.h"
#include "purge.h"
#include "superslab.h"

enum {
  SCARCE_CLASS_MAX = 8192,
  PURGES_WAITED_FOR = 16, /* arbitrary: a purge that another follows at once each time */
};

/* Set once an object has been served, or left, in a much larger place than its size asks for,
 * because there was no memory: the sizes that sized frees name then say less, but it is as aligned
 * as it was asked to be. Never cleared. */
static _Atomic(bool) has_misfits;

void entry_note_misfit(void) { store_relaxed(&has_misfits, true); }

static HAK_COLD void *out_of_memory(void) {
  errno = ENOMEM;
  return NULL;
}

/* No chunk is left: what this heap keeps for later may be a slab's last objects; else one of a
 * larger class will do, aligned at least as this one's are. */
static HAK_COLD void *reclaim_and_take(struct heap *h, uint32_t c) {
  if (h->is_owned) {
    flush_owner_magazines(h);
    flush_owner_windows(h);
  }
  struct heap *home = h->home;
  mail_drain_to_bitmaps(home);
  flush_shared(home);
  void *p = refill_take_one(home, c);
  int alignment = __builtin_ctz(size_classes[c].size);
  for (uint32_t wider = size_class_wider(c); p == NULL && wider < CLASS_FIXED_COUNT; wider++) {
    if (home->cls[wider].slabs != NULL && __builtin_ctz(size_classes[wider].size) >= alignment)
      p = refill_take_one(home, wider);
    if (p != NULL) entry_note_misfit();
  }
  return p;
}

HAK_INLINE void *try_locked(uint32_t c, size_t align) {
  struct heap *h = entry_enter();
  if (h == NULL) return entry_signal_alloc(size_classes[c].size, align);
  bool is_sample_due = false;
  void *p =
      !h->is_owned ? refill_take_one(h->home, c) : refill_slow(h, c, align <= 16, &is_sample_due);
  if (HAK_UNLIKELY(p == NULL)) p = reclaim_and_take(h, c);
  if (HAK_UNLIKELY(is_sample_due)) bump_relaxed(&h->home->samples_due, (size_t)1);
  entry_leave(h);
  return p;
}

/* Out of line, for who tries more than once. */
static HAK_COLD HAK_NOINLINE void *try_again(uint32_t c, size_t align) {
  return try_locked(c, align);
}

/* Another thread's purge has chunks for the length of its system call: they may be all there is. */
static HAK_COLD void *alloc_after_purges(uint32_t c, size_t align) {
  if (entry_thread_is_amid()) return out_of_memory(); /* the purge may wait for our lock */
  for (int i = 0; i < PURGES_WAITED_FOR; i++) {
    size_t count = purge_wait();
    void *p = try_again(c, align);
    if (p != NULL) return p;
    if (purge_events().run_count == count) break; /* none came in between */
  }
  size_t bytes = size_classes[c].size;
  void *p = entry_reclaim(bytes, false) ? try_again(c, align) : NULL;
  if (p == NULL && entry_limit_ask(bytes, false)) p = try_again(c, align);
  return p != NULL ? p : out_of_memory();
}

static HAK_NOINLINE void *alloc_locked(uint32_t c, size_t align) {
  void *p = try_locked(c, align);
  entry_background_poll();
  return HAK_LIKELY(p != NULL) ? p : alloc_after_purges(c, align);
}

/* Bin c of the current heap is empty, or there is no heap. */
static void *alloc_slow(uint32_t c, size_t align) {
  struct heap *h = heap_current;
  void *p = NULL;
  if (HAK_LIKELY(h->is_owned)) {
    heap_busy_begin();
    p = refill_unlocked(h, c, align <= 16);
    heap_busy_end(h);
  }
  return p != NULL ? p : alloc_locked(c, align);
}

HAK_INLINE void *alloc_class(uint32_t c, size_t align) {
  void *p = bin_try_pop(&heap_current->bin[c]);
  return HAK_LIKELY(p != NULL) ? p : alloc_slow(c, align);
}

void *entry_malloc_slow(size_t n) {
  entry_init(); /* before that the class table is empty */
  return alloc_slow(size_class_of(n), 1);
}

/* Where address space is scarce, a slab of a few objects is mostly waste: pages are rounded to
 * instead. */
static HAK_NOINLINE void *alloc_slow_medium(size_t n) {
  void *p = n > SCARCE_CLASS_MAX && region_is_scarce() ? entry_large_try_mapping(n) : NULL;
  if (p != NULL) return p; /* else what small objects left behind in the region will do */
  uint32_t c = size_class_known(n);
  slab_note_request(c, n);
  return alloc_slow(c, 1);
}

void *entry_malloc_medium(size_t n) {
  if (HAK_UNLIKELY(n > CLASS_SIZE_MAX)) return entry_large_alloc(n, 1, false);
  if (HAK_UNLIKELY(heap_current == &heap_none)) entry_init();
  void *p = bin_try_pop(heap_bin(heap_current, size_class_scaled(n)));
  return HAK_LIKELY(p != NULL) ? p : alloc_slow_medium(n);
}

void *entry_aligned(size_t align, size_t n) {
  if (align <= 16) return entry_malloc(n); /* every object is aligned that much */
  if (n > CLASS_SIZE_MAX || align > CLASS_SIZE_MAX) return entry_large_alloc(n, align, false);
  entry_init();
  uint32_t c = size_class_of_aligned(n, align);
  return c < CLASS_COUNT ? alloc_class(c, align) : entry_large_alloc(n, align, false);
}

/* Straight to the bitmap of p's owner: for heaps that take no mail, and when there is no memory
 * for mail. */
static HAK_COLD void free_direct(void *p, size_t i) {
  struct heap *h = entry_thread_heap(), *owner;
  uint32_t entry;
  for (;;) { /* ends: each further round follows a pull by another thread */
    entry = map_load_acquire(i);
    owner = heap_of_id(map_entry_id(entry));
    if (NEVER(owner == NULL)) return;
    if (h == NULL || !heap_enter_with(h, owner)) {
      entry_signal_park(p);
      return;
    }
    if (HAK_LIKELY(map_load(i) == entry)) break;
    heap_leave_with(h, owner);
  }
  if (h->is_owned) heap_busy_begin();
  flush_slots(owner, map_entry_class(entry), &p, 1);
  struct heap_fault fault = owner->fault;
  if (owner != h->home) {
    lock_leave(&owner->lock);
    mail_redrain(owner, true, h->is_owned ? &h->to_free : NULL);
    if (fault.kind != FAULT_NONE) h->home->fault = fault;
  }
  entry_leave(h);
}

/* Another heap's object, and no empty magazine at hand, or no heap. */
static HAK_NOINLINE void free_remote_restock(void *p, size_t i, uint32_t entry) {
  struct heap *h = entry_enter();
  if (HAK_UNLIKELY(h == NULL)) {
    entry_signal_park(p);
    return;
  }
  /* The heap may be new to this thread: an orphan, and p its own. */
  bool is_remote = h->is_owned && map_entry_id(entry) != heap_id(h);
  bool is_collected =
      is_remote && outbox_restock(h, map_entry_class(entry)) && outbox_collect(h, entry, p);
  entry_leave(h);
  if (!is_collected) free_direct(p, i);
}

/* Another heap's object whose outbox slot has no room. */
static HAK_NOINLINE void free_remote_slow(void *p, size_t i, uint32_t entry) {
  struct heap *h = heap_current;
  if (HAK_LIKELY(h->is_owned)) {
    heap_busy_begin();
    bool is_collected = outbox_collect(h, entry, p);
    heap_busy_end(h);
    entry_settle(h->mail_fault);
    entry_settle_strays(h);
    if (HAK_LIKELY(is_collected)) return;
  }
  free_remote_restock(p, i, entry);
}

static HAK_COLD void free_other(void *p, size_t i, uint32_t entry) {
  uint32_t c = map_entry_class(entry);
  switch (map_entry_id(entry)) {
  case HEAP_ID_RUN:
    entry_large_free_run(p, i);
    return;
  case HEAP_ID_RUN_REST:
    guard_abort(VERDICT_INTERIOR, p, 0);
  case HEAP_ID_FREED:
    guard_abort(VERDICT_DOUBLE_FREE, p, c < CLASS_COUNT ? size_classes[c].size : 0);
  default:
    guard_abort(VERDICT_INVALID_FREE, p, 0);
  }
}

/* An object of the thread's own home: freed before, as the bin's top says; or another thread of
 * this home has pulled its slab since free looked. */
static HAK_COLD void free_own(void *p, struct bin *b, size_t class_bytes) {
  if (b->hi != NULL && bin_has_on_top(b, load_relaxed(&b->sp), p))
    guard_abort(VERDICT_DOUBLE_FREE, p, class_bytes);
  entry_free(p); /* ends: each further round follows a pull */
}

void entry_free_slow(void *p, size_t i) {
  struct heap *h = heap_current;
  uint32_t entry = map_load_acquire(i); /* of who has pulled its slab, perhaps */
  if (HAK_UNLIKELY(!map_entry_is_slab(entry))) {
    free_other(p, i, entry);
    return;
  }
  uint32_t c = map_entry_class(entry);
  if (HAK_UNLIKELY(!size_class_is_slot(&size_classes[c], p)))
    guard_abort(VERDICT_INTERIOR, p, size_classes[c].size);
  if (HAK_UNLIKELY((entry ^ h->key) < CLASS_COUNT * MAP_CLASS_SCALE) && h->is_owned) {
    heap_bin_fit(h, c);
    free_own(p, &h->bin[c], size_classes[c].size);
    return;
  }
  if (HAK_UNLIKELY(map_entry_id(entry) < HEAP_ID_FIRST)) {
    free_direct(p, i); /* booting and exit take no mail */
    return;
  }
  if (HAK_LIKELY(h->is_owned)) {
    heap_busy_begin();
    bool is_collected = outbox_try_collect(h, entry, p);
    heap_busy_end(h);
    if (HAK_LIKELY(is_collected)) return;
  }
  free_remote_slow(p, i, entry);
}

void entry_free_locked(void *p) {
  size_t i = chunk_index(p);
  if (i >= region_chunk_count) {
    entry_free_foreign(p);
    return;
  }
  uint32_t entry = map_load(i);
  if (!map_entry_is_slab(entry)) {
    free_other(p, i, entry);
    return;
  }
  const struct size_class *k = &size_classes[map_entry_class(entry)];
  if (HAK_UNLIKELY(!size_class_is_slot(k, p))) guard_abort(VERDICT_INTERIOR, p, k->size);
  free_direct(p, i);
}

void entry_free_flush(void *p, struct bin *b) {
  struct heap *h = heap_current;
  if (HAK_UNLIKELY(!h->is_owned)) { /* its bins are never filled */
    entry_free_slow(p, chunk_index(p));
    return;
  }
  uint32_t c = (uint32_t)(b - h->bin);
  if (!HAK_FLAVOUR_MINIMAL && b->hi != NULL &&
      HAK_UNLIKELY(bin_has_on_top(b, load_relaxed(&b->sp), p)))
    guard_abort(VERDICT_DOUBLE_FREE, p, size_classes[c].size);
  heap_busy_begin();
  bool is_taken = refill_make_room(h, c, p);
  heap_busy_end(h);
  if (is_taken) return;
  if (HAK_UNLIKELY(entry_enter() == NULL)) {
    entry_signal_park(p);
    return;
  }
  refill_overflow(h, c, p);
  entry_leave(h);
}

void entry_free_foreign(void *p) {
  if (p == NULL) return;
  entry_init(); /* another thread may be at it: the region may be about to exist */
  size_t i = chunk_index(p);
  if (i < region_chunk_count) {
    entry_free_slow(p, i);
    return;
  }
  if (entry_signal_owns(p)) return;
  entry_large_free_mapping(p);
}

static bool is_size_possible(const void *p, size_t n, size_t align) {
  size_t i = chunk_index(p);
  if (i < region_chunk_count && map_entry_is_slab(map_load(i))) {
    uint32_t c = map_entry_class(map_load(i));
    size_t size = size_classes[c].size;
    return size_class_could_hold(c, n, align) ||
           (load_relaxed(&has_misfits) && n <= size && size % align == 0);
  }
  /* A large object. One that is none at all is for free itself to tell. */
  if (i < region_chunk_count && (map_entry_id(map_load(i)) != HEAP_ID_RUN || chunk_address(i) != p))
    return true;
  if (i >= region_chunk_count && !entry_large_is_mapping(p)) return true;
  size_t in_slabs_max = region_is_scarce() ? SCARCE_CLASS_MAX : CLASS_SIZE_MAX;
  bool has_class = n <= in_slabs_max && align <= CLASS_SIZE_MAX && !load_relaxed(&has_misfits) &&
                   size_class_of_aligned(n, align) != CLASS_COUNT;
  return !has_class && n <= entry_usable_size(p);
}

void entry_free_sized(void *p, size_t n, size_t align) {
  align = align <= 1 ? 1 : size_pow2_up(align); /* as memalign rounds it */
  if (!HAK_FLAVOUR_MINIMAL && p != NULL && HAK_UNLIKELY(!is_size_possible(p, n, align))) {
    size_t i = chunk_index(p);
    bool is_slab = i < region_chunk_count && map_entry_is_slab(map_load(i));
    guard_abort(VERDICT_SIZE_MISMATCH, p,
                is_slab ? size_classes[map_entry_class(map_load(i))].size : 0);
  }
  entry_free(p);
}

void entry_free_strays(struct magazine *strays) {
  for (struct magazine *m = strays; m != NULL; m = m->next) {
    uint32_t n = load_relaxed(&m->count);
    for (uint32_t i = 0; i < n; i++) entry_free(m->slot[i]);
    store_relaxed(&m->count, (uint16_t)0);
  }
  struct heap *h = entry_enter();
  if (NEVER(h == NULL)) return; /* only a handler inside a slow path gets none: this is none */
  magazine_give_chain(strays);
  entry_leave(h);
}
