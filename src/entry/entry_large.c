/* entry_large.c — see entry_large.h. No block is mapped, moved, advised or given back while a lock
 * is held: docs/locks.md.
 */
#include "entry_large.h"

#include <errno.h>
#include <stdint.h>

#include "base_mem.h"
#include "base_size.h"
#include "entry.h"
#include "entry_background.h"
#include "entry_limit.h"
#include "entry_signal.h"
#include "huge.h"
#include "large.h"
#include "large_cache.h"
#include "limit.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "region.h"
#include "run.h"
#include "superslab.h"
#include "tail.h"

static const size_t RUN_MAX = 2 * SUPERSLAB_BYTES;
/* A refused mapping of this size may still find room among freed chunks. A larger one was refused
 * because there is no such memory: committing the region step by step would only hide that. */
static const size_t RUN_FALLBACK_MAX = 64 * MIB;
/* A run that grows again and again becomes a mapping, which the kernel can move without copying. */
static const size_t GROWING_MIN = 256 * KIB;
enum { GROWTHS_BEFORE_MAPPING = 2 };
enum { TAIL_SHARE = 8 }; /* of a mapping used again, that may stay resident and unused. Arbitrary */

static void *run_try(size_t n, size_t align, bool zero) {
  struct heap *h = entry_enter();
  if (h == NULL) return entry_signal_alloc(n, align);
  bool is_zero = false;
  n = size_max(n, 1);
  void *p = run_alloc(n, align, h->home->preferred_superslab, &is_zero);
  entry_leave(h);
  if (p == NULL) return NULL;
  if (is_zero) {
    huge_note_run(p, n);
    return p;
  }
  tail_trim(p, n);
  if (zero) mem_fill(p, 0, n);
  return p;
}

/* Where it fails, the pages went back all the same, and the address space is lost: the kernel may
 * not split what it merged. */
static void unmap(struct large object) {
  if (!os_unmap(object.address, object.bytes)) return;
}

static size_t unmap_all(const struct large_evicted *evicted) {
  size_t bytes = 0;
  for (size_t i = 0; evicted->object[i].address != NULL; i++) {
    unmap(evicted->object[i]);
    bytes += evicted->object[i].bytes;
  }
  return bytes;
}

/* Known to the hash from now on. False: there is no memory for that, or it is more than a limit
 * allows, since others have asked at the same instant, or it is larger than what was asked for. */
static bool remember(struct large object, size_t fresh_bytes) {
  if (!large_insert(object, fresh_bytes)) return false;
  return HAK_LIKELY(!limit_is_exceeded()) || large_remove(object.address).address == NULL;
}

/* One that was freed a moment ago, known to the hash again; address NULL: none. */
static struct large mapping_again(size_t bytes, size_t align) {
  struct heap *h = entry_enter();
  if (h == NULL) return (struct large){NULL, 0};
  struct large object = large_cache_take(bytes, align, os_coarse_ms());
  bool is_known = object.address != NULL && remember(object, 0);
  entry_leave(h);
  if (object.address == NULL) return object;
  if (!is_known) {
    unmap(object);
    return (struct large){NULL, 0};
  }
  size_t rest = object.bytes - bytes;
  /* Where the kernel refuses, the pages stay, as the next that uses them whole would have them. */
  if (rest > object.bytes / TAIL_SHARE && !os_purge((char *)object.address + bytes, rest))
    return object;
  return object;
}

/* A mapping is remembered before anyone sees it. */
static void *mapping_try(size_t n, size_t align, bool zero) {
  size_t page = os_page_bytes();
  size_t bytes;
  if (!size_add(n, page - 1, &bytes)) return NULL;
  bytes = size_max(size_round_down(bytes, page), page);
  if (HAK_UNLIKELY(limit_refuses(bytes))) return NULL;
  struct large again = mapping_again(bytes, align);
  if (again.address != NULL && zero) mem_fill(again.address, 0, n);
  if (again.address != NULL) return again.address;
  void *p = align > page ? os_map_aligned(bytes, align) : os_map(bytes);
  if (p == NULL) return NULL;
  struct heap *h = entry_enter();
  bool is_known = h != NULL && remember((struct large){p, bytes}, bytes);
  if (h != NULL) entry_leave(h);
  if (is_known) return p;
  unmap((struct large){p, bytes});
  return NULL;
}

void *entry_large_try_mapping(size_t n) { return mapping_try(n, 1, false); }

static size_t expire(uint64_t now_ms, bool all) {
  struct heap *h = entry_enter();
  if (h == NULL) return 0;
  struct large_evicted evicted;
  large_cache_expire(now_ms, all, &evicted);
  entry_leave(h);
  return unmap_all(&evicted);
}

size_t entry_large_purge(void) { return expire(os_coarse_ms(), true); }

void entry_large_expire(uint64_t now_ms) {
  if (large_cache_is_due(now_ms)) (void)expire(now_ms, false); /* nobody counts */
}

void entry_large_tick(struct heap *h, uint64_t now_ms) {
  if (HAK_LIKELY(!large_cache_is_due(now_ms)) || !lock_try_enter(&h->home->lock)) return;
  struct large_evicted evicted;
  large_cache_expire(now_ms, false, &evicted);
  lock_leave(&h->home->lock);
  (void)unmap_all(&evicted);
}

static void *run_or_mapping(size_t n, size_t align, bool zero) {
  bool may_run = align <= SUPERSLAB_BYTES;
  /* Where address space is limited, a run's rounding and the holes between runs are dear. */
  bool is_run_first = may_run && n <= RUN_MAX && !region_is_scarce();
  void *p = is_run_first ? run_try(n, align, zero) : mapping_try(n, align, zero);
  if (p != NULL) return p;
  if (is_run_first) return mapping_try(n, align, zero);
  return may_run && n <= RUN_FALLBACK_MAX ? run_try(n, align, zero) : NULL;
}

void *entry_large_alloc(size_t n, size_t align, bool zero) {
  entry_init();
  if (HAK_LIKELY(n <= PTRDIFF_MAX)) {
    void *p = run_or_mapping(n, align, zero);
    entry_background_poll();
    if (HAK_UNLIKELY(p == NULL) && entry_reclaim(n, false)) p = run_or_mapping(n, align, zero);
    if (HAK_UNLIKELY(p == NULL) && entry_limit_ask(n, false)) p = run_or_mapping(n, align, zero);
    if (p != NULL) return p;
  }
  errno = ENOMEM;
  return NULL;
}

void entry_large_free_run(void *p, size_t i) {
  if (chunk_address(i) != p) guard_abort(VERDICT_INTERIOR, p, 0);
  struct heap *h = entry_enter();
  if (h == NULL) {
    entry_signal_park(p);
    return;
  }
  bool is_freed = run_free((uint32_t)i);
  entry_leave(h);
  if (!is_freed) guard_abort(VERDICT_DOUBLE_FREE, p, 0);
}

static HAK_COLD HAK_NORETURN void abort_foreign(const void *p) {
  struct heap *h = entry_enter();
  enum verdict verdict = VERDICT_INVALID_FREE;
  if (h != NULL) {
    if (large_is_interior(p)) verdict = VERDICT_INTERIOR;
    if (large_was_removed(p)) verdict = VERDICT_DOUBLE_FREE;
    entry_leave(h);
  }
  guard_abort(verdict, p, 0);
}

void entry_large_free_mapping(void *p) {
  struct heap *h = entry_enter();
  if (h == NULL) {
    entry_signal_park(p);
    return;
  }
  struct large object = large_remove(p);
  struct large_evicted evicted = {0};
  if (object.address != NULL) large_cache_put(object, os_coarse_ms(), &evicted);
  entry_leave(h);
  if (object.address == NULL) abort_foreign(p);
  (void)unmap_all(&evicted);
}

bool entry_large_is_mapping(const void *p) {
  struct heap *h = entry_enter();
  if (h == NULL) return false;
  struct large object = large_find(p);
  entry_leave(h);
  return object.address != NULL;
}

/* A much smaller block had better be copied, but near a limit there may be no memory for it: then
 * it stays where it is. */
static bool must_copy(size_t n, size_t old_bytes) {
  return n > old_bytes || !limit_is_deadly() || !limit_refuses(n);
}

enum entry_large_move entry_large_resize_run(void *p, size_t i, size_t n, void **out) {
  *out = p;
  size_t bytes = run_bytes((uint32_t)i);
  if ((n <= CLASS_SIZE_MAX || n > RUN_MAX) && must_copy(n, bytes)) return LARGE_MUST_COPY;
  struct heap *h = entry_enter();
  if (h == NULL) return n <= bytes ? LARGE_MOVED : LARGE_STAYS;
  bool is_growing = n > bytes;
  bool moves_out =
      is_growing && run_count_growth((uint32_t)i) >= GROWTHS_BEFORE_MAPPING && n > GROWING_MIN;
  bool is_done = !moves_out && run_resize((uint32_t)i, n);
  entry_leave(h);
  if (is_done) return LARGE_MOVED;
  void *mapping = moves_out ? mapping_try(n, 1, false) : NULL;
  if (mapping == NULL) return LARGE_MUST_COPY;
  mem_copy(mapping, p, bytes);
  entry_large_free_run(p, i);
  *out = mapping;
  return LARGE_MOVED;
}

/* Who has a block grow writes to it: so much more is refused before it kills. */
static HAK_NOINLINE bool is_too_much(size_t bytes) {
  if (HAK_LIKELY(!limit_refuses_written(bytes))) return false;
  if (entry_reclaim(bytes, true) && !limit_refuses_written(bytes)) return false;
  return !entry_limit_ask(bytes, true) || limit_refuses_written(bytes);
}

void *entry_large_alloc_grown(size_t n) {
  if (HAK_LIKELY(!is_too_much(n))) return entry_large_alloc(n, 1, false);
  errno = ENOMEM;
  return NULL;
}

static void *remap(void *p, size_t old_bytes, size_t bytes) {
  if (bytes < old_bytes || !huge_is_for_growing(bytes)) return os_remap(p, old_bytes, bytes);
  void *moved = os_remap_aligned(p, old_bytes, bytes, SUPERSLAB_BYTES);
  if (moved != NULL && !os_huge(moved, bytes)) return moved; /* small pages do */
  return moved;
}

enum entry_large_move entry_large_resize_mapping(void *p, size_t old_bytes, size_t n, void **out) {
  *out = p;
  if ((n <= CLASS_SIZE_MAX || n < old_bytes / 4) && must_copy(n, old_bytes)) return LARGE_MUST_COPY;
  size_t bytes = size_round_up(n, os_page_bytes());
  if (bytes == old_bytes) return LARGE_MOVED;
  size_t more_bytes = bytes > old_bytes ? bytes - old_bytes : 0;
  if (more_bytes != 0 && is_too_much(more_bytes)) return LARGE_STAYS;
  struct heap *h = entry_enter();
  if (h == NULL) return n <= old_bytes ? LARGE_MOVED : LARGE_STAYS;
  /* Where what is held is exact, others are not given meanwhile what it grows by. */
  size_t counted_bytes = old_bytes + (limit_counts_own() ? more_bytes : 0);
  struct large object = large_begin_move(p, counted_bytes);
  bool is_exceeded = more_bytes != 0 && limit_is_exceeded(); /* with what others have just got */
  entry_leave(h);
  if (object.address == NULL) abort_foreign(p);
  void *moved = HAK_LIKELY(!is_exceeded) ? remap(p, old_bytes, bytes) : NULL;
  if (moved != NULL) object = (struct large){moved, bytes};
  if (moved == NULL) more_bytes = 0;
  h = entry_enter();
  /* A handler cannot be inside: this very thread was outside a slow path a moment ago. */
  CHECK(h != NULL);
  large_end_move(object, counted_bytes, more_bytes);
  entry_leave(h);
  *out = object.address;
  if (moved != NULL || n <= old_bytes) return LARGE_MOVED;
  return is_exceeded ? LARGE_STAYS : LARGE_MUST_COPY;
}
