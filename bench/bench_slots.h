/* bench_slots: an array of live objects of which one at random is replaced at a time: the heart of
 * several programs. A program says by `object_new` what a new object is; it must be a constant, so
 * that each copy of the loop has it inlined. An operation is one object replaced: a free and the
 * allocation of its successor, of a size and at a place of their own. */
#ifndef BENCH_SLOTS_H
#define BENCH_SLOTS_H

#include "bench_common.h"
#include "bench_latency.h"

/* Derived: a place is scaled from 32 random bits. */
#define SLOTS_MAX (UINT64_C(1) << 28)

struct bench_slots {
  BENCH_OWN_LINES unsigned char **slot;
  uint64_t count;
  uint64_t random;
};

/* From a draw to an object, its first and last byte written. */
typedef unsigned char *slots_object_new(uint64_t draw, bool is_timed);

/* The usual one: malloc, of --min to --max bytes. */
LATENCY_LOOP unsigned char *slots_malloc(uint64_t draw, bool is_timed) {
  size_t bytes = bench_draw_size(draw);
  return bench_touch(bench_malloc(bytes, is_timed), bytes);
}

/* `stream` is what the draws of one array differ by from those of another. */
LATENCY_LOOP void slots_fill(struct bench_slots *s, uint64_t count, uint64_t stream,
                             slots_object_new *object_new) {
  s->slot = bench_map(count * sizeof *s->slot);
  s->count = count;
  s->random = bench_seed(bench_options.seed, stream);
  for (uint64_t i = 0; i < count; i++) {
    s->slot[i] = object_new(bench_random(&s->random), false);
  }
}

LATENCY_LOOP void slots_replace(struct bench_slots *s, uint64_t ops, slots_object_new *object_new,
                                bool is_timed) {
  unsigned char **slot = s->slot;
  uint32_t count = (uint32_t)s->count;
  uint64_t random = s->random;
  for (uint64_t i = 0; i < ops; i++) {
    uint64_t draw = bench_random(&random);
    size_t index = bench_scale((uint32_t)(draw >> 32), count);
    bench_free(slot[index], is_timed);
    slot[index] = object_new(draw, is_timed);
  }
  s->random = random;
}

#endif
