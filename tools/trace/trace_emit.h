/* trace_emit.h: puts records into the ring.
 *
 * Nothing here allocates or takes a lock. A signal handler may come between any two instructions
 * and record as well; only where the ring is full, and its next record is the one that the handler
 * interrupted, does it wait in vain, and then recording ends after STALL_NS (trace_emit.c). */
#ifndef TRACE_EMIT_H
#define TRACE_EMIT_H

#include "trace_ring.h"

/* One page of its own that the kernel empties in a forked child: children are not recorded. */
struct trace_state {
  _Atomic(struct trace_ring *) ring; /* NULL: nothing is recorded, or nothing more */
  struct trace_ring *whole;          /* stays when recording ends; written before `ring` */
};
extern struct trace_state *_Atomic trace_state; /* never NULL */

struct trace_local {
  unsigned id_plus_1; /* 0: has recorded nothing yet */
  void *had;          /* what the latest call that gave memory gave */
  void *freeing;      /* what is being freed */
};
extern _Thread_local struct trace_local trace_local;

/* Reads the environment, starts the packer and begins to record; without HAKMEM_TRACE nothing.
 * Failure: one line on stderr. Does so once; before the C library has an environment, nothing. */
void trace_start(void);

void trace_emit(enum trace_kind kind, unsigned align_log2, const void *address, uint64_t bytes);

/* Ends recording; the first reason stays. */
void trace_stop(struct trace_ring *ring, enum trace_end why);

/* The packer does not exist any more: killed, or done. */
bool trace_packer_is_gone(struct trace_ring *ring);

/* The exponent of the least power of two that is not below the alignment. */
static inline unsigned trace_log2_up(uint64_t align) {
  return align <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(align - 1);
}

static inline bool trace_is_on(void) {
  struct trace_state *state = atomic_load_explicit(&trace_state, memory_order_acquire);
  return atomic_load_explicit(&state->ring, memory_order_relaxed) != NULL;
}

/* The address has been had anew, or given back: from here on it is another object. A signal handler
 * may have done so within a call of the program's that then gives, or has freed, the same address.
 */
static inline void trace_anew(const void *object) {
  if (trace_local.freeing == object) trace_local.freeing = NULL;
}
static inline void trace_gone(const void *object) {
  if (trace_local.had == object) trace_local.had = NULL;
}

/* Around a call that gives memory. What the next allocator's function gives by calling a function
 * that is wrapped here as well (libstdc++'s operator new calls malloc) is recorded there only. */
static inline void trace_before_had(void) { trace_local.had = NULL; }
static inline void *trace_had(enum trace_kind kind, unsigned align_log2, void *object,
                              uint64_t bytes) {
  bool is_recorded = object != NULL && trace_local.had == object;
  trace_local.had = object;
  trace_anew(object);
  if (trace_is_on() && !is_recorded) {
    trace_emit(kind, align_log2, object, bytes);
  }
  return object;
}

/* Around a call that frees; likewise. Returns what trace_freed wants. */
static inline void *trace_before_free(void *object) {
  void *outer = trace_local.freeing;
  if (trace_is_on() && (object == NULL || outer != object)) {
    trace_emit(TRACE_FREE, 0, object, 0);
  }
  trace_local.freeing = object;
  trace_gone(object);
  return outer;
}
static inline void trace_freed(void *outer) { trace_local.freeing = outer; }

#endif
