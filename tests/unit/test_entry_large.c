/* test_entry_large.c — runs and mappings: which serves what, zeroes, alignment, growth, misuse. */
#include "unit_entry.h"

#include "entry_large.h"
#include "huge.h"
#include "large.h"
#include "os_mem.h"
#include "region.h"
#include "run.h"

static const size_t RUN_MAX = 2 * (size_t)SUPERSLAB_BYTES;

static bool is_run(const void *p) {
  return object_is_in_region(p) && map_entry_id(object_entry(p)) == HEAP_ID_RUN;
}
static bool is_mapping(const void *p) {
  return !object_is_in_region(p) && entry_large_is_mapping(p);
}

static void the_size_decides(void **state) {
  (void)state;
  static const struct {
    size_t bytes;
    bool is_run;
  } cases[] = {
      {CLASS_SIZE_MAX + 1, true}, {65536, true},    {65537, true}, {1000000, true}, {4 * MIB, true},
      {4 * MIB + 1, false},       {64 * MIB, false}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    size_t n = cases[i].bytes, runs = run_total_bytes(), mapped = large_bytes();
    char *p = entry_large_alloc(n, 1, false);
    assert_non_null(p);
    assert_int_equal(is_run(p), cases[i].is_run);
    assert_int_equal(is_mapping(p), !cases[i].is_run);
    size_t usable = hak_malloc_usable_size(p);
    size_t step = cases[i].is_run ? CHUNK_BYTES : os_page_bytes();
    assert_int_equal(usable, size_round_up(n, step));
    assert_int_equal(run_total_bytes() - runs + large_bytes() - mapped, usable);
    p[0] = p[n / 2] = p[usable - 1] = 1;
    errno = 77;
    hak_free(p);
    assert_int_equal(errno, 77);
    assert_true(run_total_bytes() == runs && large_bytes() == mapped);
  }
}

static void too_much_is_enomem(void **state) {
  (void)state;
  static const size_t sizes[] = {(size_t)1 << 46, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX,
                                 SIZE_MAX - 4096};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t align = 1; align <= GIB; align *= 1024) {
      errno = 0;
      assert_null(entry_large_alloc(sizes[i], align, i % 2 == 0));
      assert_int_equal(errno, ENOMEM);
    }
  }
}

static void any_alignment_is_had(void **state) {
  (void)state;
  size_t most = UNIT_SANITIZED ? 64 * MIB : GIB;
  static const size_t sizes[] = {0, 1, 5000, 40000, 300000, 5 * 1024 * 1024};
  for (size_t align = 1; align <= most; align *= 2) {
    char *p[sizeof sizes / sizeof sizes[0]];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      p[i] = entry_large_alloc(sizes[i], align, false);
      assert_non_null(p[i]);
      assert_int_equal((uintptr_t)p[i] % align, 0);
      assert_true(hak_malloc_usable_size(p[i]) >= sizes[i]);
      stamp(p[i], sizes[i], (unsigned)i);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      assert_true(has_stamp(p[i], sizes[i], (unsigned)i));
      hak_free(p[i]);
    }
  }
}

/* Zero whatever was there before, and without touching what is zero already. */
static void zeroes_are_zero(void **state) {
  (void)state;
  for (int round = 0; round < 6; round++) {
    for (size_t n = 40000; n <= 8 * MIB; n = n * 2 + 777) {
      char *p = entry_large_alloc(n, 1, true);
      assert_non_null(p);
      assert_true(is_all_zero(p, n));
      memset(p, 0xAB, hak_malloc_usable_size(p));
      hak_free(p);
    }
    if (round == 3) (void)hak_malloc_trim(0);
  }
}

static size_t resident_bytes(void) {
  char text[128];
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_non_null(fgets(text, sizeof text, file));
  fclose(file);
  return strtoul(strchr(text, ' '), NULL, 10) * os_page_bytes();
}
static void fresh_zeroes_are_not_touched(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  (void)hak_malloc_trim(0);
  size_t before = resident_bytes();
  void *p[12];
  for (int i = 0; i < 12; i++) {
    p[i] = entry_large_alloc(i % 2 == 0 ? 4 * MIB : 40 * MIB, 1, true);
    assert_non_null(p[i]);
  }
  assert_true(resident_bytes() - before < 8 * MIB);
  for (int i = 0; i < 12; i++) hak_free(p[i]);
  /* Nor what lies behind a run in its last superslab, by the claim of the run. */
  (void)hak_malloc_trim(0);
  before = resident_bytes();
  for (int i = 0; i < 12; i++) {
    p[i] = i % 2 == 0 ? hak_malloc(SUPERSLAB_BYTES + 100000) : hak_calloc(1, MIB);
    assert_non_null(p[i]);
  }
  assert_true(resident_bytes() - before < 2 * MIB);
  for (int i = 0; i < 12; i++) hak_free(p[i]);
}

/* Runs of which a superslab holds few are not begun on huge pages that it still has. */
enum { FILLING = 100, THIN_BYTES = 33000 };
static void thin_runs(void) {
  char *p[FILLING];
  size_t whole = 0;
  for (size_t i = 0; i < FILLING; i++) {
    NEED((p[i] = hak_malloc(MIB)) != NULL);
    memset(p[i], 1, MIB);
  }
  for (size_t i = 0; i < FILLING; i++) hak_free(p[i]);
  (void)hak_malloc_trim(0);
  for (size_t i = 0; i < superslab_chunk_end() / SUPERSLAB_CHUNKS; i++) whole += huge_is_whole(i);
  if (whole == 0) child_skip("the kernel has no huge pages");
  for (size_t i = 0; i < FILLING * MIB / CHUNK_BYTES; i++) {
    void *thin = hak_malloc(THIN_BYTES);
    NEED(thin != NULL && !huge_is_whole(chunk_index(thin) / SUPERSLAB_CHUNKS));
  }
}
static void thin_runs_break_huge_pages(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(thin_runs);
}

/* What one resize does to the bytes that both sizes share. */
static char *resized(char *p, size_t from, size_t to, enum entry_large_move *move) {
  void *out = NULL;
  stamp(p, from, (unsigned)to);
  *move = is_run(p) ? entry_large_resize_run(p, chunk_index(p), to, &out)
                    : entry_large_resize_mapping(p, hak_malloc_usable_size(p), to, &out);
  if (*move == LARGE_MOVED) p = out;
  assert_true(has_stamp(p, size_min(from, to), (unsigned)to)); /* intact, too, if not done */
  if (*move == LARGE_MOVED) assert_true(hak_malloc_usable_size(p) >= to);
  return p;
}

static void runs_grow_in_place(void **state) {
  (void)state;
  enum entry_large_move move;
  char *p = entry_large_alloc(100000, 1, false);
  char *same = resized(p, 100000, 131072, &move);
  assert_true(move == LARGE_MOVED && same == p);
  same = resized(p, 131072, 40000, &move);
  assert_true(move == LARGE_MOVED && same == p && hak_malloc_usable_size(p) == CHUNK_BYTES);
  (void)resized(p, 40000, CLASS_SIZE_MAX, &move);
  assert_int_equal(move, LARGE_MUST_COPY); /* a bin's, from there */
  (void)resized(p, 40000, RUN_MAX + 1, &move);
  assert_int_equal(move, LARGE_MUST_COPY);
  hak_free(p);
}

static void mappings_grow_without_copies(void **state) {
  (void)state;
  enum entry_large_move move;
  size_t n = 5 * MIB, count = large_count();
  char *p = entry_large_alloc(n, 1, false);
  for (; n < 80 * MIB; n = n * 3 / 2) {
    p = resized(p, n, n * 3 / 2, &move);
    assert_int_equal(move, LARGE_MOVED);
    assert_true(is_mapping(p) && large_count() == count + 1);
  }
  p = resized(p, n, n / 2, &move);
  assert_int_equal(move, LARGE_MOVED);
  assert_int_equal(hak_malloc_usable_size(p), size_round_up(n / 2, os_page_bytes()));
  (void)resized(p, n / 2, n / 20, &move);
  assert_int_equal(move, LARGE_MUST_COPY);
  hak_free(p);
  assert_int_equal(large_count(), count);
}

/* realloc in small steps: a run that grows again and again becomes a mapping, so that the bytes
 * are not copied each time. */
static void what_keeps_growing_becomes_a_mapping(void **state) {
  (void)state;
  void *in_the_way[40];
  size_t moves = 0;
  char *p = hak_malloc(300000);
  for (size_t n = 300000, i = 0; n < 4 * MIB - 100000; n += 100000, i++) {
    stamp(p, n, (unsigned)n);
    char *next = hak_realloc(p, n + 100000);
    assert_non_null(next);
    assert_true(has_stamp(next, n, (unsigned)n));
    moves += next != p && object_is_in_region(next);
    p = next;
    in_the_way[i] = hak_malloc(60000);
  }
  assert_true(is_mapping(p));
  assert_true(moves <= 2);
  for (size_t i = 0, n = 300000; n < 4 * MIB - 100000; n += 100000, i++) hak_free(in_the_way[i]);
  hak_free(p);
}

static int frees(void *p) {
  hak_free(p);
  return 0;
}
static int frees_twice(void *p) {
  hak_free(p);
  hak_free(p);
  return 0;
}

static void misuse_ends_the_process(void **state) {
  (void)state;
  char *run = hak_malloc(300000), *mapping = hak_malloc(20 * MIB);
  expect_verdict(frees_twice, run, "double free", run, 0);
  expect_verdict(frees, run + 16, "interior pointer", run + 16, 0);
  expect_verdict(frees, run + CHUNK_BYTES, "interior pointer", run + CHUNK_BYTES, 0);
  expect_verdict(frees, run + 299999, "interior pointer", run + 299999, 0);
  expect_verdict(frees_twice, mapping, "double free", mapping, 0);
  expect_verdict(frees, mapping + 4096, "interior pointer", mapping + 4096, 0);
  expect_verdict(frees, mapping + 1, "interior pointer", mapping + 1, 0);
  hak_free(run);
  hak_free(mapping);
}

/* What the kernel refuses in one piece is not had from the region in small ones. */
static void what_is_refused_is_not_committed_in_steps(void **state) {
  (void)state;
  size_t n = region_bytes() / 2;
  size_t committed = region_committed_bytes();
  void *mapping = os_map(n);
  if (mapping != NULL) { /* this machine overcommits */
    assert_true(os_unmap(mapping, n));
    skip();
  }
  assert_null(hak_malloc(n));
  assert_int_equal(errno, ENOMEM);
  assert_int_equal(region_committed_bytes(), committed);
}

/* A growth that the kernel refuses leaves alone what others have mapped meanwhile: mremap onto a
 * reservation unmaps that before it looks whether it may go on. */
enum { REFUSED_ROUNDS = 3000 };
static _Atomic(bool) is_enough;
static void *maps_and_looks(void *unused) {
  (void)unused;
  while (!load_relaxed(&is_enough)) {
    char *p = hak_malloc(40 * MIB);
    NEED(p != NULL);
    for (size_t at = 0; at < 40 * MIB; at += 2 * MIB) p[at] = 'x';
    for (size_t at = 0; at < 40 * MIB; at += 2 * MIB) NEED(p[at] == 'x');
    hak_free(p);
  }
  return NULL;
}
static void refused_growth(void) {
  NEED(hak_option_set("THP", "always") == 0 && hak_option_set("WARM_POOL_BYTES", "0") == 0);
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, maps_and_looks, NULL) == 0);
  char *p = hak_malloc(17 * MIB);
  NEED(p != NULL);
  p[17 * MIB - 1] = 'y';
  for (int i = 0; i < REFUSED_ROUNDS; i++) {
    char *more = hak_realloc(p, (size_t)os_ram_bytes() * 3);
    if (more == NULL) continue;
    p = hak_realloc(more, 17 * MIB); /* a kernel that refuses nothing */
    NEED(p != NULL);
  }
  NEED(p[17 * MIB - 1] == 'y');
  store_relaxed(&is_enough, true);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_refused_growth_unmaps_nobody(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* they have no such memory to give */
  run_child(refused_growth);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_refused_growth_unmaps_nobody),
      cmocka_unit_test(what_is_refused_is_not_committed_in_steps),
      cmocka_unit_test(the_size_decides),
      cmocka_unit_test(too_much_is_enomem),
      cmocka_unit_test(any_alignment_is_had),
      cmocka_unit_test(zeroes_are_zero),
      cmocka_unit_test(fresh_zeroes_are_not_touched),
      cmocka_unit_test(thin_runs_break_huge_pages),
      cmocka_unit_test(runs_grow_in_place),
      cmocka_unit_test(mappings_grow_without_copies),
      cmocka_unit_test(what_keeps_growing_becomes_a_mapping),
      cmocka_unit_test(misuse_ends_the_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
