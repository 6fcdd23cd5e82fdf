/* test_api_malloc.c — arguments, results and errno of the malloc family by its hak_ names. What
 * glibc does in each case is compared by tests/api; here are the rules that hakmem.h states.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api_malloc.h"
#include "hakmem.h"

enum { MARK = 4711 };

static void every_size_gives_a_block_of_its_own(void **state) {
  (void)state;
  enum { COUNT = 500 };
  static unsigned char *p[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    size_t n = i * i;
    p[i] = hak_malloc(n);
    assert_non_null(p[i]);
    assert_int_equal((uintptr_t)p[i] % 16, 0);
    assert_true(hak_malloc_usable_size(p[i]) >= n);
    memset(p[i], (int)i, n);
  }
  for (size_t i = 0; i < COUNT; i++) {
    for (size_t j = 0; j < i * i; j++) assert_int_equal(p[i][j], (unsigned char)i);
    hak_free_sized(p[i], i * i);
  }
}

/* p is NULL and errno `expected`. */
static void assert_refused(const void *p, int expected) {
  assert_null(p);
  assert_int_equal(errno, expected);
  errno = MARK;
}

static void too_much_is_enomem(void **state) {
  (void)state;
  volatile size_t max = SIZE_MAX, half = (size_t)PTRDIFF_MAX;
  errno = MARK;
  assert_refused(hak_malloc(max), ENOMEM);
  assert_refused(hak_malloc(half + 1), ENOMEM);
  assert_refused(hak_calloc(max / 2, 3), ENOMEM);
  assert_refused(hak_calloc(1, max), ENOMEM);
  assert_refused(hak_reallocarray(NULL, max / 4, 5), ENOMEM);
  assert_refused(hak_memalign(64, max), ENOMEM);
  assert_refused(hak_memalign(64, half - 10), ENOMEM); /* only with its alignment too much */
  assert_refused(hak_memalign(half / 2 + 1, half / 2 + 1), ENOMEM);
  assert_refused(hak_aligned_alloc(4096, max - 4095), ENOMEM);
  assert_refused(hak_valloc(max), ENOMEM);
  assert_refused(hak_pvalloc(max), ENOMEM); /* rounding it up would wrap to zero */
  assert_refused(hak_pvalloc(max - 4096), ENOMEM);
  assert_refused(api_aligned(half / 2 + 1, half), ENOMEM);
  unsigned char *p = hak_malloc(100);
  memset(p, 7, 100);
  assert_refused(hak_realloc(p, max), ENOMEM);
  assert_refused(hak_reallocarray(p, max, 2), ENOMEM);
  for (size_t i = 0; i < 100; i++) assert_int_equal(p[i], 7);
  hak_free(p);
}

static void alignments_are_rounded_up_or_refused(void **state) {
  (void)state;
  static const size_t cases[][2] = {{0, 1},   {1, 1},     {3, 4},       {16, 16},       {17, 32},
                                    {48, 64}, {100, 128}, {4097, 8192}, {65537, 131072}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (size_t n = 0; n <= 100000; n = 3 * n + 1) {
      void *p = hak_memalign(cases[i][0], n);
      void *q = hak_aligned_alloc(cases[i][0], n);
      assert_non_null(p);
      assert_non_null(q);
      assert_int_equal((uintptr_t)p % cases[i][1], 0);
      assert_int_equal((uintptr_t)q % cases[i][1], 0);
      hak_free(p);
      hak_free_aligned_sized(q, cases[i][0], n);
    }
  }
  volatile size_t above = SIZE_MAX / 2 + 2;
  errno = MARK;
  assert_refused(hak_memalign(above, 1), EINVAL);
  assert_refused(hak_aligned_alloc(SIZE_MAX, 1), EINVAL);
  assert_refused(hak_memalign(above - 1, 1), ENOMEM); /* 2^63 is a power of two */
}

static void posix_memalign_never_touches_errno(void **state) {
  (void)state;
  static const size_t bad[] = {0, 1, 2, 4, 7, 12, 24, 4095, SIZE_MAX};
  void *const untouched = (void *)&bad;
  void *p = untouched;
  errno = MARK;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_equal(hak_posix_memalign(&p, bad[i], 10), EINVAL);
    assert_ptr_equal(p, untouched);
  }
  assert_int_equal(hak_posix_memalign(&p, 8, (size_t)PTRDIFF_MAX + 1), ENOMEM);
  assert_int_equal(hak_posix_memalign(&p, 4096, SIZE_MAX), ENOMEM);
  assert_ptr_equal(p, untouched);
  for (size_t align = 8; align <= (size_t)1 << 24; align *= 2) {
    assert_int_equal(hak_posix_memalign(&p, align, align + 1), 0);
    assert_int_equal((uintptr_t)p % align, 0);
    assert_true(hak_malloc_usable_size(p) > align);
    hak_free(p);
  }
  assert_int_equal(errno, MARK);
}

static void pages_are_whole(void **state) {
  (void)state;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (size_t n = 0; n <= 5 * page; n += page / 4) {
    void *p = hak_valloc(n);
    void *q = hak_pvalloc(n);
    assert_int_equal((uintptr_t)p % page, 0);
    assert_int_equal((uintptr_t)q % page, 0);
    assert_true(hak_malloc_usable_size(q) >= (n + page - 1) / page * page);
    hak_free(p);
    hak_free(q);
  }
}

static void realloc_is_malloc_and_free_at_its_ends(void **state) {
  (void)state;
  errno = MARK;
  unsigned char *p = hak_realloc(NULL, 10);
  assert_non_null(p);
  memset(p, 5, 10);
  p = hak_reallocarray(p, 30, 1000);
  for (size_t i = 0; i < 10; i++) assert_int_equal(p[i], 5);
  assert_null(hak_realloc(p, 0));
  p = hak_realloc(NULL, 0);
  assert_non_null(p);
  assert_null(hak_reallocarray(p, 5, 0));
  hak_free(NULL);
  hak_free_sized(NULL, 8);
  hak_free_aligned_sized(NULL, 64, 8);
  assert_int_equal(hak_malloc_usable_size(NULL), 0);
  assert_int_equal(errno, MARK);
}

static void calloc_clears_what_was_used(void **state) {
  (void)state;
  for (size_t n = 1; n < 3000000; n = n * 7 / 4 + 1) {
    void *used = hak_malloc(n);
    memset(used, 0xAA, n);
    hak_free(used);
    unsigned char *p = hak_calloc(n, 1);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
    hak_free(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_size_gives_a_block_of_its_own),
      cmocka_unit_test(too_much_is_enomem),
      cmocka_unit_test(alignments_are_rounded_up_or_refused),
      cmocka_unit_test(posix_memalign_never_touches_errno),
      cmocka_unit_test(pages_are_whole),
      cmocka_unit_test(realloc_is_malloc_and_free_at_its_ends),
      cmocka_unit_test(calloc_clears_what_was_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
