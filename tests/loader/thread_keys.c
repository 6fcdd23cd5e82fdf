/* The program takes 40 pthread keys, or all of them, before the allocator can have one: those above
 * 31 make pthread_setspecific allocate, and without any a thread's end is not announced. Threads
 * come and go all the same, and memory does not pile up. Argument: number of keys, or all. */
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/check_that.h"

static pthread_key_t keys[PTHREAD_KEYS_MAX];
static size_t key_count;
static size_t keys_wanted;

static void destroy(void *value) { free(value); }

/* Before every constructor, the library's own included. */
static void take_keys(int argc, char **argv, char **environment) {
  (void)environment;
  keys_wanted = PTHREAD_KEYS_MAX;
  if (argc > 1 && strcmp(argv[1], "all") != 0) keys_wanted = strtoul(argv[1], NULL, 10);
  while (key_count < keys_wanted && pthread_key_create(&keys[key_count], destroy) == 0) key_count++;
}

__attribute__((section(".preinit_array"), used)) static void (*preinit_entry)(int, char **,
                                                                              char **) = take_keys;

static void *thread_body(void *unused) {
  static const size_t SIZES[] = {1, 16, 200, 1000, 5000, 40000, 300000};
  void *mine[70];
  for (size_t i = 0; i < key_count; i += 3)
    CHECK_THAT(pthread_setspecific(keys[i], malloc(40)) == 0);
  for (size_t i = 0; i < 70; i++) {
    mine[i] = malloc(SIZES[i % 7]);
    CHECK_THAT(mine[i] != NULL);
    memset(mine[i], 1, SIZES[i % 7]);
  }
  for (size_t i = 0; i < 70; i++) free(mine[i]);
  return unused;
}

int main(void) {
  enum { ROUNDS = 300, AT_ONCE = 4 };
  size_t after_some = 0;
  CHECK_THAT(key_count >= (keys_wanted < 1000 ? keys_wanted : 1000));
  for (int round = 0; round < ROUNDS; round++) {
    pthread_t threads[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++)
      CHECK_THAT(pthread_create(&threads[i], NULL, thread_body, NULL) == 0);
    for (int i = 0; i < AT_ONCE; i++) CHECK_THAT(pthread_join(threads[i], NULL) == 0);
    struct mallinfo2 now = mallinfo2();
    if (round == ROUNDS / 10) after_some = now.arena + now.hblkhd;
    if (round == ROUNDS - 1) CHECK_THAT(now.arena + now.hblkhd <= after_some + (16 << 20));
  }
  printf("%zu keys\n", key_count);
  return 0;
}
