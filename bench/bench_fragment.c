/* bench_fragment: each thread fills --mib MiB with objects of --min to --max bytes, frees 95 % of
 * them at random, fills up again with objects of --refill-min to --refill-max bytes, frees
 * everything. What stays resident at the end of the refill, against what is live, is what
 * fragmentation costs; RSS at the end (after everything is freed) is what the allocator keeps. An
 * operation is one object, from its malloc to its free. With --stop-full there is one round, the
 * last free is left out, and RSS is that of the refill. */
#include "bench_heap.h"

static uint64_t mib = 64, stop_full;
static uint64_t refill_min_bytes = 513, refill_max_bytes = 2048;
static struct bench_heap workers[BENCH_THREADS_MAX];

LATENCY_LOOP uint64_t round_run(struct bench_heap *h, bool is_timed) {
  uint64_t min_bytes = bench_options.min_bytes, max_bytes = bench_options.max_bytes;
  uint64_t made = heap_fill(h, mib << 20, min_bytes, max_bytes, is_timed);
  heap_thin(h, 100 - HEAP_KEPT_PERCENT, is_timed);
  made += heap_fill(h, mib << 20, refill_min_bytes, refill_max_bytes, is_timed);
  if (!stop_full) {
    heap_thin(h, 100, is_timed);
  }
  return made;
}

static void prepare(unsigned thread) {
  uint64_t min_bytes = bench_options.min_bytes;
  uint64_t least = min_bytes < refill_min_bytes ? min_bytes : refill_min_bytes;
  heap_init(&workers[thread], mib << 20, least, thread);
}

/* One round a time that is asked for; the budget counts rounds by what they will about make. */
static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  while (bench_take(heap_about(mib << 20)) != 0) {
    done += LATENCY_EITHER(round_run, &workers[thread]);
    if (stop_full) {
      break;
    }
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--mib", BENCH_NUMBER, &mib, 1, HEAP_MIB_MAX, NULL},
      {"--refill-min", BENCH_BYTES, &refill_min_bytes, 1, BENCH_BYTES_MAX, NULL},
      {"--refill-max", BENCH_BYTES, &refill_max_bytes, 1, BENCH_BYTES_MAX, NULL},
      {"--stop-full", BENCH_SWITCH, &stop_full, 0, 0, NULL},
  };
  const struct bench_program program = {
      .name = "bench_fragment",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 2000000,
      .min_bytes = 16,
      .max_bytes = 512,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  if (refill_min_bytes > refill_max_bytes) {
    bench_fail("--refill-min is above --refill-max");
  }
  return bench_parallel(prepare, work);
}
