/* bin.h — a heap's stack of free objects of one class, and the two hottest operations of all.
 *
 *    0     8    16   24         28         32
 *   | top | sp | hi | high_mask | minus_reciprocal |
 *
 *   slots of the loaded magazine:  | oldest | ... | second newest | (newest) | ... | last |
 *                                                                   ^ sp               ^ hi
 */
#ifndef BIN_H
#define BIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"

/* The newest object is in `top`; its slot, to which sp points, gets it when another goes on top of
 * it, or when the magazine leaves the bin (heap_bin_spill). A program's store to a new object has
 * an address that is known late, and loads behind it that once met such a store wait for it:
 * malloc's answer hangs on one load of this kind where a plain stack would have two
 * (docs/decisions/0012).
 *
 * Below slot 0 lies the magazine's header, whose last word is NULL: there sp points when the bin is
 * empty, and top is NULL. In a bin without a magazine all three are NULL: it is empty and full at
 * once, so the first malloc and the first free of a class take the slow path by themselves, nothing
 * tests for initialisation, and zeroed memory is such a bin.
 *
 * Owner: the heap's thread alone writes; others read sp for statistics (relaxed). A signal handler
 * that interrupts a pop or a push has no promise. The order of the stores keeps both right for one
 * that allocates no more than the bin holds, then frees the same, last first; not for one that
 * frees first, nor for one that takes a slow path.
 */

struct bin {
  void *top;           /* the newest; NULL in an empty bin */
  _Atomic(void **) sp; /* the newest one's slot; NULL without a magazine */
  void **hi;           /* the last slot in use; NULL without a magazine */
  uint32_t high_mask;  /* copies from size_classes: one cache line has all that free needs */
  uint32_t minus_reciprocal;
};
_Static_assert(sizeof(struct bin) == 32, "two bins a cache line; the index is one shift");

HAK_INLINE void bin_reset(struct bin *b) {
  store_relaxed(&b->sp, NULL);
  b->top = NULL;
  b->hi = NULL;
}

/* True when p, which the map says is of this bin's class, is the start of an object: as
 * size_class_is_slot, with both signs turned, so that the sum's carry is the answer.
 * budget: 5 instructions */
HAK_HOT bool bin_is_slot(const struct bin *b, const void *p) {
  uint32_t product = ((uint32_t)(uintptr_t)p | b->high_mask) * b->minus_reciprocal;
  return product + b->minus_reciprocal >= product;
}

/* True when p was freed into this bin last or last but one. Readable below slot 0: the magazine's
 * header. budget: 4 instructions */
HAK_HOT bool bin_has_on_top(const struct bin *b, void *const *sp, const void *p) {
  return b->top == p || sp[-1] == p;
}

/* The newest object, or NULL. budget: 7 instructions */
HAK_HOT HAK_MUST_USE void *bin_try_pop(struct bin *b) {
  void *p = HAK_AS_RESULT(b->top);
  if (HAK_UNLIKELY(p == NULL)) return NULL;
  void **sp = load_relaxed(&b->sp);
  void *below = sp[-1];
  step_down_relaxed(&b->sp);
  signal_fence(); /* a handler in between pops p and pushes it again */
  b->top = below;
  return p;
}

HAK_INLINE bool bin_is_full(struct bin *b) { return load_relaxed(&b->sp) >= b->hi; }

/* p goes on top; sp is the bin's, and there is room. budget: 5 instructions */
HAK_HOT void bin_push(struct bin *b, void **sp, void *p) {
  *sp = b->top;
  b->top = p;
  signal_fence(); /* a handler in between pops p, then pushes it on the same slot */
  step_up_relaxed(&b->sp);
}

#endif
