/* entry_resize.c — calloc, realloc, sizes, purge: what is built of malloc and free.
 */
#include <errno.h>
#include <stdint.h>

#include "base_mem.h"
#include "base_size.h"
#include "entry.h"
#include "entry_fork.h"
#include "entry_hot.h"
#include "entry_large.h"
#include "entry_signal.h"
#include "flush.h"
#include "home.h"
#include "idle.h"
#include "large.h"
#include "mail.h"
#include "os_check.h"
#include "outbox.h"
#include "os_mem.h"
#include "run.h"
#include "purge.h"
#include "superslab.h"

enum place_kind { PLACE_CLASS, PLACE_RUN, PLACE_MAPPING, PLACE_RESERVE, PLACE_UNKNOWN };

/* Where an object lives, and how many bytes of it may be used. */
struct place {
  enum place_kind kind;
  size_t bytes;
  size_t chunk;
};

/* The verdict that says of the same call that p was freed. */
static enum verdict of_freed(enum verdict verdict) {
  return verdict == VERDICT_INVALID_REALLOC ? VERDICT_FREED_REALLOC : VERDICT_FREED_USABLE_SIZE;
}

/* True when p, a slot of that map entry, is one of the two that its bin hands out next. */
static bool waits_on_top(uint32_t entry, const void *p) {
  struct heap *h = heap_current;
  uint32_t scaled = entry ^ h->key;
  if (scaled >= CLASS_COUNT * MAP_CLASS_SCALE) return false; /* another heap's */
  const struct bin *b = heap_bin(h, scaled);
  void *const *sp = load_relaxed(&b->sp);
  return sp != NULL && bin_has_on_top(b, sp, p);
}

/* The class of p, which lies in chunk i, whose map entry a slab has. Ends the process with
 * `verdict` where p is free, and says so where it points into an object. */
HAK_INLINE const struct size_class *class_of(const void *p, size_t i, uint32_t entry,
                                             enum verdict verdict) {
  const struct size_class *k = &size_classes[map_entry_class(entry)];
  if (HAK_UNLIKELY(!size_class_is_slot(k, p))) guard_abort(VERDICT_INTERIOR, p, k->size);
  /* Free in its slab: never handed out, or freed and flushed. A look without the lock is enough:
   * nobody but a caller with a bad pointer changes the bit of a live object. */
  if (!HAK_FLAVOUR_MINIMAL && HAK_UNLIKELY(slab_has(slab_of_chunk(k, i), k, p)))
    guard_abort(verdict, p, k->size);
  if (!HAK_FLAVOUR_MINIMAL && HAK_UNLIKELY(waits_on_top(entry, p)))
    guard_abort(verdict, p, k->size);
  return k;
}

/* p is not NULL. Ends the process with `verdict` where p is no object of ours, and says so where it
 * points into one, or was freed. */
static struct place place_of(const void *p, enum verdict verdict) {
  size_t i = chunk_index(p);
  if (HAK_LIKELY(i < region_chunk_count)) {
    uint32_t entry = map_load(i);
    if (HAK_LIKELY(map_entry_is_slab(entry)))
      return (struct place){PLACE_CLASS, class_of(p, i, entry, verdict)->size, i};
    if (map_entry_id(entry) == HEAP_ID_FREED && map_entry_class(entry) < CLASS_COUNT)
      guard_abort(verdict, p, size_classes[map_entry_class(entry)].size);
    bool is_inside = map_entry_id(entry) == HEAP_ID_RUN_REST ||
                     (map_entry_id(entry) == HEAP_ID_RUN && chunk_address(i) != p);
    if (is_inside) guard_abort(VERDICT_INTERIOR, p, 0);
    if (map_entry_id(entry) == HEAP_ID_FREED) guard_abort(of_freed(verdict), p, 0);
    if (map_entry_id(entry) != HEAP_ID_RUN) guard_abort(verdict, p, 0);
    return (struct place){PLACE_RUN, run_bytes((uint32_t)i), i};
  }
  if (entry_signal_owns(p)) return (struct place){PLACE_RESERVE, entry_signal_bytes(p), 0};
  struct heap *h = entry_enter();
  if (h == NULL) return (struct place){PLACE_UNKNOWN, 0, 0}; /* a handler inside a slow path */
  struct large object = large_find(p);
  if (HAK_UNLIKELY(object.address == NULL)) {
    if (large_is_interior(p)) verdict = VERDICT_INTERIOR;
    if (large_was_removed(p)) verdict = of_freed(verdict);
  }
  entry_leave_bins(h); /* malloc_usable_size of a handler */
  if (HAK_UNLIKELY(object.address == NULL)) guard_abort(verdict, p, 0);
  return (struct place){PLACE_MAPPING, object.bytes, 0};
}

size_t entry_usable_size(const void *p) {
  return p == NULL ? 0 : place_of(p, VERDICT_INVALID_USABLE_SIZE).bytes;
}

HAK_COLD size_t entry_good_size(size_t n) {
  entry_init();
  if (n <= CLASS_SIZE_MAX) return size_class_finest(n);
  size_t step = n <= 2 * SUPERSLAB_BYTES ? CHUNK_BYTES : os_page_bytes();
  size_t up;
  return size_add(n, step - 1, &up) ? size_round_down(up, step) : n;
}

void *entry_calloc(size_t count, size_t size) {
  entry_fork_look();
  size_t n;
  if (HAK_UNLIKELY(!size_mul(count, size, &n))) {
    errno = ENOMEM;
    return NULL;
  }
  if (n > CLASS_SIZE_MAX) return entry_large_alloc(n, 1, true);
  void *p = entry_malloc(n);
  if (HAK_LIKELY(p != NULL)) mem_fill(p, 0, n);
  return p;
}

static void *alloc_for_copy(size_t old_bytes, size_t n) {
  if (n <= CLASS_SIZE_MAX) return entry_malloc(n);
  return n > old_bytes ? entry_large_alloc_grown(n) : entry_large_alloc(n, 1, false);
}

static void *move_by_copy(void *p, size_t old_bytes, size_t n) {
  void *fresh = alloc_for_copy(old_bytes, n);
  if (fresh == NULL) return NULL;
  mem_copy(fresh, p, size_min(old_bytes, n));
  entry_free(p);
  return fresh;
}

/* Shrinking never fails: without memory for the smaller object the larger stays. */
static HAK_COLD void *stays_larger(void *p, int saved_errno) {
  entry_note_misfit();
  errno = saved_errno;
  return p;
}

static HAK_COLD void *resize_large(void *p, struct place place, size_t n) {
  void *out = p;
  enum entry_large_move move = LARGE_MUST_COPY;
  if (place.kind == PLACE_RUN) move = entry_large_resize_run(p, place.chunk, n, &out);
  if (place.kind == PLACE_MAPPING) move = entry_large_resize_mapping(p, place.bytes, n, &out);
  if (place.kind == PLACE_UNKNOWN || move == LARGE_STAYS) {
    errno = ENOMEM;
    return NULL;
  }
  if (move == LARGE_MOVED) return out;
  int saved_errno = errno;
  void *fresh = move_by_copy(p, place.bytes, n);
  return fresh == NULL && n <= place.bytes ? stays_larger(p, saved_errno) : fresh;
}

/* free of p in chunk i, which class_of has looked at. The map is read anew: had p been free after
 * all, in a magazine, its slab may have gone since. */
HAK_INLINE void free_checked(void *p, size_t i) {
  struct heap *h = heap_current;
  uint32_t scaled = map_load(i) ^ h->key;
  if (HAK_UNLIKELY(scaled >= CLASS_COUNT * MAP_CLASS_SCALE)) return entry_free_slow(p, i);
  struct bin *b = heap_bin(h, scaled);
  void **sp = load_relaxed(&b->sp);
  if (HAK_UNLIKELY(sp >= b->hi)) return entry_free_flush(p, b);
  bin_push(b, sp, p);
}

/* n is not 0. Objects stay where at least half of them stays in use, or none is smaller. */
HAK_INLINE void *resize_in_class(void *p, size_t i, uint32_t entry, size_t n) {
  size_t bytes = class_of(p, i, entry, VERDICT_INVALID_REALLOC)->size;
  if (n <= bytes && (n >= bytes / 2 || bytes == CLASS_SIZE_MIN)) return p;
  int saved_errno = n <= bytes ? errno : 0; /* a call: not where it cannot be needed */
  void *fresh = n > CLASS_SIZE_MAX ? entry_large_alloc_grown(n) : entry_malloc(n);
  if (HAK_UNLIKELY(fresh == NULL)) return n <= bytes ? stays_larger(p, saved_errno) : NULL;
  mem_copy(fresh, p, size_min(bytes, n));
  free_checked(p, i);
  return fresh;
}

/* What entry_realloc has no short way for: a slab's objects come here for 0 bytes, or too many. */
static HAK_NOINLINE void *resize_any(void *p, size_t n) {
  if (p == NULL) return entry_malloc(n);
  struct place place = place_of(p, VERDICT_INVALID_REALLOC); /* a bad pointer is said first */
  if (HAK_UNLIKELY(n > PTRDIFF_MAX)) {
    errno = ENOMEM;
    return NULL;
  }
  if (n == 0) {
    entry_free(p);
    return NULL;
  }
  return resize_large(p, place, n);
}

void *entry_realloc(void *p, size_t n) {
  size_t i = chunk_index(p);
  if (HAK_LIKELY(i < region_chunk_count && n - 1 < PTRDIFF_MAX)) {
    uint32_t entry = map_load(i);
    if (HAK_LIKELY(map_entry_is_slab(entry))) return resize_in_class(p, i, entry, n);
  }
  return resize_any(p, n);
}

HAK_COLD size_t entry_purge(void) {
  struct heap *h = entry_enter();
  if (h == NULL) return 0;
  if (!h->is_owned) {
    mail_drain_to_bitmaps(h->home);
    entry_leave(h);
    size_t purged = entry_large_purge();
    return entry_purge_chunks(true) + purged;
  }
  uint32_t strays;
  do { /* once more where strays were freed on the way: into caches of ours, or others' mail */
    strays = h->stray_rounds;
    idle_flush_own(h);
    flush_shared(h->home);
    entry_leave(h);
    heap_busy_begin();
    struct heap_fault fault = idle_trim_all(h);
    heap_busy_end(h);
    entry_report_fault(fault);
    entry_settle_strays(h);
  } while (h->stray_rounds != strays && entry_enter() == h);
  size_t purged = entry_large_purge();
  purged += entry_purge_slabs(h, NULL);
  entry_settle_strays(h);
  return entry_purge_chunks(true) + purged;
}

HAK_COLD void entry_thread_idle(void) {
  struct heap *h = entry_enter();
  if (h == NULL) return;
  if (!h->is_owned) {
    entry_leave(h);
    return;
  }
  uint32_t strays;
  do { /* as entry_purge */
    strays = h->stray_rounds;
    idle_flush_own(h);
    home_fall_asleep(h);
    entry_leave(h);
  } while ((h->stray_rounds != strays || home_has_mail(h)) && entry_enter() == h);
}
