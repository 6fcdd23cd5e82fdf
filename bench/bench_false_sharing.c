/* bench_false_sharing --mode active|passive: does the allocator give two threads objects in one
 * cache line? Each thread has an object, writes to it --writes times, frees it and takes another.
 * active: threads allocate at the same time. passive: the first objects were all allocated by one
 * thread and handed out, so that threads that free them get neighbours again, if the allocator
 * keeps such objects with whoever freed them. An operation is one object; compare with --threads 1.
 */
#include "bench_common.h"
#include "bench_latency.h"

#define WRITES_MAX (UINT64_C(1) << 30)
#define CHUNK_OPS 256u

static uint64_t writes = 1000, is_passive;

/* On lines of its own: lines that the program shares would hide those that the allocator shares. */
struct worker {
  BENCH_OWN_LINES unsigned char *object;
  size_t bytes;
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP void object_take(struct worker *w, bool is_timed) {
  w->bytes = bench_draw_size(bench_random(&w->random));
  w->object = bench_touch(bench_malloc(w->bytes, is_timed), w->bytes);
}

LATENCY_LOOP void use(struct worker *w, uint64_t ops, bool is_timed) {
  for (uint64_t i = 0; i < ops; i++) {
    volatile unsigned char *byte = w->object;
    size_t at = 0, bytes = w->bytes;
    for (uint64_t k = 0; k < writes; k++) {
      byte[at] = (unsigned char)(byte[at] + 1);
      at = at + 1 < bytes ? at + 1 : 0;
    }
    bench_free(w->object, is_timed);
    object_take(w, is_timed);
  }
}

static void prepare(unsigned thread) {
  if (!is_passive) {
    object_take(&workers[thread], false);
  }
}

static void visit(unsigned thread, uint64_t ops) { LATENCY_EITHER(use, &workers[thread], ops); }
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--mode", BENCH_CHOICE, &is_passive, 0, 0, "active|passive"},
      {"--writes", BENCH_NUMBER, &writes, 1, WRITES_MAX, NULL},
  };
  const struct bench_program program = {
      .name = "bench_false_sharing",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 2,
      .ops = 1000000,
      .min_bytes = 8,
      .max_bytes = 8,
      .least_bytes = 1,
      .most_bytes = 4096,
  };
  bench_parse(argc, argv, &program);
  for (unsigned i = 0; i < bench_options.threads; i++) {
    workers[i].random = bench_seed(bench_options.seed, i);
    if (is_passive) {
      object_take(&workers[i], false);
    }
  }
  return bench_parallel(prepare, work);
}
