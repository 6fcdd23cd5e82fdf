/* unit_clock.h — the exact clock is the test's own: it stands still, or goes on by so much whenever
 * the library reads it. In libc's place, for the whole program. */
#ifndef UNIT_CLOCK_H
#define UNIT_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic(uint64_t) clock_step_us;
static _Atomic(uint64_t) clock_us = 1000000;

int clock_gettime(clockid_t clock, struct timespec *out) {
  if (clock != CLOCK_MONOTONIC) return (int)syscall(SYS_clock_gettime, clock, out);
  uint64_t now_us = atomic_fetch_add(&clock_us, clock_step_us) + clock_step_us;
  out->tv_sec = (time_t)(now_us / 1000000);
  out->tv_nsec = (long)(now_us % 1000000 * 1000);
  return 0;
}

#endif
