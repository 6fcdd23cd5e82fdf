/* bench_large: --slots blocks of --min to --max bytes (64 KiB to 4 MiB), one at random replaced at
 * a time; every page of a new block is written, or with --sparse only its first and last byte. What
 * image and matrix programs do, and where giving memory back to the kernel is dear. An operation is
 * one block replaced. */
#include "bench_common.h"
#include "bench_latency.h"

#define SLOTS_MAX (UINT64_C(1) << 20)
#define BYTES_MAX (UINT64_C(1) << 30)
#define PAGE_BYTES 4096u

static uint64_t slots = 20, seed = 1, sparse;
static uint64_t min_bytes = 65536, max_bytes = 4194304;

struct worker {
  unsigned char **slot;
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP unsigned char *block_new(uint64_t draw, bool is_timed) {
  size_t bytes = bench_size(draw, min_bytes, max_bytes);
  unsigned char *byte = bench_touch(bench_malloc(bytes, is_timed), bytes);
  for (size_t i = 0; !sparse && i < bytes; i += PAGE_BYTES) {
    byte[i] = 1;
  }
  return byte;
}

LATENCY_LOOP void replace(struct worker *w, bool is_timed) {
  uint64_t draw = bench_random(&w->random);
  unsigned char **slot = &w->slot[bench_scale((uint32_t)(draw >> 32), (uint32_t)slots)];
  bench_free(*slot, is_timed);
  *slot = block_new(draw, is_timed);
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->random = bench_seed(seed, thread);
  w->slot = bench_map(slots * sizeof *w->slot);
  for (uint64_t i = 0; i < slots; i++) {
    w->slot[i] = block_new(bench_random(&w->random), false);
  }
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  for (; bench_take(1) != 0; done++) {
    LATENCY_EITHER(replace, &workers[thread]);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--slots", BENCH_NUMBER, &slots, 1, SLOTS_MAX, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, 1, BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, 1, BYTES_MAX, NULL},
      {"--sparse", BENCH_SWITCH, &sparse, 0, 0, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_large", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  bench_ops_default(20000);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
