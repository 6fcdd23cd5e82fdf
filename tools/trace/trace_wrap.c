/* trace_wrap: the malloc family of C, each call passed on to the next library and recorded: what
 * gives memory after the call, what frees before it (docs/trace.md says why). malloc_usable_size
 * is not wrapped: it changes nothing. */
#define _GNU_SOURCE
#include "trace_emit.h"
#include "trace_next.h"

#include <errno.h>
#include <string.h>

/* For functions whose size is only known by its product. */
static uint64_t product(size_t count, size_t bytes) {
  size_t all;
  return __builtin_mul_overflow(count, bytes, &all) ? UINT64_MAX : all;
}

static uint64_t page_bytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

TRACE_EXPORT void *malloc(size_t bytes) {
  if (!trace_next_ready()) return bootstrap_alloc(bytes);
  trace_before_had();
  return trace_had(TRACE_MALLOC, 0, trace_next.malloc(bytes), bytes);
}

TRACE_EXPORT void *calloc(size_t count, size_t bytes) {
  uint64_t all = product(count, bytes);
  if (!trace_next_ready()) return bootstrap_alloc(all);
  trace_before_had();
  return trace_had(TRACE_CALLOC, 0, trace_next.calloc(count, bytes), all);
}

TRACE_EXPORT void free(void *object) {
  if (!trace_next_ready() || bootstrap_has(object)) return;
  void *outer = trace_before_free(object);
  trace_next.free(object);
  trace_freed(outer);
}

static void *resize(void *object, size_t bytes) {
  bool is_recorded = trace_is_on();
  if (is_recorded) trace_emit(TRACE_REALLOC_FROM, 0, object, 0);
  trace_gone(object);
  void *moved = trace_next.realloc(object, bytes);
  trace_anew(moved);
  if (is_recorded) trace_emit(TRACE_REALLOC_TO, 0, moved, bytes);
  return moved;
}

TRACE_EXPORT void *realloc(void *object, size_t bytes) {
  if (!trace_next_ready()) return bootstrap_alloc(bytes);
  if (!bootstrap_has(object)) return resize(object, bytes);
  void *moved = malloc(bytes);
  size_t old_bytes = bootstrap_bytes(object);
  if (moved != NULL) memcpy(moved, object, old_bytes < bytes ? old_bytes : bytes);
  return moved;
}

/* Not the next library's own: where that has none, the C library's would call realloc above. */
TRACE_EXPORT void *reallocarray(void *object, size_t count, size_t bytes) {
  size_t all;
  if (!__builtin_mul_overflow(count, bytes, &all)) return realloc(object, all);
  if (trace_is_on()) {
    trace_emit(TRACE_REALLOC_FROM, 0, object, 0);
    trace_emit(TRACE_REALLOC_TO, 0, NULL, UINT64_MAX);
  }
  errno = ENOMEM;
  return NULL;
}

TRACE_EXPORT int posix_memalign(void **object, size_t align, size_t bytes) {
  if (!trace_next_ready()) return ENOMEM;
  trace_before_had();
  int error = trace_next.posix_memalign(object, align, bytes);
  trace_had(TRACE_ALIGNED, trace_log2_up(align), error == 0 ? *object : NULL, bytes);
  return error;
}

TRACE_EXPORT void *aligned_alloc(size_t align, size_t bytes) {
  if (!trace_next_ready()) return NULL;
  trace_before_had();
  return trace_had(TRACE_ALIGNED, trace_log2_up(align), trace_next.aligned_alloc(align, bytes),
                   bytes);
}

TRACE_EXPORT void *memalign(size_t align, size_t bytes) {
  if (!trace_next_ready()) return NULL;
  trace_before_had();
  return trace_had(TRACE_ALIGNED, trace_log2_up(align), trace_next.memalign(align, bytes), bytes);
}

TRACE_EXPORT void *valloc(size_t bytes) {
  if (!trace_next_ready()) return NULL;
  trace_before_had();
  return trace_had(TRACE_ALIGNED, trace_log2_up(page_bytes()), trace_next.valloc(bytes), bytes);
}

TRACE_EXPORT void *pvalloc(size_t bytes) {
  if (!trace_next_ready()) return NULL;
  uint64_t page = page_bytes();
  uint64_t whole = bytes > UINT64_MAX - page ? UINT64_MAX : (bytes + page - 1) & ~(page - 1);
  trace_before_had();
  return trace_had(TRACE_ALIGNED, trace_log2_up(page), trace_next.pvalloc(bytes), whole);
}

/* C23's, and one that glibc dropped: the next library may lack them. */
#define WRAP_FREE(name, declared, passed)                                                          \
  TRACE_EXPORT void name declared {                                                                \
    if (!trace_next_ready() || bootstrap_has(object)) return;                                      \
    void *outer = trace_before_free(object);                                                       \
    if (trace_next.name != NULL) {                                                                 \
      trace_next.name passed;                                                                      \
    } else {                                                                                       \
      trace_next.free(object);                                                                     \
    }                                                                                              \
    trace_freed(outer);                                                                            \
  }
WRAP_FREE(cfree, (void *object), (object))
WRAP_FREE(free_sized, (void *object, size_t bytes), (object, bytes))
WRAP_FREE(free_aligned_sized, (void *object, size_t align, size_t bytes), (object, align, bytes))
