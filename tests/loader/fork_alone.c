/* Forks of a process of one thread, of which libc tells nobody (atfork_counter.c sees that): the
 * children and theirs go on as their parents would, and libc is told in time once there are
 * threads, or other handlers: with the argument "handlers". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/check_that.h"

enum { FORKS = 30, BUSY_FORKS = 20, GENERATIONS = 3, BUSY = 2, OBJECTS = 3000, HANGS_AFTER_S = 60 };

extern int atfork_count;
extern void *atfork_first;

static void *object[OBJECTS];
static int done;

static void fill(size_t step) {
  for (size_t i = 0; i < OBJECTS; i += step) {
    free(object[i]);
    size_t bytes = 16 + i % 2000;
    object[i] = malloc(bytes);
    CHECK_THAT(object[i] != NULL);
    memset(object[i], (int)i, bytes);
  }
}

static void check(void) {
  for (size_t i = 0; i < OBJECTS; i++) {
    const unsigned char *p = object[i];
    CHECK_THAT(p[0] == (unsigned char)i && p[15 + i % 2000] == (unsigned char)i);
  }
}

static void *works(void *is_told) {
  *(int *)is_told = atfork_count;
  while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
    void *own[100];
    for (size_t i = 0; i < 100; i++) own[i] = malloc(i * 50);
    for (size_t i = 0; i < 100; i++) free(own[i]);
  }
  return NULL;
}

static void expect_success(pid_t child) {
  int status = -1;
  CHECK_THAT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

/* Once, ours, and before the first thread does anything. */
static void forks_beside_threads(void) {
  pthread_t thread[BUSY];
  int is_told[BUSY] = {0};
  for (size_t i = 0; i < BUSY; i++) {
    CHECK_THAT(pthread_create(&thread[i], NULL, works, &is_told[i]) == 0);
    CHECK_THAT(atfork_count == 1);
  }
  for (size_t i = 0; i < BUSY_FORKS; i++) {
    pid_t child = fork();
    if (child == 0) {
      fill(7);
      check();
      _exit(0);
    }
    expect_success(child);
  }
  __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
  for (size_t i = 0; i < BUSY; i++)
    CHECK_THAT(pthread_join(thread[i], NULL) == 0 && is_told[i] == 1);
}

static void goes_on(size_t generations) {
  alarm(HANGS_AFTER_S);
  CHECK_THAT(atfork_count == 0);
  if (generations % 2 == 0) fill(3); /* else threads come first in the child */
  if (generations != 0) {
    pid_t child = fork();
    if (child == 0) {
      goes_on(generations - 1);
      _exit(0);
    }
    expect_success(child);
  }
  forks_beside_threads();
  fill(2);
  check();
}

static void nothing(void) {}
static void handlers(void) {
  CHECK_THAT(pthread_atfork(nothing, nothing, nothing) == 0 && atfork_count == 2);
  Dl_info ours, this_program;
  CHECK_THAT(dladdr(atfork_first, &ours) != 0 && dladdr((void *)&done, &this_program) != 0);
  CHECK_THAT(ours.dli_fbase != this_program.dli_fbase);
  CHECK_THAT(strstr(ours.dli_fname, "hakmem") != NULL);
}

int main(int argc, char **argv) {
  fill(1);
  CHECK_THAT(atfork_count == 0);
  for (size_t i = 0; i < FORKS; i++) {
    pid_t child = fork();
    if (child == 0) {
      goes_on(i % GENERATIONS);
      _exit(0);
    }
    fill(5);
    expect_success(child);
    check();
  }
  CHECK_THAT(atfork_count == 0);
  if (argc > 1 && strcmp(argv[1], "handlers") == 0) handlers();
  return 0;
}
