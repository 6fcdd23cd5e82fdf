/* bench_batch: allocate --count objects of --size bytes (or --min to --max, the same sizes in each
 * batch), first and last byte written, then free them all, in the order of their allocation or in a
 * random one (one permutation for the whole run); again and again. An operation is one pair of
 * malloc and free. One batch runs before the clock starts; late_faults in the record are thread 0's
 * page faults after the second one, when all memory has been there once: what was given back since.
 */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "bench_common.h"
#include "bench_latency.h"

#define COUNT_MAX (UINT64_C(1) << 28)

static uint64_t count = 1000, in_random_order;

struct worker {
  BENCH_OWN_LINES unsigned char **object;
  uint32_t *bytes; /* of the i-th object; NULL: all --min */
  uint32_t *order; /* object to free as the i-th; NULL: as allocated */
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP void batch_run(const struct worker *w, bool is_timed) {
  unsigned char **object = w->object;
  const uint32_t *order = w->order;
  for (size_t i = 0; i < count; i++) {
    size_t bytes = w->bytes != NULL ? w->bytes[i] : bench_options.min_bytes;
    object[i] = bench_touch(bench_malloc(bytes, is_timed), bytes);
  }
  if (order == NULL) {
    for (size_t i = 0; i < count; i++) {
      bench_free(object[i], is_timed);
    }
  } else {
    for (size_t i = 0; i < count; i++) {
      bench_free(object[order[i]], is_timed);
    }
  }
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  uint64_t random = bench_seed(bench_options.seed, thread);
  w->object = bench_map(count * sizeof *w->object);
  if (in_random_order) {
    w->order = bench_map(count * sizeof *w->order);
    for (uint32_t i = 0; i < count; i++) {
      size_t other = bench_scale((uint32_t)bench_random(&random), i + 1);
      w->order[i] = w->order[other];
      w->order[other] = i;
    }
  }
  if (bench_options.min_bytes != bench_options.max_bytes) {
    w->bytes = bench_map(count * sizeof *w->bytes);
    for (uint32_t i = 0; i < count; i++) {
      w->bytes[i] = (uint32_t)bench_draw_size(bench_random(&random));
    }
  }
  batch_run(w, false);
}

static uint64_t faults_now(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0, faults = 0;
  for (; bench_take(count) != 0; done += count) {
    LATENCY_EITHER(batch_run, &workers[thread]);
    if (done == 0) {
      faults = faults_now();
    }
  }
  if (thread == 0) {
    bench_record_add("late_faults", done > count ? faults_now() - faults : 0);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--count", BENCH_NUMBER, &count, 1, COUNT_MAX, NULL},
      {"--order", BENCH_CHOICE, &in_random_order, 0, 0, "forward|random"},
  };
  const struct bench_program program = {
      .name = "bench_batch",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 10000000,
      .min_bytes = 64,
      .max_bytes = 64,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
