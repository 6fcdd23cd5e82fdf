/* bench_large: --slots blocks of --min to --max bytes (64 KiB to 4 MiB), one at random replaced at
 * a time; every page of a new block is written, or with --sparse only its first and last byte. What
 * image and matrix programs do, and where giving memory back to the kernel is dear. An operation is
 * one block replaced. Before the count begins each slot was replaced some times: a run of a quarter
 * of a second would else be mostly the first touch of the heap's pages, and the faster they are
 * touched the more operations without one would follow. */
#include "bench_slots.h"

#define PAGE_BYTES 4096u
#define WARM_REPLACED 20u /* a slot, in the mean; arbitrary */

static uint64_t slots = 20, sparse;
static struct bench_slots workers[BENCH_THREADS_MAX];

LATENCY_LOOP unsigned char *block_new(uint64_t draw, bool is_timed) {
  size_t bytes = bench_draw_size(draw);
  unsigned char *byte = bench_touch(bench_malloc(bytes, is_timed), bytes);
  for (size_t i = 0; !sparse && i < bytes; i += PAGE_BYTES) {
    byte[i] = 1;
  }
  return byte;
}

static void prepare(unsigned thread) {
  slots_fill(&workers[thread], slots, thread, block_new);
  slots_replace(&workers[thread], WARM_REPLACED * slots, block_new, false);
}

static void visit(unsigned thread, uint64_t ops) {
  LATENCY_EITHER(slots_replace, &workers[thread], ops, block_new);
}
/* One block a look at the clock: to write a block's pages takes far longer than the look. */
static uint64_t work(unsigned thread) { return bench_chunks(thread, 1, visit); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--slots", BENCH_NUMBER, &slots, 1, SLOTS_MAX, NULL},
      {"--sparse", BENCH_SWITCH, &sparse, 0, 0, NULL},
  };
  const struct bench_program program = {
      .name = "bench_large",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 20000,
      .min_bytes = 65536,
      .max_bytes = 4194304,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
