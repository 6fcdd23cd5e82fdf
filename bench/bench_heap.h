/* bench_heap: a heap that is filled up to so many live bytes, and thinned out at random. Each
 * object's first and last byte is written when it is made and checked when it is looked at. */
#ifndef BENCH_HEAP_H
#define BENCH_HEAP_H

#include "bench_common.h"
#include "bench_latency.h"

#define HEAP_MIB_MAX UINT64_C(65536)
/* Of a heap that is thinned out; the rest is freed. */
#define HEAP_KEPT_PERCENT 5u

struct bench_heap {
  BENCH_OWN_LINES struct heap_object {
    unsigned char *byte;
    size_t bytes;
  } * object;
  uint64_t count, room, live_bytes, random;
};

/* About how many objects of --min to --max bytes fill so many bytes, for budgets. */
static inline uint64_t heap_about(uint64_t bytes) {
  return bytes / ((bench_options.min_bytes + bench_options.max_bytes) / 2 + 1) + 1;
}

/* Room for objects of `least` bytes and more, up to `bytes` of them together. */
static inline void heap_init(struct bench_heap *h, uint64_t bytes, uint64_t least,
                             unsigned thread) {
  h->room = bytes / least + 1;
  h->object = bench_map(h->room * sizeof *h->object);
  h->random = bench_seed(bench_options.seed, thread);
}

/* Objects of `least` to `most` bytes until `bytes` are live. Returns how many were made. */
LATENCY_LOOP uint64_t heap_fill(struct bench_heap *h, uint64_t bytes, uint64_t least, uint64_t most,
                                bool is_timed) {
  uint64_t made = 0;
  for (; h->live_bytes < bytes; made++) {
    size_t size = bench_size(bench_random(&h->random), least, most);
    if (h->count == h->room) {
      bench_fail("more objects than expected");
    }
    h->object[h->count++] =
        (struct heap_object){bench_touch(bench_malloc(size, is_timed), size), size};
    h->live_bytes += size;
  }
  return made;
}

/* Frees each object with this probability; those that stay keep their order. */
LATENCY_LOOP void heap_thin(struct bench_heap *h, uint32_t percent, bool is_timed) {
  uint64_t kept = 0, count = h->count;
  for (uint64_t i = 0; i < count; i++) {
    struct heap_object o = h->object[i];
    if (o.byte[0] != (unsigned char)o.bytes || o.byte[o.bytes - 1] != (unsigned char)o.bytes) {
      bench_fail("an object of %zu bytes lost its contents", o.bytes);
    }
    if (bench_scale((uint32_t)bench_random(&h->random), 100) < percent) {
      bench_free(o.byte, is_timed);
      h->live_bytes -= o.bytes;
    } else {
      h->object[kept++] = o;
    }
  }
  h->count = kept;
}

#endif
