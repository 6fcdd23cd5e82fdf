/* bench_latency: how long single calls take. One histogram a thread, in the manner of HDR
 * histograms: exact below 64 ns, then 32 buckets a doubling, so that a value is known to 1 part
 * in 32.
 *
 * The clock is CLOCK_MONOTONIC; its own cost is in every value and is reported beside them. Loops
 * are compiled twice (see bench_malloc), so that a run without latencies is not slower for them. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define LATENCY_EXACT 64u
#define LATENCY_PER_DOUBLING 32u
/* Up to 2^40 ns, 18 minutes; what is longer counts as that. */
#define LATENCY_BUCKETS (LATENCY_EXACT + LATENCY_PER_DOUBLING * (40u - 6u))

struct bench_latency {
  uint64_t count[LATENCY_BUCKETS];
  uint64_t max_ns;
};

struct latency_summary {
  uint64_t calls;
  uint64_t p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns; /* upper ends of their buckets */
  uint64_t max_ns;
  uint64_t timer_ns; /* the median of two readings of the clock in a row */
};

/* The calling thread's histogram; NULL: it records nothing. */
extern _Thread_local struct bench_latency *bench_latency;

uint64_t latency_now_ns(void);
void latency_record(struct bench_latency *to, uint64_t ns);
/* Adds `from` to `to`. */
void latency_merge(struct bench_latency *to, const struct bench_latency *from);
/* The longest value that this bucket can hold, or that it does hold if it has the longest of all.
 */
uint64_t latency_bucket_end_ns(const struct bench_latency *of, size_t bucket);
/* The upper end of the bucket that the value at this share of all lies in; share in (0, 1]. 0 when
 * there is none. */
uint64_t latency_quantile_ns(const struct bench_latency *of, double share);
struct latency_summary latency_summarize(const struct bench_latency *of);

/* The calls, timed where `is_timed`, which is a constant in each copy of a loop. */
#define LATENCY_TIMED(call)                                                                        \
  do {                                                                                             \
    uint64_t begin_ns = is_timed ? latency_now_ns() : 0;                                           \
    call;                                                                                          \
    if (is_timed) {                                                                                \
      latency_record(bench_latency, latency_now_ns() - begin_ns);                                  \
    }                                                                                              \
  } while (0)
static inline __attribute__((always_inline)) void *bench_malloc(size_t bytes, bool is_timed) {
  void *object;
  LATENCY_TIMED(object = malloc(bytes));
  return object;
}
static inline __attribute__((always_inline)) void *bench_calloc(size_t bytes, bool is_timed) {
  void *object;
  LATENCY_TIMED(object = calloc(1, bytes));
  return object;
}
static inline __attribute__((always_inline)) void *bench_realloc(void *old, size_t bytes,
                                                                 bool is_timed) {
  void *object;
  LATENCY_TIMED(object = realloc(old, bytes));
  return object;
}
/* NULL where posix_memalign fails; align: a power of two, at least a pointer's size. */
static inline __attribute__((always_inline)) void *bench_aligned(size_t align, size_t bytes,
                                                                 bool is_timed) {
  void *object;
  int error;
  LATENCY_TIMED(error = posix_memalign(&object, align, bytes));
  return error == 0 ? object : NULL;
}
static inline __attribute__((always_inline)) void bench_free(void *object, bool is_timed) {
  LATENCY_TIMED(free(object));
}
#undef LATENCY_TIMED

/* Calls the copy of an always_inline loop that the run asks for: body(..., is_timed). */
#define LATENCY_EITHER(body, ...)                                                                  \
  (bench_options.latency ? body(__VA_ARGS__, true) : body(__VA_ARGS__, false))
#define LATENCY_LOOP static inline __attribute__((always_inline))

#endif
