/* superslab_word.h — the word a superslab; for superslab.c, purge.c and prewarm.c only.
 *
 *    63 ............. 32 31 .............. 0
 *   [ high, a bit a chunk | low, a bit a chunk ]
 *
 *   low high
 *    0   0   in use: its claimer's alone
 *    1   0   dirty: free, has pages
 *    1   1   zero: free, has no pages: never touched, or purged
 *    0   1   lazy: free, its pages go when the kernel wants them (MADV_FREE): not known to be zero
 */
#ifndef SUPERSLAB_WORD_H
#define SUPERSLAB_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* Both halves change together by compare-and-swap, so what a word says is exact at every instant.
 */

enum chunk_state { CHUNK_DIRTY, CHUNK_ZERO, CHUNK_LAZY }; /* of free chunks */

#define ALL_FREE 0xFFFFFFFFu

HAK_INLINE uint64_t word_of(uint32_t mask, enum chunk_state state) {
  return (state != CHUNK_DIRTY ? (uint64_t)mask << 32 : 0) | (state != CHUNK_LAZY ? mask : 0);
}
HAK_INLINE uint32_t word_free(uint64_t word) { return (uint32_t)word | (uint32_t)(word >> 32); }
HAK_INLINE uint32_t word_zero(uint64_t word) { return (uint32_t)word & (uint32_t)(word >> 32); }
HAK_INLINE uint32_t word_dirty(uint64_t word) { return (uint32_t)word & ~(uint32_t)(word >> 32); }
HAK_INLINE bool word_is_empty_resident(uint64_t word) {
  return word_free(word) == ALL_FREE && word_dirty(word) != 0;
}

/* The word as it was at some moment. */
uint64_t superslab_word(size_t index);
/* Take the chunks of `mask` if all are free. *seen is the word as it may be, then as it was. */
HAK_MUST_USE bool superslab_take(size_t index, uint32_t mask, uint64_t *seen);
/* Chunks that the caller has taken become free. */
void superslab_give(size_t index, uint32_t mask, enum chunk_state state);

#endif
