/* test_base_size.c — checked arithmetic and rounding, at the edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base_size.h"

static void products_and_sums_that_fit(void **state) {
  (void)state;
  size_t out;
  assert_true(size_mul(0, SIZE_MAX, &out));
  assert_int_equal(out, 0);
  assert_true(size_mul((size_t)1 << 32, ((size_t)1 << 32) - 1, &out));
  assert_int_equal(out, 0xFFFFFFFF00000000u);
  assert_true(size_mul(SIZE_MAX, 1, &out));
  assert_int_equal(out, SIZE_MAX);
  assert_true(size_add(SIZE_MAX - 1, 1, &out));
  assert_int_equal(out, SIZE_MAX);
}

static void products_and_sums_that_do_not(void **state) {
  (void)state;
  size_t out;
  assert_false(size_mul((size_t)1 << 32, (size_t)1 << 32, &out));
  assert_false(size_mul(SIZE_MAX, 2, &out));
  assert_false(size_mul(3, SIZE_MAX / 3 + 1, &out));
  assert_false(size_add(SIZE_MAX, 1, &out));
  assert_false(size_add((size_t)1 << 63, (size_t)1 << 63, &out));
}

static void powers_of_two(void **state) {
  (void)state;
  assert_false(size_is_pow2(0));
  for (unsigned shift = 0; shift < 64; shift++) {
    size_t power = (size_t)1 << shift;
    assert_true(size_is_pow2(power));
    assert_int_equal(size_pow2_up(power), power);
    if (power > 2) {
      assert_false(size_is_pow2(power - 1));
      assert_int_equal(size_pow2_up(power - 1), power);
    }
    if (power > 1 && shift < 63) {
      assert_false(size_is_pow2(power + 1));
      assert_int_equal(size_pow2_up(power + 1), 2 * power);
    }
  }
}

static void rounding(void **state) {
  (void)state;
  for (size_t step = 1; step <= 64; step *= 2)
    for (size_t n = 0; n <= 300; n++) {
      assert_int_equal(size_round_up(n, step), (n + step - 1) / step * step);
      assert_int_equal(size_round_down(n, step), n / step * step);
    }
  assert_int_equal(size_round_down(SIZE_MAX, 4096), SIZE_MAX - 4095);
  assert_int_equal(size_round_up(SIZE_MAX - 4095, 4096), SIZE_MAX - 4095);
}

static void smaller_and_larger(void **state) {
  (void)state;
  assert_int_equal(size_min(1, SIZE_MAX), 1);
  assert_int_equal(size_min(SIZE_MAX, 1), 1);
  assert_int_equal(size_max(1, SIZE_MAX), SIZE_MAX);
  assert_int_equal(size_max(SIZE_MAX, 1), SIZE_MAX);
  assert_int_equal(GIB, (size_t)1 << 30);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_and_sums_that_fit),
      cmocka_unit_test(products_and_sums_that_do_not),
      cmocka_unit_test(powers_of_two),
      cmocka_unit_test(rounding),
      cmocka_unit_test(smaller_and_larger),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
