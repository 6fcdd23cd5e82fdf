/* stress_threads.c — what many threads cost that do nothing, and that many can be alive at once.
 *   stress_threads idle: see its usage. Threads allocate and free, then sleep; bounds are of one
 *     thread: its metadata, what it keeps at hand, that after another's slow paths for --work-ms,
 *     all after hak_thread_idle, and what is resident beside that once main has trimmed.
 *   stress_threads alive [--threads N] [--objects N] [--rounds N] [--growth-kib N] [--ended-kib N]
 *     All threads exist and have objects, free each other's, and end. Then a thread may have left
 *     --ended-kib in the first round, all together --growth-kib in the last, trimmed. All that are
 *     asked for must be alive at once; it is skipped where a limit of the kernel's is lower.
 * Threads that come and go: stress_remote short.
 */
#define _GNU_SOURCE 1
#include "stress_util.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

extern void hak_thread_idle(void) __attribute__((weak));

/* Of libc's own, where it allocates here: it keeps 40 MiB of stacks, with a vector for each, whose
 * class is by chance its own or the next. */
enum { LIVE_BYTES = T_IS_DIRECT ? 0 : 8192 };

enum { SKIPPED = 77, ROUNDS_MORE = 4 };

static uint64_t threads, rounds;

static void *map_table(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(p != MAP_FAILED, "mmap of %zu bytes: errno %d", size, errno);
  return p;
}

/* --- phases: all threads wait at a gate until main opens it -------------------------------- */

static struct gate {
  pthread_mutex_t lock;
  pthread_cond_t is_open, is_full;
  uint64_t waiting;
  unsigned opened;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void gate_pass(unsigned number) {
  pthread_mutex_lock(&gate.lock);
  gate.waiting++;
  pthread_cond_signal(&gate.is_full);
  while (gate.opened < number) pthread_cond_wait(&gate.is_open, &gate.lock);
  pthread_mutex_unlock(&gate.lock);
}

/* Main: every one of the threads is at the gate. */
static void gate_await(void) {
  pthread_mutex_lock(&gate.lock);
  while (gate.waiting < threads) pthread_cond_wait(&gate.is_full, &gate.lock);
  pthread_mutex_unlock(&gate.lock);
}

static void gate_open(unsigned number) {
  pthread_mutex_lock(&gate.lock);
  gate.waiting = 0;
  gate.opened = number;
  pthread_cond_broadcast(&gate.is_open);
  pthread_mutex_unlock(&gate.lock);
}

/* --- what malloc_info says ------------------------------------------------------------------ */

enum { CLASSES_MAX = 128, XML_BYTES = 65536 };

struct class_figures {
  uint64_t size, live, cached, free;
};

struct figures {
  uint64_t meta, cached, heaps, resident;
  uint64_t in_slabs; /* free objects in the slabs of classes */
  unsigned class_count;
  struct class_figures cls[CLASSES_MAX];
};

/* The value of NAME="..." in the element at TEXT. */
static uint64_t attribute(const char *text, const char *name) {
  char pattern[32];
  int length = snprintf(pattern, sizeof pattern, " %s=\"", name);
  const char *end = strchr(text, '>'), *at = strstr(text, pattern);
  REQUIRE(end != NULL && at != NULL && at < end, "malloc_info: no %s in %.60s", name, text);
  return strtoull(at + length, NULL, 10);
}

static struct figures figures_now(void) {
  static char xml[XML_BYTES];
  struct figures f = {.resident = anonymous_bytes()};
  memset(xml, 0, sizeof xml);
  FILE *stream = fmemopen(xml, sizeof xml - 1, "w");
  REQUIRE(stream != NULL && T_malloc_info(0, stream) == 0 && fclose(stream) == 0, "malloc_info");
  const char *at = strstr(xml, "<hakmem ");
  REQUIRE(at != NULL, "malloc_info is not hakmem's");
  f.meta = attribute(at, "meta");
  f.cached = attribute(at, "fsmblks");
  f.heaps = attribute(at, "heaps");
  uint64_t sum = 0;
  while ((at = strstr(at, "<class ")) != NULL) {
    REQUIRE(f.class_count < CLASSES_MAX, "more than %d classes", CLASSES_MAX);
    struct class_figures *c = &f.cls[f.class_count++];
    *c = (struct class_figures){attribute(at, "size"), attribute(at, "live"),
                                attribute(at, "cached"), attribute(at, "free")};
    sum += c->cached * c->size;
    f.in_slabs += c->free * c->size;
    at++;
  }
  REQUIRE(sum == f.cached, "classes have %llu bytes cached, the sum is %llu",
          (unsigned long long)sum, (unsigned long long)f.cached);
  return f;
}

/* How much one thread has more than before; less counts as nothing. */
static double kib_each(uint64_t before, uint64_t now) {
  return now <= before ? 0 : (double)(now - before) / 1024 / (double)threads;
}

static void figures_print(const char *when, const struct figures *before,
                          const struct figures *now) {
  printf("stress_threads: %s, KiB a thread: meta %.1f, cached %.1f, free in slabs %.1f, "
         "resident %.1f\n",
         when, kib_each(before->meta, now->meta), kib_each(before->cached, now->cached),
         kib_each(before->in_slabs, now->in_slabs), kib_each(before->resident, now->resident));
}

/* Where a bound does not hold, one wants to know which class it is. */
static void figures_print_classes(const struct figures *now) {
  for (unsigned i = 0; i < now->class_count; i++) {
    const struct class_figures *c = &now->cls[i];
    printf("  class %5llu: live %llu, cached %llu (%.2f KiB a thread), free %llu (%.2f)\n",
           (unsigned long long)c->size, (unsigned long long)c->live, (unsigned long long)c->cached,
           kib_each(0, c->cached * c->size), (unsigned long long)c->free,
           kib_each(0, c->free * c->size));
  }
}

/* --- idle ----------------------------------------------------------------------------------- */

enum { MIXED_OBJECTS = 1000, MIXED_MIN = 16, MIXED_MAX = 32768, PROBES = 4000, PROBE_BYTES = 200 };

static size_t live_max; /* objects of a thread */

/* Freed in an order that is not that of allocation; the last that are live go at the end. */
static void mixed_round(struct rng *rng) {
  void *own[MIXED_OBJECTS];
  size_t live = 0;
  for (size_t made = 0; made < MIXED_OBJECTS || live > 0;) {
    if (made < MIXED_OBJECTS && live < live_max) {
      size_t size = size_between(rng, MIXED_MIN, MIXED_MAX);
      own[live] = T_malloc(size);
      REQUIRE(own[live] != NULL, "out of memory at %zu bytes", size);
      memset(own[live++], 0x5a, size);
      made++;
    } else {
      size_t i = rng_below(rng, live);
      T_free(own[i]);
      own[i] = own[--live];
    }
  }
}

static void *idle_thread(void *number) {
  struct rng rng = rng_stream(1 + (uintptr_t)number);
  gate_pass(1);
  for (uint64_t i = 0; i < rounds; i++) mixed_round(&rng);
  gate_pass(2);
  if (hak_thread_idle) hak_thread_idle();
  gate_pass(3);
  mixed_round(&rng); /* it goes on as before */
  return NULL;
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* More objects than bin and depot hold: slow paths, and among these ticks. Then main itself keeps
 * nothing, so that what is cached is the threads'. */
static void main_works(uint64_t duration_ms) {
  static void *object[PROBES];
  uint64_t end_ms = now_ms() + duration_ms;
  do {
    for (size_t i = 0; i < PROBES; i++) object[i] = T_malloc(PROBE_BYTES);
    for (size_t i = 0; i < PROBES; i++) T_free(object[i]);
  } while (now_ms() < end_ms);
  if (hak_thread_idle) hak_thread_idle();
}

/* What was purged and is needed again within a second stays for ten: not so here. */
enum { UNREGRETTED_MS = 1100 };

/* The tables of the region grow with the most memory that ever was in use; they are not what a
 * thread costs. So main uses as much once, without touching it. */
static void main_opens_region(void) {
  size_t count = threads * MIXED_OBJECTS;
  void **object = map_table(count * sizeof *object);
  struct rng rng = rng_stream(0);
  for (size_t i = 0; i < count; i++) object[i] = T_malloc(size_between(&rng, MIXED_MIN, MIXED_MAX));
  for (size_t i = 0; i < count; i++) T_free(object[i]);
  munmap(object, count * sizeof *object);
}

static void bound_check(const char *what, double kib, uint64_t limit_kib,
                        const struct figures *now) {
  if (kib > (double)limit_kib) figures_print_classes(now);
  fflush(stdout); /* the figures are wanted most when one is too large */
  REQUIRE(kib <= (double)limit_kib, "%s: %.1f KiB a thread, limit %llu", what, kib,
          (unsigned long long)limit_kib);
}

static const char *homes_asked(void) {
  const char *homes = getenv("HAKMEM_HEAPS");
  return homes == NULL ? "by default" : homes;
}

static double kib_in_all(const struct figures *before, const struct figures *now) {
  return kib_each(before->meta, now->meta) + kib_each(before->cached, now->cached) +
         kib_each(before->in_slabs, now->in_slabs);
}

static void pattern_idle(int argc, char **argv) {
  static struct figures before, asleep, ticked, idle, later, trimmed;
  threads = option_u64(argc, argv, "--threads", 64);
  rounds = option_u64(argc, argv, "--rounds", 1);
  live_max = option_u64(argc, argv, "--live", MIXED_OBJECTS);
  uint64_t work_ms = option_u64(argc, argv, "--work-ms", 2000);
  uint64_t meta_kib = option_u64(argc, argv, "--meta-kib", 32);
  uint64_t cached_kib = option_u64(argc, argv, "--cached-kib", 256);
  uint64_t ticked_kib = option_u64(argc, argv, "--ticked-kib", 96);
  uint64_t idle_kib = option_u64(argc, argv, "--idle-kib", 32);
  uint64_t beside_kib = option_u64(argc, argv, "--beside-kib", 16);
  REQUIRE(threads >= 1 && rounds >= 1 && live_max >= 1 && live_max <= MIXED_OBJECTS,
          "--threads, --rounds 1 or more, --live 1 to %d", MIXED_OBJECTS);
  pthread_t *ids = map_table(threads * sizeof *ids);
  for (uint64_t i = 0; i < threads; i++) ids[i] = thread_start(idle_thread, (void *)(uintptr_t)i);
  main_opens_region();
  T_trim(0);
  main_works(UNREGRETTED_MS);
  gate_await();
  before = figures_now();
  gate_open(1);
  gate_await();
  main_works(0);
  asleep = figures_now();
  main_works(work_ms);
  ticked = figures_now();
  gate_open(2);
  gate_await();
  main_works(0);
  idle = figures_now();
  main_works(work_ms);
  later = figures_now();
  T_trim(0);
  trimmed = figures_now();
  gate_open(3);
  for (uint64_t i = 0; i < threads; i++) thread_join(ids[i]);
  REQUIRE(asleep.heaps >= threads, "%llu heaps", (unsigned long long)asleep.heaps);

  figures_print("asleep", &before, &asleep);
  figures_print("others worked", &before, &ticked);
  figures_print("hak_thread_idle", &before, &idle);
  figures_print("others worked on", &before, &later);
  figures_print("main trimmed", &before, &trimmed);
  if (option_has(argc, argv, "--classes")) figures_print_classes(&ticked);
  REQUIRE(hak_thread_idle != NULL, "no hak_thread_idle");
  double meta = kib_each(before.meta, asleep.meta);
  double cached = kib_each(before.cached, asleep.cached);
  double cached_late = kib_each(before.cached, ticked.cached);
  double all = kib_in_all(&before, &idle);
  double beside = kib_each(before.resident, trimmed.resident) - kib_in_all(&before, &trimmed);
  printf("stress_threads: %llu threads, %llu rounds, at most %zu live, HAKMEM_HEAPS %s; KiB a "
         "thread: metadata %.1f (of %llu), cached %.1f (of %llu), %.1f after others worked (of "
         "%llu), in all %.1f after hak_thread_idle (of %llu), resident then %.1f, and beside it "
         "%.1f once trimmed (of %llu)\n",
         (unsigned long long)threads, (unsigned long long)rounds, live_max, homes_asked(), meta,
         (unsigned long long)meta_kib, cached, (unsigned long long)cached_kib, cached_late,
         (unsigned long long)ticked_kib, all, (unsigned long long)idle_kib,
         kib_each(before.resident, idle.resident), beside, (unsigned long long)beside_kib);
  bound_check("metadata", meta, meta_kib, &asleep);
  bound_check("cached", cached, cached_kib, &asleep);
  bound_check("cached, after others worked", cached_late, ticked_kib, &ticked);
  bound_check("all, after hak_thread_idle", all, idle_kib, &idle);
  bound_check("resident beside it, trimmed", beside, beside_kib, &trimmed);
}

/* --- alive ---------------------------------------------------------------------------------- */

enum { STACK_BYTES = (STRESS_SANITIZED ? 1024 : 64) * 1024, ALIVE_SIZE_MAX = 1024 };

static uint64_t objects_each;
static void **object; /* objects_each of each thread */
static _Atomic uint64_t keys_made, keys_freed;

/* The second gates of both rounds must not be open already. */
static unsigned alive_gate;

static void *alive_thread(void *arg) {
  uint64_t number = (uintptr_t)arg, keys = 0;
  struct rng rng = rng_stream(number);
  unsigned first = alive_gate;
  for (uint64_t i = 0; i < objects_each; i++) {
    uint64_t key = rng_next(&rng);
    void *p = tagged_new(sizeof(struct tagged) + size_between(&rng, 1, ALIVE_SIZE_MAX), key);
    REQUIRE(p != NULL, "thread %llu: out of memory", (unsigned long long)number);
    object[number * objects_each + i] = p;
    keys += key;
  }
  atomic_fetch_add(&keys_made, keys);
  gate_pass(first);
  keys = 0;
  for (uint64_t i = 0; i < objects_each; i++) { /* each of another thread: i + 1 places on */
    void **slot = &object[(number + i + 1) % threads * objects_each + i];
    keys += ((struct tagged *)*slot)->key;
    tagged_free(*slot);
    *slot = NULL;
  }
  atomic_fetch_add(&keys_freed, keys);
  gate_pass(first + 1);
  return NULL;
}

static uint64_t number_in(const char *path) {
  uint64_t number = UINT64_MAX; /* what has no number, or is not there, is no limit */
  FILE *file = fopen(path, "r");
  if (file != NULL) {
    unsigned long long read = 0;
    if (fscanf(file, "%llu", &read) == 1) number = read;
    fclose(file);
  }
  return number;
}

/* Which limit of the kernel's leaves no room for all threads; NULL if none does that we know of. */
static const char *limit_too_low(uint64_t started) {
  static const char *const of_threads[] = {"/proc/sys/kernel/threads-max",
                                           "/proc/sys/kernel/pid_max", "/sys/fs/cgroup/pids.max",
                                           "/sys/fs/cgroup/pids/pids.max"};
  static const char of_mappings[] = "/proc/sys/vm/max_map_count";
  struct sysinfo info;
  struct rlimit own;
  REQUIRE(sysinfo(&info) == 0 && getrlimit(RLIMIT_NPROC, &own) == 0, "errno %d", errno);
  uint64_t wanted = info.procs + (threads - started); /* other processes have theirs */
  for (size_t i = 0; i < sizeof of_threads / sizeof *of_threads; i++)
    if (number_in(of_threads[i]) < wanted) return of_threads[i];
  if (own.rlim_cur < wanted) return "RLIMIT_NPROC";
  return number_in(of_mappings) < 2 * threads ? of_mappings : NULL; /* a stack and its guard */
}

/* A thread that is refused though no limit is the kernel's is the allocator's fault: it may have
 * used up address space or mappings. */
__attribute__((noreturn)) static void alive_refused(uint64_t started, int error) {
  const char *limit = limit_too_low(started);
  REQUIRE((error == EAGAIN || error == ENOMEM) && limit != NULL,
          "thread %llu of %llu: errno %d, and no limit is so low", (unsigned long long)started + 1,
          (unsigned long long)threads, error);
  printf("SKIP: %llu threads of %llu can be alive (errno %d): %s\n", (unsigned long long)started,
         (unsigned long long)threads, error, limit);
  fflush(stdout);
  _exit(SKIPPED); /* the others wait at the gate */
}

static void alive_start(pthread_t *ids) {
  pthread_attr_t attr;
  REQUIRE(pthread_attr_init(&attr) == 0, "pthread_attr_init");
  int error = pthread_attr_setstacksize(&attr, STACK_BYTES);
  REQUIRE(error == 0, "pthread_attr_setstacksize: errno %d", error);
  for (uint64_t i = 0; i < threads; i++) {
    error = pthread_create(&ids[i], &attr, alive_thread, (void *)(uintptr_t)i);
    if (error != 0) alive_refused(i, error);
  }
  pthread_attr_destroy(&attr);
}

struct alive_figures {
  size_t before, full, emptied, ended, trimmed; /* resident */
  size_t live;
};

static struct alive_figures alive_round(pthread_t *ids) {
  struct alive_figures f = {.before = anonymous_bytes()};
  alive_start(ids);
  gate_await();
  f.full = anonymous_bytes();
  gate_open(alive_gate);
  gate_await();
  f.emptied = anonymous_bytes();
  gate_open(alive_gate + 1);
  alive_gate += 2;
  for (uint64_t i = 0; i < threads; i++) thread_join(ids[i]);
  f.ended = anonymous_bytes();
  T_trim(0);
  f.trimmed = anonymous_bytes();
  f.live = T_mallinfo2().uordblks;
  REQUIRE(keys_made == keys_freed, "objects were lost or came twice");
  return f;
}

static void alive_print(const struct alive_figures *f) {
  printf("stress_threads: %llu threads alive, KiB resident a thread: full %.1f, all freed %.1f, "
         "ended %.1f, trimmed %.1f\n",
         (unsigned long long)threads, kib_each(f->before, f->full), kib_each(f->before, f->emptied),
         kib_each(f->before, f->ended), kib_each(f->before, f->trimmed));
}

static long long growth_kib_of(const struct alive_figures *before,
                               const struct alive_figures *now) {
  return ((long long)now->trimmed - (long long)before->trimmed) / 1024;
}

static void pattern_alive(int argc, char **argv) {
  threads = option_u64(argc, argv, "--threads", 10000);
  rounds = option_u64(argc, argv, "--rounds", 3);
  objects_each = option_u64(argc, argv, "--objects", 20);
  uint64_t growth_kib = option_u64(argc, argv, "--growth-kib", 256), done = 1;
  uint64_t ended_kib = option_u64(argc, argv, "--ended-kib", 64);
  REQUIRE(threads > objects_each, "more threads than objects, so that each frees others' only");
  object = map_table(threads * objects_each * sizeof *object);
  pthread_t *ids = map_table(threads * sizeof *ids);
  alive_gate = 1;
  struct alive_figures first = alive_round(ids), before = first, now = first;
  alive_print(&before);
  /* Tables grow in a round that has more in use at once than any before, which is chance. What is
   * lost grows in each: so a few rounds more, until one does not. */
  for (; done < rounds + ROUNDS_MORE; done++) {
    if (done >= rounds && growth_kib_of(&before, &now) <= (long long)growth_kib) break;
    before = now;
    now = alive_round(ids);
    alive_print(&now);
  }
  double ended = kib_each(first.before, first.ended);
  long long live = (long long)now.live - (long long)before.live;
  long long growth = growth_kib_of(&before, &now);
  printf(
      "stress_threads: %llu threads alive at once, %llu rounds; KiB resident: %.1f a thread when "
      "the first ended (of %llu), %lld more after the last (of %llu)%s; %lld bytes live\n",
      (unsigned long long)threads, (unsigned long long)done, ended, (unsigned long long)ended_kib,
      growth, (unsigned long long)growth_kib, STRESS_SANITIZED ? ", neither held here" : "", live);
  fflush(stdout);
  REQUIRE(live <= LIVE_BYTES, "%lld bytes", live);
  REQUIRE(STRESS_SANITIZED || ended <= (double)ended_kib, "%.1f KiB a thread, limit %llu", ended,
          (unsigned long long)ended_kib);
  REQUIRE(STRESS_SANITIZED || growth <= (long long)growth_kib, "%lld KiB, limit %llu", growth,
          (unsigned long long)growth_kib);
}

int main(int argc, char **argv) {
  const char *pattern = argc > 1 ? argv[1] : "";
  stress_name = "stress_threads";
  options_check(argc, argv, 2,
                strcmp(pattern, "alive") == 0
                    ? "stress_threads alive [--threads N] [--objects N] [--rounds N] "
                      "[--growth-kib N] [--ended-kib N] [--seed N]"
                    : "stress_threads idle [--threads N] [--rounds N] [--live N] [--work-ms N] "
                      "[--classes] [--meta-kib N] [--cached-kib N] [--ticked-kib N] [--idle-kib N] "
                      "[--beside-kib N] [--seed N]; or stress_threads alive");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  if (strcmp(pattern, "idle") == 0) {
    pattern_idle(argc, argv);
  } else if (strcmp(pattern, "alive") == 0) {
    pattern_alive(argc, argv);
  } else {
    option_refuse("pattern", pattern, "unknown");
  }
  return 0;
}
