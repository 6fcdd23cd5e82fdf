/* test_latency.c — histograms against known answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench_latency.h"

static struct bench_latency one, two;
static int clear(void **state) {
  (void)state;
  memset(&one, 0, sizeof one);
  memset(&two, 0, sizeof two);
  return 0;
}

static void small_values_are_exact(void **state) {
  (void)state;
  for (uint64_t ns = 0; ns < LATENCY_EXACT; ns++) {
    memset(&one, 0, sizeof one);
    latency_record(&one, ns);
    latency_record(&one, 1000);
    assert_int_equal(latency_quantile_ns(&one, 0.5), ns);
    assert_int_equal(latency_quantile_ns(&one, 1.0), 1000);
  }
}

/* Never below the value, and above it by less than 1 part in 32. */
static void large_values_are_known_to_a_32nd(void **state) {
  (void)state;
  for (uint64_t ns = LATENCY_EXACT; ns < UINT64_C(1) << 39; ns += ns / 7 + 1) {
    memset(&one, 0, sizeof one);
    latency_record(&one, ns);
    latency_record(&one, UINT64_C(1) << 40);
    uint64_t told = latency_quantile_ns(&one, 0.5);
    assert_true(told >= ns && told - ns < ns / 32 + 1);
  }
}

static void quantiles_of_a_known_row(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 100000; i++) {
    latency_record(&one, i < 90000 ? 10 : i < 99000 ? 20 : i < 99990 ? 40 : 5000);
  }
  struct latency_summary s = latency_summarize(&one);
  assert_int_equal(s.calls, 100000);
  assert_int_equal(s.p50_ns, 10);
  assert_int_equal(s.p90_ns, 10);
  assert_int_equal(s.p99_ns, 20);
  assert_int_equal(s.p99_9_ns, 40);
  assert_int_equal(s.p99_99_ns, 40);
  assert_int_equal(s.max_ns, 5000);
  assert_true(s.timer_ns < 100000);
}

static void merging_adds(void **state) {
  (void)state;
  latency_record(&one, 5);
  latency_record(&two, 50);
  latency_record(&two, 7000);
  latency_merge(&one, &two);
  struct latency_summary s = latency_summarize(&one);
  assert_int_equal(s.calls, 3);
  assert_int_equal(s.p50_ns, 50);
  assert_int_equal(s.max_ns, 7000);
}

static void nothing_recorded_is_zero(void **state) {
  (void)state;
  struct latency_summary s = latency_summarize(&one);
  assert_true(s.calls == 0 && s.p50_ns == 0 && s.p99_99_ns == 0 && s.max_ns == 0);
  latency_record(NULL, 1); /* a thread without a histogram */
}

/* A record's buckets: no value is above its bucket's end, the last end is the longest value. */
static void bucket_ends_bound_what_they_hold(void **state) {
  (void)state;
  static const uint64_t values[] = {3, 63, 64, 1000, 123456, UINT64_C(3) << 40};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    latency_record(&one, values[i]);
  }
  size_t seen = 0;
  for (size_t bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
    if (one.count[bucket] != 0) {
      assert_int_equal(one.count[bucket], 1);
      uint64_t end = latency_bucket_end_ns(&one, bucket);
      assert_true(end >= values[seen] && end - values[seen] <= values[seen] / 32);
      seen++;
    }
  }
  assert_int_equal(seen, sizeof values / sizeof values[0]);
  assert_int_equal(latency_bucket_end_ns(&one, LATENCY_BUCKETS - 1), UINT64_C(3) << 40);
}

/* What takes longer than the last bucket is not lost. */
static void endless_calls_count(void **state) {
  (void)state;
  latency_record(&one, UINT64_MAX);
  assert_int_equal(latency_summarize(&one).calls, 1);
  assert_int_equal(latency_summarize(&one).max_ns, UINT64_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(small_values_are_exact, clear),
      cmocka_unit_test_setup(large_values_are_known_to_a_32nd, clear),
      cmocka_unit_test_setup(quantiles_of_a_known_row, clear),
      cmocka_unit_test_setup(merging_adds, clear),
      cmocka_unit_test_setup(nothing_recorded_is_zero, clear),
      cmocka_unit_test_setup(bucket_ends_bound_what_they_hold, clear),
      cmocka_unit_test_setup(endless_calls_count, clear),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
