/* base_atomic.h — the only spelling of atomics in the tree.
 * Owns: relaxed, acquire, release and seq_cst accesses over plain _Atomic objects.
 * A use that is not relaxed says at the call what it pairs with.
 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdatomic.h>

#include "base_attr.h"

#define load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define load_seq(p) atomic_load_explicit((p), memory_order_seq_cst)
#define store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define store_seq(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)
#define swap_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define swap_seq(p, v) atomic_exchange_explicit((p), (v), memory_order_seq_cst)
#define add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define add_release(p, v) atomic_fetch_add_explicit((p), (v), memory_order_release)
#define add_seq(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define sub_seq(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst)
#define or_acq_rel(p, v) atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)
#define and_acq_rel(p, v) atomic_fetch_and_explicit((p), (v), memory_order_acq_rel)
/* On failure *expected holds the value seen. */
#define cas_acq_rel(p, expected, v)                                                                \
  atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acq_rel,              \
                                          memory_order_acquire)
#define cas_seq(p, expected, v)                                                                    \
  atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_seq_cst,              \
                                          memory_order_seq_cst)

/* A counter with one writer at a time (under a lock, or the owner thread) and readers anywhere. */
#define bump_relaxed(p, v) store_relaxed((p), load_relaxed(p) + (v))

/* The same for a pointer into an array, one element up or down: one instruction where there is
 * such.
 */
HAK_INLINE void step_up_relaxed(_Atomic(void **) *p) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  __asm__("addq %1, %0" : "+m"(*(void ***)p) : "i"(sizeof(void *)) : "cc");
#else
  bump_relaxed(p, 1);
#endif
}
HAK_INLINE void step_down_relaxed(_Atomic(void **) *p) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  __asm__("subq %1, %0" : "+m"(*(void ***)p) : "i"(sizeof(void *)) : "cc");
#else
  bump_relaxed(p, -1);
#endif
}

/* For a signal handler of this thread, what was stored before comes before what is stored after. */
HAK_INLINE void signal_fence(void) { atomic_signal_fence(memory_order_release); }
/* The same for loads too, both ways. */
HAK_INLINE void signal_fence_full(void) { atomic_signal_fence(memory_order_seq_cst); }

HAK_INLINE void cpu_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
