/* bench_batch: allocate --count objects of --size bytes, then free them all, in the order of their
 * allocation or in a random one (one permutation for the whole run); again and again. An operation
 * is one pair of malloc and free. One batch runs before the clock starts. */
#include <stdlib.h>

#include "bench_common.h"
#include "bench_latency.h"

#define COUNT_MAX (UINT64_C(1) << 28)
#define BYTES_MAX (UINT64_C(1) << 30)

static uint64_t count = 1000, size = 64, in_random_order, seed = 1;

struct worker {
  void **object;
  uint32_t *order; /* object to free as the i-th; NULL: as allocated */
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP void batch_run(struct worker *w, bool is_timed) {
  void **object = w->object;
  const uint32_t *order = w->order;
  for (size_t i = 0; i < count; i++) {
    unsigned char *byte = bench_malloc(size, is_timed);
    if (byte == NULL) {
      bench_fail("out of memory");
    }
    byte[0] = 1;
    object[i] = byte;
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
  w->object = bench_map(count * sizeof *w->object);
  if (in_random_order) {
    uint64_t random = bench_seed(seed, thread);
    w->order = bench_map(count * sizeof *w->order);
    for (uint32_t i = 0; i < count; i++) {
      size_t other = bench_scale((uint32_t)bench_random(&random), i + 1);
      w->order[i] = w->order[other];
      w->order[other] = i;
    }
  }
  batch_run(w, false);
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  while (bench_take(count) != 0) {
    LATENCY_EITHER(batch_run, &workers[thread]);
    done += count;
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--count", BENCH_NUMBER, &count, 1, COUNT_MAX, NULL},
      {"--size", BENCH_NUMBER, &size, 1, BYTES_MAX, NULL},
      {"--order", BENCH_CHOICE, &in_random_order, 0, 0, "forward|random"},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_batch", flags, BENCH_COUNT(flags));
  bench_ops_default(10000000);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
