/* base_size.h — checked size arithmetic and rounding.
 * Owns: the overflow and rounding helpers. Does not own: bit runs in words (base_bits.h).
 */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* False when a * b does not fit; *out is then unspecified. */
HAK_INLINE HAK_MUST_USE bool size_mul(size_t a, size_t b, size_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}

/* False when a + b does not fit; *out is then unspecified. */
HAK_INLINE HAK_MUST_USE bool size_add(size_t a, size_t b, size_t *out) {
  return !__builtin_add_overflow(a, b, out);
}

HAK_INLINE bool size_is_pow2(size_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* Up to the next multiple of `step`, a power of two. The caller knows that it does not overflow. */
HAK_INLINE size_t size_round_up(size_t n, size_t step) { return (n + step - 1) & ~(step - 1); }
HAK_INLINE size_t size_round_down(size_t n, size_t step) { return n & ~(step - 1); }

/* The smallest power of two >= n, for 1 <= n <= 2^63. */
HAK_INLINE size_t size_pow2_up(size_t n) {
  return n <= 1 ? 1 : (size_t)1 << (64 - __builtin_clzl(n - 1));
}

HAK_INLINE size_t size_min(size_t a, size_t b) { return a < b ? a : b; }
HAK_INLINE size_t size_max(size_t a, size_t b) { return a > b ? a : b; }

#endif
