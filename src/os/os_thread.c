/* os_thread.c — waiting, exit hooks and fork hooks, by futex and POSIX threads.
 * Owns: the one thread-specific key. Lock: none; exit_key is constant after os_thread_key_create.
 */
#define _GNU_SOURCE 1
#include "os_thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <time.h>

#include "os_check.h"
#include "os_proc.h"
#include "os_syscall.h"

/* The kernel's numbers: <linux/futex.h> does not come with every C library. */
enum { FUTEX_WAIT_PRIVATE = 0 | 128, FUTEX_WAKE_PRIVATE = 1 | 128 };

enum {
  STACK_LEAST = 256 * 1024, /* of addresses: what is not touched takes no memory */
  STACK_MOST = 64 * STACK_LEAST,
  STAT_BYTES = 512,
  STAT_STATE = 0, /* fields behind the name, which ends with the last parenthesis */
  STAT_THREADS = 17,
};

static pthread_key_t exit_key;
static const char *started_name; /* of the thread that is being started */
static void *(*started_fn)(void *);
static sigset_t starter_signals;

/* futex. EAGAIN (the word has changed), EINTR (a signal): return early. */
void os_futex_wait(const void *word, uint32_t expected) {
  long result = os_syscall6(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)expected, 0, 0, 0);
  if (result < 0 && result != -EAGAIN && result != -EINTR)
    os_call_failed("futex wait", (int)-result);
}

/* futex. EAGAIN, EINTR, ETIMEDOUT: return. Any other errno, too (a filter): the caller then looks
 * more often than it wanted. */
void os_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms) {
  struct timespec timeout = {ms / 1000, (long)(ms % 1000) * 1000000};
  (void)os_syscall6(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, (long)expected, (long)&timeout, 0,
                    0); /* see above */
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

/* glibc's, for its own use and libstdc++'s; there since 2.2.5, the flag since 2.32. No other C
 * library has them. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));
extern char __libc_single_threaded __attribute__((weak));
/* NOLINTEND(bugprone-reserved-identifier) */

const char *const os_alone_flag = &__libc_single_threaded;

bool os_streams_lock(void) {
  /* By the same flag glibc's fork does without: its child would not reset the lock then. */
  if (_IO_list_lock == NULL || _IO_list_unlock == NULL || _IO_list_resetlock == NULL ||
      os_is_alone())
    return false;
  _IO_list_lock();
  return true;
}
void os_streams_unlock(void) { _IO_list_unlock(); }
void os_streams_reset(void) { _IO_list_resetlock(); }

/* prctl(PR_SET_NAME). Any errno: it has its starter's name. */
static void *thread_begins(void *unused) {
  (void)os_syscall6(SYS_prctl, PR_SET_NAME, (long)started_name, 0, 0, 0, 0); /* see above */
  return started_fn(unused);
}

/* pthread_create. EINVAL: static thread-local storage needs a larger stack, so one is tried. Any
 * other (EAGAIN, EPERM: limits, filters), and failures before: false, the caller does without. */
bool os_thread_start(void *(*fn)(void *), const char *name) {
  int kept = errno, err = EINVAL;
  sigset_t all;
  pthread_attr_t attributes;
  pthread_t thread;
  started_fn = fn;
  started_name = name;
  if (sigfillset(&all) != 0 || pthread_attr_init(&attributes) != 0) return false;
  if (pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
      pthread_sigmask(SIG_SETMASK, &all, &starter_signals) == 0) {
    for (size_t size = STACK_LEAST; err == EINVAL && size <= STACK_MOST; size *= 4) {
      if (pthread_attr_setstacksize(&attributes, size) == 0)
        err = pthread_create(&thread, &attributes, thread_begins, NULL);
    }
    if (pthread_sigmask(SIG_SETMASK, &starter_signals, NULL) != 0)
      os_call_failed("pthread_sigmask", EINVAL); /* never: the mask is one that was in force */
  }
  (void)pthread_attr_destroy(&attributes); /* cannot fail on Linux */
  errno = kept;
  return err == 0;
}

/* /proc/self/stat: the state of the first thread, and how many there are. Any errno: not the last,
 * so that the process stays until somebody ends it. */
bool os_thread_is_last(void) {
  char text[STAT_BYTES];
  if (os_read_file("/proc/self/stat", text, sizeof text) <= 0) return false;
  const char *field = NULL;
  for (const char *c = text; *c != '\0'; c++) {
    if (c[0] == ')' && c[1] == ' ') field = c + 2;
  }
  if (field == NULL || field[STAT_STATE] != 'Z') return false;
  for (int i = STAT_STATE; i < STAT_THREADS && *field != '\0'; field++) i += *field == ' ';
  if (field[0] != '2' || field[1] != ' ') return false;
  (void)pthread_sigmask(SIG_SETMASK, &starter_signals, NULL); /* at worst it takes none */
  return true;
}
