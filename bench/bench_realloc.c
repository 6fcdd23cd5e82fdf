/* bench_realloc: --arrays buffers that grow by realloc, one at random at a time: by half of what
 * they hold (strings, vectors) or, with --step B, by so many bytes. A buffer that would grow above
 * --max is freed and starts again at --min. The first and the last byte are checked; with --fill
 * all that is new is written. An operation is one realloc, or a free and a malloc. */
#include <string.h>

#include "bench_common.h"
#include "bench_latency.h"

#define ARRAYS_MAX (UINT64_C(1) << 24)
#define CHUNK_OPS 4096u

static uint64_t arrays = 1000, step, fill;

struct array {
  unsigned char *byte;
  size_t bytes;
};
struct worker {
  BENCH_OWN_LINES struct array *array;
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

static void check(const struct array *a, size_t bytes) {
  if (a->byte[0] != (unsigned char)bytes || a->byte[bytes - 1] != (unsigned char)bytes) {
    bench_fail("a buffer of %zu bytes lost its contents", bytes);
  }
}

LATENCY_LOOP void grow(struct worker *w, uint64_t ops, bool is_timed) {
  for (uint64_t i = 0; i < ops; i++) {
    struct array *a = &w->array[bench_scale((uint32_t)bench_random(&w->random), (uint32_t)arrays)];
    size_t old = a->bytes, bytes = old + (step != 0 ? step : old / 2 + 1);
    check(a, old);
    if (bytes > bench_options.max_bytes) {
      bench_free(a->byte, is_timed);
      bytes = bench_options.min_bytes;
      a->byte = bench_malloc(bytes, is_timed);
    } else {
      unsigned char *moved = bench_realloc(a->byte, bytes, is_timed);
      if (moved != NULL &&
          (moved[0] != (unsigned char)old || moved[old - 1] != (unsigned char)old)) {
        bench_fail("realloc from %zu to %zu bytes lost the contents", old, bytes);
      }
      if (fill && moved != NULL) {
        memset(moved + old, 1, bytes - old);
      }
      a->byte = moved;
    }
    a->byte = bench_touch(a->byte, bytes);
    a->bytes = bytes;
  }
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->random = bench_seed(bench_options.seed, thread);
  w->array = bench_map(arrays * sizeof *w->array);
  size_t bytes = bench_options.min_bytes;
  for (uint64_t i = 0; i < arrays; i++) {
    w->array[i].byte = bench_touch(bench_malloc(bytes, false), bytes);
    w->array[i].bytes = bytes;
  }
  grow(w, arrays * 8, false);
}

static void visit(unsigned thread, uint64_t ops) { LATENCY_EITHER(grow, &workers[thread], ops); }
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--arrays", BENCH_NUMBER, &arrays, 1, ARRAYS_MAX, NULL},
      {"--fill", BENCH_SWITCH, &fill, 0, 0, NULL},
      {"--step", BENCH_BYTES, &step, 1, BENCH_BYTES_MAX, NULL},
  };
  const struct bench_program program = {
      .name = "bench_realloc",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 5000000,
      .min_bytes = 16,
      .max_bytes = 16384,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
