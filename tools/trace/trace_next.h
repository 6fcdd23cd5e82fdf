/* trace_next.h: the functions of the next library that defines them: those that are wrapped. */
#ifndef TRACE_NEXT_H
#define TRACE_NEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define TRACE_EXPORT __attribute__((visibility("default")))

typedef void *new_plain(size_t bytes);
typedef void *new_nothrow(size_t bytes, const void *tag);
typedef void *new_aligned(size_t bytes, size_t align);
typedef void *new_aligned_nothrow(size_t bytes, size_t align, const void *tag);
typedef void delete_plain(void *object);
typedef void delete_sized(void *object, size_t bytes);
typedef void delete_nothrow(void *object, const void *tag);
typedef void delete_aligned(void *object, size_t align);
typedef void delete_sized_aligned(void *object, size_t bytes, size_t align);
typedef void delete_aligned_nothrow(void *object, size_t align, const void *tag);

/* X(type, name): every function that is looked up. The C++ ones, and free_sized and the like, may
 * be absent (NULL); the others are in every C library. */
#define TRACE_NEXT_C(X)                                                                            \
  X(next_malloc, malloc)                                                                           \
  X(next_calloc, calloc)                                                                           \
  X(next_realloc, realloc)                                                                         \
  X(next_free, free)                                                                               \
  X(next_posix_memalign, posix_memalign)                                                           \
  X(next_aligned, aligned_alloc)                                                                   \
  X(next_aligned, memalign)                                                                        \
  X(next_malloc, valloc)                                                                           \
  X(next_malloc, pvalloc)
#define TRACE_NEXT_MAYBE(X)                                                                        \
  X(next_free, cfree)                                                                              \
  X(delete_sized, free_sized)                                                                      \
  X(delete_sized_aligned, free_aligned_sized)                                                      \
  X(new_plain, _Znwm)                                                                              \
  X(new_plain, _Znam)                                                                              \
  X(new_nothrow, _ZnwmRKSt9nothrow_t)                                                              \
  X(new_nothrow, _ZnamRKSt9nothrow_t)                                                              \
  X(new_aligned, _ZnwmSt11align_val_t)                                                             \
  X(new_aligned, _ZnamSt11align_val_t)                                                             \
  X(new_aligned_nothrow, _ZnwmSt11align_val_tRKSt9nothrow_t)                                       \
  X(new_aligned_nothrow, _ZnamSt11align_val_tRKSt9nothrow_t)                                       \
  X(delete_plain, _ZdlPv)                                                                          \
  X(delete_plain, _ZdaPv)                                                                          \
  X(delete_sized, _ZdlPvm)                                                                         \
  X(delete_sized, _ZdaPvm)                                                                         \
  X(delete_nothrow, _ZdlPvRKSt9nothrow_t)                                                          \
  X(delete_nothrow, _ZdaPvRKSt9nothrow_t)                                                          \
  X(delete_aligned, _ZdlPvSt11align_val_t)                                                         \
  X(delete_aligned, _ZdaPvSt11align_val_t)                                                         \
  X(delete_sized_aligned, _ZdlPvmSt11align_val_t)                                                  \
  X(delete_sized_aligned, _ZdaPvmSt11align_val_t)                                                  \
  X(delete_aligned_nothrow, _ZdlPvSt11align_val_tRKSt9nothrow_t)                                   \
  X(delete_aligned_nothrow, _ZdaPvSt11align_val_tRKSt9nothrow_t)

typedef void *next_malloc(size_t bytes);
typedef void *next_calloc(size_t count, size_t bytes);
typedef void *next_realloc(void *object, size_t bytes);
typedef void next_free(void *object);
typedef int next_posix_memalign(void **object, size_t align, size_t bytes);
typedef void *next_aligned(size_t align, size_t bytes);

struct trace_next {
#define FIELD(type, name) type *name;
  TRACE_NEXT_C(FIELD) TRACE_NEXT_MAYBE(FIELD)
#undef FIELD
};
extern struct trace_next trace_next;
extern _Atomic bool trace_next_is_there;

/* Looks everything up and starts recording, at the first call of all. False: the caller is called
 * by that very look-up, and has bootstrap memory for it. Other threads wait here for its end. */
bool trace_next_find(void);

static inline bool trace_next_ready(void) {
  return __builtin_expect(atomic_load_explicit(&trace_next_is_there, memory_order_acquire), true) ||
         trace_next_find();
}

/* Zeroed, aligned to 16 bytes, never given back; aborts when it is used up. */
void *bootstrap_alloc(size_t bytes);
bool bootstrap_has(const void *object);
size_t bootstrap_bytes(const void *object);

#endif
