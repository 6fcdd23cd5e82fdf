/* bench_hello: the smallest program that allocates: a few strings, made, grown and dropped. Its RSS
 * is what an allocator costs a process that hardly uses it. An operation is one string. */
#include <stdlib.h>
#include <string.h>

#include "bench_common.h"

#define STRINGS 12u

static char *strings[STRINGS];

static void prepare(unsigned thread) { (void)thread; }

static uint64_t work(unsigned thread) {
  (void)thread;
  static const char hello[] = "hello, world";
  uint64_t done = 0;
  for (uint64_t i = 0; i < STRINGS && bench_take(1) != 0; i++) {
    size_t bytes = sizeof hello * (i + 1);
    strings[i] = bench_touch(malloc(bytes), bytes);
    memcpy(strings[i], hello, sizeof hello);
    if (i % 3 == 2) {
      strings[i] = bench_touch(realloc(strings[i], bytes * 2), bytes * 2);
      free(strings[i - 1]);
      strings[i - 1] = NULL;
    }
    done++;
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {BENCH_COMMON_FLAGS};
  bench_parse(argc, argv, "bench_hello", flags, BENCH_COUNT(flags));
  bench_parallel(1, prepare, work);
  return 0;
}
