/* model_atomic.h — base_atomic.h, base_mem.h and os_thread.h for code that runs under the model:
 * included before each source by the build, it takes their place. Every atomic access becomes a
 * step of the scheduler (model.h), every thread-local variable a part of the model's threads.
 */
#ifndef MODEL_ATOMIC_H
#define MODEL_ATOMIC_H

#define BASE_ATOMIC_H
#define BASE_MEM_H
#define OS_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* The macros below nest, each with variables of its own. */
#pragma GCC diagnostic ignored "-Wshadow"

/* Thread-local variables lie together, and are exchanged when threads are. */
#define _Thread_local __attribute__((section("model_tls")))
#define tls_model(model) unused

enum model_order { MODEL_RELAXED, MODEL_ACQUIRE, MODEL_RELEASE, MODEL_ACQ_REL, MODEL_SEQ };
enum model_op { MODEL_SWAP, MODEL_ADD, MODEL_SUB, MODEL_OR, MODEL_AND };

/* Where in the source a step is. */
struct model_place {
  const char *file;
  int line;
  const char *operand; /* tells accesses of one line apart */
};
#define MODEL_HERE(operand) ((struct model_place){__FILE__, __LINE__, (operand)})

uint64_t model_load(const void *p, size_t size, enum model_order order, struct model_place at);
void model_store(void *p, size_t size, uint64_t v, enum model_order order, struct model_place at);
uint64_t model_rmw(void *p, size_t size, enum model_op op, uint64_t v, enum model_order order,
                   struct model_place at);
bool model_cas(void *p, size_t size, uint64_t *expected, uint64_t v, enum model_order order,
               struct model_place at);
void model_pause(void);
/* Plain accesses of whole ranges; those of single variables the compiler instruments. */
void model_range(const void *p, size_t size, bool is_write);

#define MODEL_TYPE(p) __typeof__(((void)0, *(p)))
#define MODEL_BITS(p, value)                                                                       \
  __extension__({                                                                                  \
    union {                                                                                        \
      uint64_t bits_;                                                                              \
      MODEL_TYPE(p) value_;                                                                        \
    } x_ = {0};                                                                                    \
    x_.value_ = (value);                                                                           \
    x_.bits_;                                                                                      \
  })
#define MODEL_VALUE(p, bits)                                                                       \
  __extension__({                                                                                  \
    union {                                                                                        \
      uint64_t bits_;                                                                              \
      MODEL_TYPE(p) value_;                                                                        \
    } x_ = {(bits)};                                                                               \
    x_.value_;                                                                                     \
  })
#define MODEL_ADDRESS(p) ((void *)(uintptr_t)(p))
#define MODEL_LOAD(p, order, operand)                                                              \
  MODEL_VALUE(p, model_load(MODEL_ADDRESS(p), sizeof *(p), (order), MODEL_HERE(operand)))
#define MODEL_STORE(p, v, order, operand)                                                          \
  model_store(MODEL_ADDRESS(p), sizeof *(p), MODEL_BITS(p, v), (order), MODEL_HERE(operand))
#define MODEL_RMW(p, op, v, order, operand)                                                        \
  MODEL_VALUE(p, model_rmw(MODEL_ADDRESS(p), sizeof *(p), (op), MODEL_BITS(p, v), (order),         \
                           MODEL_HERE(operand)))
#define MODEL_CAS(p, expected, v, order, operand)                                                  \
  __extension__({                                                                                  \
    uint64_t seen_ = MODEL_BITS(p, *(expected));                                                   \
    bool is_done_ = model_cas(MODEL_ADDRESS(p), sizeof *(p), &seen_, MODEL_BITS(p, v), (order),    \
                              MODEL_HERE(operand));                                                \
    if (!is_done_) *(expected) = MODEL_VALUE(p, seen_);                                            \
    is_done_;                                                                                      \
  })

#define load_relaxed(p) MODEL_LOAD(p, MODEL_RELAXED, #p)
#define load_acquire(p) MODEL_LOAD(p, MODEL_ACQUIRE, #p)
#define load_seq(p) MODEL_LOAD(p, MODEL_SEQ, #p)
#define store_relaxed(p, v) MODEL_STORE(p, v, MODEL_RELAXED, #p)
#define store_release(p, v) MODEL_STORE(p, v, MODEL_RELEASE, #p)
#define store_seq(p, v) MODEL_STORE(p, v, MODEL_SEQ, #p)
#define swap_acq_rel(p, v) MODEL_RMW(p, MODEL_SWAP, v, MODEL_ACQ_REL, #p)
#define swap_seq(p, v) MODEL_RMW(p, MODEL_SWAP, v, MODEL_SEQ, #p)
#define add_relaxed(p, v) MODEL_RMW(p, MODEL_ADD, v, MODEL_RELAXED, #p)
#define add_release(p, v) MODEL_RMW(p, MODEL_ADD, v, MODEL_RELEASE, #p)
#define add_seq(p, v) MODEL_RMW(p, MODEL_ADD, v, MODEL_SEQ, #p)
#define sub_seq(p, v) MODEL_RMW(p, MODEL_SUB, v, MODEL_SEQ, #p)
#define sub_relaxed(p, v) MODEL_RMW(p, MODEL_SUB, v, MODEL_RELAXED, #p)
#define or_acq_rel(p, v) MODEL_RMW(p, MODEL_OR, v, MODEL_ACQ_REL, #p)
#define and_acq_rel(p, v) MODEL_RMW(p, MODEL_AND, v, MODEL_ACQ_REL, #p)
#define cas_acq_rel(p, expected, v) MODEL_CAS(p, expected, v, MODEL_ACQ_REL, #p)
#define cas_seq(p, expected, v) MODEL_CAS(p, expected, v, MODEL_SEQ, #p)
#define MODEL_STEP(p, v, operand)                                                                  \
  MODEL_STORE(p, MODEL_LOAD(p, MODEL_RELAXED, operand) + (v), MODEL_RELAXED, operand)
#define bump_relaxed(p, v) MODEL_STEP(p, v, #p)
#define step_up_relaxed(p) MODEL_STEP(p, 1, #p)
#define step_down_relaxed(p) MODEL_STEP(p, -1, #p)

HAK_INLINE void signal_fence(void) {}
HAK_INLINE void signal_fence_full(void) {}
HAK_INLINE void cpu_pause(void) { model_pause(); }

HAK_INLINE void mem_fill(void *p, int byte, size_t n) {
  model_range(p, n, true);
  __builtin_memset(p, byte, n);
}
HAK_INLINE void mem_copy(void *to, const void *from, size_t n) {
  model_range(from, n, false);
  model_range(to, n, true);
  __builtin_memcpy(to, from, n);
}
HAK_INLINE void mem_move(void *to, const void *from, size_t n) {
  model_range(from, n, false);
  model_range(to, n, true);
  __builtin_memmove(to, from, n);
}

uintptr_t os_thread_self(void);
void os_futex_wait(const void *word, uint32_t expected);
void os_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms);
void os_futex_wake_all(const void *word);
void os_yield(void);
bool os_thread_key_create(void (*destructor)(void *));
bool os_thread_key_set(void *value);
bool os_is_alone(void);
bool os_streams_lock(void);
void os_streams_unlock(void);
void os_streams_reset(void);
bool os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
bool os_thread_start(void *(*fn)(void *), const char *name);
bool os_thread_is_last(void);

#endif
