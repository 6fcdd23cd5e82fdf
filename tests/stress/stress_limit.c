/* stress_limit.c — fills memory until it is refused, writing to every byte, and frees it, in
 * rounds. stress_limit [--threads N] [--most-mib N] [--rounds N] [--size N] [--grow-percent N]
 * [--seed N] Who runs it sets the limit (test_limit.py). Each refusal must be NULL with ENOMEM, and
 * come before --most-mib; each round must get as much as half of the first. --size 0 is a mixture;
 * --grow-percent: of one block a thread instead, that realloc makes so much larger each time, until
 * all are refused.
 */
#include "stress_util.h"

enum { THREADS_MAX = 16, ROUND_SHARE = 2 };

struct link {
  struct link *next;
  size_t size;
};

static size_t most_bytes, wanted_size, grow_percent;
static unsigned threads;
static pthread_barrier_t turn;
static atomic_size_t filled; /* in this round */
static atomic_uint refused;  /* threads that grow no more, for now */
static size_t first_round;

static size_t next_size(struct rng *rng) {
  size_t size = wanted_size != 0 ? wanted_size : size_mixed(rng);
  return size < sizeof(struct link) ? sizeof(struct link) : size < 4 * MIB ? size : 4 * MIB;
}

static void note_filled(size_t bytes) {
  REQUIRE(atomic_fetch_add(&filled, bytes) + bytes < most_bytes, "nothing is refused");
}

static struct link *fill(struct rng *rng) {
  struct link *list = NULL;
  for (;;) {
    size_t size = next_size(rng);
    errno = 0;
    struct link *object = T_malloc(size);
    if (object == NULL) {
      REQUIRE(errno == ENOMEM, "malloc(%zu) failed with errno %d", size, errno);
      return list;
    }
    memset(object, 0x5a, size);
    *object = (struct link){list, size};
    list = object;
    note_filled(size);
  }
}

/* Asks again while another may be granted what it is about to let go of. */
static struct link *grow(void) {
  struct link *object = NULL;
  bool is_refused = false;
  for (size_t size = 0, next = MIB;;) {
    errno = 0;
    struct link *grown = T_realloc(object, next);
    if ((grown == NULL) != is_refused) {
      is_refused = grown == NULL;
      atomic_fetch_add(&refused, is_refused ? 1u : -1u);
    }
    if (grown == NULL) {
      REQUIRE(errno == ENOMEM, "realloc to %zu failed with errno %d", next, errno);
      if (atomic_load(&refused) == threads) return object;
      continue;
    }
    memset((char *)grown + size, 0x5a, next - size);
    *grown = (struct link){NULL, next};
    note_filled(next - size);
    object = grown;
    size = next;
    next += next / 100 * grow_percent;
  }
}

static void empty(struct link *list) {
  while (list != NULL) {
    struct link *next = list->next;
    size_t size = list->size;
    REQUIRE(size == sizeof *list || ((unsigned char *)list)[size - 1] == 0x5a, "byte changed");
    T_free(list);
    list = next;
  }
}

static void *work(void *argument) {
  size_t number = (size_t)(uintptr_t)argument >> 8, rounds = (size_t)(uintptr_t)argument & 255;
  struct rng rng = rng_stream(number + 1);
  for (size_t round = 0; round < rounds; round++) {
    struct link *list = grow_percent != 0 ? grow() : fill(&rng);
    pthread_barrier_wait(&turn);
    if (number == 0) {
      size_t bytes = atomic_load(&filled);
      printf("stress_limit: round %zu: %zu KiB\n", round + 1, bytes / KIB);
      fflush(stdout);
      if (round == 0) first_round = bytes;
      REQUIRE(bytes * ROUND_SHARE >= first_round, "less than half of round 1");
      atomic_store(&filled, 0);
      atomic_store(&refused, 0);
    }
    pthread_barrier_wait(&turn);
    empty(list);
    pthread_barrier_wait(&turn);
  }
  return NULL;
}

int main(int argc, char **argv) {
  stress_name = "stress_limit";
  options_check(argc, argv, 1,
                "stress_limit [--threads N] [--most-mib N] [--rounds N] [--size N] "
                "[--grow-percent N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t mib = option_u64(argc, argv, "--most-mib", 1024), rounds, n;
  option_range("--most-mib", mib, 1, 1 << 20);
  n = option_u64(argc, argv, "--threads", 2);
  option_range("--threads", n, 1, THREADS_MAX);
  rounds = option_u64(argc, argv, "--rounds", 3);
  option_range("--rounds", rounds, 1, 100);
  wanted_size = option_u64(argc, argv, "--size", 0);
  option_range("--size", wanted_size, 0, 4 * MIB);
  grow_percent = option_u64(argc, argv, "--grow-percent", 0);
  option_range("--grow-percent", grow_percent, 0, 100);
  most_bytes = mib * MIB;
  threads = (unsigned)n;
  barrier_init(&turn, threads);
  pthread_t thread[THREADS_MAX];
  for (uintptr_t i = 0; i < threads; i++) thread[i] = thread_start(work, (void *)(i << 8 | rounds));
  for (unsigned i = 0; i < threads; i++) thread_join(thread[i]);
  return 0;
}
