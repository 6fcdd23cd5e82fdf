/* unit_death.h — run code that must end the process, in a child, and see its last words.
 * Owns: the child and its stderr, a pipe in packet mode: one read is one write(2).
 */
#ifndef UNIT_DEATH_H
#define UNIT_DEATH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A child that calls fn(argument) and leaves with its result; `err` gets the first write of the
 * child to stderr, as text, and `rest` what came after it. Returns waitpid's status. */
static inline int death_run(int (*fn)(void *), void *argument, char *err, size_t err_capacity,
                            size_t *rest) {
  int fds[2];
  assert_int_equal(pipe2(fds, O_DIRECT), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGABRT, SIG_DFL); /* cmocka's would continue with the parent's tests */
    dup2(fds[1], 2);
    close(fds[0]);
    close(fds[1]);
    _exit(fn(argument));
  }
  close(fds[1]);
  ssize_t first = read(fds[0], err, err_capacity - 1);
  err[first > 0 ? first : 0] = '\0';
  char more[4096];
  ssize_t got;
  *rest = 0;
  while ((got = read(fds[0], more, sizeof more)) > 0) *rest += (size_t)got;
  close(fds[0]);
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

/* fn must abort after exactly one write to stderr: `message`. */
static inline void expect_abort(int (*fn)(void *), void *argument, const char *message) {
  char err[4096];
  size_t rest;
  int status = death_run(fn, argument, err, sizeof err, &rest);
  assert_string_equal(err, message);
  assert_int_equal(rest, 0);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGABRT);
}

#endif
