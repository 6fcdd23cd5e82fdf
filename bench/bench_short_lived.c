/* bench_short_lived: many small objects that die young, as in programs that evaluate expressions
 * (big numbers, cubes of a logic minimiser). The work is one call of a function after the other:
 * each makes 1 to 16 locals, beside each local a temporary that is dropped at once, replaces one
 * result among --results at random, and drops its locals in reverse, as a stack does. Sizes are
 * geometric: each doubling from --min to --max is half as frequent as the one below it. An
 * operation is one object, from its malloc to its free. */
#include "bench_slots.h"

#define LOCALS_MAX 16u
#define CHUNK_OPS 4096u

static uint64_t results = 1000;
static struct bench_slots workers[BENCH_THREADS_MAX];

LATENCY_LOOP unsigned char *geometric_new(uint64_t draw, bool is_timed) {
  unsigned doublings = (unsigned)__builtin_ctz((uint32_t)(draw >> 32) | UINT32_C(1) << 31);
  uint64_t least = bench_options.min_bytes << doublings, most = bench_options.max_bytes;
  if (least > most) {
    least = bench_options.min_bytes; /* what is beyond the last doubling belongs to the first */
  }
  size_t bytes = bench_size(draw, least, 2 * least - 1 < most ? 2 * least - 1 : most);
  return bench_touch(bench_malloc(bytes, is_timed), bytes);
}

LATENCY_LOOP void call_run(struct bench_slots *w, uint64_t locals, bool is_timed) {
  unsigned char *local[LOCALS_MAX];
  for (uint64_t i = 0; i < locals; i++) {
    local[i] = geometric_new(bench_random(&w->random), is_timed);
    bench_free(geometric_new(bench_random(&w->random), is_timed), is_timed);
  }
  slots_replace(w, 1, geometric_new, is_timed);
  for (uint64_t i = locals; i-- != 0;) {
    bench_free(local[i], is_timed);
  }
}

LATENCY_LOOP void calls_run(struct bench_slots *w, uint64_t ops, bool is_timed) {
  while (ops != 0) {
    uint64_t locals = bench_size(bench_random(&w->random) >> 32, 1, LOCALS_MAX);
    if (2 * locals + 1 > ops) {
      locals = (ops - 1) / 2;
    }
    call_run(w, locals, is_timed);
    ops -= 2 * locals + 1;
  }
}

static void prepare(unsigned thread) {
  slots_fill(&workers[thread], results, thread, geometric_new);
  calls_run(&workers[thread], results, false);
}

static void visit(unsigned thread, uint64_t ops) {
  LATENCY_EITHER(calls_run, &workers[thread], ops);
}
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {{"--results", BENCH_NUMBER, &results, 1, SLOTS_MAX, NULL}};
  const struct bench_program program = {
      .name = "bench_short_lived",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 20000000,
      .min_bytes = 8,
      .max_bytes = 256,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
