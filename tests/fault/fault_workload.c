/* fault_workload.c — every way to need memory from the OS, while fault_driver.py fails OS calls.
 *   fault_workload [--strict] [--once] [--seed N]
 * The only failure allowed is NULL with ENOMEM (or a thread or child that cannot be had), and what
 * is live must stay intact. --strict: no failure at all. --once: only one OS call fails in all, so
 * the same request must succeed when it is made again. Prints `nulls=N`, the refusals seen.
 */
#define _GNU_SOURCE 1
#include "hak_test_alloc.h"

#include <sys/wait.h>

#include "../stress/stress_util.h"

enum { LIVE_SLOTS = 2048, THREADS = 4, CHILD_OK = 17 };

static _Atomic(void *) live[LIVE_SLOTS]; /* tagged objects, of all phases and threads */
static _Atomic uint64_t nulls;
static bool strict, once;

static void refused(const char *what) {
  REQUIRE(!strict, "%s failed", what);
  atomic_fetch_add(&nulls, 1);
}

static void live_put(struct rng *rng, void *object) {
  if (object == NULL) {
    refused("malloc");
    return;
  }
  void *old = atomic_exchange(&live[rng_below(rng, LIVE_SLOTS)], object);
  if (old != NULL) {
    tagged_free(old);
  }
}

static void live_empty(void) {
  for (size_t i = 0; i < LIVE_SLOTS; i++) {
    void *old = atomic_exchange(&live[i], NULL);
    if (old != NULL) {
      tagged_free(old);
    }
  }
}

static void phase_sizes(struct rng *rng, unsigned count, size_t low, size_t high) {
  for (unsigned i = 0; i < count; i++) {
    live_put(rng, tagged_new(sizeof(struct tagged) + size_between(rng, low, high), rng_next(rng)));
  }
}

/* Grows and shrinks one object step by step; after a refusal the old one must be whole. */
static void phase_realloc(struct rng *rng, size_t from, size_t to) {
  size_t size = from;
  uint64_t key = rng_next(rng) | 1; /* odd: large ones are filled at their ends only */
  unsigned char *p = T_malloc(size);
  if (p == NULL) {
    refused("malloc");
    return;
  }
  pattern_fill(p, size, key);
  for (bool growing = true; growing || size > from;) {
    size_t next = growing ? size + size / 2 + 1 : size / 2;
    errno = 0;
    unsigned char *moved = T_realloc(p, next);
    if (moved == NULL) {
      REQUIRE(errno == ENOMEM, "realloc(%zu) failed with errno %d", next, errno);
      refused("realloc");
      REQUIRE(pattern_check(p, size, key, SIZE_MAX) == SIZE_MAX,
              "a refused realloc to %zu bytes changed the object of %zu", next, size);
      break;
    }
    size_t kept = size < next ? size : next;
    REQUIRE(pattern_check(moved, size, key, kept) == SIZE_MAX, "realloc from %zu to %zu bytes",
            size, next);
    p = moved;
    size = next;
    pattern_fill(p, size, key);
    growing = growing && size < to;
  }
  T_free(p);
}

static void phase_aligned(struct rng *rng) {
  void *own[24];
  for (unsigned i = 0; i < 24; i++) { /* 16 B to 8 MiB, sizes below and above the alignment */
    size_t alignment = (size_t)16 << (i % 20);
    size_t size = 1 + rng_below(rng, 2 * alignment);
    own[i] = NULL;
    int error = T_posix_memalign(&own[i], alignment, size);
    REQUIRE(error == 0 || (error == ENOMEM && own[i] == NULL), "posix_memalign: %d", error);
    if (error != 0) {
      refused("posix_memalign");
      continue;
    }
    REQUIRE(((uintptr_t)own[i] & (alignment - 1)) == 0, "alignment %zu: %p", alignment, own[i]);
    pattern_fill(own[i], size, 1);
  }
  for (unsigned i = 0; i < 24; i++) {
    T_free(own[i]);
  }
}

/* Memory that was dirty before: zeroing may rely on a purge only if the purge took place. */
static void phase_calloc(size_t size, unsigned count) {
  void *own[64] = {NULL};
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < count; i++) {
      errno = 0;
      own[i] = T_calloc(1, size);
      if (own[i] == NULL) {
        REQUIRE(errno == ENOMEM, "calloc(%zu) failed with errno %d", size, errno);
        refused("calloc");
        continue;
      }
      size_t bad = nonzero_at(own[i], size);
      REQUIRE(bad == SIZE_MAX, "calloc(%zu) not zero at %zu", size, bad);
      memset(own[i], 0xa5, size);
    }
    for (unsigned i = 0; i < count; i++) {
      T_free(own[i]);
    }
    T_trim(0);
  }
}

static void *thread_body(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  phase_sizes(&rng, 600, 1, 1024);
  phase_sizes(&rng, 60, 1024, 32 * KIB);
  phase_realloc(&rng, 100, 300 * KIB);
  return NULL;
}

static void phase_threads(unsigned first) {
  pthread_t ids[THREADS];
  bool started[THREADS];
  for (unsigned i = 0; i < THREADS; i++) {
    int error = pthread_create(&ids[i], NULL, thread_body, (void *)(uintptr_t)(first + i));
    REQUIRE(error == 0 || error == EAGAIN || error == ENOMEM, "pthread_create: %d", error);
    started[i] = error == 0;
    if (error != 0) {
      refused("pthread_create");
    }
  }
  for (unsigned i = 0; i < THREADS; i++) {
    if (started[i]) {
      thread_join(ids[i]);
    }
  }
}

static void phase_fork(struct rng *rng) {
  pid_t pid = fork();
  if (pid < 0) {
    REQUIRE(errno == ENOMEM || errno == EAGAIN, "fork: errno %d", errno);
    refused("fork");
    return;
  }
  if (pid == 0) {
    phase_sizes(rng, 500, 1, 2048);
    phase_threads(200);
    live_empty();
    exit(CHILD_OK);
  }
  int status;
  REQUIRE(waitpid(pid, &status, 0) == pid, "waitpid: errno %d", errno);
  REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == CHILD_OK, "the child's status is %#x",
          (unsigned)status);
}

/* One refused OS call is the past: whoever asks again gets memory. */
static void phase_recover(void) {
  static const size_t sizes[] = {40, 3000, 100 * KIB, 3 * MIB, 6 * MIB};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    void *p = tagged_new(sizes[i], i);
    if (p == NULL) {
      refused("malloc");
      p = tagged_new(sizes[i], i);
      REQUIRE(p != NULL || !once, "%zu bytes refused twice after one failed OS call", sizes[i]);
    }
    if (p != NULL) {
      tagged_free(p);
    }
  }
}

int main(int argc, char **argv) {
  stress_name = "fault_workload";
  stress_seed = option_u64(argc, argv, "--seed", 1);
  strict = option_has(argc, argv, "--strict");
  once = option_has(argc, argv, "--once");
  struct rng rng = rng_stream(0);
  phase_sizes(&rng, 6000, 1, 1024);
  phase_threads(100);
  phase_sizes(&rng, 400, 1024, 32 * KIB);
  phase_sizes(&rng, 40, 32 * KIB, 2 * MIB);
  phase_sizes(&rng, 12, 2 * MIB, 12 * MIB);
  phase_realloc(&rng, 24, 400 * KIB);
  phase_realloc(&rng, 300 * KIB, 24 * MIB);
  phase_aligned(&rng);
  phase_calloc(600, 64);
  phase_calloc(90 * KIB, 16);
  phase_calloc(3 * MIB, 2);
  phase_calloc(5 * MIB, 1);
  phase_fork(&rng);
  phase_threads(300); /* these adopt what the first ones left */
  live_empty();
  phase_recover();
  char text[32];
  int length = snprintf(text, sizeof text, "nulls=%llu\n", (unsigned long long)nulls);
  return write(STDOUT_FILENO, text, (size_t)length) == length ? 0 : 1;
}
