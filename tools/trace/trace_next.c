/* trace_next: see trace_next.h. Owns the bootstrap memory. */
#define _GNU_SOURCE
#include "trace_next.h"

#include "trace_emit.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

struct trace_next trace_next;
_Atomic bool trace_next_is_there;

/* dlsym asks for some hundred bytes an absent name, to say so. Arbitrary, well above that. */
#define BOOTSTRAP_BYTES 65536u
struct bootstrap_block {
  size_t bytes, zero;
};
static _Alignas(16) unsigned char bootstrap[BOOTSTRAP_BYTES];
static _Atomic size_t bootstrap_used;

static void die(const char *line, size_t length) {
  if (write(STDERR_FILENO, line, length) >= 0) abort();
  abort();
}

void *bootstrap_alloc(size_t bytes) {
  static const char line[] = "hakmem-trace: dlsym asks for too much memory\n";
  if (bytes > BOOTSTRAP_BYTES) die(line, sizeof line - 1);
  size_t whole = sizeof(struct bootstrap_block) + ((bytes + 15) & ~(size_t)15);
  size_t at = atomic_fetch_add(&bootstrap_used, whole);
  if (at + whole > BOOTSTRAP_BYTES) die(line, sizeof line - 1);
  struct bootstrap_block *block = (struct bootstrap_block *)(void *)&bootstrap[at];
  block->bytes = bytes;
  return block + 1;
}

bool bootstrap_has(const void *object) {
  return (uintptr_t)object - (uintptr_t)bootstrap < BOOTSTRAP_BYTES;
}

size_t bootstrap_bytes(const void *object) {
  return ((const struct bootstrap_block *)object - 1)->bytes;
}

static void find_all(void) {
  static const char line[] = "hakmem-trace: no next library has the malloc family\n";
  bool has_all = true;
#define FIND(type, name) trace_next.name = (type *)dlsym(RTLD_NEXT, #name);
#define FIND_C(type, name) FIND(type, name) has_all = has_all && trace_next.name != NULL;
  TRACE_NEXT_C(FIND_C)
  TRACE_NEXT_MAYBE(FIND)
#undef FIND
#undef FIND_C
  (void)dlerror(); /* the absent ones are not the program's concern */
  if (!has_all) die(line, sizeof line - 1);
}

bool trace_next_find(void) {
  static _Thread_local bool is_finding;
  static _Atomic bool is_taken;
  if (is_finding) return false;
  if (atomic_exchange(&is_taken, true)) {
    /* Ends with the other thread's look-up. */
    while (!atomic_load_explicit(&trace_next_is_there, memory_order_acquire)) sched_yield();
    return true;
  }
  int saved_errno = errno;
  is_finding = true;
  find_all();
  is_finding = false;
  atomic_store_explicit(&trace_next_is_there, true, memory_order_release);
  trace_start();
  errno = saved_errno;
  return true;
}

/* For a program that has not called yet, or so early that it had no environment. */
__attribute__((constructor)) static void begin(void) {
  if (trace_next_ready()) trace_start();
}
