/* trace_emit: see trace_emit.h. */
#define _GNU_SOURCE
#include "trace_emit.h"

#include <errno.h>
#include <signal.h>

/* A full ring that does not move for so long is given up. Arbitrary: far above what a stopped or
 * starved packer needs to get on, and short enough for who waits. */
#define STALL_NS UINT64_C(10000000000)

static struct trace_state state_off;
struct trace_state *_Atomic trace_state = &state_off;
_Thread_local struct trace_local trace_local;

static _Atomic unsigned thread_count;

static unsigned thread_id(void) {
  if (trace_local.id_plus_1 == 0) {
    trace_local.id_plus_1 = atomic_fetch_add(&thread_count, 1) % TRACE_THREADS + 1;
  }
  return trace_local.id_plus_1 - 1;
}

bool trace_packer_is_gone(struct trace_ring *ring) {
  if ((atomic_load(&ring->packer_life) & FUTEX_OWNER_DIED) != 0) return true;
  pid_t pid = (pid_t)atomic_load(&ring->packer_pid);
  return pid != 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

static void packer_wake(struct trace_ring *ring) {
  atomic_fetch_add(&ring->wake, 1);
  ring_wake(&ring->wake);
}

void trace_stop(struct trace_ring *ring, enum trace_end why) {
  uint64_t unset_ns = 0;
  uint32_t none = 0;
  atomic_compare_exchange_strong(&ring->end_ns, &unset_ns, ring_now_ns());
  atomic_compare_exchange_strong(&ring->end, &none, why);
  atomic_store(&atomic_load(&trace_state)->ring, NULL);
  packer_wake(ring);
}

static bool has_room(struct trace_ring *ring, uint64_t ticket) {
  return ticket - atomic_load_explicit(&ring->tail, memory_order_acquire) < RING_SLOTS;
}

/* False: there will be none. */
static bool room_wait(struct trace_ring *ring, uint64_t ticket) {
  uint64_t last_tail = 0, moved_ns = ring_now_ns();
  atomic_fetch_add(&ring->waiters, 1);
  bool is_on = true;
  while (is_on && !has_room(ring, ticket)) {
    uint32_t seen = atomic_load(&ring->moves);
    uint64_t tail = atomic_load(&ring->tail), now_ns = ring_now_ns();
    if (tail != last_tail) {
      last_tail = tail;
      moved_ns = now_ns;
    }
    if (atomic_load(&ring->end) != 0 || atomic_load(&ring->stage) != RING_READY) {
      is_on = false;
    } else if (now_ns - moved_ns > STALL_NS || trace_packer_is_gone(ring)) {
      is_on = false;
    } else if (!has_room(ring, ticket)) {
      packer_wake(ring);
      ring_wait(&ring->moves, seen);
    }
  }
  atomic_fetch_sub(&ring->waiters, 1);
  return is_on;
}

/* The cold part of trace_emit, and all of it that calls the system. */
static bool room_get(struct trace_ring *ring, uint64_t ticket) {
  int saved_errno = errno;
  bool has = room_wait(ring, ticket);
  if (!has) trace_stop(ring, TRACE_END_STALLED);
  errno = saved_errno;
  return has;
}

static void record_put(struct trace_ring *ring, uint64_t ticket, struct trace_record record) {
  struct trace_slot *slot = &ring->slot[ticket % RING_SLOTS];
  atomic_store_explicit(&slot->where, record.where, memory_order_relaxed);
  atomic_store_explicit(&slot->what, record.what, memory_order_release); /* with ring_take's load */
}

void trace_emit(enum trace_kind kind, unsigned align_log2, const void *address, uint64_t bytes) {
  struct trace_state *state = atomic_load_explicit(&trace_state, memory_order_acquire);
  struct trace_ring *ring = atomic_load_explicit(&state->ring, memory_order_acquire);
  if (ring == NULL) return;
  /* Relaxed is enough for the order that matters: where one call happens before another, so do
   * their tickets, as all operations on one atomic agree with happens-before. */
  uint64_t ticket = atomic_fetch_add_explicit(&ring->head, 1, memory_order_relaxed);
  if (ticket >= ring->max_records) {
    int saved_errno = errno;
    trace_stop(ring, TRACE_END_BOUND);
    errno = saved_errno;
    return;
  }
  if (!has_room(ring, ticket) && !room_get(ring, ticket)) return;
  record_put(ring, ticket,
             trace_record_make(kind, align_log2, thread_id(), (uintptr_t)address, bytes));
  if (ticket % RING_WAKE_EVERY == RING_WAKE_EVERY - 1) {
    int saved_errno = errno;
    packer_wake(ring);
    errno = saved_errno;
  }
  if (ticket % ring->header.clock_every == 0 && kind != TRACE_CLOCK) {
    trace_emit(TRACE_CLOCK, 0, NULL, ring_now_ns() - ring->start_ns);
  }
}
