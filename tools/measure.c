// hak-measure FILE COMMAND: runs COMMAND with /bin/sh -c and writes one JSON line about it to FILE.
// A program of its own because a child starts with its parent's peak memory, and the peak of an
// interpreter would hide that of a small program. The environment variable HAK_PRELOAD becomes
// COMMAND's LD_PRELOAD; the shell that starts COMMAND is not preloaded.
// Exit: COMMAND's own status (128 + n after signal n), 125 when the measuring itself failed.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void child(const char *command) {
  // The command comes last, so that the shell becomes it instead of starting it.
  const char *head = "LD_PRELOAD=$HAK_PRELOAD; export LD_PRELOAD; unset HAK_PRELOAD";
  char *script = NULL;
  if (asprintf(&script, "%s\n%s", getenv("HAK_PRELOAD") == NULL ? ":" : head, command) > 0) {
    execl("/bin/sh", "sh", "-c", script, (char *)NULL);
  }
  perror("hak-measure: /bin/sh");
  _exit(125);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fputs("usage: hak-measure FILE COMMAND\n", stderr);
    return 125;
  }
  double start = now();
  pid_t pid = fork();
  if (pid < 0) {
    perror("hak-measure: fork");
    return 125;
  }
  if (pid == 0) {
    child(argv[2]);
  }
  int status;
  struct rusage used;
  if (wait4(pid, &status, 0, &used) != pid) {
    perror("hak-measure: wait4");
    return 125;
  }
  double wall = now() - start;
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  signal(SIGXFSZ, SIG_IGN); // a limit of file size is told, not died of; COMMAND had its own way
  FILE *out = fopen(argv[1], "w");
  if (out == NULL) {
    perror(argv[1]);
    return 125;
  }
  fprintf(out,
          "{\"pid\":%d,\"status\":%d,\"user\":%.6f,\"sys\":%.6f,\"wall\":%.6f,"
          "\"peak_kib\":%ld,\"faults\":%ld}\n",
          (int)pid, code, seconds(used.ru_utime), seconds(used.ru_stime), wall, used.ru_maxrss,
          used.ru_minflt + used.ru_majflt);
  if (fclose(out) != 0) {
    perror(argv[1]);
    return 125;
  }
  return code;
}
