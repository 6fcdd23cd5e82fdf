/* bench_random_mixed [cycles ws seed]: `ws` slots, half of them filled at the start. Each operation
 * picks a slot at random: an empty one gets an object of a random size, first and last byte
 * written; a full one is freed and emptied.
 *
 * HAKMEM_BENCH_PREFAULT operations run before the clock starts (unset: cycles/10; 0: none).
 * Built a second time as bench_floor, with BENCH_FLOOR: the same loop over storage that needs no
 * allocator, so that its time is the floor under every allocator's. */
#include <stdlib.h>

#include "bench_common.h"
#include "bench_latency.h"

/* Derived: a slot index is scaled from 32 random bits. */
#define WS_MAX (UINT64_C(1) << 30)
/* Arbitrary: so many operations between two looks at the clock (30 ns each). */
#define CHUNK_OPS 65536u

static uint64_t cycles = 20000000, ws = 400;

struct worker {
  unsigned char **slot;
  uint64_t random;
#ifdef BENCH_FLOOR
  unsigned char *storage;
#endif
  char pad[64]; /* each thread's state in lines of its own */
};
static struct worker *workers;

#ifdef BENCH_FLOOR
#define NAME "bench_floor"
/* Slot i's storage starts at i times half the mean size: the neighbours overlap, which nobody
 * reads, and the loop touches as many bytes as half the slots hold, what it has live under an
 * allocator. */
static size_t storage_stride;
__attribute__((noinline)) static void *object_new(struct worker *w, size_t index, size_t bytes,
                                                  bool is_timed) {
  (void)is_timed;
  __asm__ volatile("" ::"r"(bytes) : "memory");
  return w->storage + index * storage_stride;
}
__attribute__((noinline)) static void object_drop(void *object, bool is_timed) {
  (void)is_timed;
  __asm__ volatile("" ::"r"(object) : "memory");
}
#else
#define NAME "bench_random_mixed"
static inline void *object_new(struct worker *w, size_t index, size_t bytes, bool is_timed) {
  (void)w;
  (void)index;
  return bench_malloc(bytes, is_timed);
}
static inline void object_drop(void *object, bool is_timed) { bench_free(object, is_timed); }
#endif

LATENCY_LOOP void mix(struct worker *w, uint64_t ops, bool is_timed) {
  unsigned char **slot = w->slot;
  uint64_t random = w->random;
  uint32_t slots = (uint32_t)ws;
  uint32_t least = (uint32_t)bench_options.min_bytes;
  uint32_t span = (uint32_t)(bench_options.max_bytes - bench_options.min_bytes + 1);
  for (uint64_t i = 0; i < ops; i++) {
    uint64_t draw = bench_random(&random);
    size_t index = bench_scale((uint32_t)(draw >> 32), slots);
    if (slot[index] != NULL) {
      object_drop(slot[index], is_timed);
      slot[index] = NULL;
    } else {
      size_t bytes = least + bench_scale((uint32_t)draw, span);
      slot[index] = bench_touch(object_new(w, index, bytes, is_timed), bytes);
    }
  }
  w->random = random;
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->slot = bench_map(ws * sizeof *w->slot);
  w->random = bench_seed(bench_options.seed, thread);
#ifdef BENCH_FLOOR
  storage_stride = (size_t)(bench_options.min_bytes + bench_options.max_bytes) / 4 + 1;
  w->storage = bench_map(ws * storage_stride + bench_options.max_bytes);
#endif
  for (size_t i = 0; i < ws; i += 2) {
    size_t bytes = bench_draw_size(bench_random(&w->random));
    w->slot[i] = bench_touch(object_new(w, i, bytes, false), bytes);
  }
  mix(w, bench_env_number("HAKMEM_BENCH_PREFAULT", cycles / 10), false);
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  for (uint64_t ops; (ops = bench_take(CHUNK_OPS)) != 0; done += ops) {
    LATENCY_EITHER(mix, &workers[thread], ops);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"cycles", BENCH_NUMBER, &cycles, 1, UINT64_C(1) << 48, NULL},
      {"ws", BENCH_NUMBER, &ws, 1, WS_MAX, NULL},
      {"seed", BENCH_NUMBER, &bench_options.seed, 0, UINT64_MAX, NULL},
  };
  const struct bench_program program = {
      .name = NAME,
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .min_bytes = 16,
      .max_bytes = 1024,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
#ifdef BENCH_FLOOR
  if (bench_options.latency) {
    bench_fail("--latency: the floor makes no calls that could be timed");
  }
#endif
  if (bench_options.ops != 0) {
    cycles = bench_options.ops;
  } else if (bench_options.seconds_ns == 0) {
    bench_options.ops = cycles;
  }
  workers = bench_map(bench_options.threads * sizeof *workers);
  return bench_parallel(prepare, work);
}
