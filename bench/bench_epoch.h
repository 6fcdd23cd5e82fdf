/* bench_epoch: a benchmark that runs for hours and prints one line of numbers an epoch, while its
 * objects live on from one epoch to the next.
 *
 * The lines are JSON: a head line (what runs, on which allocator), then a line an epoch. They are
 * made in static memory and written by write(2): reporting takes nothing from the allocator that is
 * measured. An epoch has three slices: the empty loop (random draws alone: the machine's own
 * speed), operations timed one by one, and the operations of which there are ops/s and CPU time. */
#ifndef BENCH_EPOCH_H
#define BENCH_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

/* --epoch-seconds; 0: the run has no epochs. */
extern uint64_t bench_epoch_ns;
#define BENCH_EPOCH_FLAG                                                                           \
  { "--epoch-seconds", BENCH_SECONDS, &bench_epoch_ns, 0, 0, NULL }

/* Runs prepare(0), then epochs of bench_epoch_ns for as long as bench_options.seconds_ns is not
 * over (the last one is whole, too). visit(0, ops, is_timed) does so many operations, about a
 * millisecond of them, and times each call if told to. SIGINT and SIGTERM end the run after the
 * visit under way; the unfinished epoch is not printed. Returns the exit status: 0, or 128 and the
 * signal's number. */
int bench_epochs_run(const char *program, void (*prepare)(unsigned thread),
                     void (*visit)(unsigned thread, uint64_t ops, bool is_timed));

#endif
