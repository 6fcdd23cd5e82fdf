/* bench_common: what every benchmark program shares: the command line, clocks, memory, threads, the
 * record.
 *
 * The programs call malloc and free like any program would and know no allocator: the one that is
 * linked or preloaded serves them. Nothing here allocates between bench_parallel's start and the
 * reading of RSS, and its own memory comes from mmap, so that it weighs the same under every
 * allocator. Exit status: 0 good, 1 a target missed, 2 bad input; 1 and 2 with one line on stderr.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

/* One flag of a program's own, or a positional argument when the name has no dashes (in table
 * order).
 */
struct bench_flag {
  const char *name;
  enum bench_kind {
    BENCH_NUMBER,      /* a whole number in [least, most] */
    BENCH_BYTES,       /* the same; K, M and G behind it multiply by 1024, 1024^2, 1024^3 */
    BENCH_SECONDS,     /* a decimal number > 0; *value gets nanoseconds */
    BENCH_NANOSECONDS, /* a decimal number > 0; *value gets picoseconds */
    BENCH_CHOICE,      /* one of `choices`, separated by '|'; *value gets its index */
    BENCH_SWITCH,      /* takes no value; *value gets 1 */
    BENCH_TEXT,        /* any text; *value gets its address */
  } kind;
  uint64_t *value;
  uint64_t least, most;
  const char *choices;
};

/* What a program is called, takes and does where the command line says nothing. */
struct bench_program {
  const char *name;
  const struct bench_flag *flags; /* its own, beside the common ones of bench_flags.c */
  size_t flag_count;
  uint64_t threads;                 /* 0: the program derives it from flags of its own */
  uint64_t ops;                     /* 0: the program bounds a run without --ops and --seconds */
  uint64_t min_bytes, max_bytes;    /* sizes of objects */
  uint64_t least_bytes, most_bytes; /* what --min and --max may be; most_bytes 0: refused */
  bool starts_threads; /* in the timed part: cpu_ns is the process's then, whatever --threads is */
};

/* The values of the common flags. */
struct bench_options {
  uint64_t threads;
  uint64_t ops;                  /* 0: unbounded, then seconds_ns bounds the run */
  uint64_t seconds_ns;           /* 0: unbounded, then ops bounds the run */
  uint64_t min_bytes, max_bytes; /* sizes are drawn from one to the other, both included */
  uint64_t seed;
  uint64_t json;
  uint64_t latency;          /* time each call of malloc and free */
  uint64_t markers;          /* a marker system call before and after the timed part */
  uint64_t target_ps;        /* highest time an operation, in 1/1000 ns; 0: none */
  uint64_t target_rss_bytes; /* highest RSS at the end; 0: none */
};
extern struct bench_options bench_options;

#define BENCH_THREADS_MAX 2048u
/* Derived: bench_size scales 32 random bits to a range of sizes. */
#define BENCH_BYTES_MAX (UINT64_C(1) << 30)

/* For the first member of what one thread writes: no other thread's data is on its cache lines, nor
 * on those that the processor fetches along with them. */
#define BENCH_OWN_LINES _Alignas(128)

/* The option of prctl(2) that marks the timed part for `strace`: 1 begins it, 2 ends it. The kernel
 * knows no such option and refuses it with EINVAL, which is the point. */
#define BENCH_MARKER 0x48414bu
/* Makes that call if the run has --markers. */
void bench_marker_emit(unsigned long which);

#define BENCH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Reads the command line into bench_options and the program's own flags; prints usage and exits 0
 * on --help, exits 2 on anything that it does not know or that does not go together. `program` must
 * live as long as the run. */
void bench_parse(int argc, char **argv, const struct bench_program *program);

/* One line on stderr, exit 2. */
noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes what stdout still holds; exits 2, naming `what`, when not all of it could be written. */
void bench_output_end(const char *what);

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

/* Runs prepare(i) then, timed, work(i) for i < bench_options.threads, each i on a thread and a core
 * of its own (one thread: on the caller's); work returns the operations it did. Then reads the
 * clocks and memory, while all threads still live, and prints the record. cpu_ns is thread CPU time
 * for one thread, process CPU time for more. Returns the program's exit status. */
__attribute__((warn_unused_result)) int bench_parallel(void (*prepare)(unsigned index),
                                                       uint64_t (*work)(unsigned index));

/* Runs `run` on a new thread and waits for its end; its latencies are recorded as the caller's. */
void bench_on_new_thread(void (*run)(void *), void *argument);

/* RSS now, in bytes, as the kernel counts it. Not from two threads at once. */
uint64_t bench_rss_bytes(void);

/* Adds `"name":value` to the record, or a line to the words; 4 at most. `name` must live on. */
void bench_record_add(const char *name, uint64_t value);

/* Set by a program that has more to say than that: called last, before the JSON record's closing
 * brace, or after the lines of words. May allocate. */
extern void (*bench_record_more)(void);

/* Leaves out of the record what the calling thread spends between the two: its CPU time, its page
 * faults, and where `is_alone`, as no other thread works meanwhile, the wall-clock time. */
struct bench_pause {
  uint64_t cpu_ns, wall_ns, faults;
};
struct bench_pause bench_pause_begin(void);
void bench_pause_end(struct bench_pause begin, bool is_alone);

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

/* The same from --min to --max. */
static inline size_t bench_draw_size(uint64_t draw) {
  return bench_size(draw, bench_options.min_bytes, bench_options.max_bytes);
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
