/* bench_latency: see bench_latency.h. */
#include "bench_latency.h"

#include <time.h>

_Thread_local struct bench_latency *bench_latency;

uint64_t latency_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static size_t bucket_of(uint64_t ns) {
  if (ns < LATENCY_EXACT) {
    return ns;
  }
  unsigned doubling = 63u - (unsigned)__builtin_clzll(ns) - 6u; /* 64 to 127 ns: 0 */
  size_t step = (size_t)(ns >> (doubling + 1)) - LATENCY_PER_DOUBLING;
  size_t bucket = LATENCY_EXACT + doubling * LATENCY_PER_DOUBLING + step;
  return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_end_ns(size_t bucket) {
  if (bucket < LATENCY_EXACT) {
    return bucket;
  }
  size_t doubling = (bucket - LATENCY_EXACT) / LATENCY_PER_DOUBLING;
  size_t step = (bucket - LATENCY_EXACT) % LATENCY_PER_DOUBLING;
  return ((uint64_t)(LATENCY_PER_DOUBLING + step + 1) << (doubling + 1)) - 1;
}

void latency_record(struct bench_latency *to, uint64_t ns) {
  if (to == NULL) {
    return;
  }
  to->count[bucket_of(ns)]++;
  if (ns > to->max_ns) {
    to->max_ns = ns;
  }
}

void latency_merge(struct bench_latency *to, const struct bench_latency *from) {
  for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
    to->count[i] += from->count[i];
  }
  if (from->max_ns > to->max_ns) {
    to->max_ns = from->max_ns;
  }
}

static uint64_t total(const struct bench_latency *of) {
  uint64_t calls = 0;
  for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
    calls += of->count[i];
  }
  return calls;
}

uint64_t latency_bucket_end_ns(const struct bench_latency *of, size_t bucket) {
  uint64_t end = bucket_end_ns(bucket);
  bool has_longest = bucket == LATENCY_BUCKETS - 1 || end > of->max_ns;
  return has_longest ? of->max_ns : end;
}

uint64_t latency_quantile_ns(const struct bench_latency *of, double share) {
  double wanted = share * (double)total(of);
  uint64_t seen = 0;
  for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
    seen += of->count[i];
    if (seen != 0 && (double)seen >= wanted) {
      return latency_bucket_end_ns(of, i);
    }
  }
  return 0;
}

static uint64_t timer_cost_ns(void) {
  static struct bench_latency timer;
  for (int i = 0; i < 10000; i++) {
    uint64_t begin = latency_now_ns();
    latency_record(&timer, latency_now_ns() - begin);
  }
  return latency_quantile_ns(&timer, 0.5);
}

struct latency_summary latency_summarize(const struct bench_latency *of) {
  return (struct latency_summary){
      .calls = total(of),
      .p50_ns = latency_quantile_ns(of, 0.5),
      .p90_ns = latency_quantile_ns(of, 0.9),
      .p99_ns = latency_quantile_ns(of, 0.99),
      .p99_9_ns = latency_quantile_ns(of, 0.999),
      .p99_99_ns = latency_quantile_ns(of, 0.9999),
      .max_ns = of->max_ns,
      .timer_ns = timer_cost_ns(),
  };
}
