/* vfork + exec, posix_spawn and system() from a process with a busy heap and busy threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/check_that.h"

extern char **environ;
static int done;

static void *stay_busy(void *unused) {
  while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
    void *many[500];
    for (size_t i = 0; i < 500; i++) many[i] = malloc(i * 3);
    for (size_t i = 0; i < 500; i++) free(many[i]);
  }
  return unused;
}

static void check_child(pid_t child) {
  int status = 0;
  CHECK_THAT(child > 0);
  CHECK_THAT(waitpid(child, &status, 0) == child);
  CHECK_THAT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  enum { ROUNDS = 40 };
  static char *const TRUE_ARGUMENTS[] = {(char *)"true", NULL};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK_THAT(pthread_create(&threads[i], NULL, stay_busy, NULL) == 0);
  for (int round = 0; round < ROUNDS; round++) {
    char *block = malloc(5000);
    memset(block, round, 5000);
    pid_t child = vfork();
    if (child == 0) {
      execv("/bin/true", TRUE_ARGUMENTS);
      _exit(1);
    }
    check_child(child);
    CHECK_THAT(posix_spawn(&child, "/bin/true", NULL, NULL, TRUE_ARGUMENTS, environ) == 0);
    check_child(child);
    if (round % 8 == 0) CHECK_THAT(system("exit 0") == 0);
    CHECK_THAT(block[4999] == (char)round);
    free(block);
  }
  __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < 2; i++) CHECK_THAT(pthread_join(threads[i], NULL) == 0);
  return 0;
}
