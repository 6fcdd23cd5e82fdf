/* What hak_good_size promises, and the hak_ twins against the C names: linked with libhakmem.so. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/check_that.h"
#include "hakmem.h"

static size_t step(size_t n) { return n + (n < 34000 ? 1 : n / 50); }

static void test_good_size(void) {
  size_t last = 0;
  for (size_t n = 0; n <= (size_t)64 << 20; n = step(n)) {
    size_t good_bytes = hak_good_size(n);
    CHECK_THAT(good_bytes >= n);
    CHECK_THAT(good_bytes >= last);
    CHECK_THAT(hak_good_size(good_bytes) == good_bytes);
    last = good_bytes;
  }
  for (size_t n = 1; n <= (size_t)32 << 10; n++) CHECK_THAT(hak_good_size(n) <= n + n / 4 + 16);
  errno = 4711;
  CHECK_THAT(hak_good_size(SIZE_MAX) >= (size_t)PTRDIFF_MAX);
  CHECK_THAT(errno == 4711);
}

/* A growing process splits its classes; an object taken before keeps the size that it had. */
static void test_usable_size(void) {
  enum { KEPT = 4000 };
  static void *kept[KEPT];
  static size_t kept_bytes[KEPT];
  for (size_t i = 0; i < KEPT; i++) {
    kept[i] = hak_malloc(i);
    CHECK_THAT(kept[i] != NULL);
    kept_bytes[i] = hak_malloc_usable_size(kept[i]);
    CHECK_THAT(kept_bytes[i] >= hak_good_size(i));
    memset(kept[i], (int)(i & 0xff), kept_bytes[i]);
  }
  enum { MANY = 60000, BYTES = 520 };
  static void *many[MANY];
  for (size_t i = 0; i < MANY; i++) many[i] = hak_malloc(BYTES);
  for (size_t i = 0; i < KEPT; i++) {
    CHECK_THAT(hak_malloc_usable_size(kept[i]) == kept_bytes[i]);
    const unsigned char *bytes = kept[i];
    for (size_t j = 0; j < kept_bytes[i]; j++) CHECK_THAT(bytes[j] == (i & 0xff));
    hak_free_sized(kept[i], i);
  }
  for (size_t i = 0; i < MANY; i++) hak_free(many[i]);
  for (size_t n = 0; n <= (size_t)20 << 20; n = step(n)) {
    void *p = hak_malloc(n);
    CHECK_THAT(p != NULL);
    CHECK_THAT(hak_malloc_usable_size(p) >= hak_good_size(n));
    CHECK_THAT(hak_malloc_usable_size(p) == malloc_usable_size(p));
    hak_free(p);
  }
  CHECK_THAT(hak_malloc_usable_size(NULL) == 0);
}

/* The twins are the same heap: what one name allocated, the other frees. */
static void test_twins(void) {
  for (size_t n = 1; n <= (size_t)6 << 20; n = n * 5 / 3 + 1) {
    void *p = hak_malloc(n);
    CHECK_THAT(p != NULL);
    free(p);
    p = malloc(n);
    hak_free(p);
    unsigned char *zeroed = hak_calloc(n, 2);
    CHECK_THAT(zeroed != NULL);
    for (size_t i = 0; i < 2 * n; i++) CHECK_THAT(zeroed[i] == 0);
    memset(zeroed, 7, 2 * n);
    zeroed = hak_realloc(zeroed, n);
    CHECK_THAT(zeroed != NULL && zeroed[n - 1] == 7);
    zeroed = hak_reallocarray(zeroed, n, 3);
    CHECK_THAT(zeroed != NULL && zeroed[n - 1] == 7);
    free(zeroed);
    p = hak_aligned_alloc(4096, n);
    CHECK_THAT(p != NULL && (uintptr_t)p % 4096 == 0);
    hak_free_aligned_sized(p, 4096, n);
    p = hak_memalign(256, n);
    CHECK_THAT(p != NULL && (uintptr_t)p % 256 == 0);
    free(p);
    CHECK_THAT(hak_posix_memalign(&p, 1024, n) == 0 && (uintptr_t)p % 1024 == 0);
    free(p);
    p = hak_valloc(n);
    CHECK_THAT(p != NULL && (uintptr_t)p % 4096 == 0);
    free(p);
    p = hak_pvalloc(n);
    CHECK_THAT(p != NULL && (uintptr_t)p % 4096 == 0 &&
               hak_malloc_usable_size(p) >= (n + 4095) / 4096 * 4096);
    free(p);
  }
  void *untouched = &untouched;
  CHECK_THAT(hak_posix_memalign(&untouched, 24, 8) == EINVAL && untouched == &untouched);
  volatile size_t huge = SIZE_MAX / 2;
  errno = 0;
  CHECK_THAT(hak_malloc(huge) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK_THAT(hak_calloc(huge, 3) == NULL && errno == ENOMEM);
  int trimmed = hak_malloc_trim(0);
  CHECK_THAT(trimmed == 0 || trimmed == 1);
  CHECK_THAT(strcmp(hak_version(), "0.1.0") == 0);
}

int main(void) {
  test_good_size();
  test_usable_size();
  test_twins();
  return 0;
}
