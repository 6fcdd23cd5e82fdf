/* The region is full (HAKMEM_REGION_BYTES), and another thread purges all the time: what a purge
 * has in its hands for the length of a system call is memory all the same. As many objects fit as
 * without it, but for what that thread keeps of its own. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <string.h>

#include "api/check_that.h"

enum { BYTES = 8000, OBJECTS_MAX = 10000, ROUNDS = 1200, OTHERS_SLAB_OBJECTS = 16 };

static int done;
static void *purges(void *unused) {
  while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) malloc_trim(0);
  return unused;
}

static size_t fill_and_free(void) {
  static void *object[OBJECTS_MAX];
  size_t count = 0;
  while (count < OBJECTS_MAX && (object[count] = malloc(BYTES)) != NULL)
    memset(object[count++], 1, BYTES);
  for (size_t i = 0; i < count; i++) free(object[i]);
  return count;
}

int main(void) {
  size_t alone = fill_and_free();
  CHECK_THAT(alone > 500 && alone < OBJECTS_MAX);
  pthread_t thread;
  CHECK_THAT(pthread_create(&thread, NULL, purges, NULL) == 0);
  for (size_t round = 0; round < ROUNDS; round++)
    CHECK_THAT(fill_and_free() + OTHERS_SLAB_OBJECTS >= alone);
  __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
  CHECK_THAT(pthread_join(thread, NULL) == 0);
  return 0;
}
