/* test_entry_slow.c — malloc and free of what lives in bins: every size, every misuse, no memory.
 */
#include "unit_entry.h"

#include "base_size.h"
#include "flush.h"
#include "rt_options.h"

enum { MANY = 70000 };
static void *objects[MANY];

static void every_size_holds(void **state) {
  (void)state;
  static void *all[CLASS_SIZE_MAX + 1];
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n += n < 2200 ? 1 : 37) {
    char *p = all[n] = hak_malloc(n);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_true(hak_malloc_usable_size(p) >= n && object_is_in_region(p));
    stamp(p, hak_malloc_usable_size(p), (unsigned)n);
  }
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n += n < 2200 ? 1 : 37) {
    assert_true(has_stamp(all[n], hak_malloc_usable_size(all[n]), (unsigned)n));
    errno = 77;
    hak_free(all[n]);
    assert_int_equal(errno, 77);
  }
  hak_free(NULL);
}

/* Another thread of the home may pull an object's slab between free's look at the map and its slow
 * path's: then it is an own object that is not on top of the bin, if there is one. */
static void own_objects_reach_the_slow_path(void **state) {
  (void)state;
  void *p = hak_malloc(77), *q = hak_malloc(77);
  struct heap *h = heap_current;
  uint32_t c = object_class(p), before = heap_bin_count(h, c);
  entry_free_slow(p, chunk_index(p));
  assert_true(heap_bin_count(h, c) == before + 1 && hak_malloc(77) == p);
  h = entry_enter();
  flush_owner_magazines(h);
  entry_leave(h);
  assert_true(h->bin[c].hi == NULL);
  entry_free_slow(p, chunk_index(p));
  assert_int_equal(heap_bin_count(h, c), 1);
  hak_free(q);
}

static void every_alignment_holds(void **state) {
  (void)state;
  for (size_t align = 1; align <= 65536; align *= 2) {
    char *kept[40];
    for (size_t i = 0; i < 40; i++) {
      size_t n = i * i * 25;
      kept[i] = entry_aligned(align, n);
      assert_non_null(kept[i]);
      assert_int_equal((uintptr_t)kept[i] % align, 0);
      assert_true(hak_malloc_usable_size(kept[i]) >= n);
      stamp(kept[i], n, (unsigned)i);
    }
    for (size_t i = 0; i < 40; i++) {
      assert_true(has_stamp(kept[i], i * i * 25, (unsigned)i));
      entry_free_sized(kept[i], i * i * 25, align);
    }
  }
}

static void sizes_are_believed_where_they_can_be(void **state) {
  (void)state;
  for (size_t n = 0; n < 300000; n += n < 3000 ? 1 : 1009) {
    entry_free_sized(hak_malloc(n), n, 1);
    void *p = hak_realloc(hak_malloc(n * 3 / 2 + 1), n + 1);
    assert_non_null(p);
    entry_free_sized(p, n + 1, 1);
  }
  entry_free_sized(hak_malloc((size_t)9 << 20), (size_t)9 << 20, 1);
  entry_free_sized(NULL, 100, 1);
}

/* Misuses. A child does each; the parent knows the line. */
static void *others_object;
static void *allocates(void *unused) {
  others_object = hak_malloc(64);
  return unused;
}
static int frees_it(void *p) {
  hak_free(p);
  return 0;
}
static int frees_it_twice(void *p) {
  hak_free(p);
  hak_free(p);
  return 0;
}
static int frees_with_one_between(void *p) {
  void *other = hak_malloc(64);
  hak_free(p);
  hak_free(other);
  hak_free(p);
  return 0;
}
/* Behind the top two of the bin, it is found on its way to the bitmap. */
static int frees_deep_in_the_bin(void *p) {
  void *others[3];
  for (int i = 0; i < 3; i++) others[i] = hak_malloc(64);
  hak_free(p);
  for (int i = 0; i < 3; i++) hak_free(others[i]);
  hak_free(p);
  (void)hak_malloc_trim(0);
  return 0;
}
static int frees_after_its_slab_went(void *p) {
  hak_free(p);
  (void)hak_malloc_trim(0);
  hak_free(p);
  return 0;
}
static int frees_when_full(void *p) {
  void *others[200];
  for (int i = 0; i < 200; i++) others[i] = hak_malloc(64);
  for (int i = 0; i < 200; i++) {
    struct bin *b = &heap_current->bin[object_class(p)];
    hak_free(others[i]);
    if (bin_is_full(b)) hak_free(others[i]);
  }
  return 0;
}
static int frees_10_bytes(void *p) {
  entry_free_sized(p, 10, 1);
  return 0;
}
static int frees_too_many_bytes(void *p) {
  entry_free_sized(p, (size_t)1 << 30, 1);
  return 0;
}

static void misuse_ends_the_process(void **state) {
  (void)state;
  int on_stack;
  char *p = hak_malloc(64), *big = hak_malloc(1000);
  size_t big_class = size_classes[object_class(big)].size;
  expect_verdict(frees_it_twice, p, "double free", p, 64);
  expect_verdict(frees_with_one_between, p, "double free", p, 64);
  expect_verdict(frees_deep_in_the_bin, p, "double free", p, 64);
  expect_verdict(frees_it, p + 16, "interior pointer", p + 16, 64);
  expect_verdict(frees_it, p + 1, "interior pointer", p + 1, 64);
  expect_verdict(frees_it, big + 512, "interior pointer", big + 512, big_class);
  expect_verdict(frees_it, &on_stack, "invalid free", &on_stack, 0);
  expect_verdict(frees_it, (void *)16, "invalid free", (void *)16, 0);
  void *unused = (void *)(region_base + region_bytes() - 64);
  expect_verdict(frees_it, unused, "invalid free", unused, 0);
  expect_verdict(frees_10_bytes, big, "size mismatch", big, big_class);
  expect_verdict(frees_too_many_bytes, p, "size mismatch", p, 64);
  char *run = hak_malloc(200000);
  expect_verdict(frees_10_bytes, run, "size mismatch", run, 0);
  expect_verdict(frees_10_bytes, run + 64, "interior pointer", run + 64, 0);
  expect_verdict(frees_10_bytes, run + 65536, "interior pointer", run + 65536, 0);
  hak_free(run);
  thread_run(allocates, NULL);
  char *others = others_object;
  expect_verdict(frees_it, others + 16, "interior pointer", others + 16, 64);
  hak_free(others);
  hak_free(p);
  hak_free(big);
}

static void a_slab_given_back_is_remembered(void **state) {
  (void)state;
  void *p = hak_malloc(20000); /* alone in its slab */
  size_t size = size_classes[object_class(p)].size;
  expect_verdict(frees_after_its_slab_went, p, "double free", p, size);
  hak_free(p);
}

static void a_full_bin_knows_its_top(void **state) {
  (void)state;
  char err[512];
  size_t rest;
  int status = death_run(frees_when_full, hak_malloc(64), err, sizeof err, &rest);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_memory_equal(err, "hakmem: double free: pointer 0x", 31);
}

/* The region's end: NULL with ENOMEM, and what is given back serves any other class. */
static size_t fill(size_t n) {
  size_t count = 0;
  errno = 0;
  while (count < MANY && (objects[count] = hak_malloc(n)) != NULL)
    stamp(objects[count], n, (unsigned)count), count++;
  NEED(count < MANY && errno == ENOMEM && object_is_in_region(objects[0]));
  return count;
}
static void empty(size_t count, size_t n) {
  for (size_t i = 0; i < count; i++) {
    NEED(has_stamp(objects[i], n, (unsigned)i));
    hak_free(objects[i]);
  }
}
static void *fills_again(void *least) {
  size_t count = fill(3000);
  NEED(count >= (uintptr_t)least);
  empty(count, 3000);
  return NULL;
}
static void small_region(void) {
  NEED(region_bytes() == 4 * MIB);
  size_t first = fill(3000);
  NEED(first * 3000 > 2 * MIB);
  void *mapped = hak_malloc(100000); /* no chunk is left: a mapping of its own */
  NEED(mapped != NULL && !object_is_in_region(mapped));
  hak_free(mapped);
  hak_free(objects[--first]); /* one back, one out */
  NEED((objects[first] = hak_malloc(3000)) != NULL && hak_malloc(3000) == NULL);
  stamp(objects[first], 3000, (unsigned)first);
  empty(++first, 3000);
  static const size_t sizes[] = {64, 7000, 250, 30000, 1500};
  for (size_t s = 0; s < HAK_COUNT_OF(sizes); s++) {
    size_t count = fill(sizes[s]);
    NEED(count * sizes[s] > 2 * MIB);
    empty(count, sizes[s]);
  }
  NEED(fill(3000) >= first);
  empty(first, 3000);
  (void)hak_malloc_trim(0);
  thread_run(fills_again, (void *)(uintptr_t)(first / 2)); /* and other threads */
}
static void without_memory_it_is_null(void **state) {
  (void)state;
  run_program("small_region", "HAKMEM_REGION_BYTES=4M", 0);
}

/* Objects in larger places than they asked for, since there was nothing else: sized frees believe
 * any size that fits there, and no alignment that the place has not. */
static int frees_100_at_4096(void *p) {
  entry_free_sized(p, 100, 4096);
  return 0;
}
static int frees_10000_bytes(void *p) {
  entry_free_sized(p, 10000, 1);
  return 0;
}
/* As expect_verdict, outside cmocka. */
static void need_mismatch(int (*fn)(void *), void *p) {
  char err[1024];
  size_t rest;
  int status = death_run(fn, p, err, sizeof err, &rest);
  NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  NEED(strncmp(err, "hakmem: size mismatch: pointer 0x", 33) == 0 && rest == 0);
}
static void misfits(void) {
  NEED(rt_option_set(RT_OPTION_CLASS_REFINE, "0")); /* all of one class */
  char *run = hak_malloc(200000);
  size_t count = fill(3000); /* objects of 3,072 B: multiples of 1,024 */
  size_t size = size_classes[object_class(objects[0])].size;
  NEED(size == 3072);
  need_mismatch(frees_10_bytes, objects[5]); /* before there is any misfit */
  for (size_t i = 0; i < 4; i++) hak_free(objects[i]);
  (void)hak_malloc_trim(0);
  /* Served in a wider class. */
  objects[0] = hak_malloc(100), objects[1] = entry_aligned(64, 100);
  objects[2] = hak_malloc(1000), objects[3] = hak_malloc(0);
  for (size_t i = 0; i < 4; i++)
    NEED(objects[i] != NULL && object_class(objects[i]) == object_class(objects[5]));
  need_mismatch(frees_100_at_4096, objects[0]);
  need_mismatch(frees_10000_bytes, objects[0]);
  need_mismatch(frees_10000_bytes, objects[2]);
  /* Refused to shrink, from a class and from a run. */
  struct rlimit none = {0, 0};
  void *p = objects[5];
  NEED(hak_realloc(p, 100) == p && has_stamp(p, 100, 5));
  NEED(setrlimit(RLIMIT_AS, &none) == 0 && hak_realloc(run, 100) == run);
  need_mismatch(frees_100_at_4096, p);
  need_mismatch(frees_10000_bytes, p);
  need_mismatch(frees_too_many_bytes, run);
  entry_free_sized(run, 100, 1);
  entry_free_sized(p, 100, 1);
  entry_free_sized(objects[0], 100, 1);
  entry_free_sized(objects[1], 100, 64);
  entry_free_sized(objects[2], 1000, 1);
  entry_free_sized(objects[3], 0, 1);
  for (size_t i = 6; i < count; i++) entry_free_sized(objects[i], 3000, 1);
}
static void sized_frees_bear_with_misfits(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_program("misfits", "HAKMEM_REGION_BYTES=4M", 0);
}

int main(int argc, char **argv) {
  entry_init();
  if (argc == 2 && strcmp(argv[1], "misfits") == 0) {
    misfits();
    return 0;
  }
  if (argc == 2 && strcmp(argv[1], "small_region") == 0) {
    small_region();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_size_holds),
      cmocka_unit_test(every_alignment_holds),
      cmocka_unit_test(sizes_are_believed_where_they_can_be),
      cmocka_unit_test(misuse_ends_the_process),
      cmocka_unit_test(a_slab_given_back_is_remembered),
      cmocka_unit_test(a_full_bin_knows_its_top),
      cmocka_unit_test(without_memory_it_is_null),
      cmocka_unit_test(sized_frees_bear_with_misfits),
      cmocka_unit_test(own_objects_reach_the_slow_path),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
