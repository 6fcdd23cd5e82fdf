/* test_entry_resize.c — calloc, realloc between all kinds of objects, sizes, trim. */
#include "unit_entry.h"

#include "large.h"
#include "run.h"

/* Bins of both kinds, runs, mappings, and their edges. */
static const size_t sizes[] = {0,       1,       15,       16,      17,     100,     128,
                               129,     1000,    1024,     1025,    4096,   20000,   32767,
                               32768,   32769,   65536,    65537,   200000, 2097152, 4194304,
                               4194305, 5000000, 16777216, 16777217};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void realloc_keeps_what_both_sizes_share(void **state) {
  (void)state;
  for (size_t from = 0; from < SIZES; from++) {
    for (size_t to = 1; to < SIZES; to++) {
      unsigned seed = (unsigned)(from * SIZES + to);
      char *p = hak_malloc(sizes[from]);
      assert_non_null(p);
      stamp(p, sizes[from], seed);
      errno = 77;
      char *q = entry_realloc(p, sizes[to]);
      assert_non_null(q);
      assert_int_equal(errno, 77);
      assert_int_equal((uintptr_t)q % 16, 0);
      assert_true(has_stamp(q, size_min(sizes[from], sizes[to]), seed));
      size_t usable = entry_usable_size(q);
      assert_true(usable >= sizes[to]);
      assert_true(usable <= size_max(4 * sizes[to] + 64, CHUNK_BYTES)); /* shrinks really */
      stamp(q, usable, seed + 1);
      char *back = entry_realloc(q, sizes[from] + 1);
      assert_non_null(back);
      assert_true(has_stamp(back, size_min(sizes[from] + 1, sizes[to]), seed + 1));
      hak_free(back);
    }
  }
  assert_int_equal(run_total_bytes(), 0);
  assert_int_equal(large_bytes(), 0);
}

static void a_random_walk_keeps_its_bytes(void **state) {
  (void)state;
  uint64_t seed = 4;
  char *p[50] = {NULL};
  size_t n[50] = {0};
  for (int i = 0; i < 20000; i++) {
    size_t slot = random_next(&seed) % 50;
    size_t most = i % 100 == 0 ? 6 * MIB : i % 10 == 0 ? 100000 : 2000;
    size_t to = (size_t)(random_next(&seed) % most) + 1;
    char *q = entry_realloc(p[slot], to);
    assert_non_null(q);
    assert_true(has_stamp(q, size_min(n[slot], to), (unsigned)slot));
    p[slot] = q;
    n[slot] = to;
    stamp(q, to, (unsigned)slot);
  }
  for (size_t slot = 0; slot < 50; slot++) {
    assert_true(has_stamp(p[slot], n[slot], (unsigned)slot));
    assert_null(entry_realloc(p[slot], 0));
  }
  assert_int_equal(run_total_bytes() + large_bytes(), 0);
}

static void its_ends_are_malloc_and_free(void **state) {
  (void)state;
  for (size_t i = 0; i < SIZES; i++) {
    char *p = entry_realloc(NULL, sizes[i]);
    assert_non_null(p);
    stamp(p, sizes[i], 1);
    errno = 77;
    assert_null(entry_realloc(p, 0));
    assert_int_equal(errno, 77);
  }
  assert_int_equal(run_total_bytes() + large_bytes(), 0);
}

static void too_much_leaves_the_object_alone(void **state) {
  (void)state;
  static const size_t absurd[] = {(size_t)1 << 46, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
                                  SIZE_MAX - 4095, SIZE_MAX};
  for (size_t i = 0; i < SIZES; i++) {
    char *p = hak_malloc(sizes[i]);
    stamp(p, sizes[i], 9);
    for (size_t a = 0; a < sizeof absurd / sizeof absurd[0]; a++) {
      errno = 0;
      assert_null(entry_realloc(p, absurd[a]));
      assert_int_equal(errno, ENOMEM);
      assert_true(has_stamp(p, sizes[i], 9) && entry_usable_size(p) >= sizes[i]);
    }
    hak_free(p);
  }
}

static void calloc_is_zero_and_checks_its_product(void **state) {
  (void)state;
  for (int round = 0; round < 4; round++) {
    for (size_t i = 0; i < SIZES; i++) {
      char *p = entry_calloc(sizes[i] / 16, 16), *q = entry_calloc(1, sizes[i]);
      assert_non_null(p);
      assert_non_null(q);
      assert_true(is_all_zero(p, sizes[i] / 16 * 16) && is_all_zero(q, sizes[i]));
      stamp(p, entry_usable_size(p), 1);
      stamp(q, entry_usable_size(q), 2);
      hak_free(p);
      hak_free(q);
    }
  }
  static const size_t products[][2] = {
      {SIZE_MAX, 2}, {2, SIZE_MAX}, {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX / 15, 16}};
  for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
    errno = 0;
    assert_null(entry_calloc(products[i][0], products[i][1]));
    assert_int_equal(errno, ENOMEM);
  }
  hak_free(entry_calloc(0, SIZE_MAX));
}

static void sizes_are_consistent(void **state) {
  (void)state;
  assert_int_equal(entry_usable_size(NULL), 0);
  size_t before = 0;
  for (size_t n = 0; n < 6 * MIB; n += n < 5000 ? 1 : n / 7) {
    size_t good = entry_good_size(n);
    void *p = hak_malloc(n);
    assert_true(good >= n && good >= before && good <= entry_usable_size(p));
    assert_int_equal(entry_good_size(good), good);
    before = good;
    hak_free(p);
  }
  assert_true(entry_good_size(SIZE_MAX) == SIZE_MAX && entry_good_size(SIZE_MAX - 5000) != 0);
}

static int reallocs(void *p) { return entry_realloc(p, 100) != NULL; }
static int reallocs_absurdly(void *p) { return entry_realloc(p, SIZE_MAX) != NULL; }
static int reallocs_to_nothing(void *p) { return entry_realloc(p, 0) != NULL; }
static int asks_for_its_size(void *p) { return entry_usable_size(p) != 0; }
static int frees_and_reallocs(void *p) {
  hak_free(p);
  (void)hak_malloc_trim(0);
  return reallocs(p);
}
/* The object is the one that malloc would hand out next. */
static int frees_and_reallocs_at_once(void *p) {
  hak_free(p);
  return reallocs(p);
}
static int frees_and_asks_at_once(void *p) {
  hak_free(p);
  return asks_for_its_size(p);
}

static void misuse_ends_the_process(void **state) {
  (void)state;
  int on_stack;
  char *p[] = {hak_malloc(48), hak_malloc(30000), hak_malloc(200000), hak_malloc(20 * MIB)};
  for (size_t i = 0; i < 4; i++) {
    size_t class_bytes = i < 2 ? size_classes[object_class(p[i])].size : 0;
    expect_verdict(reallocs, p[i] + 8, "interior pointer", p[i] + 8, class_bytes);
    expect_verdict(reallocs_absurdly, p[i] + 8, "interior pointer", p[i] + 8, class_bytes);
    expect_verdict(reallocs_to_nothing, p[i] + 8, "interior pointer", p[i] + 8, class_bytes);
    expect_verdict(asks_for_its_size, p[i] + 8, "interior pointer", p[i] + 8, class_bytes);
    expect_verdict(frees_and_reallocs, p[i], "invalid realloc", p[i], class_bytes);
    if (i >= 2) continue; /* in no bin */
    expect_verdict(frees_and_reallocs_at_once, p[i], "invalid realloc", p[i], class_bytes);
    expect_verdict(frees_and_asks_at_once, p[i], "invalid usable_size", p[i], class_bytes);
  }
  expect_verdict(reallocs, &on_stack, "invalid realloc", &on_stack, 0);
  expect_verdict(asks_for_its_size, &on_stack, "invalid usable_size", &on_stack, 0);
  for (size_t i = 0; i < 4; i++) hak_free(p[i]);
}

/* Nothing is smaller: they stay, whatever is asked. */
static void the_smallest_objects_stay(void **state) {
  (void)state;
  char *p = hak_malloc(1);
  NEED(hak_malloc_usable_size(p) == CLASS_SIZE_MIN);
  for (size_t n = 1; n <= CLASS_SIZE_MIN; n++) NEED(entry_realloc(p, n) == p);
  hak_free(p);
}

static void trims(void) {
  static void *objects[40000];
  (void)heap_own();
  for (size_t i = 0; i < 40000; i++) stamp(objects[i] = hak_malloc(500), 500, (unsigned)i);
  for (size_t i = 0; i < 40000; i++)
    if (i % 5000 != 0) hak_free(objects[i]);
  size_t before = superslab_claimed_bytes();
  (void)entry_purge();
  NEED(superslab_claimed_bytes() < before && superslab_empty_bytes() == 0);
  NEED(superslab_claimed_bytes() <= 40000 / 5000 * CHUNK_BYTES); /* a slab a live object */
  for (size_t i = 0; i < 40000; i += 5000) {
    NEED(has_stamp(objects[i], 500, (unsigned)i));
    hak_free(objects[i]);
  }
  NEED(entry_purge() != 0 &&
       entry_purge() == 0); /* the last superslabs; then nothing is left to give */
  NEED(superslab_claimed_bytes() == 0 && superslab_empty_bytes() == 0);
  struct heap *h = entry_enter(); /* a handler's trim does nothing */
  NEED(h != NULL && entry_purge() == 0);
  entry_leave(h);
}
static void a_trim_gives_all_back(void **state) {
  (void)state;
  run_child(trims);
}

/* Without memory for a smaller one, the larger stays: shrinking never fails. */
static void shrinks(void) {
  static void *filling[200000];
  char *small = hak_malloc(20000), *run = hak_malloc(200000), *mapping = hak_malloc(8 * MIB);
  struct rlimit none = {0, 0};
  stamp(small, 20000, 1), stamp(run, 200000, 2), stamp(mapping, 8 * MIB, 3);
  NEED(setrlimit(RLIMIT_AS, &none) == 0);
  size_t count = 0;
  while (count < 200000 && (filling[count] = hak_malloc(100)) != NULL) count++;
  NEED(count < 200000 && entry_realloc(small, 30000) == NULL && errno == ENOMEM);
  char *p = entry_realloc(small, 100), *q = entry_realloc(run, 100);
  char *r = entry_realloc(mapping, 100);
  NEED(p != NULL && q != NULL && r != NULL);
  NEED(has_stamp(p, 100, 1) && has_stamp(q, 100, 2) && has_stamp(r, 100, 3));
}
static void shrinking_needs_no_memory(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_program("shrinks", "HAKMEM_REGION_BYTES=8M", 0);
}

int main(int argc, char **argv) {
  entry_init();
  if (argc == 2 && strcmp(argv[1], "shrinks") == 0) {
    shrinks();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(realloc_keeps_what_both_sizes_share),
      cmocka_unit_test(a_random_walk_keeps_its_bytes),
      cmocka_unit_test(its_ends_are_malloc_and_free),
      cmocka_unit_test(too_much_leaves_the_object_alone),
      cmocka_unit_test(calloc_is_zero_and_checks_its_product),
      cmocka_unit_test(sizes_are_consistent),
      cmocka_unit_test(misuse_ends_the_process),
      cmocka_unit_test(the_smallest_objects_stay),
      cmocka_unit_test(a_trim_gives_all_back),
      cmocka_unit_test(shrinking_needs_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
