/* bench_record: what a run measured, and how it is told: one line of words, or of JSON by --json.
 *
 * bench_common.c reads the clocks around the timed part; this reads memory, finds out which
 * allocator served the program, prints, and holds the result against the targets. For the files of
 * bench_common only; a program adds numbers of its own by bench_record_add. */
#ifndef BENCH_RECORD_H
#define BENCH_RECORD_H

#include <stdint.h>

#include "bench_common.h"

/* What bench_parse was given. */
struct record_command {
  const struct bench_program *program;
  int arg_count;
  char **args;
};
extern struct record_command record_command;

struct record_reading {
  uint64_t cpu_ns, wall_ns, faults;
};

struct record_reading record_read(void);

/* The highest RSS so far, in bytes: no less than any that bench_rss_bytes has answered. Not from
 * two threads at once. */
uint64_t record_rss_peak_bytes(void);

/* The library whose malloc and free this process calls: the proof that a preload took over, or that
 * an archive is linked in, which no preload replaces. */
void record_allocator_name(char *name, size_t size);

/* The calling thread, the run's thread-th, records latencies from here on, if the run asks for
 * them. */
void record_latency_begin(unsigned thread);

/* While all threads still live. Prints the record of `ops` operations between two readings, and one
 * line on stderr when a target is missed. Returns the exit status. */
int record_finish(uint64_t ops, struct record_reading begin, struct record_reading end);

#endif
