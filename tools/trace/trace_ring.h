/* trace_ring.h: the memory that the traced program and hakmem-trace-pack share.
 *
 * The program's threads take tickets (head), write their record into slot ticket % RING_SLOTS and
 * so never wait for one another; the order of the tickets is the order of the trace. The packer
 * takes the records out, empties the slots and moves tail on. Every field says who writes it.
 * The words that are waited on are futexes, shared between the two processes. */
#ifndef TRACE_RING_H
#define TRACE_RING_H

#include "trace_format.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 4 MiB: what a thread that does nothing but malloc and free writes in about 10 ms (measured),
 * which is longer than the packer takes for a frame. A power of two. */
#define RING_SLOTS (UINT64_C(1) << 18)
/* A producer wakes the packer each time it has filled this much; between, the packer looks by
 * itself. An eighth of the ring. */
#define RING_WAKE_EVERY (RING_SLOTS / 8)
/* How often who waits looks whether the other side still lives. Arbitrary. */
#define RING_LOOK_NS 50000000l

enum ring_stage { /* of the packer */
                  RING_STARTING,
                  RING_READY,    /* FILE is open and the program is watched */
                  RING_FINISHED, /* the trailer is written */
                  RING_FAILED,   /* failed_doing and failed_errno say how */
};

enum ring_step { /* what the packer could not do */
                 RING_STEP_NONE,
                 RING_STEP_EXEC,
                 RING_STEP_STAY,
                 RING_STEP_OPEN,
                 RING_STEP_WATCH,
                 RING_STEP_WRITE,
};

struct trace_slot {
  _Atomic uint64_t where, what; /* what != 0: the record is whole (release by its producer) */
};
static_assert(sizeof(struct trace_slot) == sizeof(struct trace_record), "a slot is a record");

struct trace_ring {
  /* The program, before the packer starts. */
  char path[4096]; /* what HAKMEM_TRACE says; the packer makes it the file's own name */
  uint64_t max_records;
  uint64_t start_ns; /* CLOCK_MONOTONIC */
  int program_pid;
  struct trace_header header;
  /* Either side. */
  _Alignas(64) _Atomic uint32_t stage; /* futex; the packer, or the child that cannot become it */
  _Atomic uint32_t failed_step, failed_errno;
  _Atomic uint32_t packer_pid;
  /* A robust futex: the packer's thread id; with FUTEX_OWNER_DIED, set by the kernel: it has ended.
   * Its process may be there for long after that, if nobody waits for it. */
  _Atomic uint32_t packer_life;
  _Alignas(64) _Atomic uint32_t end;  /* enum trace_end; 0: goes on. The program, once */
  _Atomic uint64_t end_ns;            /* CLOCK_MONOTONIC; before `end` */
  _Alignas(64) _Atomic uint64_t head; /* next ticket; producers */
  _Alignas(64) _Atomic uint32_t wake; /* futex: counts wishes to be looked after; producers */
  _Alignas(64) _Atomic uint64_t tail; /* all before are out and empty; the packer (release) */
  _Atomic uint32_t moves;             /* futex: counts moves of tail; the packer */
  _Atomic uint32_t waiters;           /* producers that wait for a move */
  _Alignas(4096) struct trace_slot slot[RING_SLOTS];
};

static inline uint64_t ring_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Until *word is no longer `seen`, at most RING_LOOK_NS; may return early. */
static inline void ring_wait(_Atomic uint32_t *word, uint32_t seen) {
  struct timespec most = {0, RING_LOOK_NS};
  syscall(SYS_futex, word, FUTEX_WAIT, seen, &most, NULL, 0);
}

static inline void ring_wake(_Atomic uint32_t *word) {
  syscall(SYS_futex, word, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
}

static inline void ring_stage_set(struct trace_ring *ring, enum ring_stage stage) {
  atomic_store(&ring->stage, stage);
  ring_wake(&ring->stage);
}

/* Of the packer's side: why there is no trace, or no more of it. */
static inline void ring_fail(struct trace_ring *ring, enum ring_step step, int error) {
  atomic_store(&ring->failed_errno, (uint32_t)error);
  atomic_store(&ring->failed_step, step);
  ring_stage_set(ring, RING_FAILED);
}

#endif
