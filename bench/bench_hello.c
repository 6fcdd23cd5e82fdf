/* bench_hello: the smallest program that allocates: a dozen strings, made, grown and dropped. Its
 * RSS is what an allocator costs a process (with --threads, each thread) that hardly uses it. An
 * operation is one string. A run without --ops and --seconds is one dozen a thread; longer ones
 * drop the strings that are left of the dozen before. */
#include <string.h>

#include "bench_common.h"
#include "bench_latency.h"

#define STRINGS 12u

static const char hello[] = "hello, world";
static char *strings[BENCH_THREADS_MAX][STRINGS];

LATENCY_LOOP void dozen_run(char **string, uint64_t ops, bool is_timed) {
  uint64_t least = bench_options.min_bytes, most = bench_options.max_bytes;
  for (uint64_t i = 0; i < ops; i++) {
    size_t bytes = least + (most - least) * i / (STRINGS - 1);
    if (string[i] != NULL) {
      bench_free(string[i], is_timed);
    }
    string[i] = bench_touch(bench_malloc(bytes, is_timed), bytes);
    memcpy(string[i], hello, sizeof hello);
    if (i % 3 == 2) {
      string[i] = bench_touch(bench_realloc(string[i], bytes * 2, is_timed), bytes * 2);
      bench_free(string[i - 1], is_timed);
      string[i - 1] = NULL;
    }
  }
}

static void prepare(unsigned thread) { (void)thread; }

static void visit(unsigned thread, uint64_t ops) {
  LATENCY_EITHER(dozen_run, strings[thread], ops);
}

static uint64_t work(unsigned thread) {
  if (bench_options.ops == 0 && bench_options.seconds_ns == 0) {
    visit(thread, STRINGS);
    return STRINGS;
  }
  return bench_chunks(thread, STRINGS, visit);
}

int main(int argc, char **argv) {
  const struct bench_program program = {
      .name = "bench_hello",
      .threads = 1,
      .min_bytes = sizeof hello,
      .max_bytes = STRINGS * sizeof hello,
      .least_bytes = sizeof hello,
      .most_bytes = BENCH_BYTES_MAX / 2,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
