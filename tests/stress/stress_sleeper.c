/* stress_sleeper.c — a thread allocates much and falls asleep; others free all of it and then do
 * little. Its memory must go back to the system though it never runs again.
 *   stress_sleeper [--mib N] [--helpers N] [--percent N] [--limit-ms N] [--seed N]
 * Resident anonymous memory must fall below --percent of its peak within --limit-ms of small work;
 * how long it took is printed. Objects are 16 to 1,024 bytes, freed in random order.
 */
#define _GNU_SOURCE 1
#include "stress_util.h"

#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>

enum { HELPERS_MAX = 16, SMALL_OBJECTS = 64, ROUND_US = 200 };

static void **object;
static size_t count, limit_bytes, bytes;
static unsigned helpers;
static sem_t is_filled, is_freed, may_end;
static pthread_barrier_t may_work;
static atomic_bool is_over;

static void *owner(void *unused) {
  struct rng rng = rng_stream(1);
  while (bytes < limit_bytes) {
    size_t size = 16 + rng_below(&rng, 1009);
    object[count] = T_malloc(size);
    REQUIRE(object[count] != NULL, "out of memory after %zu bytes", bytes);
    memset(object[count], 0x5a, size);
    bytes += size;
    count++;
  }
  for (size_t i = count - 1; i > 0; i--) {
    size_t j = rng_below(&rng, i + 1);
    void *kept = object[i];
    object[i] = object[j];
    object[j] = kept;
  }
  sem_post(&is_filled);
  while (sem_wait(&may_end) != 0) {
  }
  return unused;
}

static void *helper(void *number) {
  struct rng rng = rng_stream(2 + (uintptr_t)number);
  void *small[SMALL_OBJECTS];
  for (size_t i = (uintptr_t)number; i < count; i += helpers) T_free(object[i]);
  sem_post(&is_freed);
  pthread_barrier_wait(&may_work);
  const struct timespec pause = {0, ROUND_US * 1000};
  while (!atomic_load(&is_over)) {
    for (size_t i = 0; i < SMALL_OBJECTS; i++) small[i] = T_malloc(16 + rng_below(&rng, 1009));
    for (size_t i = 0; i < SMALL_OBJECTS; i++) T_free(small[i]);
    nanosleep(&pause, NULL); /* small work: a few percent of a core */
  }
  return NULL;
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
  stress_name = "stress_sleeper";
  options_check(argc, argv, 1,
                "stress_sleeper [--mib N] [--helpers N] [--percent N] [--limit-ms N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t mib = option_u64(argc, argv, "--mib", 400);
  /* Below, the 16 MiB of free chunks that stay warm are more than a tenth of the peak. */
  option_range("--mib", mib, 200, 1 << 20);
  limit_bytes = mib * MIB;
  helpers = (unsigned)option_u64(argc, argv, "--helpers", 2);
  uint64_t percent = option_u64(argc, argv, "--percent", 10);
  uint64_t limit_ms = option_u64(argc, argv, "--limit-ms", 10000);
  option_range("--helpers", helpers, 1, HELPERS_MAX);
  option_range("--percent", percent, 1, 99);
  size_t table_bytes = limit_bytes / 256 * sizeof *object; /* of 520 bytes on average */
  object = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(object != MAP_FAILED, "mmap: errno %d", errno);
  sem_init(&is_filled, 0, 0), sem_init(&is_freed, 0, 0), sem_init(&may_end, 0, 0);
  barrier_init(&may_work, helpers + 1);

  pthread_t sleeper = thread_start(owner, NULL), worker[HELPERS_MAX];
  sem_wait(&is_filled);
  size_t peak = anonymous_bytes();
  for (uintptr_t i = 0; i < helpers; i++) worker[i] = thread_start(helper, (void *)i);
  for (unsigned i = 0; i < helpers; i++) sem_wait(&is_freed);
  size_t with_table = anonymous_bytes();
  REQUIRE(munmap(object, table_bytes) == 0, "munmap: errno %d", errno);
  size_t freed = anonymous_bytes(), now = freed;
  peak -= with_table - freed; /* the table is ours, not the allocator's, and is gone by now */
  pthread_barrier_wait(&may_work);
  uint64_t start_ms = now_ms(), took_ms = 0;
  const struct timespec pause = {0, 5000000};
  while (now * 100 >= peak * percent && took_ms < limit_ms) {
    nanosleep(&pause, NULL);
    now = anonymous_bytes();
    took_ms = now_ms() - start_ms;
  }
  printf("stress_sleeper: %zu objects, peak %zu KiB, all freed %zu, after %llu ms %zu (%.1f %%)\n",
         count, peak / KIB, freed / KIB, (unsigned long long)took_ms, now / KIB,
         100.0 * (double)now / (double)peak);
  fflush(stdout);
  atomic_store(&is_over, true);
  for (unsigned i = 0; i < helpers; i++) thread_join(worker[i]);
  sem_post(&may_end);
  thread_join(sleeper);
  REQUIRE(peak == 0 || now * 100 < peak * percent, "above %llu %% of the peak",
          (unsigned long long)percent);
  return 0;
}
