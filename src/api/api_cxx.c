/* api_cxx.c — see api_cxx.h. Owns: the new-handler loop. Does not own: memory (entry/).
 * What libstdc++ (or libc++abi) offers is reached by weak references, so that C programs load
 * without it; a C++ library that a C program loads later, by dlopen, comes too late for them.
 * Compiled with -fexceptions: a handler's exception and std::bad_alloc unwind through here.
 */
#include "api_cxx.h"

#include "api_malloc.h"
#include "entry_hot.h"
#include "ops.h"
#include "os_proc.h"

typedef void (*new_handler)(void);
extern new_handler std_get_new_handler(void) __asm__("_ZSt15get_new_handlerv")
    __attribute__((weak, visibility("default")));
extern void std_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
    __attribute__((weak, visibility("default"), noreturn));

static HAK_COLD HAK_NORETURN void throw_bad_alloc(void) {
  static const char line[] = "hakmem: operator new: out of memory, and nothing there throws "
                             "std::bad_alloc: link a C++ library (static: "
                             "-Wl,-u,_ZSt17__throw_bad_allocv)\n";
  if (std_throw_bad_alloc != NULL) std_throw_bad_alloc();
  os_write_stderr(line, sizeof line - 1);
  os_abort();
}

/* NULL when no handler is left. A handler may throw: out of a nothrow form too, where the standard
 * wants NULL for a bad_alloc; the caller's frame, which expects no exception, then terminates. */
static HAK_COLD void *call_handlers(size_t n, size_t align) {
  for (;;) { /* the standard's loop: ends with memory, without handler, or by what that one does */
    new_handler handler = std_get_new_handler != NULL ? std_get_new_handler() : NULL;
    if (handler == NULL) return NULL;
    handler();
    void *p = api_aligned(align, n);
    if (p != NULL) return p;
  }
}

static HAK_COLD void *new_failed(size_t n, size_t align) {
  void *p = call_handlers(n, align);
  if (p == NULL) throw_bad_alloc();
  return p;
}

void *api_cxx_new(size_t n) {
  void *p = ops_out(entry_malloc(n));
  return HAK_LIKELY(p != NULL) ? p : new_failed(n, 1);
}

void *api_cxx_new_aligned(size_t n, size_t align) {
  void *p = api_aligned(align, n);
  return HAK_LIKELY(p != NULL) ? p : new_failed(n, align);
}

void *api_cxx_new_nothrow(size_t n, const void *tag) {
  (void)tag;
  void *p = ops_out(entry_malloc(n));
  return HAK_LIKELY(p != NULL) ? p : call_handlers(n, 1);
}

void *api_cxx_new_aligned_nothrow(size_t n, size_t align, const void *tag) {
  (void)tag;
  void *p = api_aligned(align, n);
  return HAK_LIKELY(p != NULL) ? p : call_handlers(n, align);
}

void api_cxx_delete(void *p) {
  ops_back(p);
  entry_free(p);
}

void api_cxx_delete_sized(void *p, size_t n) { api_free_sized(p, n, 1); }

void api_cxx_delete_sized_aligned(void *p, size_t n, size_t align) { api_free_sized(p, n, align); }

#if HAK_OVERRIDE
/* The array forms are the plain ones; so is a delete whose further arguments say nothing (by both
 * machines' ABI they come in registers that need not be read). */
#define CXX_ALIAS(name, mangled, target_name, target)                                              \
  extern __typeof__(target_name) name __asm__(mangled) HAK_EXPORT __attribute__((alias(target)))
CXX_ALIAS(new_array, "_Znam", api_cxx_new, "_Znwm");
CXX_ALIAS(new_array_aligned, "_ZnamSt11align_val_t", api_cxx_new_aligned, "_ZnwmSt11align_val_t");
CXX_ALIAS(new_array_nothrow, "_ZnamRKSt9nothrow_t", api_cxx_new_nothrow, "_ZnwmRKSt9nothrow_t");
CXX_ALIAS(new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
          api_cxx_new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t");
CXX_ALIAS(delete_array, "_ZdaPv", api_cxx_delete, "_ZdlPv");
CXX_ALIAS(delete_nothrow, "_ZdlPvRKSt9nothrow_t", api_cxx_delete, "_ZdlPv");
CXX_ALIAS(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", api_cxx_delete, "_ZdlPv");
CXX_ALIAS(delete_aligned, "_ZdlPvSt11align_val_t", api_cxx_delete, "_ZdlPv");
CXX_ALIAS(delete_array_aligned, "_ZdaPvSt11align_val_t", api_cxx_delete, "_ZdlPv");
CXX_ALIAS(delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t", api_cxx_delete, "_ZdlPv");
CXX_ALIAS(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t", api_cxx_delete,
          "_ZdlPv");
CXX_ALIAS(delete_array_sized, "_ZdaPvm", api_cxx_delete_sized, "_ZdlPvm");
CXX_ALIAS(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t", api_cxx_delete_sized_aligned,
          "_ZdlPvmSt11align_val_t");
#endif
