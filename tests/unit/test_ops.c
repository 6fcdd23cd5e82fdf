/* test_ops.c — operations are counted by where the object lies. */
#include "unit_entry.h"

#include "ops.h"

static struct ops_totals now(void) {
  struct ops_totals totals;
  ops_collect(&totals);
  return totals;
}

static void kinds_are_told_apart(void **state) {
  (void)state;
  void *small = hak_malloc(100), *medium = hak_malloc(20000);
  void *run = hak_malloc(100000), *mapping = hak_malloc(32 * MIB);
  assert_int_equal(ops_kind_of(NULL), OPS_NONE);
  assert_int_equal(ops_kind_of(small), object_class(small));
  assert_int_equal(ops_kind_of(medium), object_class(medium));
  assert_int_equal(ops_kind_of(run), OPS_RUN);
  assert_int_equal(ops_kind_of(mapping), OPS_OUTSIDE);
  hak_free(small);
  hak_free(medium);
  hak_free(run);
  hak_free(mapping);
}

static void each_way_has_its_counter(void **state) {
  (void)state;
  void *p = hak_malloc(100);
  uint32_t kind = ops_kind_of(p);
  struct ops_totals before = now();
  ops_count_out(p);
  ops_count_out(p);
  ops_count_back(p);
  ops_count_out(NULL);
  ops_count_back(NULL);
  struct ops_totals after = now();
  before.out_count[kind] += 2;
  before.back_count[kind] += 1;
  assert_memory_equal(&before, &after, sizeof before);
  hak_free(p);
}

static void a_resize_counts_once(void **state) {
  (void)state;
  void *small = hak_malloc(100), *large = hak_malloc(100000);
  uint32_t kind = ops_kind_of(small);
  struct ops_totals expected = now(), got;
  ops_count_resize(kind, small, true);
  expected.stay_count++;
  ops_count_resize(kind, large, false); /* moved */
  expected.back_count[kind]++;
  expected.out_count[OPS_RUN]++;
  ops_count_resize(OPS_OUTSIDE, large, true); /* the same address, but another kind */
  expected.back_count[OPS_OUTSIDE]++;
  expected.out_count[OPS_RUN]++;
  ops_count_resize(OPS_NONE, small, false); /* of NULL */
  expected.out_count[kind]++;
  ops_count_resize(kind, NULL, false); /* to nothing */
  expected.back_count[kind]++;
  got = now();
  assert_memory_equal(&expected, &got, sizeof got);
  hak_free(small);
  hak_free(large);
}

enum { THREADS = 8, EACH = 20000 };
static void *counted;
static void *count_often(void *unused) {
  hak_free(hak_malloc(1)); /* a heap, and with it a shard of its own */
  for (int i = 0; i < EACH; i++) {
    ops_count_out(counted);
    ops_count_back(counted);
  }
  return unused;
}

static void no_count_is_lost_between_threads(void **state) {
  (void)state;
  counted = hak_malloc(100);
  uint32_t kind = ops_kind_of(counted);
  struct ops_totals before = now();
  threads_run(THREADS, count_often);
  struct ops_totals after = now();
  assert_int_equal(after.out_count[kind] - before.out_count[kind], THREADS * EACH);
  assert_int_equal(after.back_count[kind] - before.back_count[kind], THREADS * EACH);
  hak_free(counted);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kinds_are_told_apart),
      cmocka_unit_test(each_way_has_its_counter),
      cmocka_unit_test(a_resize_counts_once),
      cmocka_unit_test(no_count_is_lost_between_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
