/* stress_fork_pause.c — what the allocator adds to a fork of a process with many threads.
 *   stress_fork_pause [--threads N] [--forks N] [--seed N]
 * Each thread has used a heap of its own and waits outside the allocator. A fork runs the prepare
 * handlers from the newest to the oldest and the others from the oldest to the newest, so that a
 * handler older than the allocator's and a newer one have its handlers between them. Measured in
 * the parent: prepare + parent. Prints the figures and judges none: the machine has a say in them.
 */
#define _GNU_SOURCE 1
#include <sys/wait.h>
#include <time.h>

#include "stress_util.h"

enum {
  THREADS_MAX = 4000,
  FORKS_MAX = 10000,
  OBJECTS = 64,
  STACK_BYTES = 64 * 1024,
  PROMISED_NS = 50000,
};

static pthread_barrier_t all_ready, all_may_end;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* When the handlers older than the allocator's (0) and newer than it (1) ran. */
static uint64_t prepare_ns[2], parent_ns[2];

static void old_prepare(void) { prepare_ns[0] = now_ns(); }
static void old_parent(void) { parent_ns[0] = now_ns(); }
static void new_prepare(void) { prepare_ns[1] = now_ns(); }
static void new_parent(void) { parent_ns[1] = now_ns(); }

/* Before any constructor, so before a library that registers its handlers in one. */
static void old_register(int argc, char **argv, char **env) {
  (void)argc, (void)argv, (void)env;
  pthread_atfork(old_prepare, old_parent, NULL);
}
__attribute__((section(".preinit_array"),
               used)) static void (*const old_entry)(int, char **, char **) = old_register;

static void *waiting_thread(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  void *own[OBJECTS];
  for (unsigned i = 0; i < OBJECTS; i++) {
    own[i] = tagged_new(sizeof(struct tagged) + size_between(&rng, 1, 2 * KIB), rng_next(&rng));
    REQUIRE(own[i] != NULL, "out of memory");
  }
  for (unsigned i = 0; i < OBJECTS; i += 2) { /* something stays in bins, something stays live */
    tagged_free(own[i]);
  }
  pthread_barrier_wait(&all_ready);
  pthread_barrier_wait(&all_may_end);
  for (unsigned i = 1; i < OBJECTS; i += 2) {
    tagged_free(own[i]);
  }
  return NULL;
}

/* Nanoseconds of one fork. */
static uint64_t fork_once(void) {
  pid_t pid = fork();
  REQUIRE(pid >= 0, "fork: errno %d", errno);
  if (pid == 0) {
    _exit(17);
  }
  int status;
  REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 17,
          "the child ended with status %#x", (unsigned)status);
  REQUIRE(prepare_ns[1] != 0 && prepare_ns[1] <= prepare_ns[0] && prepare_ns[0] <= parent_ns[0] &&
              parent_ns[0] <= parent_ns[1],
          "the handlers ran in another order");
  return prepare_ns[0] - prepare_ns[1] + parent_ns[1] - parent_ns[0];
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  stress_name = "stress_fork_pause";
  options_check(argc, argv, 1, "stress_fork_pause [--threads N] [--forks N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t threads = option_u64(argc, argv, "--threads", 1000);
  uint64_t forks = option_u64(argc, argv, "--forks", 100);
  option_range("--threads", threads, 0, THREADS_MAX);
  option_range("--forks", forks, 1, FORKS_MAX);
  T_free(T_malloc(1)); /* the allocator's handlers are there before the new ones */
  pthread_atfork(new_prepare, new_parent, NULL);

  static pthread_t ids[THREADS_MAX];
  static uint64_t pause[FORKS_MAX];
  pthread_attr_t attr;
  barrier_init(&all_ready, (unsigned)threads + 1);
  barrier_init(&all_may_end, (unsigned)threads + 1);
  REQUIRE(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, STACK_BYTES) == 0,
          "pthread_attr");
  for (uint64_t i = 0; i < threads; i++) {
    int error = pthread_create(&ids[i], &attr, waiting_thread, (void *)(uintptr_t)i);
    REQUIRE(error == 0, "pthread_create: errno %d", error);
  }
  pthread_barrier_wait(&all_ready);
  for (uint64_t i = 0; i < forks; i++) {
    pause[i] = fork_once();
  }
  pthread_barrier_wait(&all_may_end);
  for (uint64_t i = 0; i < threads; i++) {
    thread_join(ids[i]);
  }
  qsort(pause, forks, sizeof *pause, by_size);
  printf("stress_fork_pause: %llu threads, %llu forks: the allocator took %.1f us (median), "
         "%.1f us (9 of 10), %.1f us (most); the median is %s the promised %d us\n",
         (unsigned long long)threads, (unsigned long long)forks, (double)pause[forks / 2] / 1000,
         (double)pause[forks * 9 / 10] / 1000, (double)pause[forks - 1] / 1000,
         pause[forks / 2] <= PROMISED_NS ? "within" : "ABOVE", PROMISED_NS / 1000);
  return 0;
}
