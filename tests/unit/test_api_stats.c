/* test_api_stats.c — one state of the heap, seen through mallinfo2, mallinfo, malloc_info and
 * malloc_stats: the answers agree, and the sums of docs/stats.md hold.
 */
#include "unit_death.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base_version.h"
#include "hakmem.h"
#include "heap.h"

enum { COUNT = 3000 };
static void *objects[COUNT];

/* Objects of all kinds: classes, runs, mappings; a part of them is freed again. */
static void fill_heap(void) {
  for (size_t i = 0; i < COUNT; i++) {
    objects[i] = hak_malloc(i % 300 == 0 ? 5000000 : i % 30 == 0 ? 40000 + i : i);
    assert_non_null(objects[i]);
  }
  for (size_t i = 0; i < COUNT; i += 3) {
    hak_free(objects[i]);
    objects[i] = NULL;
  }
}

static void empty_heap(void) {
  for (size_t i = 0; i < COUNT; i++) hak_free(objects[i]);
}

static char text[1 << 16];

static size_t value_in(const char *from, const char *name) {
  const char *at = strstr(from, name);
  assert_non_null(at);
  at += strlen(name);
  return strtoul(at + strspn(at, " =\""), NULL, 10);
}

static void write_info(void) {
  FILE *stream = fmemopen(text, sizeof text, "w");
  assert_non_null(stream);
  assert_int_equal(hak_malloc_info(0, stream), 0);
  assert_int_equal(fclose(stream), 0);
}

static void mallinfo_saturates(void **state) {
  (void)state;
  fill_heap();
  void *huge = hak_malloc((size_t)3 << 30);
  assert_non_null(huge);
  struct mallinfo2 wide = hak_mallinfo2();
  struct mallinfo narrow = hak_mallinfo();
  assert_true(wide.hblkhd >= (size_t)3 << 30);
  assert_int_equal(narrow.hblkhd, INT_MAX);
  assert_int_equal((size_t)narrow.hblks, wide.hblks);
  assert_int_equal((size_t)narrow.arena, wide.arena);
  assert_int_equal((size_t)narrow.uordblks, wide.uordblks);
  assert_int_equal((size_t)narrow.fordblks, wide.fordblks);
  assert_int_equal((size_t)narrow.smblks, wide.smblks);
  assert_int_equal((size_t)narrow.fsmblks, wide.fsmblks);
  assert_int_equal((size_t)narrow.ordblks, wide.ordblks);
  assert_int_equal((size_t)narrow.usmblks, wide.usmblks);
  assert_int_equal((size_t)narrow.keepcost, wide.keepcost);
  assert_true(wide.smblks > 0 && wide.fsmblks > 0 && wide.ordblks > 0 && wide.usmblks > 0);
  hak_free(huge);
  empty_heap();
}

struct sums {
  size_t live_bytes, cached, cached_bytes, free_bytes;
};

static struct sums sum_classes(const char *exact) {
  struct sums s = {0, 0, 0, 0};
  for (const char *at = exact; (at = strstr(at, "<class ")) != NULL; at++) {
    size_t size = value_in(at, " size=");
    s.live_bytes += value_in(at, " live=") * size;
    s.cached += value_in(at, " cached=");
    s.cached_bytes += value_in(at, " cached=") * size;
    s.free_bytes += (value_in(at, " cached=") + value_in(at, " free=")) * size;
  }
  return s;
}

static void malloc_info_parts_sum_up(void **state) {
  (void)state;
  fill_heap();
  write_info();
  struct mallinfo2 m = hak_mallinfo2();
  const char *exact = strstr(text, "<hakmem ");
  assert_non_null(exact);
  assert_int_equal(value_in(exact, " arena="), m.arena);
  assert_int_equal(value_in(exact, " ordblks="), m.ordblks);
  assert_int_equal(value_in(exact, " smblks="), m.smblks);
  assert_int_equal(value_in(exact, " hblks="), m.hblks);
  assert_int_equal(value_in(exact, " hblkhd="), m.hblkhd);
  assert_int_equal(value_in(exact, " usmblks="), m.usmblks);
  assert_int_equal(value_in(exact, " fsmblks="), m.fsmblks);
  assert_int_equal(value_in(exact, " uordblks="), m.uordblks);
  assert_int_equal(value_in(exact, " fordblks="), m.fordblks);
  assert_int_equal(value_in(exact, " keepcost="), m.keepcost);
  assert_int_equal(value_in(exact, " exact="), 1);
  assert_int_equal(value_in(exact, " heaps="), heap_id_end() - HEAP_ID_FIRST);
  assert_true(heap_id_end() > HEAP_ID_FIRST && value_in(exact, " meta=") > 0);
  struct sums s = sum_classes(exact);
  assert_int_equal(s.live_bytes + value_in(exact, " runs="), m.uordblks);
  assert_int_equal(s.cached, m.smblks);
  assert_int_equal(s.cached_bytes, m.fsmblks);
  assert_true(s.free_bytes <= m.fordblks);
  size_t free_bytes = 0;
  for (const char *at = text; (at = strstr(at, "  <size ")) != NULL; at++) {
    assert_int_equal(value_in(at, " total="), value_in(at, " count=") * value_in(at, " to="));
    assert_true(value_in(at, " from=") <= value_in(at, " to="));
    free_bytes += value_in(at, " total=");
  }
  assert_int_equal(free_bytes, s.free_bytes);
  size_t fast = value_in(strstr(text, "<total type=\"fast\""), " size=");
  size_t rest = value_in(strstr(text, "<total type=\"rest\""), " size=");
  assert_int_equal(fast, m.fsmblks);
  assert_int_equal(fast + rest, m.fordblks);
  empty_heap();
}

static void malloc_info_says_what_went_wrong(void **state) {
  (void)state;
  FILE *stream = fmemopen(text, 40, "w"); /* too short */
  assert_non_null(stream);
  assert_int_equal(setvbuf(stream, NULL, _IONBF, 0), 0);
  assert_int_equal(hak_malloc_info(1, stream), EINVAL);
  assert_int_equal(ftell(stream), 0);
  assert_int_equal(hak_malloc_info(0, stream), -1);
  fclose(stream);
}

static int print_stats(void *unused) {
  (void)unused;
  hak_malloc_stats();
  return 0;
}

static void malloc_stats_is_one_write_of_the_sums(void **state) {
  (void)state;
  fill_heap();
  struct mallinfo2 m = hak_mallinfo2();
  char err[1024], expected[1024];
  size_t rest;
  assert_int_equal(death_run(print_stats, NULL, err, sizeof err, &rest), 0);
  assert_int_equal(rest, 0);
  snprintf(expected, sizeof expected,
           "Arena 0:\nsystem bytes     = %zu\nin use bytes     = %zu\nTotal (incl. mmap):\n"
           "system bytes     = %zu\nin use bytes     = %zu\nmmap regions     = %zu\n"
           "max mmap bytes   = ",
           m.arena, m.uordblks, m.arena + m.hblkhd, m.uordblks + m.hblkhd, m.hblks);
  assert_memory_equal(err, expected, strlen(expected));
  assert_true(value_in(err, "max mmap bytes") >= m.hblkhd);
  empty_heap();
}

static void mallopt_refuses_what_glibc_refuses(void **state) {
  (void)state;
  assert_int_equal(hak_mallopt(M_MXFAST, 0), 1);
  assert_int_equal(hak_mallopt(M_MXFAST, 160), 1);
  assert_int_equal(hak_mallopt(M_MXFAST, 161), 0);
  assert_int_equal(hak_mallopt(M_MXFAST, -1), 0);
  static const int others[] = {M_TRIM_THRESHOLD, M_TOP_PAD,      M_MMAP_THRESHOLD,
                               M_MMAP_MAX,       M_CHECK_ACTION, M_PERTURB,
                               M_ARENA_TEST,     M_ARENA_MAX,    4711};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    assert_int_equal(hak_mallopt(others[i], 1), 1);
}

static void trim_gives_back_once(void **state) {
  (void)state;
  enum { MANY = 8000 };
  static char *many[MANY];
  for (size_t i = 0; i < MANY; i++) many[i] = memset(hak_malloc(1000), 1, 1000);
  for (size_t i = 0; i < MANY; i++) hak_free(many[i]);
  size_t live_bytes = hak_mallinfo2().uordblks;
  assert_int_equal(hak_malloc_trim(0), 1);
  assert_int_equal(hak_mallinfo2().keepcost, 0);
  assert_int_equal(hak_mallinfo2().uordblks, live_bytes);
  assert_int_equal(hak_malloc_trim(0), 0);
}

static void the_version_is_the_header_s(void **state) {
  (void)state;
  char expected[32];
  snprintf(expected, sizeof expected, "%d.%d.%d", HAK_VERSION_MAJOR, HAK_VERSION_MINOR,
           HAK_VERSION_PATCH);
  assert_string_equal(hak_version(), expected);
  assert_string_equal(HAK_VERSION_TEXT, expected);
  assert_string_equal(HAK_VERSION, expected); /* CMakeLists.txt */
  assert_int_equal(HAK_VERSION_NUMBER, 100);
}

static void good_size_is_what_malloc_gives(void **state) {
  (void)state;
  for (size_t n = 0; n < 9000000; n += n / 7 + 1) {
    size_t good_bytes = hak_good_size(n);
    assert_true(good_bytes >= n);
    assert_int_equal(hak_good_size(good_bytes), good_bytes);
    void *p = hak_malloc(n);
    assert_true(hak_malloc_usable_size(p) >= good_bytes);
    hak_free(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mallinfo_saturates),
      cmocka_unit_test(malloc_info_parts_sum_up),
      cmocka_unit_test(malloc_info_says_what_went_wrong),
      cmocka_unit_test(malloc_stats_is_one_write_of_the_sums),
      cmocka_unit_test(mallopt_refuses_what_glibc_refuses),
      cmocka_unit_test(trim_gives_back_once),
      cmocka_unit_test(the_version_is_the_header_s),
      cmocka_unit_test(good_size_is_what_malloc_gives),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
