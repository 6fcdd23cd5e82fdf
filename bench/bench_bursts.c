/* bench_bursts: a service with bursts of load. Each thread fills --mib MiB with objects of --min to
 * --max bytes, frees 95 % of them at random, then idles for --idle-ms, with a few small objects
 * replaced each millisecond; again and again, all threads in step. What is resident at the end of
 * the last idle time, `rss_idle_bytes` in the record, is what the allocator held on to; then the
 * rest of the burst is freed and the run ends. An operation is one object, from its malloc to its
 * free. The wall time is mostly idle: judge by CPU time, faults and memory. */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "bench_heap.h"
#include "bench_slots.h"

/* Arbitrary: a heartbeat, a log line. */
#define TRICKLE_OBJECTS 64u
#define TRICKLE_OPS_PER_MS 10u
#define TRICKLE_BYTES_MAX 128u

static uint64_t mib = 64, idle_ms = 50;
static pthread_barrier_t in_step;
static bool is_over; /* thread 0 writes it between two barriers */

struct worker {
  struct bench_heap burst;
  struct bench_slots trickle;
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP unsigned char *small_new(uint64_t draw, bool is_timed) {
  size_t bytes = bench_size(draw, 1, TRICKLE_BYTES_MAX);
  return bench_touch(bench_malloc(bytes, is_timed), bytes);
}

static void millisecond_sleep(void) {
  struct timespec left = {.tv_nsec = 1000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

LATENCY_LOOP uint64_t burst_run(struct worker *w, bool is_timed) {
  uint64_t made =
      heap_fill(&w->burst, mib << 20, bench_options.min_bytes, bench_options.max_bytes, is_timed);
  heap_thin(&w->burst, 100 - HEAP_KEPT_PERCENT, is_timed);
  for (uint64_t i = 0; i < idle_ms; i++) {
    millisecond_sleep();
    slots_replace(&w->trickle, TRICKLE_OPS_PER_MS, small_new, is_timed);
  }
  return made + idle_ms * TRICKLE_OPS_PER_MS;
}

static void prepare(unsigned thread) {
  heap_init(&workers[thread].burst, mib << 20, bench_options.min_bytes, thread);
  slots_fill(&workers[thread].trickle, TRICKLE_OBJECTS, BENCH_THREADS_MAX + thread, small_new);
}

/* Whether there is to be another burst: the same for all threads. The budget counts bursts by what
 * they will about make. */
static bool burst_next(unsigned thread) {
  pthread_barrier_wait(&in_step);
  if (thread == 0) {
    is_over = bench_take(heap_about(mib << 20) * bench_options.threads) == 0;
    if (is_over) {
      bench_record_add("rss_idle_bytes", bench_rss_bytes());
    }
  }
  pthread_barrier_wait(&in_step);
  return !is_over;
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  while (burst_next(thread)) {
    done += LATENCY_EITHER(burst_run, &workers[thread]);
  }
  LATENCY_EITHER(heap_thin, &workers[thread].burst, 100);
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--mib", BENCH_NUMBER, &mib, 1, HEAP_MIB_MAX, NULL},
      {"--idle-ms", BENCH_NUMBER, &idle_ms, 1, 3600000, NULL},
  };
  const struct bench_program program = {
      .name = "bench_bursts",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 1000000,
      .min_bytes = 16,
      .max_bytes = 1024,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  pthread_barrier_init(&in_step, NULL, (unsigned)bench_options.threads);
  return bench_parallel(prepare, work);
}
