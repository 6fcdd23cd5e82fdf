/* os_thread.c — waiting, exit hooks and fork hooks, by futex and POSIX threads.
 * Owns: the one thread-specific key. Lock: none; exit_key is constant after os_thread_key_create.
 */
#define _GNU_SOURCE 1
#include "os_thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>

#include "os_check.h"
#include "os_syscall.h"

/* The kernel's numbers: <linux/futex.h> does not come with every C library. */
enum { FUTEX_WAIT_PRIVATE = 0 | 128, FUTEX_WAKE_PRIVATE = 1 | 128 };

static pthread_key_t exit_key;

/* futex. EAGAIN (the word has changed), EINTR (a signal): return early. */
void os_futex_wait(const void *word, uint32_t expected) {
  long result = os_syscall6(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)expected, 0, 0, 0);
  if (result < 0 && result != -EAGAIN && result != -EINTR)
    os_call_failed("futex wait", (int)-result);
}

/* futex. No errno is survived: a waiter left asleep would hang the process. */
void os_futex_wake_all(const void *word) {
  long result = os_syscall6(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
  if (result < 0) os_call_failed("futex wake", (int)-result);
}

/* sched_yield. Any errno (seccomp): the caller spins on. */
void os_yield(void) { (void)os_syscall3(SYS_sched_yield, 0, 0, 0); /* a hint */ }

/* pthread_key_create. EAGAIN, ENOMEM (no key left): false, threads use the exit heap. */
bool os_thread_key_create(void (*destructor)(void *)) {
  int err = pthread_key_create(&exit_key, destructor);
  if (err != 0 && err != EAGAIN && err != ENOMEM) os_call_failed("pthread_key_create", err);
  return err == 0;
}

/* pthread_setspecific. ENOMEM (second level of keys): false, as above. */
bool os_thread_key_set(void *value) {
  int err = pthread_setspecific(exit_key, value);
  if (err != 0 && err != ENOMEM) os_call_failed("pthread_setspecific", err);
  return err == 0;
}

/* pthread_atfork. ENOMEM: false, the caller relies on os_wipe_on_fork alone. */
bool os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  int err = pthread_atfork(prepare, parent, child);
  if (err != 0 && err != ENOMEM) os_call_failed("pthread_atfork", err);
  return err == 0;
}
