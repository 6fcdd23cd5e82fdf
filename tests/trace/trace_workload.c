/* trace_workload MODE...: makes calls of the malloc family and prints how many of each, as JSON.
 * Every size it asks for is 5 above a multiple of 8, by which a reader of the trace can tell its
 * objects from those of the C library. Prints by write: stdio would allocate.
 *
 *   mixed N          N rounds of every kind of call
 *   threads T N      the same on T threads, which also free each other's objects
 *   fork N           the same, and a child that makes calls of its own and exits
 *   signals N        the same, while signal handlers make calls as well
 *   reuse N          N objects of the one size of which trace_bump gives the same one over and
 * over, also to a signal handler that comes within the calls close N          closes every file
 * descriptor but 0 to 2 first kill N           is killed by SIGKILL after its N rounds, having
 * printed pause N M        N rounds, prints "ready", waits for a line on stdin, M rounds */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 16
#define SHELF_OBJECTS 64

static struct {
  _Atomic unsigned long mallocs, callocs, reallocs, frees, aligned;
  _Atomic unsigned long nulls; /* free(NULL), which the C library calls too */
} counts;

/* Objects that any thread may take and free. */
static _Atomic(void *) shelf[SHELF_OBJECTS];

static size_t size_of(unsigned draw) { return 8 * (size_t)(draw % 300) + 5; }

static void *need(void *object) {
  if (object == NULL) abort();
  *(volatile char *)object = 1;
  return object;
}

static void drop(void *object) {
  *(object != NULL ? &counts.frees : &counts.nulls) += 1;
  free(object);
}

static void aligned_calls(unsigned draw) {
  void *object = NULL;
  size_t bytes = size_of(draw);
  if (posix_memalign(&object, 64, bytes) != 0) abort();
  drop(need(object));
  drop(need(memalign(256, bytes)));
  drop(need(aligned_alloc(32, bytes)));
  drop(need(valloc(bytes)));
  counts.aligned += 4;
}

static void odd_calls(void) {
  drop(NULL);
  counts.mallocs++;
  if (malloc((size_t)1 << 62 | 5) != NULL) abort();
  counts.callocs++;
  volatile size_t many = (size_t)1 << 40; /* the compiler would warn of the product */
  if (calloc(many, many) != NULL) abort();
  void *object = need(malloc(13));
  counts.mallocs++;
  counts.reallocs++;
  if (realloc(object, (size_t)1 << 62 | 5) != NULL) abort();
  drop(object);
}

static void rounds(unsigned long count, unsigned draw) {
  for (unsigned long i = 0; i < count; i++) {
    draw = draw * 1103515245u + 12345u;
    unsigned pick = draw >> 8;
    void *object = need(malloc(size_of(pick)));
    counts.mallocs++;
    drop(atomic_exchange(&shelf[pick % SHELF_OBJECTS], object));
    void *zeroed = need(calloc(1, size_of(pick / 7)));
    counts.callocs++;
    zeroed = need(realloc(zeroed, size_of(pick / 11)));
    zeroed = need(reallocarray(zeroed, 1, size_of(pick / 13)));
    counts.reallocs += 3;
    drop(zeroed);
    drop(need(realloc(NULL, size_of(pick / 3))));
    if (i % 16 == 0) aligned_calls(pick);
    if (i % 64 == 0) odd_calls();
  }
}

struct job {
  unsigned long count;
  unsigned seed;
};

static void *thread_main(void *argument) {
  struct job *job = argument;
  rounds(job->count, job->seed);
  return NULL;
}

static void on_threads(unsigned long threads, unsigned long count) {
  pthread_t thread[THREADS_MAX];
  struct job job[THREADS_MAX];
  if (threads > THREADS_MAX) abort();
  for (unsigned i = 0; i < threads; i++) {
    job[i] = (struct job){count, i + 1};
    if (pthread_create(&thread[i], NULL, thread_main, &job[i]) != 0) abort();
  }
  for (unsigned i = 0; i < threads; i++) {
    pthread_join(thread[i], NULL);
  }
}

/* Interrupts the calling thread, which may be in any of its own calls. */
static void handle(int number) {
  (void)number;
  rounds(1, counts.mallocs);
}

static _Atomic bool is_done;

static void *pester(void *main_thread) {
  while (!is_done) {
    pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
    sched_yield();
  }
  return NULL;
}

static void with_signals(unsigned long count) {
  pthread_t main_thread = pthread_self(), thread;
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
  if (sigaction(SIGUSR1, &action, NULL) != 0) abort();
  if (pthread_create(&thread, NULL, pester, &main_thread) != 0) abort();
  rounds(count, 1);
  is_done = true;
  pthread_join(thread, NULL);
}

static void once(void) {
  drop(need(malloc(2405)));
  counts.mallocs++;
}

static void handle_urgent(int number) {
  (void)number;
  once();
}

static void with_reuse(unsigned long count) {
  struct sigaction action = {.sa_handler = handle_urgent, .sa_flags = SA_RESTART};
  if (sigaction(SIGURG, &action, NULL) != 0) abort();
  for (unsigned long i = 0; i < count; i++) {
    once();
  }
}

static void say(const char *text, size_t length) {
  if (write(STDOUT_FILENO, text, length) != (ssize_t)length) abort();
}

static void counts_print(void) {
  char line[256];
  int length = snprintf(line, sizeof line,
                        "{\"mallocs\":%lu,\"callocs\":%lu,\"aligned\":%lu,\"frees\":%lu,"
                        "\"reallocs\":%lu,\"nulls\":%lu}\n",
                        counts.mallocs, counts.callocs, counts.aligned, counts.frees,
                        counts.reallocs, counts.nulls);
  say(line, (size_t)length);
}

static void with_child(unsigned long count) {
  pid_t child = fork();
  if (child < 0) abort();
  rounds(count, 7);
  if (child == 0) exit(0);
  int status;
  if (waitpid(child, &status, 0) != child || status != 0) abort();
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *mode = argv[1];
  unsigned long first = strtoul(argv[2], NULL, 10);
  unsigned long second = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
  if (strcmp(mode, "threads") == 0) {
    on_threads(first, second);
  } else if (strcmp(mode, "fork") == 0) {
    with_child(first);
  } else if (strcmp(mode, "signals") == 0) {
    with_signals(first);
  } else if (strcmp(mode, "reuse") == 0) {
    with_reuse(first);
  } else {
    if (strcmp(mode, "close") == 0) syscall(SYS_close_range, 3u, ~0u, 0u);
    rounds(first, 1);
  }
  if (strcmp(mode, "pause") == 0) {
    char answer;
    say("ready\n", 6);
    if (read(STDIN_FILENO, &answer, 1) != 1) abort();
    rounds(second, 2);
  }
  counts_print();
  if (strcmp(mode, "kill") == 0) raise(SIGKILL);
  return 0;
}
