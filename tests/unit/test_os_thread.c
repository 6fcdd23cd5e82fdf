/* test_os_thread.c — identity, futex, thread exit, fork hooks, clock. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base_atomic.h"
#include "os_thread.h"
#include "unit_child.h"

static void *self_of_thread(void *out) {
  *(uintptr_t *)out = os_thread_self();
  return NULL;
}

static void threads_alive_differ(void **state) {
  (void)state;
  uintptr_t mine = os_thread_self(), other = 0;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, self_of_thread, &other), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_true(mine != 0 && other != 0 && mine != other);
  assert_int_equal((mine | other) & 1, 0);
  assert_int_equal(os_thread_self(), mine);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(os_thread_self() == mine ? 0 : 1);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static _Atomic(uint32_t) word;
static _Atomic(uint32_t) awake_count;

static void *waits_for_the_word(void *unused) {
  (void)unused;
  while (load_acquire(&word) == 1) /* pairs with the store of the waker */
    os_futex_wait(&word, 1);
  add_relaxed(&awake_count, 1);
  return NULL;
}

static void waiters_are_all_woken(void **state) {
  (void)state;
  store_relaxed(&word, 1);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, waits_for_the_word, NULL), 0);
  os_yield();
  store_release(&word, 2);
  os_futex_wake_all(&word);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(load_relaxed(&awake_count), 4);
}

static void a_wait_for_a_changed_word_returns(void **state) {
  (void)state;
  errno = 77;
  store_relaxed(&word, 5);
  os_futex_wait(&word, 4);
  os_futex_wake_all(&word);
  os_yield();
  assert_int_equal(errno, 77);
}

static void a_wait_with_a_time_ends(void **state) {
  (void)state;
  errno = 77;
  store_relaxed(&word, 5);
  struct timespec start, end;
  assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &start), 0);
  os_futex_wait_ms(&word, 4, 60000);
  os_futex_wait_ms(&word, 5, 1020);
  assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &end), 0);
  long ms = (long)(end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
  assert_true(ms >= 1000 && ms < 30000);
  assert_int_equal(errno, 77);
}

static _Atomic(uint32_t) started;
static sigset_t started_signals;
static char started_name[32];
static bool started_is_last;
static void *started_notes(void *unused) {
  (void)pthread_sigmask(SIG_SETMASK, NULL, &started_signals);
  (void)pthread_getname_np(pthread_self(), started_name, sizeof started_name);
  started_is_last = os_thread_is_last();
  store_release(&started, 1); /* pairs with the load of who started it */
  os_futex_wake_all(&started);
  return unused;
}

static void a_thread_is_started_without_signals(void **state) {
  (void)state;
  sigset_t one, now;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR1);
  assert_int_equal(pthread_sigmask(SIG_SETMASK, &one, NULL), 0);
  errno = 77;
  assert_true(os_thread_start(started_notes, "a name"));
  assert_int_equal(errno, 77);
  while (load_acquire(&started) == 0) os_futex_wait(&started, 0);
  assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
  assert_true(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2));
  assert_true(sigismember(&started_signals, SIGUSR1) && sigismember(&started_signals, SIGUSR2));
  assert_true(sigismember(&started_signals, SIGTERM) && sigismember(&started_signals, SIGALRM));
  assert_string_equal(started_name, "a name");
  assert_false(started_is_last || os_thread_is_last());
  sigemptyset(&one);
  assert_int_equal(pthread_sigmask(SIG_SETMASK, &one, NULL), 0);
}

/* The process's last thread is one that os_thread_start has started. */
static void *comes_to_be_last(void *unused) {
  (void)unused;
  sigset_t now;
  for (int i = 0; i < 2000 && !os_thread_is_last(); i++) os_futex_wait_ms(&word, 5, 10);
  bool is_last = os_thread_is_last() && pthread_sigmask(SIG_SETMASK, NULL, &now) == 0;
  _exit(is_last && sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1) ? 0 : 1);
}
/* A detached thread that is ending may hold a lock of ASan's, which a child would wait for. */
static void wait_until_alone(void) {
  struct stat tasks;
  do {
    os_yield();
    assert_int_equal(stat("/proc/self/task", &tasks), 0);
  } while (tasks.st_nlink > 3); /* the folder's own two, and this thread's */
}

static void who_is_left_alone_knows_it(void **state) {
  (void)state;
  if (UNIT_TSAN) skip(); /* its own thread is there too */
  wait_until_alone();
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    sigset_t one;
    store_relaxed(&word, 5);
    if (sigemptyset(&one) != 0 || sigaddset(&one, SIGUSR2) != 0) _exit(2);
    if (pthread_sigmask(SIG_SETMASK, &one, NULL) != 0) _exit(2);
    if (prctl(PR_SET_NAME, "a) Z 1 (b") != 0) _exit(2);
    if (!os_thread_start(comes_to_be_last, "last")) _exit(3);
    pthread_exit(NULL);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static _Atomic(unsigned) destroyed_count;

static void rearms_itself(void *value) {
  add_relaxed(&destroyed_count, 1);
  if (!os_thread_key_set(value)) store_relaxed(&destroyed_count, 1000);
}

static void *arms_the_key(void *value) { return os_thread_key_set(value) ? value : NULL; }

static void the_destructor_runs_as_often_as_said(void **state) {
  (void)state;
  int something;
  assert_true(os_thread_key_create(rearms_itself));
  pthread_t thread;
  void *result;
  assert_int_equal(pthread_create(&thread, NULL, arms_the_key, &something), 0);
  assert_int_equal(pthread_join(thread, &result), 0);
  assert_ptr_equal(result, &something);
  assert_int_equal(load_relaxed(&destroyed_count), PTHREAD_DESTRUCTOR_ITERATIONS);
  store_relaxed(&destroyed_count, 0);
  assert_int_equal(pthread_create(&thread, NULL, arms_the_key, NULL), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(load_relaxed(&destroyed_count), 0);
}

/* Takes every key of a child: the process as a whole keeps its own. */
static int key_create_without_keys(void) {
  pthread_key_t key;
  for (int i = 0; i < PTHREAD_KEYS_MAX && pthread_key_create(&key, NULL) == 0; i++) {
  }
  return os_thread_key_create(rearms_itself) ? 1 : 0;
}

static void no_key_left_is_said(void **state) {
  (void)state;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(key_create_without_keys());
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static char hooks_run[8];
static size_t hooks_count;

static void hook_note(char c) {
  if (hooks_count < sizeof hooks_run) hooks_run[hooks_count++] = c;
}
static void hook_prepare(void) { hook_note('b'); }
static void hook_parent(void) { hook_note('p'); }
static void hook_child(void) { hook_note('c'); }

static void fork_runs_the_hooks(void **state) {
  (void)state;
  assert_true(os_at_fork(hook_prepare, hook_parent, hook_child));
  hooks_count = 0;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(hooks_count == 2 && hooks_run[0] == 'b' && hooks_run[1] == 'c' ? 0 : 1);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_int_equal(hooks_count, 2);
  assert_memory_equal(hooks_run, "bp", 2);
}

/* Whoever else takes it waits. */
static _Atomic(uint32_t) flush_step;
static void *flushes_all(void *unused) {
  step_wait(&flush_step, 1);
  (void)fflush(NULL); /* what it does is not the question */
  step_set(&flush_step, 2);
  return unused;
}
static void the_lock_of_streams_is_held_until_given_back(void **state) {
  (void)state;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, flushes_all, NULL), 0);
  bool has_lock = os_streams_lock();
  if (has_lock) {
    assert_true(os_streams_lock());
    assert_int_equal(fflush(NULL), 0); /* its own thread has it already */
    os_streams_unlock();
  }
  step_set(&flush_step, 1);
  os_yield();
  assert_true(!has_lock || load_acquire(&flush_step) == 1);
  if (has_lock) os_streams_unlock();
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(load_acquire(&flush_step), 2);
  if (!has_lock) skip(); /* not glibc */
  if (os_streams_lock()) os_streams_reset();
  assert_int_equal(fflush(NULL), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_alive_differ),
      cmocka_unit_test(waiters_are_all_woken),
      cmocka_unit_test(a_wait_for_a_changed_word_returns),
      cmocka_unit_test(a_wait_with_a_time_ends),
      cmocka_unit_test(a_thread_is_started_without_signals),
      cmocka_unit_test(who_is_left_alone_knows_it),
      cmocka_unit_test(the_destructor_runs_as_often_as_said),
      cmocka_unit_test(no_key_left_is_said),
      cmocka_unit_test(fork_runs_the_hooks),
      cmocka_unit_test(the_lock_of_streams_is_held_until_given_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
