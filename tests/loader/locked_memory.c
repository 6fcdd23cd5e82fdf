/* A program whose memory is locked: the kernel then refuses to take pages back, and what is mapped
 * later is resident at once. Blocks of all kinds, contents checked, with malloc_trim in between; it
 * prints how long it ran. Ends with 77 where memory may not be locked.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "api/check_that.h"

enum { ROUNDS = 4, BLOCKS = 60000, TRIMS = 20, SLOT_COUNT = 512, STEPS = 400000 };
static unsigned char *block[BLOCKS];

/* Some 90 MiB, more than any profile keeps, and a few mappings. */
static size_t size_of(size_t i) {
  return i % 4000 == 0 ? (size_t)5 << 20 : i % 100 == 0 ? 50000 : 16 + i * 37 % 2000;
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void mark(unsigned char *p, size_t size, size_t i) {
  memset(p, (int)(i & 255), size < 4096 ? size : 4096);
  p[size - 1] = (unsigned char)i;
}

static void release(size_t i) {
  size_t size = size_of(i);
  CHECK_THAT(block[i][0] == (unsigned char)i &&
             block[i][size / 2 < 4096 ? size / 2 : 0] == (unsigned char)i);
  CHECK_THAT(block[i][size - 1] == (unsigned char)i);
  free(block[i]);
  block[i] = NULL;
}

/* All is allocated, first all but one in 64 freed, then the rest. */
static void round_of_blocks(void) {
  for (size_t i = 0; i < BLOCKS; i++) {
    block[i] = malloc(size_of(i));
    CHECK_THAT(block[i] != NULL);
    mark(block[i], size_of(i), i);
  }
  for (size_t i = 0; i < BLOCKS; i++)
    if (i % 64 != 0) release(i);
  malloc_trim(0);
  for (size_t i = 0; i < BLOCKS; i += 64) release(i);
}

/* Cleared memory is that although nothing can be given back. */
static void cleared_blocks(void) {
  for (size_t i = 0; i < BLOCKS / 4; i++) {
    size_t size = size_of(i);
    unsigned char *p = calloc(1, size);
    CHECK_THAT(p != NULL && p[0] == 0 && p[size / 2] == 0 && p[size - 1] == 0);
    mark(p, size, i);
    p = realloc(p, size * 2);
    CHECK_THAT(p != NULL && p[0] == (unsigned char)i && p[size - 1] == (unsigned char)i);
    free(p);
  }
}

/* Slow paths, each of which may find that more is free than is to be kept. */
static void small_work(void) {
  void *slot[SLOT_COUNT] = {NULL};
  unsigned state = 1;
  for (size_t i = 0; i < STEPS; i++) {
    state = state * 1664525u + 1013904223u;
    void **at = &slot[(state >> 8) % SLOT_COUNT];
    free(*at);
    *at = malloc((state >> 10) % 20000);
    CHECK_THAT(*at != NULL);
  }
  for (size_t i = 0; i < SLOT_COUNT; i++) free(slot[i]);
}

int main(void) {
  uint64_t begin_ms = now_ms();
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    puts("SKIP: memory may not be locked here");
    return 77;
  }
  for (size_t i = 0; i < ROUNDS; i++) round_of_blocks();
  cleared_blocks();
  small_work();
  for (size_t i = 0; i < TRIMS; i++) malloc_trim(0);
  printf("locked ok in %llu ms\n", (unsigned long long)(now_ms() - begin_ms));
  return 0;
}
