/* bin.h — a heap's stack of free objects of one class, and the two hottest operations of all.
 *
 *    0    8    16   24         28         32
 *   | sp | lo | hi | high_mask | minus_reciprocal |
 *
 *   slots of the loaded magazine:  lo [ oldest ... newest ] sp ... hi   (hi = lo + window)
 */
#ifndef BIN_H
#define BIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"

/* Below slot 0 lies the magazine's header, whose last word is NULL: a pop that finds NULL has found
 * the bin empty, without comparing. A bin without a magazine points above such a word of its own
 * (bin_nothing) and has hi == NULL: it is empty and full at once, so the first malloc and the first
 * free of a class take the slow path by themselves, and nothing tests for initialisation.
 * Owner: the heap's thread alone writes; others read sp and lo for statistics (relaxed).
 */

struct bin {
  _Atomic(void **) sp; /* one above the newest; never NULL */
  _Atomic(void **) lo; /* slot 0; NULL without a magazine */
  void **hi;           /* sp may not pass it */
  uint32_t high_mask;  /* copies from size_classes: one cache line has all that free needs */
  uint32_t minus_reciprocal;
};
_Static_assert(sizeof(struct bin) == 32, "two bins a cache line; the index is one shift");

/* What a bin without a magazine stands on: no object equals these words. Never written. */
extern HAK_HIDDEN void *bin_nothing[2];
#define BIN_NOTHING (&bin_nothing[2])

HAK_INLINE void bin_reset(struct bin *b) {
  store_relaxed(&b->sp, BIN_NOTHING);
  store_relaxed(&b->lo, NULL);
  b->hi = NULL;
}

/* True when p, which the map says is of this bin's class, is the start of an object: as
 * size_class_is_slot, with both signs turned, so that the sum's carry is the answer.
 * budget: 5 instructions */
HAK_HOT bool bin_is_slot(const struct bin *b, const void *p) {
  uint32_t product = ((uint32_t)(uintptr_t)p | b->high_mask) * b->minus_reciprocal;
  return product + b->minus_reciprocal >= product;
}

/* True when p was freed into this bin last or last but one. Readable below lo: the magazine's
 * header. budget: 4 instructions */
HAK_HOT bool bin_has_on_top(void *const *sp, const void *p) { return sp[-1] == p || sp[-2] == p; }

HAK_INLINE uint32_t bin_count(struct bin *b) {
  void **lo = load_relaxed(&b->lo);
  return lo == NULL ? 0 : (uint32_t)(load_relaxed(&b->sp) - lo);
}

#endif
