/* bench_calloc: --slots objects from calloc, one at random replaced at a time; each must be zero
 * where it is looked at (first, middle, last byte) before it is written there. The shape of parsers
 * and of tables that are made anew. An operation is one calloc and one free. */
#include "bench_common.h"
#include "bench_latency.h"

#define SLOTS_MAX (UINT64_C(1) << 28)
#define BYTES_MAX (UINT64_C(1) << 30)
#define CHUNK_OPS 4096u

static uint64_t slots = 1000, seed = 1;
static uint64_t min_bytes = 16, max_bytes = 4096;

struct worker {
  unsigned char **slot;
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP unsigned char *object_new(uint64_t draw, bool is_timed) {
  size_t bytes = bench_size(draw, min_bytes, max_bytes);
  unsigned char *byte = bench_calloc(bytes, is_timed);
  if (byte != NULL && (byte[0] | byte[bytes / 2] | byte[bytes - 1]) != 0) {
    bench_fail("calloc gave %zu bytes that are not zero", bytes);
  }
  byte = bench_touch(byte, bytes);
  byte[bytes / 2] = 1;
  return byte;
}

LATENCY_LOOP void replace(struct worker *w, uint64_t ops, bool is_timed) {
  for (uint64_t i = 0; i < ops; i++) {
    uint64_t draw = bench_random(&w->random);
    unsigned char **slot = &w->slot[bench_scale((uint32_t)(draw >> 32), (uint32_t)slots)];
    bench_free(*slot, is_timed);
    *slot = object_new(draw, is_timed);
  }
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->random = bench_seed(seed, thread);
  w->slot = bench_map(slots * sizeof *w->slot);
  for (uint64_t i = 0; i < slots; i++) {
    w->slot[i] = object_new(bench_random(&w->random), false);
  }
  replace(w, slots, false);
}

static void visit(unsigned thread, uint64_t ops) { LATENCY_EITHER(replace, &workers[thread], ops); }
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--slots", BENCH_NUMBER, &slots, 1, SLOTS_MAX, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, 1, BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, 1, BYTES_MAX, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_calloc", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  bench_ops_default(5000000);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
