/* The program that the loader tests run in odd surroundings: small, large, aligned and resized
 * blocks in three threads and the first, contents checked. Ends with status 0 only if hakmem served
 * it; argument "any" leaves that out, "single" starts no thread. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/check_that.h"

const char *hak_version(void) __attribute__((weak));
int malloc_trim(size_t pad) __attribute__((weak)); /* musl has none */

enum {
  SLOT_COUNT = 600,
  STEP_COUNT = 12000,
  THREAD_COUNT = 3,
  RESIZES = 24,
  LARGE_BYTES = 5 << 20
};

struct slot {
  unsigned char *block;
  size_t bytes;
  unsigned char seed;
};

static size_t pick_bytes(unsigned random) {
  if (random % 400 == 0) return 5u << 20;
  if (random % 40 == 0) return random % 300000;
  return random % 1500;
}

static void check_slot(const struct slot *slot) {
  for (size_t i = 0; i < slot->bytes; i += 61)
    CHECK_THAT(slot->block[i] == (unsigned char)(slot->seed + i));
}

static void fill_slot(struct slot *slot) {
  for (size_t i = 0; i < slot->bytes; i += 61) slot->block[i] = (unsigned char)(slot->seed + i);
}

static void *run(void *seed) {
  struct slot *slots = calloc(SLOT_COUNT, sizeof *slots);
  unsigned state = (unsigned)(uintptr_t)seed * 2654435761u + 1;
  CHECK_THAT(slots != NULL);
  for (size_t i = 0; i < STEP_COUNT; i++) {
    state = state * 1664525u + 1013904223u;
    struct slot *slot = &slots[(state >> 8) % SLOT_COUNT];
    if (slot->block == NULL) {
      slot->bytes = pick_bytes(state >> 4);
      slot->seed = (unsigned char)i;
      slot->block = i % 7 ? malloc(slot->bytes) : memalign(256, slot->bytes);
      CHECK_THAT(slot->block != NULL);
    } else if (i % 3) {
      check_slot(slot);
      free(slot->block);
      slot->block = NULL;
      continue;
    } else {
      size_t bytes = pick_bytes(state >> 4) + 1;
      check_slot(slot);
      slot->block = realloc(slot->block, bytes);
      CHECK_THAT(slot->block != NULL);
      slot->bytes = slot->bytes < bytes ? slot->bytes : bytes;
      check_slot(slot);
      slot->bytes = bytes;
    }
    fill_slot(slot);
  }
  for (size_t i = 0; i < SLOT_COUNT; i++) {
    if (slots[i].block != NULL) check_slot(&slots[i]);
    free(slots[i].block);
  }
  free(slots);
  return NULL;
}

/* A block with a mapping of its own, larger and smaller: the kernel moves its pages, or it is
 * copied. A neighbour made meanwhile is in its way. */
static void resize_large(void) {
  struct slot slot = {malloc(LARGE_BYTES), LARGE_BYTES, 7};
  void *neighbour = NULL;
  CHECK_THAT(slot.block != NULL);
  fill_slot(&slot);
  for (unsigned i = 0; i < RESIZES; i++) {
    size_t bytes = LARGE_BYTES * (2 + i % 4) / (i % 4 == 3 ? 5 : 1), before = slot.bytes;
    free(neighbour);
    neighbour = malloc(LARGE_BYTES);
    slot.block = realloc(slot.block, bytes);
    CHECK_THAT(neighbour != NULL && slot.block != NULL);
    slot.bytes = bytes < before ? bytes : before;
    check_slot(&slot);
    slot.bytes = bytes;
    fill_slot(&slot);
  }
  free(neighbour);
  free(slot.block);
}

int main(int argc, char **argv) {
  pthread_t threads[THREAD_COUNT];
  const char *how = argc > 1 ? argv[1] : "";
  if (strcmp(how, "any") != 0) CHECK_THAT(hak_version != NULL);
  run(NULL);
  if (malloc_trim != NULL) malloc_trim(0);
  resize_large();
  if (strcmp(how, "single") != 0) {
    for (uintptr_t i = 0; i < THREAD_COUNT; i++)
      CHECK_THAT(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < THREAD_COUNT; i++) CHECK_THAT(pthread_join(threads[i], NULL) == 0);
  }
  puts("workload ok");
  return 0;
}
