/* Forks of a program whose library has registered handlers in its constructor (fork_library.c):
 * threads that allocate under the library's mutex do not stop them, and generations of children
 * start threads that use again what those left behind. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/check_that.h"

enum { BUSY = 3, FORKS = 300, GENERATIONS = 6, THREADS = 8, OBJECTS = 600, HANGS_AFTER_S = 60 };

extern pthread_mutex_t fork_library_mutex;
static int done;

static void *allocates_under_the_mutex(void *unused) {
  void *object[OBJECTS];
  while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
    pthread_mutex_lock(&fork_library_mutex);
    for (size_t i = 0; i < OBJECTS; i++) object[i] = malloc(3000);
    for (size_t i = 0; i < OBJECTS; i++) free(object[i]);
    pthread_mutex_unlock(&fork_library_mutex);
  }
  return unused;
}

static void forks_beside_busy_threads(void) {
  pthread_t threads[BUSY];
  for (size_t i = 0; i < BUSY; i++)
    CHECK_THAT(pthread_create(&threads[i], NULL, allocates_under_the_mutex, NULL) == 0);
  for (size_t i = 0; i < FORKS; i++) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    int status = -1;
    CHECK_THAT(waitpid(pid, &status, 0) == pid && status == 0);
  }
  __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
  for (size_t i = 0; i < BUSY; i++) CHECK_THAT(pthread_join(threads[i], NULL) == 0);
}

static unsigned long heaps_count(void) {
  char *text;
  size_t length;
  FILE *out = open_memstream(&text, &length);
  CHECK_THAT(out != NULL && malloc_info(0, out) == 0 && fclose(out) == 0);
  const char *found = strstr(text, "heaps=\"");
  CHECK_THAT(found != NULL);
  unsigned long count = strtoul(found + strlen("heaps=\""), NULL, 10);
  free(text);
  return count;
}

static pthread_barrier_t all_have_heaps;
static void *stays(void *unused) {
  free(malloc(1000));
  (void)pthread_barrier_wait(&all_have_heaps);
  for (;;) pause(); /* until the process ends */
  return unused;
}
static void start_threads(void) {
  CHECK_THAT(pthread_barrier_init(&all_have_heaps, NULL, THREADS + 1) == 0);
  for (size_t i = 0; i < THREADS; i++) {
    pthread_t thread;
    CHECK_THAT(pthread_create(&thread, NULL, stays, NULL) == 0);
  }
  (void)pthread_barrier_wait(&all_have_heaps);
}

/* Each generation forks while its threads are there; only the last looks. */
static void forks_in_a_row(void) {
  start_threads();
  unsigned long first = heaps_count();
  for (size_t i = 0; i < GENERATIONS; i++) {
    pid_t pid = fork();
    if (pid != 0) {
      int status = -1;
      CHECK_THAT(waitpid(pid, &status, 0) == pid);
      if (i == 0) CHECK_THAT(status == 0);
      if (i != 0) _exit(status == 0 ? 0 : 1);
      return;
    }
    alarm(HANGS_AFTER_S);
    start_threads();
  }
  unsigned long now = heaps_count();
  if (now > first + 2) fprintf(stderr, "%lu heaps, %lu at first\n", now, first);
  _exit(now > first + 2 ? 1 : 0);
}

int main(void) {
  alarm(HANGS_AFTER_S);
  forks_beside_busy_threads();
  forks_in_a_row();
  return 0;
}
