/* stress_fork_streams.c — fork beside threads that allocate while they hold locks of libc's
 * streams. stress_fork_streams [--forks N] [--seed N] libc's fork takes the lock of its list of
 * streams after all handlers have run. One thread reads long lines, so that it allocates under its
 * stream's lock; one flushes all streams, and waits for that one under the lock of the list; the
 * functions of a third one's stream allocate under both. A fork whose handlers have stopped
 * allocation before that lock is taken waits for ever. Each child flushes all streams, and opens
 * one in a thread of its own: the lock must be free there. The first forks and the last ones are of
 * one thread.
 */
#define _GNU_SOURCE 1
#include <signal.h>
#include <sys/wait.h>

#include "stress_util.h"

enum {
  FORKS_MAX = 1000000,
  ALONE = 3,    /* forks before there is a thread, and after the last has ended */
  HANGS_S = 60, /* a fork and its child take milliseconds */
  LINE_BYTES = 100000,
  WRITE_BYTES = 50000,
};

static _Atomic(bool) is_over;
static _Atomic(unsigned long long) lines, flushes, writes;

static void hangs(int unused) {
  (void)unused;
  static const char text[] = "stress_fork_streams: FAILED: a fork, or its child, hangs\n";
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) abort();
  abort();
}

static ssize_t allocates(void *unused, const char *bytes, size_t count) {
  (void)unused, (void)bytes;
  void *p = T_malloc(WRITE_BYTES);
  REQUIRE(p != NULL, "out of memory");
  T_free(p);
  writes++;
  return (ssize_t)count;
}

static FILE *stream_that_allocates(void) {
  cookie_io_functions_t functions = {.write = allocates};
  FILE *file = fopencookie(NULL, "w", functions);
  REQUIRE(file != NULL, "fopencookie: errno %d", errno);
  return file;
}

static void *writes_lines(void *unused) {
  FILE *file = stream_that_allocates();
  while (!is_over) {
    REQUIRE(fputs("line\n", file) >= 0 && fflush(NULL) == 0, "errno %d", errno);
  }
  REQUIRE(fclose(file) == 0, "fclose: errno %d", errno);
  return unused;
}

static void *reads_lines(void *unused) {
  static char text[LINE_BYTES];
  memset(text, 'x', sizeof text);
  text[sizeof text - 1] = '\n';
  while (!is_over) {
    FILE *file = fmemopen(text, sizeof text, "r");
    REQUIRE(file != NULL, "fmemopen: errno %d", errno);
    char *line = NULL;
    size_t room = 0;
    REQUIRE(getline(&line, &room, file) == LINE_BYTES, "getline: errno %d", errno);
    free(line);
    REQUIRE(fclose(file) == 0, "fclose: errno %d", errno);
    lines++;
  }
  return unused;
}

static void *flushes_all(void *unused) {
  while (!is_over) {
    REQUIRE(fflush(NULL) == 0, "fflush: errno %d", errno);
    flushes++;
  }
  return unused;
}

static void *opens_one(void *unused) {
  FILE *file = stream_that_allocates();
  REQUIRE(fputs("child\n", file) >= 0 && fclose(file) == 0, "errno %d", errno);
  return unused;
}

static void child(void) {
  pthread_t id;
  alarm(HANGS_S);
  REQUIRE(fflush(NULL) == 0, "fflush: errno %d", errno);
  REQUIRE(pthread_create(&id, NULL, opens_one, NULL) == 0, "pthread_create");
  thread_join(id);
  _exit(17);
}

static void forks(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    alarm(HANGS_S);
    pid_t pid = fork();
    REQUIRE(pid >= 0, "fork: errno %d", errno);
    if (pid == 0) child();
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 17,
            "the child ended with status %#x", (unsigned)status);
  }
  alarm(0);
}

int main(int argc, char **argv) {
  static void *(*const works[])(void *) = {reads_lines, flushes_all, writes_lines};
  enum { THREADS = sizeof works / sizeof works[0] };
  pthread_t ids[THREADS];
  stress_name = "stress_fork_streams";
  options_check(argc, argv, 1, "stress_fork_streams [--forks N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t count = option_u64(argc, argv, "--forks", 1000);
  option_range("--forks", count, 1, FORKS_MAX);
  REQUIRE(signal(SIGALRM, hangs) != SIG_ERR, "signal: errno %d", errno);
  T_free(T_malloc(1));
  forks(ALONE);
  for (size_t i = 0; i < THREADS; i++) {
    REQUIRE(pthread_create(&ids[i], NULL, works[i], NULL) == 0, "pthread_create");
  }
  while (lines == 0 || flushes == 0 || writes == 0) sched_yield();
  forks(count);
  is_over = true;
  for (size_t i = 0; i < THREADS; i++) thread_join(ids[i]);
  forks(ALONE);
  printf("stress_fork_streams: %llu forks beside %llu lines, %llu flushes, %llu writes\n",
         (unsigned long long)count, lines, flushes, writes);
  return 0;
}
