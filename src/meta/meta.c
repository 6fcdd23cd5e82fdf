/* meta.c — a bump allocator. What is left of a block when the next is opened is lost: at most an
 * eighth of it, since larger requests get a mapping of their own.
 */
#include "meta.h"

#include "base_atomic.h"
#include "base_size.h"
#include "os_check.h"
#include "os_mem.h"
#include "rt_lock.h"

static const size_t BLOCK_BYTES = 64 * KIB; /* arbitrary; untouched pages cost nothing */

static struct rt_lock meta_lock = LOCK_INIT(LOCK_RANK_META);
static char *block_next;             /* under meta_lock */
static char *block_end;              /* under meta_lock */
static _Atomic(size_t) mapped_bytes; /* written under meta_lock */

/* What a child finds after stopping between two stores of a block change reads as no room. */
static size_t room(void) { return block_end > block_next ? (size_t)(block_end - block_next) : 0; }

static void *map_named(size_t size) {
  void *p = os_map(size);
  if (p == NULL) return NULL;
  os_name(p, size, "hakmem:meta");
  bump_relaxed(&mapped_bytes, size);
  return p;
}

void *meta_alloc(size_t size) {
  ASSERT(size != 0 && size < SIZE_MAX / 2);
  size = size_round_up(size, HAK_CACHE_LINE_BYTES);
  lock_nested(&meta_lock);
  void *p = NULL;
  if (size > BLOCK_BYTES / 8) {
    p = map_named(size_round_up(size, os_page_bytes()));
  } else {
    if (room() < size) {
      char *block = map_named(BLOCK_BYTES);
      if (block != NULL) {
        block_end = NULL;
        signal_fence();
        block_next = block;
        signal_fence();
        block_end = block + BLOCK_BYTES;
      }
    }
    if (room() >= size) {
      p = block_next;
      block_next += size;
    }
  }
  lock_leave(&meta_lock);
  return p;
}

size_t meta_bytes(void) { return load_relaxed(&mapped_bytes); }
