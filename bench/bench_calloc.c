/* bench_calloc: --slots objects from calloc, one at random replaced at a time; each must be zero
 * where it is looked at (first, middle, last byte) before it is written there. The shape of parsers
 * and of tables that are made anew. An operation is one calloc and one free. */
#include "bench_slots.h"

#define CHUNK_OPS 4096u

static uint64_t slots = 1000;
static struct bench_slots workers[BENCH_THREADS_MAX];

LATENCY_LOOP unsigned char *zeroed_new(uint64_t draw, bool is_timed) {
  size_t bytes = bench_draw_size(draw);
  unsigned char *byte = bench_calloc(bytes, is_timed);
  if (byte != NULL && (byte[0] | byte[bytes / 2] | byte[bytes - 1]) != 0) {
    bench_fail("calloc gave %zu bytes that are not zero", bytes);
  }
  byte = bench_touch(byte, bytes);
  byte[bytes / 2] = 1;
  return byte;
}

static void prepare(unsigned thread) {
  slots_fill(&workers[thread], slots, thread, zeroed_new);
  slots_replace(&workers[thread], slots, zeroed_new, false);
}

static void visit(unsigned thread, uint64_t ops) {
  LATENCY_EITHER(slots_replace, &workers[thread], ops, zeroed_new);
}
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {{"--slots", BENCH_NUMBER, &slots, 1, SLOTS_MAX, NULL}};
  const struct bench_program program = {
      .name = "bench_calloc",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 5000000,
      .min_bytes = 16,
      .max_bytes = 4096,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
