/* bench_common: what every benchmark program shares: flags, clocks, memory, threads, the result
 * line.
 *
 * The programs call malloc and free like any program would and know no allocator: the one that is
 * preloaded serves them. Nothing here allocates between bench_parallel's start and the reading of
 * RSS, and its own memory comes from mmap, so that it weighs the same under every allocator.
 * Exit status: 0 good, 2 bad input, with one line on stderr. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

/* One accepted flag, or a positional argument when the name has no dashes (in table order). */
struct bench_flag {
  const char *name;
  enum bench_kind {
    BENCH_NUMBER,  /* a whole number in [least, most] */
    BENCH_SECONDS, /* a decimal number > 0; *value gets nanoseconds */
    BENCH_CHOICE,  /* one of `choices`, separated by '|'; *value gets its index */
    BENCH_SWITCH,  /* takes no value; *value gets 1 */
    BENCH_TEXT,    /* any text; *value gets its address */
  } kind;
  uint64_t *value;
  uint64_t least, most;
  const char *choices;
};

/* The flags that all programs take: rows for the table, filled into bench_common_options. */
struct bench_options {
  uint64_t threads;
  uint64_t ops;        /* 0: unbounded, then seconds_ns bounds the run */
  uint64_t seconds_ns; /* 0: unbounded, then ops bounds the run */
  uint64_t json;
  uint64_t
      latency; /* time each call of malloc and free; programs that cannot do not take the flag */
  uint64_t markers; /* a marker system call before and after the timed part */
};
extern struct bench_options bench_options;

#define BENCH_THREADS_MAX 256u
#define BENCH_COMMON_FLAGS                                                                         \
  {"--ops", BENCH_NUMBER, &bench_options.ops, 1, UINT64_C(1) << 48, NULL},                         \
      {"--seconds", BENCH_SECONDS, &bench_options.seconds_ns, 0, 0, NULL},                         \
      {"--json", BENCH_SWITCH, &bench_options.json, 0, 0, NULL}, {                                 \
    "--markers", BENCH_SWITCH, &bench_options.markers, 0, 0, NULL                                  \
  }
#define BENCH_LATENCY_FLAG                                                                         \
  { "--latency", BENCH_SWITCH, &bench_options.latency, 0, 0, NULL }
#define BENCH_THREADS_FLAG                                                                         \
  { "--threads", BENCH_NUMBER, &bench_options.threads, 1, BENCH_THREADS_MAX, NULL }

/* The option of prctl(2) that marks the timed part for `strace`: 1 begins it, 2 ends it. The kernel
 * knows no such option and refuses it with EINVAL, which is the point. */
#define BENCH_MARKER 0x48414bu

#define BENCH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads the command line into the flags' values; prints usage and exits 0 on --help, exits 2 on
 * anything it does not know. `program` names the benchmark in every later message. */
void bench_parse(int argc, char **argv, const char *program, const struct bench_flag *flags,
                 size_t flag_count);

/* Sizes are drawn from --min to --max: exits 2 when that is empty. */
void bench_sizes_check(uint64_t min_bytes, uint64_t max_bytes);

/* A run that neither --ops nor --seconds bounds does so many operations. */
void bench_ops_default(uint64_t ops);

/* One line on stderr, exit 2. */
noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory that is not the allocator's; exits 2 when there is none. Never given back. */
void *bench_map(size_t bytes);

/* A number from the environment, or `otherwise` when unset; exits 2 when it is no number. */
uint64_t bench_env_number(const char *name, uint64_t otherwise);

/* Takes the next `chunk` operations out of the run's common budget (bench_options.ops) and returns
 * how many to do, 0 when the budget or the time is used up. Any thread, after the start. */
uint64_t bench_take(uint64_t chunk);

/* What most programs' work is: take chunk after chunk of the budget and have `visit` do it. Returns
 * the operations done. */
uint64_t bench_chunks(unsigned thread, uint64_t chunk,
                      void (*visit)(unsigned thread, uint64_t ops));

/* Runs prepare(i) then, timed, work(i) for i < threads, each i on a thread and a core of its own
 * (one thread: on the caller's); work returns the operations it did. Then reads the clocks and
 * memory, while all threads still live, and prints the result. cpu_ns is thread CPU time for one
 * thread, process CPU time for more. */
void bench_parallel(unsigned threads, void (*prepare)(unsigned index),
                    uint64_t (*work)(unsigned index));

/* Leaves out of the result what the calling thread spends between the two: its CPU time, its page
 * faults, and where `is_alone`, as no other thread works meanwhile, the wall-clock time. */
struct bench_pause {
  uint64_t cpu_ns, wall_ns, faults;
};
struct bench_pause bench_pause_begin(void);
void bench_pause_end(struct bench_pause begin, bool is_alone);

/* What smaps_rollup says now. One thread at a time. */
uint64_t bench_rss_bytes(void);

/* Set by a program that has more to say: called last, before the JSON record's closing brace, or
 * after the lines for people. May allocate. */
extern void (*bench_result_more)(void);

/* xorshift64: three shifts a draw, no multiplication; the state must not be 0. */
static inline uint64_t bench_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

/* A draw's low 32 bits, scaled to [0, bound) without a division. */
static inline size_t bench_scale(uint32_t draw, uint32_t bound) {
  return (size_t)(((uint64_t)draw * bound) >> 32);
}

/* A size from least to most, from a draw's low 32 bits. */
static inline size_t bench_size(uint64_t draw, uint64_t least, uint64_t most) {
  return least + bench_scale((uint32_t)draw, (uint32_t)(most - least + 1));
}

/* A state for bench_random that differs for each (seed, stream): one splitmix64 step. */
static inline uint64_t bench_seed(uint64_t seed, uint64_t stream) {
  uint64_t z = seed * UINT64_C(0x9e3779b97f4a7c15) + (stream + 1) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 30)) * UINT64_C(0x94d049bb133111eb);
  z ^= z >> 31;
  return z != 0 ? z : 1;
}

/* Writes the first and the last byte of a new object, as a program would; exits 2 when there is
 * none. */
static inline void *bench_touch(void *object, size_t bytes) {
  unsigned char *byte = object;
  if (__builtin_expect(byte == NULL, 0)) {
    bench_fail("out of memory: no %zu bytes", bytes);
  }
  byte[0] = (unsigned char)bytes;
  byte[bytes - 1] = (unsigned char)bytes;
  return object;
}

#endif
