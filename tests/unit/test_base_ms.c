/* test_base_ms.c — how long ago, also of what was noted after the clock was read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base_ms.h"

static void time_passes_one_way(void **state) {
  (void)state;
  assert_int_equal(ms_since(5, 5), 0);
  assert_int_equal(ms_since(5, 12), 7);
  assert_int_equal(ms_since(0, UINT64_MAX), UINT64_MAX);
  assert_int_equal(ms_since(12, 5), 0);
  assert_int_equal(ms_since(UINT64_MAX, 0), 0);
}

static void low_halves_wrap_around(void **state) {
  (void)state;
  assert_int_equal(ms_since_low(5, 5), 0);
  assert_int_equal(ms_since_low(5, 12), 7);
  assert_int_equal(ms_since_low(12, 5), 0);
  assert_int_equal(ms_since_low(UINT32_MAX - 3, 6), 10);
  assert_int_equal(ms_since_low(6, UINT32_MAX - 3), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(time_passes_one_way),
      cmocka_unit_test(low_halves_wrap_around),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
