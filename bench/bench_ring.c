/* bench_ring: see bench_ring.h. */
#include "bench_ring.h"

#include <sched.h>
#include <stdatomic.h>

#include "bench_common.h"

/* Arbitrary: looks at a batch's turn, some 5 microseconds, before the core is given to another. */
#define SPINS_BEFORE_YIELD 256u

/* The batch of ticket t may be filled when its turn is t, drained when its turn is t + 1, and then
 * is ticket t + ring_batches's. */
static struct ring_batch *ring;
static uint64_t ring_batches, backlog_batches;
static BENCH_OWN_LINES _Atomic uint64_t fill_ticket;
static BENCH_OWN_LINES _Atomic uint64_t drain_ticket;
/* When 0, fill_ticket is final and all batches below it are filled. */
static BENCH_OWN_LINES _Atomic uint64_t fillers_left;

void ring_open(uint64_t fillers, uint64_t backlog) {
  backlog_batches = backlog;
  ring_batches = backlog + RING_MOVING_BATCHES;
  ring = bench_map(ring_batches * sizeof *ring);
  for (uint64_t i = 0; i < ring_batches; i++) {
    ring[i].turn = i;
  }
  fillers_left = fillers;
}

static struct ring_batch *batch_of(uint64_t ticket) { return &ring[ticket % ring_batches]; }

static uint64_t turn_of(uint64_t ticket) {
  return atomic_load_explicit(&batch_of(ticket)->turn, memory_order_acquire);
}

static void spin_or_yield(unsigned spins) {
  if (spins >= SPINS_BEFORE_YIELD) {
    sched_yield();
  } else {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
}

struct ring_batch *ring_fill_begin(void) {
  uint64_t ticket = atomic_fetch_add(&fill_ticket, 1);
  for (unsigned spins = 0; turn_of(ticket) != ticket; spins++) {
    spin_or_yield(spins);
  }
  struct ring_batch *batch = batch_of(ticket);
  batch->ticket = ticket;
  return batch;
}

void ring_fill_end(struct ring_batch *batch) {
  atomic_store_explicit(&batch->turn, batch->ticket + 1, memory_order_release);
}

void ring_filler_leave(void) { atomic_fetch_sub(&fillers_left, 1); }

struct ring_batch *ring_drain_begin(void) {
  uint64_t ticket = atomic_fetch_add(&drain_ticket, 1), ahead = ticket + backlog_batches;
  for (unsigned spins = 0; turn_of(ticket) != ticket + 1 || turn_of(ahead) <= ahead; spins++) {
    if (atomic_load(&fillers_left) == 0) {
      if (ahead >= atomic_load(&fill_ticket)) {
        return NULL;
      }
      break;
    }
    spin_or_yield(spins);
  }
  return batch_of(ticket);
}

void ring_drain_end(struct ring_batch *batch) {
  atomic_store_explicit(&batch->turn, batch->ticket + ring_batches, memory_order_release);
}
