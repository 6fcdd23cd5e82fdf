/* stress_limit.c — fills memory until it is refused, writing to every byte, and frees it, in
 * rounds. stress_limit [--threads N] [--most-mib N] [--rounds N] [--size N] [--grow-percent N]
 * [--cache-mib N] [--seed N] Who runs it sets the limit (test_limit.py). Each refusal must be NULL
 * with ENOMEM, and come before --most-mib; each round must get as much as half of the first. --size
 * 0 is a mixture; --grow-percent: of one block a thread instead, that realloc makes so much larger
 * each time, until all are refused; --cache-mib: besides, at the start of each round, so much is a
 * cache that hak_limit_callback's program frees, which is told of at the end.
 * stress_limit --steps-mib N --stays-kib A-B,... [--addresses]: of a limit of N MiB so many parts
 * are used, one after the other, as of resident memory, or as of address space; after each,
 * PROBE_BYTES more are allocated and freed, and again until what of the free memory stays resident
 * is A up to B KiB, those of the step, or for long. Then it is printed.
 */
#include "stress_util.h"

#include <sys/wait.h>
#include <time.h>

#ifndef HAK_TEST_DIRECT
int hak_limit_callback(size_t soft_bytes, void (*call)(size_t, size_t, void *), void *context)
    __attribute__((weak));
#endif

enum { THREADS_MAX = 16, PROCESSES_MAX = 64, ROUND_SHARE = 2 };
enum {
  PIECE_BYTES = 1024, /* in slabs: where addresses are short, larger ones have mappings */
  PROBE_BYTES = 6144 * PIECE_BYTES,
  SLOW_PATHS = 200,   /* so many that the clock is looked at */
  SLOW_BYTES = 40000, /* of an object whose malloc and free are slow paths */
  LOOKS_MS = 1100, /* near a limit, it is looked at each half second; what was purged and is needed
                    * again within a second stays for ten */
  PAUSE_MS = 10,
  TRIES = 20, /* far from one it is looked at each ten seconds */
};

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

/* --- A cache that the program can do without --- */

static size_t cache_bytes;
static struct link *cache; /* NULL: given up; no thread allocates while it is made */
static struct told { size_t count, first_used, first_limit, last_used, last_limit, freed; } told;

static struct link *pieces_new(size_t bytes, struct link *list) {
  for (size_t done = 0; done < bytes; done += PIECE_BYTES) {
    struct link *piece = T_malloc(PIECE_BYTES);
    REQUIRE(piece != NULL, "no memory after %zu of %zu KiB", done / KIB, bytes / KIB);
    memset(piece, 0x5a, PIECE_BYTES);
    *piece = (struct link){list, PIECE_BYTES};
    list = piece;
  }
  return list;
}

static void give_up(size_t used_bytes, size_t limit_bytes, void *context) {
  struct told *t = context;
  if (t->count++ == 0) {
    t->first_used = used_bytes;
    t->first_limit = limit_bytes;
  }
  t->last_used = used_bytes;
  t->last_limit = limit_bytes;
  if (cache != NULL) t->freed += cache_bytes;
  empty(cache);
  cache = NULL;
}

static void told_print(void) {
  printf("stress_limit: called %zu times, at first with %zu of %zu KiB used, at last with %zu of "
         "%zu; %zu KiB were given up\n",
         told.count, told.first_used / KIB, told.first_limit / KIB, told.last_used / KIB,
         told.last_limit / KIB, told.freed / KIB);
}

/* --- What stays, by steps --- */

static size_t address_bytes(void) {
  char text[64];
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  REQUIRE(got > 0, "/proc/self/statm cannot be read");
  close(fd);
  text[got] = '\0';
  return strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static void slow_paths(void) {
  for (int i = 0; i < SLOW_PATHS; i++) T_free(T_malloc(SLOW_BYTES));
}

/* Looks at the limit are a matter of time: until one was made, on a machine that is not busy. */
static void wait_for_look(void) {
  struct timespec pause = {0, PAUSE_MS * 1000000};
  for (int ms = 0; ms < LOOKS_MS; ms += PAUSE_MS) {
    slow_paths();
    nanosleep(&pause, NULL);
  }
}

static size_t poll_stays(size_t resident_before, size_t live, size_t least, size_t most) {
  size_t stays = 0;
  for (int i = 0; i < TRIES && (i == 0 || stays < least || stays >= most); i++) {
    wait_for_look();
    empty(pieces_new(PROBE_BYTES, NULL)); /* these frees are slow paths, which give back */
    size_t resident = anonymous_bytes() - resident_before;
    stays = resident > live ? resident - live : 0;
  }
  return stays;
}

/* The next A-B of the list at *text, in bytes. */
static void next_range(const char **text, size_t *least, size_t *most) {
  char *end;
  *least = strtoull(*text, &end, 10) * KIB;
  if (*end != '-') option_refuse("--stays-kib", *text, "A-B,... is wanted, one a step");
  *most = strtoull(end + 1, &end, 10) * KIB;
  *text = *end == ',' ? end + 1 : end;
}

static void run_steps(size_t limit, bool by_addresses, const char *ranges) {
  /* Of 1,000, each amid a step of docs/tuning.md, with the probe too; at last back below them. */
  static const size_t parts[] = {600, 870, 920, 952, 600};
  size_t resident_before = anonymous_bytes(), live = 0;
  struct link *list = NULL;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    size_t wanted = limit / 1000 * parts[i], least, most;
    next_range(&ranges, &least, &most);
    while ((by_addresses ? address_bytes() : resident_before + live) < wanted) {
      list = pieces_new(PIECE_BYTES, list);
      live += PIECE_BYTES;
    }
    while (resident_before + live > wanted + PIECE_BYTES) {
      struct link *next = list->next;
      T_free(list);
      list = next;
      live -= PIECE_BYTES;
    }
    size_t stays = poll_stays(resident_before, live, least, most);
    printf("stress_limit: %zu of 1000 used: %zu KiB live, %zu KiB stay resident beside\n", parts[i],
           live / KIB, stays / KIB);
  }
  empty(list);
}

/* --- The rounds --- */

static void *work(void *argument) {
  size_t number = (size_t)(uintptr_t)argument >> 8, rounds = (size_t)(uintptr_t)argument & 255;
  struct rng rng = rng_stream(number + 1);
  for (size_t round = 0; round < rounds; round++) {
    if (number == 0 && cache == NULL) cache = pieces_new(cache_bytes, NULL);
    pthread_barrier_wait(&turn);
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

/* --- Processes that share a limit ---
 * stress_limit --processes N [--before-mib N] [--size N]: so many at once, each of which fills
 * memory until it is refused, and keeps it until all are, or are killed; --before-mib: so much the
 * process that forks them has. How many were killed is printed. */

struct turn {
  int start[2], end[2];
}; /* pipes; all wait until the write end is closed */

static void wait_closed(const int *ends) {
  char c;
  close(ends[1]);
  while (read(ends[0], &c, 1) < 0) REQUIRE(errno == EINTR, "read: errno %d", errno);
}

static _Noreturn void process(const struct turn *t, unsigned number, int said) {
  struct rng rng = rng_stream(number + 1);
  close(t->end[1]);
  wait_closed(t->start);
  struct link *list = fill(&rng);
  size_t bytes = atomic_load(&filled);
  REQUIRE(write(said, &bytes, sizeof bytes) == (ssize_t)sizeof bytes, "write: errno %d", errno);
  wait_closed(t->end);
  empty(list);
  _exit(0);
}

static void run_processes(unsigned count, size_t before_bytes) {
  struct turn t;
  int said[PROCESSES_MAX];
  struct link *before = pieces_new(before_bytes, NULL);
  REQUIRE(pipe(t.start) == 0 && pipe(t.end) == 0, "pipe: errno %d", errno);
  for (unsigned i = 0; i < count; i++) {
    int ends[2];
    REQUIRE(pipe(ends) == 0, "pipe: errno %d", errno);
    pid_t pid = fork();
    REQUIRE(pid >= 0, "fork: errno %d", errno);
    if (pid == 0) process(&t, i, ends[1]);
    close(ends[1]);
    said[i] = ends[0];
  }
  close(t.start[1]);
  size_t sum = 0, bytes;
  for (unsigned i = 0; i < count; i++) /* who is killed has said nothing */
    if (read(said[i], &bytes, sizeof bytes) == (ssize_t)sizeof bytes) sum += bytes;
  close(t.end[1]);
  unsigned killed = 0;
  for (unsigned i = 0; i < count; i++) {
    int status;
    REQUIRE(wait(&status) > 0, "wait: errno %d", errno);
    bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    REQUIRE(is_killed || status == 0, "a process ended with status 0x%x", (unsigned)status);
    if (is_killed) killed++;
  }
  printf("stress_limit: %u processes: %zu KiB beside %zu, %u killed\n", count, sum / KIB,
         before_bytes / KIB, killed);
  empty(before);
}

static const char *option_text(int argc, char **argv, const char *name) {
  for (int i = 1; i + 1 < argc; i++)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  return "";
}

int main(int argc, char **argv) {
  stress_name = "stress_limit";
  options_check(argc, argv, 1,
                "stress_limit [--threads N] [--most-mib N] [--rounds N] [--size N] "
                "[--grow-percent N] [--cache-mib N] [--steps-mib N] [--stays-kib LIST] "
                "[--addresses] [--processes N] [--before-mib N] [--seed N]");
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
  uint64_t cache_mib = option_u64(argc, argv, "--cache-mib", 0);
  option_range("--cache-mib", cache_mib, 0, 1 << 20);
  uint64_t steps_mib = option_u64(argc, argv, "--steps-mib", 0);
  option_range("--steps-mib", steps_mib, 0, 1 << 20);
  if (steps_mib != 0) {
    run_steps(steps_mib * MIB, option_has(argc, argv, "--addresses"),
              option_text(argc, argv, "--stays-kib"));
    return 0;
  }
  most_bytes = mib * MIB;
  uint64_t processes = option_u64(argc, argv, "--processes", 0);
  option_range("--processes", processes, 0, PROCESSES_MAX);
  uint64_t before_mib = option_u64(argc, argv, "--before-mib", 0);
  option_range("--before-mib", before_mib, 0, 1 << 20);
  if (processes != 0) {
    run_processes((unsigned)processes, before_mib * MIB);
    return 0;
  }
  cache_bytes = cache_mib * MIB;
  if (cache_bytes != 0) {
#ifndef HAK_TEST_DIRECT
    if (hak_limit_callback == NULL) {
      puts("SKIP: hakmem is not preloaded");
      return 77;
    }
#endif
    REQUIRE(hak_limit_callback(0, give_up, &told) == 0, "hak_limit_callback");
  }
  threads = (unsigned)n;
  barrier_init(&turn, threads);
  pthread_t thread[THREADS_MAX];
  for (uintptr_t i = 0; i < threads; i++) thread[i] = thread_start(work, (void *)(i << 8 | rounds));
  for (unsigned i = 0; i < threads; i++) thread_join(thread[i]);
  if (cache_bytes != 0) told_print();
  return 0;
}
