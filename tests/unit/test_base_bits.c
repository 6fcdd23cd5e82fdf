/* test_base_bits.c — runs of bits against the obvious search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base_bits.h"

static uint32_t slow_run(uint32_t first, uint32_t count) {
  uint32_t word = 0;
  for (uint32_t i = first; i < first + count; i++) word |= (uint32_t)1 << i;
  return word;
}

static uint32_t slow_find(uint32_t word, uint32_t count, uint32_t step) {
  for (uint32_t first = 0; first + count <= 32; first += step)
    if ((word & slow_run(first, count)) == slow_run(first, count)) return first;
  return BITS32_NONE;
}

static void check_all_runs(uint32_t word) {
  for (uint32_t count = 1; count <= 32; count++)
    for (uint32_t step = 1; step <= 32; step *= 2)
      if (bits32_find_run(word, count, step) != slow_find(word, count, step))
        fail_msg("word %#x, count %u, step %u", word, count, step);
}

static void every_run_mask(void **state) {
  (void)state;
  for (uint32_t first = 0; first < 32; first++)
    for (uint32_t count = 1; first + count <= 32; count++)
      assert_int_equal(bits32_run(first, count), slow_run(first, count));
}

static void runs_in_every_word_of_one_or_two_runs(void **state) {
  (void)state;
  check_all_runs(0);
  for (uint32_t a = 0; a < 32; a++)
    for (uint32_t n = 1; a + n <= 32; n++) {
      check_all_runs(bits32_run(a, n));
      check_all_runs(~bits32_run(a, n));
    }
}

static void runs_in_random_words(void **state) {
  (void)state;
  uint64_t seed = 0x9e3779b97f4a7c15u;
  for (int i = 0; i < 5000; i++) {
    uint32_t word = 0xFFFFFFFFu;
    for (int k = 0; k <= i % 4; k++) { /* densities 1/2 down to 1/16, and their complements */
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      word &= (uint32_t)(seed >> 32);
    }
    check_all_runs(word);
    check_all_runs(~word);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_run_mask),
      cmocka_unit_test(runs_in_every_word_of_one_or_two_runs),
      cmocka_unit_test(runs_in_random_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
