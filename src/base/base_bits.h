/* base_bits.h — runs of bits in 32-bit words (a superslab's chunks).
 * Owns: finding and masking runs. Does not own: who may change a word (region/superslab.c).
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base_attr.h"

enum { BITS32_NONE = 32 };

/* `count` ones from bit `first`; 1 <= count, first + count <= 32. */
HAK_INLINE uint32_t bits32_run(uint32_t first, uint32_t count) {
  return (uint32_t)((((uint64_t)1 << count) - 1) << first);
}

/* Lowest start of `count` ones in `word` at a multiple of `step` (a power of two <= 32), or
 * BITS32_NONE. After the folding, bit i is set when bits i .. i+count-1 of `word` all are. */
HAK_INLINE uint32_t bits32_find_run(uint32_t word, uint32_t count, uint32_t step) {
  uint32_t have = 1;
  while (have < count && word != 0) { /* at most 5 rounds: `have` doubles up to 32 */
    uint32_t more = have < count - have ? have : count - have;
    word &= word >> more;
    have += more;
  }
  static const uint32_t at_step[6] = {0xFFFFFFFFu, 0x55555555u, 0x11111111u,
                                      0x01010101u, 0x00010001u, 0x00000001u};
  word &= at_step[__builtin_ctz(step)];
  return word == 0 ? (uint32_t)BITS32_NONE : (uint32_t)__builtin_ctz(word);
}

#endif
