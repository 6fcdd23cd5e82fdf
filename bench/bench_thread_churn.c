/* bench_thread_churn: short threads, one after the other, --threads such chains side by side. Each
 * thread frees what the one before it left behind, allocates --objects objects, frees half of them,
 * every other one, hands the rest to the next thread and ends. What an allocator keeps for a thread
 * is made and given up all the time, and most memory is freed by another thread than the one that
 * took it. An operation is one object, from its malloc to its free; the time includes the threads'
 * start and end. */
#include "bench_common.h"
#include "bench_latency.h"

#define OBJECTS_MAX (UINT64_C(1) << 24)

static uint64_t objects = 200;

struct chain {
  BENCH_OWN_LINES unsigned char **object; /* NULL: freed */
  uint64_t random;
};
static struct chain chains[BENCH_THREADS_MAX];

LATENCY_LOOP void life_run(struct chain *c, bool is_timed) {
  unsigned char **object = c->object;
  const uint64_t count = objects;
  for (uint64_t i = 0; i < count; i++) {
    if (object[i] != NULL) {
      bench_free(object[i], is_timed);
    }
  }
  for (uint64_t i = 0; i < count; i++) {
    size_t bytes = bench_draw_size(bench_random(&c->random));
    object[i] = bench_touch(bench_malloc(bytes, is_timed), bytes);
  }
  for (uint64_t i = 0; i < count; i += 2) {
    bench_free(object[i], is_timed);
    object[i] = NULL;
  }
}

static void thread_live(void *argument) { LATENCY_EITHER(life_run, argument); }

static void prepare(unsigned thread) {
  struct chain *c = &chains[thread];
  c->random = bench_seed(bench_options.seed, thread);
  c->object = bench_map(objects * sizeof *c->object);
  bench_on_new_thread(thread_live, c);
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  for (; bench_take(objects) != 0; done += objects) {
    bench_on_new_thread(thread_live, &chains[thread]);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {{"--objects", BENCH_NUMBER, &objects, 1, OBJECTS_MAX, NULL}};
  const struct bench_program program = {
      .name = "bench_thread_churn",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 2,
      .ops = 2000000,
      .min_bytes = 16,
      .max_bytes = 1024,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
      .starts_threads = true,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
