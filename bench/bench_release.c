/* bench_release: what becomes of memory once it is free. Each thread makes --count objects of --min
 * to --max bytes and writes all of each, then frees them in the order they came, but one of each
 * --keep if that is not 0: one at random, or with --regular the first. Then it lets --wait-ms go
 * by, replacing a small object each millisecond (--after work: 1,020 in a second) or calling
 * nothing of the allocator (--after nothing); or it calls malloc_trim(0) at once (--after trim).
 * RSS at the end is that of this moment; rss_filled_bytes that when all objects were live. The
 * program's own table of those that are freed is given back before. With --ops or --seconds there
 * are more rounds, each of which frees first what the last one kept. An operation is one object. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench_common.h"
#include "bench_latency.h"

#define SMALL_PER_SECOND 1020u
#define SMALL_OBJECTS 60u /* live ones, and so many kinds of them; arbitrary */
#define NS_PER_SECOND 1000000000u

enum after { AFTER_WORK, AFTER_NOTHING, AFTER_TRIM };

static uint64_t count = 400000, keep, regular, after, wait_ms = 1000;
static uint64_t filled_bytes; /* thread 0 */
static struct worker {
  BENCH_OWN_LINES unsigned char **objects; /* `kept` of them from the last round, then nothing */
  unsigned char *small[SMALL_OBJECTS];
  uint64_t kept, random;
} workers[BENCH_THREADS_MAX];

static void sleep_ns(uint64_t ns) {
  struct timespec left = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                          .tv_nsec = (long)(ns % NS_PER_SECOND)};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->objects = bench_map(count * sizeof *w->objects);
  w->random = bench_seed(bench_options.seed, thread);
}

LATENCY_LOOP void objects_make(struct worker *w, bool is_timed) {
  for (uint64_t i = 0; i < w->kept; i++) {
    bench_free(w->objects[i], is_timed);
  }
  for (uint64_t i = 0; i < count; i++) {
    size_t bytes =
        bench_size(bench_random(&w->random), bench_options.min_bytes, bench_options.max_bytes);
    w->objects[i] = bench_malloc(bytes, is_timed);
    memset(w->objects[i], 1, bytes);
  }
}

LATENCY_LOOP void objects_free(struct worker *w, bool is_timed) {
  uint64_t next_kept = count;
  w->kept = 0;
  for (uint64_t i = 0; i < count; i++) {
    if (keep != 0 && i % keep == 0) {
      next_kept =
          i + (regular ? 0 : bench_scale((uint32_t)bench_random(&w->random), (uint32_t)keep));
    }
    if (i != next_kept) {
      bench_free(w->objects[i], is_timed);
    } else {
      w->objects[w->kept++] = w->objects[i];
    }
  }
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t rest = ((uintptr_t)(w->objects + w->kept) + page - 1) / page * page;
  uintptr_t end = (uintptr_t)(w->objects + count);
  if (rest < end) {
    /* Refused only for locked memory; then the table stays in the figure. */
    (void)madvise((void *)rest, end - rest, MADV_DONTNEED);
  }
}

LATENCY_LOOP uint64_t small_work(struct worker *w, bool is_timed) {
  uint64_t made = SMALL_PER_SECOND * wait_ms / 1000;
  for (uint64_t i = 0; i < made; i++) {
    unsigned char **slot = &w->small[i % SMALL_OBJECTS];
    bench_free(*slot, is_timed);
    *slot = bench_touch(bench_malloc(16 + i % SMALL_OBJECTS * 16, is_timed), 16);
    sleep_ns(NS_PER_SECOND / SMALL_PER_SECOND);
  }
  return made;
}

LATENCY_LOOP uint64_t round_run(struct worker *w, bool is_timed) {
  objects_make(w, is_timed);
  if (w == workers) {
    filled_bytes = bench_rss_bytes();
  }
  objects_free(w, is_timed);
  if (after == AFTER_WORK) {
    return count + small_work(w, is_timed);
  }
  if (after == AFTER_NOTHING) {
    sleep_ns(wait_ms * (NS_PER_SECOND / 1000));
  } else {
    (void)malloc_trim(0); /* whether there was something, RSS says */
  }
  return count;
}

/* One round a thread, or as many as the budget says, which counts them by the objects. */
static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  bool is_one = bench_options.ops == 0 && bench_options.seconds_ns == 0;
  while (is_one ? done == 0 : bench_take(count) != 0) {
    done += LATENCY_EITHER(round_run, &workers[thread]);
  }
  if (thread == 0) {
    bench_record_add("rss_filled_bytes", filled_bytes);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--count", BENCH_NUMBER, &count, 1, 100000000, NULL},
      {"--keep", BENCH_NUMBER, &keep, 0, 100000000, NULL},
      {"--regular", BENCH_SWITCH, &regular, 0, 0, NULL},
      {"--after", BENCH_CHOICE, &after, 0, 0, "work|nothing|trim"},
      {"--wait-ms", BENCH_NUMBER, &wait_ms, 1, 3600000, NULL},
  };
  const struct bench_program program = {
      .name = "bench_release",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .min_bytes = 1000,
      .max_bytes = 1000,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
