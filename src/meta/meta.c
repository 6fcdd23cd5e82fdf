/* meta.c — a bump allocator. What is left of a block when the next is opened is lost: at most an
 * eighth of it, since larger requests get a mapping of their own.
 */
#include "meta.h"

#include "base_atomic.h"
#include "base_size.h"
#include "os_check.h"
#include "os_mem.h"
#include "rt_lock.h"
#include "rt_options.h"

static const size_t BLOCK_BYTES = 64 * KIB;     /* arbitrary; untouched pages cost nothing */
static const size_t HUGE_BLOCK_BYTES = 2 * MIB; /* a huge page */

static struct rt_lock meta_lock = LOCK_INIT(LOCK_RANK_META);
static char *block_next;             /* under meta_lock */
static char *block_end;              /* under meta_lock */
static _Atomic(size_t) mapped_bytes; /* written under meta_lock */
static _Atomic(bool) wants_huge;

/* What a child finds after stopping between two stores of a block change reads as no room. */
static size_t room(void) { return block_end > block_next ? (size_t)(block_end - block_next) : 0; }

static void *note_mapped(void *p, size_t size) {
  if (p == NULL) return NULL;
  os_name(p, size, "hakmem:meta");
  bump_relaxed(&mapped_bytes, size);
  return p;
}

static void *map_named(size_t size) { return note_mapped(os_map(size), size); }

/* A block's bytes; NULL when the kernel has no more. */
static char *block_map(size_t *bytes) {
  void *block = NULL;
  if (HAK_UNLIKELY(load_relaxed(&wants_huge)) && rt_option(RT_OPTION_THP) != RT_THP_NEVER) {
    *bytes = HUGE_BLOCK_BYTES;
    block = note_mapped(os_map_aligned(*bytes, *bytes), *bytes);
    /* Refused: small pages do. */
    if (block != NULL && os_huge(block, *bytes)) return block;
  }
  if (block == NULL) {
    *bytes = BLOCK_BYTES;
    block = map_named(*bytes);
  }
  return block;
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
      size_t bytes = 0;
      char *block = block_map(&bytes);
      if (block != NULL) {
        block_end = NULL;
        signal_fence();
        block_next = block;
        signal_fence();
        block_end = block + bytes;
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

void meta_set_huge(bool is_huge) { store_relaxed(&wants_huge, is_huge); }

size_t meta_bytes(void) { return load_relaxed(&mapped_bytes); }
