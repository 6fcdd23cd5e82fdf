/* mutant_atomic.h — base_atomic.h for unit tests of which one atomic access is changed: included
 * before each source by the build, it takes its place. The accesses are real, and so are threads
 * and the os layer; mutants.py says which one goes wrong.
 */
#ifndef MUTANT_ATOMIC_H
#define MUTANT_ATOMIC_H

#define BASE_ATOMIC_H

#include <stdatomic.h>

#include "base_attr.h"

/* The macros below nest, each with variables of its own. */
#pragma GCC diagnostic ignored "-Wshadow"

/* An access of the source; all of them lie side by side in a section, which the script reads. */
struct mutant_place {
  const char *file;
  const char *access;
  const char *operand; /* tells accesses of one line apart */
  long line;
};

enum { MUTANT_NO_LINE = -1 };
extern long mutant_line;
extern unsigned long mutant_bits; /* that a load gives: all 0 or all 1 */
_Bool mutant_is_here(const struct mutant_place *at);
/* Between the two halves of a read-modify-write that falls apart. */
void mutant_window(void);

#define MUTANT_IS(access, operand)                                                                 \
  __extension__({                                                                                  \
    static const struct mutant_place at_ __attribute__((section("mutant_places"), aligned(8))) = { \
        __FILE__, access, operand, __LINE__};                                                      \
    HAK_UNLIKELY(mutant_line == __LINE__) && mutant_is_here(&at_);                                 \
  })
#define MUTANT_TYPE(p) __typeof__(((void)0, *(p)))
#define MUTANT_LOAD(p, order, access, operand)                                                     \
  (MUTANT_IS(access, operand) ? (MUTANT_TYPE(p))mutant_bits : atomic_load_explicit((p), (order)))
#define MUTANT_STORE(p, v, order, access, operand)                                                 \
  __extension__({                                                                                  \
    MUTANT_TYPE(p) v_ = (v);                                                                       \
    if (!MUTANT_IS(access, operand)) atomic_store_explicit((p), v_, (order));                      \
  })
/* Counters: it is not counted. */
#define MUTANT_COUNT(p, step, access, operand)                                                     \
  (MUTANT_IS(access, operand) ? atomic_load_explicit((p), memory_order_relaxed) : (step))
/* The two halves of one that falls apart, `new_` from `old_`. */
#define MUTANT_RMW(p, whole, next, access, operand)                                                \
  __extension__({                                                                                  \
    MUTANT_TYPE(p) old_;                                                                           \
    if (MUTANT_IS(access, operand)) {                                                              \
      old_ = atomic_load_explicit((p), memory_order_acquire);                                      \
      mutant_window();                                                                             \
      atomic_store_explicit((p), (next), memory_order_release);                                    \
    } else {                                                                                       \
      old_ = (whole);                                                                              \
    }                                                                                              \
    old_;                                                                                          \
  })
#define MUTANT_CAS(p, expected, v, order, if_not, access, operand)                                 \
  __extension__({                                                                                  \
    _Bool is_done_;                                                                                \
    if (MUTANT_IS(access, operand)) {                                                              \
      MUTANT_TYPE(p) old_ = atomic_load_explicit((p), memory_order_acquire);                       \
      is_done_ = old_ == *(expected);                                                              \
      mutant_window();                                                                             \
      if (is_done_) {                                                                              \
        atomic_store_explicit((p), (v), memory_order_release);                                     \
      } else {                                                                                     \
        *(expected) = old_;                                                                        \
      }                                                                                            \
    } else {                                                                                       \
      is_done_ = atomic_compare_exchange_strong_explicit((p), (expected), (v), (order), (if_not)); \
    }                                                                                              \
    is_done_;                                                                                      \
  })

#define load_relaxed(p) MUTANT_LOAD(p, memory_order_relaxed, "load_relaxed", #p)
#define load_acquire(p) MUTANT_LOAD(p, memory_order_acquire, "load_acquire", #p)
#define load_seq(p) MUTANT_LOAD(p, memory_order_seq_cst, "load_seq", #p)
#define store_relaxed(p, v) MUTANT_STORE(p, v, memory_order_relaxed, "store_relaxed", #p)
#define store_release(p, v) MUTANT_STORE(p, v, memory_order_release, "store_release", #p)
#define store_seq(p, v) MUTANT_STORE(p, v, memory_order_seq_cst, "store_seq", #p)
#define swap_acq_rel(p, v)                                                                         \
  MUTANT_RMW(p, atomic_exchange_explicit((p), (v), memory_order_acq_rel), v, "swap_acq_rel", #p)
#define swap_seq(p, v)                                                                             \
  MUTANT_RMW(p, atomic_exchange_explicit((p), (v), memory_order_seq_cst), v, "swap_seq", #p)
#define or_acq_rel(p, v)                                                                           \
  MUTANT_RMW(p, atomic_fetch_or_explicit((p), (v), memory_order_acq_rel), old_ | (v),              \
             "or_acq_rel", #p)
#define and_acq_rel(p, v)                                                                          \
  MUTANT_RMW(p, atomic_fetch_and_explicit((p), (v), memory_order_acq_rel), old_ &(v),              \
             "and_acq_rel", #p)
#define add_relaxed(p, v)                                                                          \
  MUTANT_COUNT(p, atomic_fetch_add_explicit((p), (v), memory_order_relaxed), "add_relaxed", #p)
#define add_release(p, v)                                                                          \
  MUTANT_COUNT(p, atomic_fetch_add_explicit((p), (v), memory_order_release), "add_release", #p)
#define add_seq(p, v)                                                                              \
  MUTANT_COUNT(p, atomic_fetch_add_explicit((p), (v), memory_order_seq_cst), "add_seq", #p)
#define sub_seq(p, v)                                                                              \
  MUTANT_COUNT(p, atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst), "sub_seq", #p)
#define sub_relaxed(p, v)                                                                          \
  MUTANT_COUNT(p, atomic_fetch_sub_explicit((p), (v), memory_order_relaxed), "sub_relaxed", #p)
#define cas_acq_rel(p, expected, v)                                                                \
  MUTANT_CAS(p, expected, v, memory_order_acq_rel, memory_order_acquire, "cas_acq_rel", #p)
#define cas_seq(p, expected, v)                                                                    \
  MUTANT_CAS(p, expected, v, memory_order_seq_cst, memory_order_seq_cst, "cas_seq", #p)

#define MUTANT_STEP(p, v, access, operand)                                                         \
  (MUTANT_IS(access, operand)                                                                      \
       ? (void)0                                                                                   \
       : atomic_store_explicit((p), atomic_load_explicit((p), memory_order_relaxed) + (v),         \
                               memory_order_relaxed))
#define bump_relaxed(p, v) MUTANT_STEP(p, v, "bump_relaxed", #p)
#define step_up_relaxed(p) MUTANT_STEP(p, 1, "step_up_relaxed", #p)
#define step_down_relaxed(p) MUTANT_STEP(p, -1, "step_down_relaxed", #p)

HAK_INLINE void signal_fence(void) { atomic_signal_fence(memory_order_release); }
HAK_INLINE void signal_fence_full(void) { atomic_signal_fence(memory_order_seq_cst); }
HAK_INLINE void cpu_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
