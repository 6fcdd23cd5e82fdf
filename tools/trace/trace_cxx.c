/* trace_cxx: C++'s operators new and delete, for next libraries that define them: without these
 * wrappers their objects would pass malloc by. Compiled with -fexceptions: the next one's
 * std::bad_alloc unwinds through here. Where no next one is (a C program that loads C++ code by
 * dlopen), malloc and free of trace_wrap.c stand in. */
#define _GNU_SOURCE
#include "trace_emit.h"
#include "trace_next.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

static void *stand_in(size_t bytes, size_t align) {
  return align > _Alignof(max_align_t) ? memalign(align, bytes) : malloc(bytes != 0 ? bytes : 1);
}

__attribute__((noreturn)) static void no_memory(void) {
  static const char line[] = "hakmem-trace: operator new: out of memory\n";
  void (*throw_bad_alloc)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
  if (throw_bad_alloc != NULL) throw_bad_alloc();
  if (write(STDERR_FILENO, line, sizeof line - 1) >= 0) abort();
  abort();
}

static void *stand_in_or_throw(size_t bytes, size_t align) {
  void *object = stand_in(bytes, align);
  if (object == NULL) no_memory();
  return object;
}

/* kind, exponent: what to record; otherwise: without a next one. */
#define WRAP_NEW(name, declared, passed, kind, exponent, otherwise)                                \
  TRACE_EXPORT void *name declared;                                                                \
  TRACE_EXPORT void *name declared {                                                               \
    if (!trace_next_ready()) return bootstrap_alloc(bytes);                                        \
    if (trace_next.name == NULL) return otherwise;                                                 \
    trace_before_had();                                                                            \
    return trace_had(kind, exponent, trace_next.name passed, bytes);                               \
  }
#define WRAP_DELETE(name, declared, passed)                                                        \
  TRACE_EXPORT void name declared;                                                                 \
  TRACE_EXPORT void name declared {                                                                \
    if (!trace_next_ready() || bootstrap_has(object)) return;                                      \
    if (trace_next.name == NULL) {                                                                 \
      free(object);                                                                                \
      return;                                                                                      \
    }                                                                                              \
    void *outer = trace_before_free(object);                                                       \
    trace_next.name passed;                                                                        \
    trace_freed(outer);                                                                            \
  }
#define WRAP_BOTH_NEW(suffix, declared, passed, kind, exponent, otherwise)                         \
  WRAP_NEW(_Znwm##suffix, declared, passed, kind, exponent, otherwise)                             \
  WRAP_NEW(_Znam##suffix, declared, passed, kind, exponent, otherwise)
#define WRAP_BOTH_DELETE(suffix, declared, passed)                                                 \
  WRAP_DELETE(_ZdlPv##suffix, declared, passed)                                                    \
  WRAP_DELETE(_ZdaPv##suffix, declared, passed)

WRAP_BOTH_NEW(, (size_t bytes), (bytes), TRACE_MALLOC, 0, stand_in_or_throw(bytes, 1))
WRAP_BOTH_NEW(RKSt9nothrow_t, (size_t bytes, const void *tag), (bytes, tag), TRACE_MALLOC, 0,
              stand_in(bytes, 1))
WRAP_BOTH_NEW(St11align_val_t, (size_t bytes, size_t align), (bytes, align), TRACE_ALIGNED,
              trace_log2_up(align), stand_in_or_throw(bytes, align))
WRAP_BOTH_NEW(St11align_val_tRKSt9nothrow_t, (size_t bytes, size_t align, const void *tag),
              (bytes, align, tag), TRACE_ALIGNED, trace_log2_up(align), stand_in(bytes, align))

WRAP_BOTH_DELETE(, (void *object), (object))
WRAP_BOTH_DELETE(m, (void *object, size_t bytes), (object, bytes))
WRAP_BOTH_DELETE(RKSt9nothrow_t, (void *object, const void *tag), (object, tag))
WRAP_BOTH_DELETE(St11align_val_t, (void *object, size_t align), (object, align))
WRAP_BOTH_DELETE(mSt11align_val_t, (void *object, size_t bytes, size_t align),
                 (object, bytes, align))
WRAP_BOTH_DELETE(St11align_val_tRKSt9nothrow_t, (void *object, size_t align, const void *tag),
                 (object, align, tag))
