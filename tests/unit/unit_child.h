/* unit_child.h — tests in processes of their own: the allocator's state is the process's.
 * In a child, and in threads, NEED ends the process with the place where it was not so; cmocka's
 * own asserts are for the parent's thread. A child that hangs is ended by a bound, see child_start.
 */
#ifndef UNIT_CHILD_H
#define UNIT_CHILD_H

#include "unit_death.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base_atomic.h"
#include "base_size.h"
#include "os_mem.h"
#include "os_thread.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define UNIT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define UNIT_SANITIZED 1
#endif
#endif
#ifndef UNIT_SANITIZED
#define UNIT_SANITIZED 0
#endif

/* TSan cannot follow a child of a process with threads that starts threads of its own. */
#if defined(__SANITIZE_THREAD__)
#define UNIT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNIT_TSAN 1
#endif
#endif
#ifndef UNIT_TSAN
#define UNIT_TSAN 0
#endif

enum { CHILD_CPU_S = 60, CHILD_WALL_S = 600 };

/* Children of processes with threads start threads here, which TSan allows only if asked. */
__attribute__((used, visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }

#define NEED(x) ((x) ? (void)0 : child_fail(__FILE__, __LINE__, #x))
static inline void child_fail(const char *file, int line, const char *what) {
  dprintf(2, "%s:%d: not so: %s (errno %d)\n", file, line, what, errno);
  _exit(1);
}

/* What hangs either runs on, which CPU time tells wherever the machine is busy (SIGXCPU), or waits
 * for ever: so long that no child waits for a processor (SIGALRM). A program that it executes keeps
 * both, a child of its own the first, from 0. */
static inline void child_start(void) {
  signal(SIGABRT, SIG_DFL); /* cmocka's would continue with the parent's tests */
  signal(SIGSEGV, SIG_DFL);
  struct rlimit cpu;
  NEED(getrlimit(RLIMIT_CPU, &cpu) == 0);
  if (cpu.rlim_cur > CHILD_CPU_S) cpu.rlim_cur = CHILD_CPU_S;
  NEED(setrlimit(RLIMIT_CPU, &cpu) == 0);
  alarm(CHILD_WALL_S);
}

static inline void child_wait(pid_t pid) {
  int status = -1;
  NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
  if (status != 0) dprintf(2, "child %d: status %#x\n", (int)pid, (unsigned)status);
  NEED(status == 0);
}

/* What a case needs is not here: its test is skipped, not passed. In a child's own thread. */
enum { CHILD_SKIPS = 77 };
static inline __attribute__((noreturn)) void child_skip(const char *why) {
  dprintf(2, "skipped: %s\n", why);
  _exit(CHILD_SKIPS);
}
/* In the parent: skips the test where the child said so. */
static inline void skip_if_child_did(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPS) skip();
}

/* fn in a child of fork; the test fails unless it returns, or calls child_skip. */
static inline void run_child(void (*fn)(void)) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    child_start();
    fn();
    _exit(0);
  }
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  skip_if_child_did(status);
  assert_int_equal(status, 0);
}

/* This program anew, for main to run the case `name`: with a variable more ("K=v" or NULL), and
 * with address_bytes of address space (0: no limit). */
static inline void run_program(const char *name, const char *variable, size_t address_bytes) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    child_start();
    struct rlimit limit = {address_bytes, address_bytes};
    char *const arguments[] = {(char *)(uintptr_t) "test", (char *)(uintptr_t)name, NULL};
    char *const environment[] = {(char *)(uintptr_t)variable, NULL};
    NEED(address_bytes == 0 || setrlimit(RLIMIT_AS, &limit) == 0);
    execve("/proc/self/exe", arguments, environment);
    child_fail(__FILE__, __LINE__, "execve");
  }
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static inline void thread_run(void *(*fn)(void *), void *argument) {
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, fn, argument) == 0);
  NEED(pthread_join(thread, NULL) == 0);
}

/* `count` threads of fn, each with its number; ends when all have. */
static inline void threads_run(size_t count, void *(*fn)(void *)) {
  pthread_t threads[32];
  NEED(count <= 32);
  for (size_t i = 0; i < count; i++)
    NEED(pthread_create(&threads[i], NULL, fn, (void *)(uintptr_t)i) == 0);
  for (size_t i = 0; i < count; i++) NEED(pthread_join(threads[i], NULL) == 0);
}

/* Steps that two threads take in turn. */
static inline void step_wait(_Atomic(uint32_t) *step, uint32_t wanted) {
  uint32_t now;
  while ((now = load_acquire(step)) < wanted) os_futex_wait(step, now);
}
static inline void step_set(_Atomic(uint32_t) *step, uint32_t now) {
  store_release(step, now);
  os_futex_wake_all(step);
}

/* xorshift64 (Marsaglia 2003): the same numbers in every run. */
static inline uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static inline void stamp(void *p, size_t n, unsigned seed) { memset(p, (int)(seed % 251 + 1), n); }
static inline bool has_stamp(const void *p, size_t n, unsigned seed) {
  const unsigned char *c = p, byte = (unsigned char)(seed % 251 + 1);
  return n == 0 || (c[0] == byte && memcmp(c, c + 1, n - 1) == 0);
}
static inline bool is_all_zero(const void *p, size_t n) {
  const unsigned char *c = p;
  return n == 0 || (c[0] == 0 && memcmp(c, c + 1, n - 1) == 0);
}

#endif
