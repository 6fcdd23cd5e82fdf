/* stress_fork_pause.c — what the allocator adds to a fork of a process with many threads.
 *   stress_fork_pause [--threads N] [--forks N] [--limit-us N] [--seed N]
 * Each thread has used a heap of its own and waits outside the allocator. A fork runs the prepare
 * handlers from the newest to the oldest and the others from the oldest to the newest, so that a
 * handler older than the allocator's and a newer one have its handlers between them. The times of
 * all three, prepare, parent and child, are added up for each fork; the median of these sums is
 * held to --limit-us, and nine of ten to twice as much: what runs beside empties caches, so that on
 * a busy machine these are at the limit of a quiet one's median (seen: 38 us, and 46 to 49 beside
 * five more of this and other work, of 50). The most is the scheduler's. Without --limit-us the
 * figures are only printed.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "stress_util.h"

enum {
  THREADS_MAX = 4000,
  FORKS_MAX = 10000,
  OBJECTS = 64,
  STACK_BYTES = 64 * 1024,
  LIMIT_US_MAX = 1000000,
  NINE_OF_TEN_TIMES = 2, /* the limit */
};

/* NULL where another allocator is at work. */
extern const char *hak_version(void) __attribute__((weak));

enum { PREPARE, PARENT, CHILD, SUM, FIGURES };

static pthread_barrier_t all_ready, all_may_end;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* When the handlers older than the allocator's (0) and newer than it (1) ran; in memory that parent
 * and child share, which no fork makes a copy of. */
struct moments {
  uint64_t prepare_ns[2], parent_ns[2], child_ns[2];
};
static volatile struct moments *moments;

static void old_prepare(void) { moments->prepare_ns[0] = now_ns(); }
static void new_prepare(void) { moments->prepare_ns[1] = now_ns(); }
static void new_parent(void) { moments->parent_ns[1] = now_ns(); }
static void new_child(void) { moments->child_ns[1] = now_ns(); }

/* After the fork page tables are cold. What the clock and its place need of them is not the
 * allocator's, so both are used once before the time is taken. */
static void old_parent(void) {
  moments->parent_ns[0] = now_ns();
  moments->parent_ns[0] = now_ns();
}
static void old_child(void) {
  moments->child_ns[0] = now_ns();
  moments->child_ns[0] = now_ns();
}

/* What pthread_atfork calls. A preloaded allocator registers its handlers at its first call, which
 * is the dynamic loader's, before any code of the program. So the program has this function in
 * libc's place, and registers the older handlers before the first that anybody registers. */
typedef int register_function(void (*)(void), void (*)(void), void (*)(void), void *);
register_function register_handlers __asm__("__register_atfork");
static unsigned registered;

int register_handlers(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso) {
  register_function *of_libc = (register_function *)dlsym(RTLD_NEXT, "__register_atfork");
  if (of_libc == NULL ||
      (registered == 0 && of_libc(old_prepare, old_parent, old_child, dso) != 0)) {
    return ENOMEM;
  }
  registered++;
  return of_libc(prepare, parent, child, dso);
}

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

/* Nanoseconds of each kind of handler in fork number `fork_index`, and of all. */
static uint64_t taken[FIGURES][FORKS_MAX];

static void fork_once(uint64_t fork_index) {
  *moments = (struct moments){.prepare_ns = {0}};
  pid_t pid = fork();
  REQUIRE(pid >= 0, "fork: errno %d", errno);
  if (pid == 0) {
    _exit(17);
  }
  int status;
  REQUIRE(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 17,
          "the child ended with status %#x", (unsigned)status);
  struct moments m = *moments;
  REQUIRE(m.prepare_ns[1] != 0 && m.prepare_ns[1] <= m.prepare_ns[0] &&
              m.prepare_ns[0] <= m.parent_ns[0] && m.parent_ns[0] <= m.parent_ns[1] &&
              m.prepare_ns[0] <= m.child_ns[0] && m.child_ns[0] <= m.child_ns[1],
          "the handlers ran in another order");
  taken[PREPARE][fork_index] = m.prepare_ns[0] - m.prepare_ns[1];
  taken[PARENT][fork_index] = m.parent_ns[1] - m.parent_ns[0];
  taken[CHILD][fork_index] = m.child_ns[1] - m.child_ns[0];
  taken[SUM][fork_index] =
      taken[PREPARE][fork_index] + taken[PARENT][fork_index] + taken[CHILD][fork_index];
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static double us_of(unsigned figure, uint64_t rank) { return (double)taken[figure][rank] / 1000; }

static void figures_judge(uint64_t threads, uint64_t forks, uint64_t limit_us) {
  for (unsigned i = 0; i < FIGURES; i++) qsort(taken[i], forks, sizeof taken[i][0], by_size);
  uint64_t middle = forks / 2;
  printf("stress_fork_pause: %llu threads, %llu forks: the allocator's three handlers took %.1f us "
         "(median), %.1f us (9 of 10), %.1f us (most); medians of prepare %.1f, parent %.1f, "
         "child %.1f us",
         (unsigned long long)threads, (unsigned long long)forks, us_of(SUM, middle),
         us_of(SUM, forks * 9 / 10), us_of(SUM, forks - 1), us_of(PREPARE, middle),
         us_of(PARENT, middle), us_of(CHILD, middle));
  if (limit_us == 0) {
    puts("; no limit");
    return;
  }
  uint64_t most_us = limit_us * NINE_OF_TEN_TIMES;
  printf("; limit %llu us, of 9 of 10 %llu us\n", (unsigned long long)limit_us,
         (unsigned long long)most_us);
  fflush(stdout); /* the figures are wanted most when they are too large */
  REQUIRE(taken[SUM][middle] <= limit_us * 1000, "the median is %.1f us, limit %llu us",
          us_of(SUM, middle), (unsigned long long)limit_us);
  REQUIRE(taken[SUM][forks * 9 / 10] <= most_us * 1000, "9 of 10 take %.1f us, limit %llu us",
          us_of(SUM, forks * 9 / 10), (unsigned long long)most_us);
}

int main(int argc, char **argv) {
  stress_name = "stress_fork_pause";
  options_check(argc, argv, 1,
                "stress_fork_pause [--threads N] [--forks N] [--limit-us N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t threads = option_u64(argc, argv, "--threads", 1000);
  uint64_t forks = option_u64(argc, argv, "--forks", 100);
  uint64_t limit_us = option_u64(argc, argv, "--limit-us", 0);
  option_range("--threads", threads, 0, THREADS_MAX);
  option_range("--forks", forks, 1, FORKS_MAX);
  option_range("--limit-us", limit_us, 0, LIMIT_US_MAX);
  void *shared =
      mmap(NULL, sizeof *moments, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED, "mmap: errno %d", errno);
  moments = shared;
  T_free(T_malloc(1)); /* the allocator's handlers are there before the new ones */
  REQUIRE(hak_version == NULL || registered == 1, "%u sets of handlers came from hakmem",
          registered);
  pthread_atfork(new_prepare, new_parent, new_child);

  static pthread_t ids[THREADS_MAX];
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
  for (uint64_t i = 0; i < forks; i++) fork_once(i);
  pthread_barrier_wait(&all_may_end);
  for (uint64_t i = 0; i < threads; i++) {
    thread_join(ids[i]);
  }
  figures_judge(threads, forks, limit_us);
  return 0;
}
