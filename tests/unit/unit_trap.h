/* unit_trap.h — a handler at a chosen instant: the page of p is made read-only, so the next write
 * to it raises SIGSEGV, whose handler makes it writable again and calls fn; then the write happens.
 */
#ifndef UNIT_TRAP_H
#define UNIT_TRAP_H

#include "unit_child.h"

#include <sys/mman.h>

static struct {
  char *page;
  size_t bytes;
  void (*fn)(void);
  volatile sig_atomic_t has_sprung;
} trap;

static inline void trap_springs(int unused, siginfo_t *info, void *context) {
  (void)unused;
  (void)context;
  int kept = errno;
  NEED((uintptr_t)info->si_addr - (uintptr_t)trap.page < trap.bytes);
  NEED(mprotect(trap.page, trap.bytes, PROT_READ | PROT_WRITE) == 0);
  trap.has_sprung = 1;
  trap.fn();
  errno = kept;
}

static inline void trap_set(void *p, void (*fn)(void)) {
  struct sigaction action = {.sa_sigaction = trap_springs, .sa_flags = SA_SIGINFO | SA_NODEFER};
  trap.bytes = os_page_bytes();
  trap.page = (char *)p - (uintptr_t)p % trap.bytes;
  trap.fn = fn;
  trap.has_sprung = 0;
  NEED(sigaction(SIGSEGV, &action, NULL) == 0);
  NEED(mprotect(trap.page, trap.bytes, PROT_READ) == 0);
}
static inline bool trap_has_sprung(void) { return trap.has_sprung != 0; }

#endif
