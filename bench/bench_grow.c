/* bench_grow: a heap that only grows. Each thread makes objects of --min to --max bytes until --mib
 * MiB were requested and writes all of each; the first word of each leads to the one before it, so
 * that no table of theirs is resident. In the record: `requested_bytes` of thread 0, and
 * `rss_begin_bytes` from before the first object; faults are of the growth. An operation is one
 * object. With --ops or --seconds there are more rounds, each of which frees the last one's first.
 */
#include <string.h>

#include "bench_common.h"
#include "bench_latency.h"

#define MIB_MAX UINT64_C(65536)

static uint64_t mib = 64;
static uint64_t rss_begin_bytes; /* thread 0 */
static struct worker {
  BENCH_OWN_LINES void **last;
  uint64_t requested_bytes, random;
} workers[BENCH_THREADS_MAX];

LATENCY_LOOP void objects_free(struct worker *w, bool is_timed) {
  while (w->last != NULL) {
    void **object = w->last;
    w->last = *object;
    bench_free(object, is_timed);
  }
  w->requested_bytes = 0;
}

LATENCY_LOOP uint64_t round_run(struct worker *w, bool is_timed) {
  objects_free(w, is_timed);
  uint64_t made = 0;
  for (; w->requested_bytes < mib << 20; made++) {
    size_t bytes = bench_draw_size(bench_random(&w->random));
    void **object = bench_touch(bench_malloc(bytes, is_timed), bytes);
    memset(object, 1, bytes);
    *object = w->last;
    w->last = object;
    w->requested_bytes += bytes;
  }
  return made;
}

static void prepare(unsigned thread) {
  workers[thread].random = bench_seed(bench_options.seed, thread);
  if (thread == 0) {
    rss_begin_bytes = bench_rss_bytes();
  }
}

/* One round, or as many as the budget says, which counts them by what they will about make. */
static uint64_t work(unsigned thread) {
  uint64_t done = 0, mean = (bench_options.min_bytes + bench_options.max_bytes) / 2;
  bool is_one = bench_options.ops == 0 && bench_options.seconds_ns == 0;
  while (is_one ? done == 0 : bench_take((mib << 20) / mean + 1) != 0) {
    done += LATENCY_EITHER(round_run, &workers[thread]);
  }
  if (thread == 0) {
    bench_record_add("requested_bytes", workers[0].requested_bytes);
    bench_record_add("rss_begin_bytes", rss_begin_bytes);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--mib", BENCH_NUMBER, &mib, 1, MIB_MAX, NULL},
  };
  const struct bench_program program = {
      .name = "bench_grow",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .min_bytes = 64,
      .max_bytes = 64,
      .least_bytes = sizeof(void *),
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
