/* A C program, not linked to libstdc++, loads with the library: its operators are there, and one
 * that would have to throw ends the process with abort instead of jumping to a missing symbol. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  void *(*operator_new)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
  void (*operator_delete)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "_ZdlPv");
  if (operator_new == NULL || operator_delete == NULL) {
    fputs("no operators\n", stderr);
    return 1;
  }
  if (dlsym(RTLD_DEFAULT, "__cxa_throw") != NULL) {
    fputs("libstdc++ is loaded\n", stderr);
    return 1;
  }
  void *p = operator_new(100);
  if (p == NULL) return 1;
  memset(p, 1, 100);
  operator_delete(p);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    operator_new(SIZE_MAX / 2);
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return 1;
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
    fprintf(stderr, "status %x instead of SIGABRT\n", (unsigned)status);
    return 1;
  }
  return 0;
}
