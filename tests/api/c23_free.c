/* free_sized and free_aligned_sized of C23: glibc 2.36 has neither, so there is no oracle; under
 * hakmem both exist and free what malloc, calloc, realloc and aligned_alloc returned. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/check_that.h"

void free_sized(void *p, size_t size) __attribute__((weak));
void free_aligned_sized(void *p, size_t alignment, size_t size) __attribute__((weak));

static size_t live_bytes(void) {
  struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

int main(void) {
  CHECK_THAT(free_sized != NULL);
  CHECK_THAT(free_aligned_sized != NULL);
  errno = 77;
  free_sized(NULL, 0);
  free_sized(NULL, 100);
  free_aligned_sized(NULL, 64, 100);
  size_t before = live_bytes();
  for (size_t n = 0; n <= 6u << 20; n += n < 2200 ? 1 : n / 9) {
    void *p = malloc(n);
    CHECK_THAT(p != NULL);
    memset(p, 1, n);
    free_sized(p, n);
    p = calloc(1, n);
    CHECK_THAT(p != NULL);
    free_sized(p, n);
    p = realloc(malloc(n / 2), n ? n : 1);
    CHECK_THAT(p != NULL);
    free_sized(p, n ? n : 1);
    for (size_t alignment = 16; alignment <= 1u << 21; alignment <<= 3) {
      p = aligned_alloc(alignment, n);
      CHECK_THAT(p != NULL);
      free_aligned_sized(p, alignment, n);
    }
  }
  CHECK_THAT(errno == 77);
  CHECK_THAT(live_bytes() == before);
  puts("ok");
  return 0;
}
