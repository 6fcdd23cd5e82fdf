/* malloc and free in a signal handler that interrupts the slow paths of the main thread again and
 * again. It must never hang. A handler that interrupts malloc or free itself has no promise but
 * that, so a child does the work and may end in an abort; that it ends, and that handlers ran, is
 * asserted. The handler frees what it took in reverse, which leaves the bins as it found them. */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/check_that.h"

enum { SIGNAL_COUNT = 20000, BULK_COUNT = 3000 };

static int handled;
static sem_t handler_done; /* a wait that spins starves the handler where cores are few */
static int done;

static void handle(int signal_number) {
  void *taken[3];
  static const size_t SIZES[] = {24, 600, 40000};
  (void)signal_number;
  for (int i = 0; i < 3; i++) {
    taken[i] = malloc(SIZES[i]);
    if (taken[i] != NULL) memset(taken[i], 1, SIZES[i]);
  }
  for (int i = 2; i >= 0; i--) free(taken[i]);
  handled++;
  sem_post(&handler_done);
}

/* One signal after the other, each sent once the one before was handled. */
static void *pester(void *main_thread) {
  for (int sent = 0; sent < SIGNAL_COUNT; sent++) {
    pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
    while (sem_wait(&handler_done) != 0) {
    }
  }
  __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void work(void) {
  static void *bulk[BULK_COUNT];
  size_t round = 0;
  while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
    size_t bytes = 40 + round++ % 40 * 100;
    for (size_t i = 0; i < BULK_COUNT; i++) bulk[i] = malloc(bytes);
    for (size_t i = 0; i < BULK_COUNT; i++) free(bulk[i]);
  }
}

static int run_child(void) {
  pthread_t thread;
  pthread_t main_thread = pthread_self();
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
  CHECK_THAT(sem_init(&handler_done, 0, 0) == 0);
  CHECK_THAT(sigaction(SIGUSR1, &action, NULL) == 0);
  CHECK_THAT(pthread_create(&thread, NULL, pester, &main_thread) == 0);
  work();
  CHECK_THAT(pthread_join(thread, NULL) == 0);
  return handled == SIGNAL_COUNT ? 0 : 1;
}

int main(void) {
  enum { ROUNDS = 3 };
  int completed = 0;
  for (int round = 0; round < ROUNDS; round++) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) _exit(run_child());
    CHECK_THAT(waitpid(child, &status, 0) == child);
    CHECK_THAT(!WIFEXITED(status) || WEXITSTATUS(status) == 0);
    completed += WIFEXITED(status);
  }
  printf("%d of %d runs completed\n", completed, ROUNDS);
  return completed > 0 ? 0 : 1;
}
