/* stress_profiles.c — threads allocate, resize and free objects whose bytes are checked, while
 * another one sets live options, profiles among them, to values at random.
 *   stress_profiles [--threads N] [--seconds N] [--resident-mib N] [--rounds N] [--limit-us N]
 *                   [--seed N]
 * Nothing may be lost or changed; at the end all options are back at their defaults, no more
 * objects live than at the start, and little stays resident after a trim. A change is no pause:
 * the longest call of hak_option_set, and of the malloc and free that come next, is printed: with
 * the resident objects and no other thread, with most of them free but resident, when those go
 * back, and beside the threads. In one round at least, it must be within --limit-us of the
 * thread's own time for each GiB that is resident.
 */
#define _GNU_SOURCE 1
#include "stress_util.h"

#include <sys/mman.h>
#include <time.h>

#ifndef HAK_TEST_DIRECT
int hak_option_set(const char *name, const char *value) __attribute__((weak));
int hak_option_get(const char *name, char *value, size_t capacity) __attribute__((weak));
#endif

enum {
  THREADS_MAX = 64,
  SLOTS = 2000,
  OBJECT_MAX = 2 * 1024 * 1024,
  OBJECT_MAPPED = 5 * 1024 * 1024, /* beyond runs */
  VALUE_BYTES = 64,
  QUIET_CALLS = 5000,
  FOLLOWING = 8,  /* objects of a size that are made and freed after a change; arbitrary */
  SETTLING = 300, /* rounds of them, in which 1 GiB goes back, 4 MiB at least in a slow path */
  PAUSE_US = 50,  /* between two changes: some slow paths see each */
  SETTLED_US = 20 * 1000 * 1000,
  LEFT_MAX_MIB = 24,
  LIVE_SPARE = 2048, /* the C library takes some 300 for a thread of the library's own */
};

/* --- The options, as the library has them --- */

enum type { TYPE_bool, TYPE_count, TYPE_bytes, TYPE_choice };
enum when { WHEN_live, WHEN_start };

struct option {
  const char *name, *words;
  enum type type;
  enum when when;
  uint64_t preset, min, max;
};
static const struct option options[] = {
#define KNOB(name, type, def, min, max, when, words, doc)                                          \
  {#name, words, TYPE_##type, WHEN_##when, def, min, max},
#include "../../src/rt/knobs.def"
#undef KNOB
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

/* Word number `index` of the option's words; false when there are not so many. */
static bool word_copy(const struct option *o, uint64_t index, char *value) {
  const char *word = o->words;
  for (; index > 0 && word != NULL; index--) {
    word = strchr(word, '|');
    if (word != NULL) word++;
  }
  if (word == NULL || *word == '\0') return false;
  snprintf(value, VALUE_BYTES, "%.*s", (int)strcspn(word, "|"), word);
  return true;
}

static void number_copy(uint64_t number, char *value) {
  snprintf(value, VALUE_BYTES, "%llu", (unsigned long long)number);
}

/* One of its words, its least, its default, its most, or something in between. */
static void value_pick(const struct option *o, struct rng *rng, char *value) {
  if (*o->words != '\0' && (o->type == TYPE_choice || rng_below(rng, 2) == 0)) {
    if (word_copy(o, rng_below(rng, 4), value) || word_copy(o, 0, value)) return;
  }
  switch (rng_below(rng, 4)) {
  case 0:
    number_copy(o->min, value);
    return;
  case 1:
    number_copy(o->max, value);
    return;
  case 2:
    number_copy(o->preset >= o->min ? o->preset : o->max, value);
    return;
  default:
    number_copy(size_between(rng, o->min, o->max), value);
  }
}

/* --- How long calls take --- */

/* By the clock, where other programs take the core too, and of the thread's own time. */
static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID};
enum { BY_CLOCK, OWN_TIME, CLOCKS };

struct longest {
  uint64_t calls;
  double us[CLOCKS];
  char call[CLOCKS][2 * VALUE_BYTES];
};
struct begin {
  double us[CLOCKS];
};

static double now_us(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct begin clocks_begin(void) {
  struct begin b;
  for (size_t i = 0; i < CLOCKS; i++) b.us[i] = now_us(clocks[i]);
  return b;
}

__attribute__((format(printf, 3, 4))) static void clocks_end(struct longest *l, struct begin b,
                                                             const char *format, ...) {
  for (size_t i = CLOCKS; i-- > 0;) {
    double took = now_us(clocks[i]) - b.us[i];
    if (took <= l->us[i]) continue;
    va_list args;
    l->us[i] = took;
    va_start(args, format);
    vsnprintf(l->call[i], sizeof l->call[i], format, args);
    va_end(args);
  }
  l->calls++;
}

static void longest_add(struct longest *l, struct longest *other) {
  l->calls += other->calls;
  for (size_t i = 0; i < CLOCKS; i++) {
    if (other->us[i] <= l->us[i]) continue;
    l->us[i] = other->us[i];
    memcpy(l->call[i], other->call[i], sizeof l->call[i]);
  }
  *other = (struct longest){0};
}

/* Of what. Those below a MEMORY_LIMIT are told, not judged: where it is reached, a malloc first
 * purges all that is free, on purpose. */
enum kind { OF_SETS, OF_NEXT, OF_LIMITED, KINDS };
static const char *const kinds[KINDS] = {"hak_option_set", "calls that follow",
                                         "such with a MEMORY_LIMIT"};
static struct longest of_main[KINDS]; /* of the thread that changes options */

enum phase { QUIET, THINNED, THIN_TO_LEAN, EMPTY_TO_LEAN, BESIDE_THREADS, PHASES };
static const char *const phases[PHASES] = {"quiet", "with one object in 64 left",
                                           "to lean with one object in 64 left",
                                           "to lean with all freed", "beside threads"};
/* Of own time, a GiB held: the longest call of the round where that is shortest. What takes long
 * for our sake does so in each; what an interrupt or the host of a virtual machine does is rare. */
static double least_us[PHASES][KINDS];
static uint64_t rounds_done, limit_us;

static void phase_end(enum phase phase, size_t held) {
  double gib = held > GIB ? (double)held / (double)GIB : 1; /* less may take as long as one */
  for (size_t kind = 0; kind < KINDS; kind++) {
    struct longest *l = &of_main[kind];
    double us = l->us[OWN_TIME] / gib;
    printf("stress_profiles: %s, %zu MiB resident: longest of %llu %s: %.1f us (%s), of own time "
           "%.1f us (%s), %.1f a GiB\n",
           phases[phase], held / MIB, (unsigned long long)l->calls, kinds[kind], l->us[BY_CLOCK],
           l->call[BY_CLOCK], l->us[OWN_TIME], l->call[OWN_TIME], us);
    if (rounds_done == 0 || us < least_us[phase][kind]) least_us[phase][kind] = us;
    *l = (struct longest){0};
  }
  fflush(stdout);
}

/* Of those that are judged, over all phases; docs/results keeps them, with the last line. */
static double worst_us[OF_LIMITED];

static void phases_judge(void) {
  for (size_t phase = 0; phase < PHASES; phase++) {
    for (size_t kind = 0; kind < OF_LIMITED; kind++) {
      double us = least_us[phase][kind];
      if (us > worst_us[kind]) worst_us[kind] = us;
      if (limit_us != UINT64_MAX)
        printf("stress_profiles: %s, %s: %.1f us a GiB in the best round\n", phases[phase],
               kinds[kind], us);
      fflush(stdout);
      REQUIRE(us <= (double)limit_us, "%s: %s take %.1f us of own time a GiB in each round",
              phases[phase], kinds[kind], us);
    }
  }
}

static _Atomic(uint64_t) changes; /* so far; threads look at it */
/* So many have named a MEMORY_LIMIT, or ended one: odd while there is one. */
static _Atomic(uint64_t) limit_changes;

/* What the calling thread does next. The first is a slow path in any case, which lets go what the
 * change said, and so may the next ones be. */
static void follow(struct longest *of, struct rng *rng) {
  const size_t size[] = {size_between(rng, 64 * KIB, 4 * MIB), OBJECT_MAPPED,
                         size_between(rng, 16, KIB), size_between(rng, 16, 32 * KIB)};
  for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
    void *object[FOLLOWING];
    size_t count = size[i] > 32 * KIB ? 1 : FOLLOWING;
    for (size_t k = 0; k < 2 * count; k++) {
      void **o = &object[k % count];
      uint64_t limit = limit_changes;
      struct begin b = clocks_begin();
      if (k < count)
        *o = T_malloc(size[i]);
      else
        T_free(*o);
      struct longest *l = &of[limit % 2 != 0 || limit != limit_changes ? OF_LIMITED : OF_NEXT];
      clocks_end(l, b, "%s %zu", k < count ? "malloc" : "free", size[i]);
    }
  }
}

/* --- Changing them --- */

/* A number of bytes; off and auto are 0 and 1. */
static bool is_limit(const char *name, const char *value) {
  return strcmp(name, "MEMORY_LIMIT") == 0 && value[0] >= '0' && value[0] <= '9' &&
         value[1] != '\0';
}

static void change(const char *name, const char *value) {
  if (is_limit(name, value) && limit_changes % 2 == 0) limit_changes++;
  struct begin b = clocks_begin();
  int error = hak_option_set(name, value);
  clocks_end(&of_main[OF_SETS], b, "%s=%s", name, value);
  REQUIRE(error == 0, "hak_option_set(%s, %s): %d", name, value, error);
  if (strcmp(name, "MEMORY_LIMIT") == 0 && !is_limit(name, value) && limit_changes % 2 != 0)
    limit_changes++;
  changes++;
}

/* A profile each fourth time: what it sets, other calls change again. */
static void change_any(struct rng *rng) {
  static const char *const profiles[] = {"speed", "balanced", "lean"};
  if (rng_below(rng, 4) == 0) {
    change("PROFILE", profiles[rng_below(rng, 3)]);
    return;
  }
  const struct option *o = &options[rng_below(rng, OPTION_COUNT)];
  char value[VALUE_BYTES];
  if (o->when == WHEN_start) return;
  value_pick(o, rng, value);
  change(o->name, value);
}

/* To the defaults, which hak_option_get must then answer; what is not live stays unchangeable. */
static void change_back(void) {
  char value[VALUE_BYTES];
  for (size_t i = 0; i < OPTION_COUNT; i++) {
    const struct option *o = &options[i];
    if (!word_copy(o, o->preset, value)) number_copy(o->preset, value);
    if (o->when == WHEN_live) {
      change(o->name, value);
    } else {
      REQUIRE(hak_option_set(o->name, value) == EPERM, "%s is not live, and changes", o->name);
    }
    if (o->type != TYPE_choice) continue;
    char now[VALUE_BYTES];
    REQUIRE(hak_option_get(o->name, now, sizeof now) == 0 && strcmp(now, value) == 0, "%s is %s",
            o->name, now);
  }
}

/* --- The threads --- */

static atomic_bool is_over;
static _Atomic(uint64_t) steps_done, refusals;
static struct longest of_thread[THREADS_MAX][KINDS];

static void *resize(void *object, struct rng *rng) {
  size_t before = tagged_check(object), after = size_between(rng, 16, OBJECT_MAX);
  uint64_t key = ((struct tagged *)object)->key;
  struct tagged *t = T_realloc(object, after);
  if (t == NULL) {
    refusals++;
    return object;
  }
  size_t kept = (before < after ? before : after) - sizeof *t;
  size_t bad = pattern_check(t + 1, before - sizeof *t, key, kept);
  REQUIRE(bad == SIZE_MAX && t->key == key, "realloc %zu to %zu lost offset %zu", before, after,
          bad);
  key = rng_next(rng);
  pattern_fill(t + 1, after - sizeof *t, key);
  t->key = key;
  t->size_check = after ^ (key * PATTERN_STEP);
  return t;
}

static size_t size_pick(struct rng *rng) {
  size_t size = size_mixed(rng);
  return size < sizeof(struct tagged) ? sizeof(struct tagged)
         : size < OBJECT_MAX          ? size
                                      : OBJECT_MAX;
}

/* Phases of growing and of shrinking, so that there is something to give back. */
static void *work(void *number) {
  struct rng rng = rng_stream(2 + (uintptr_t)number);
  static void *slots[THREADS_MAX][SLOTS];
  void **slot = slots[(uintptr_t)number];
  uint64_t steps = 0, changes_seen = 0;
  for (; !atomic_load_explicit(&is_over, memory_order_relaxed); steps++) {
    bool is_growing = steps / (2 * SLOTS) % 2 == 0;
    void **at = &slot[rng_below(&rng, SLOTS)];
    if (*at == NULL && (is_growing || rng_below(&rng, 8) == 0)) {
      *at = tagged_new(size_pick(&rng), rng_next(&rng));
      if (*at == NULL) refusals++;
    } else if (*at != NULL && rng_below(&rng, 16) == 0) {
      *at = resize(*at, &rng);
    } else if (*at != NULL && (!is_growing || rng_below(&rng, 4) == 0)) {
      tagged_free(*at);
      *at = NULL;
    }
    if (rng_below(&rng, 20000) == 0) T_trim(0);
    uint64_t changes_now = atomic_load_explicit(&changes, memory_order_relaxed);
    if (changes_now != changes_seen) follow(of_thread[(uintptr_t)number], &rng);
    changes_seen = changes_now;
  }
  for (size_t i = 0; i < SLOTS; i++) {
    if (slot[i] != NULL) tagged_free(slot[i]);
    slot[i] = NULL;
  }
  steps_done += steps;
  return NULL;
}

static pthread_barrier_t all_run;

static void *meet(void *unused) {
  pthread_barrier_wait(&all_run);
  return unused;
}

/* So many at once: with the stacks the C library keeps memory of malloc's for the next ones. */
static void start_once(uint64_t threads) {
  pthread_t thread[THREADS_MAX];
  barrier_init(&all_run, (unsigned)threads);
  for (uint64_t i = 0; i < threads; i++) thread[i] = thread_start(meet, NULL);
  for (uint64_t i = 0; i < threads; i++) thread_join(thread[i]);
}

static size_t live_bytes(void) {
  struct mallinfo2 info = T_mallinfo2();
  return info.uordblks + info.hblkhd;
}

static void run_threads(uint64_t threads, uint64_t seconds) {
  pthread_t thread[THREADS_MAX];
  struct rng rng = rng_stream(1);
  is_over = false;
  for (uintptr_t i = 0; i < threads; i++) thread[i] = thread_start(work, (void *)i);
  double end_us = now_us(CLOCK_MONOTONIC) + (double)seconds * 1e6;
  struct timespec pause = {0, PAUSE_US * 1000};
  while (now_us(CLOCK_MONOTONIC) < end_us) {
    change_any(&rng);
    nanosleep(&pause, NULL);
  }
  size_t held = anonymous_bytes();
  is_over = true;
  for (uint64_t i = 0; i < threads; i++) {
    thread_join(thread[i]);
    for (size_t kind = 0; kind < KINDS; kind++) longest_add(&of_main[kind], &of_thread[i][kind]);
  }
  phase_end(BESIDE_THREADS, held);
}

/* --- Changes while no other thread runs --- */

static void **object; /* of 1 KiB each; NULL: none */
static size_t object_count;

static void objects_make(struct rng *rng) {
  for (size_t i = 0; i < object_count; i++) {
    object[i] = tagged_new(KIB, rng_next(rng));
    REQUIRE(object[i] != NULL, "out of memory after %zu KiB", i);
  }
}

/* But one of each `keep`, where that is not 0. */
static void objects_free(size_t keep) {
  for (size_t i = 0; i < object_count; i++) {
    if (object[i] == NULL || (keep != 0 && i % keep == 0)) continue;
    tagged_free(object[i]);
    object[i] = NULL;
  }
}

/* To the defaults, but that what is free stays resident. */
static void change_to_keep(void) {
  change_back();
  change("SS_RELEASE", "off");
  change("MEMORY_LIMIT", "off");
}

static void change_often(enum phase phase, struct rng *rng) {
  size_t held = anonymous_bytes();
  for (size_t i = 0; i < QUIET_CALLS; i++) {
    change_any(rng);
    follow(of_main, rng);
  }
  phase_end(phase, held);
}

/* To where the most goes back. What was needed again just after it went stays for ten seconds: a
 * run that judges waits for that. */
static void change_to_lean(enum phase phase, struct rng *rng) {
  size_t held = anonymous_bytes(), left;
  change("PROFILE", "lean");
  change("SS_RELEASE", "dontneed");
  double end_us = now_us(CLOCK_MONOTONIC) + (limit_us != UINT64_MAX ? SETTLED_US : 0);
  struct timespec pause = {0, PAUSE_US * 1000};
  do {
    for (size_t i = 0; i < SETTLING; i++) follow(of_main, rng);
    nanosleep(&pause, NULL);
    left = anonymous_bytes();
  } while (left > held / 2 && now_us(CLOCK_MONOTONIC) < end_us);
  phase_end(phase, held);
  printf("stress_profiles: of that, %zu MiB are left\n", left / MIB);
  REQUIRE(limit_us == UINT64_MAX || left <= held / 2, "%zu KiB stay resident of %zu", left / KIB,
          held / KIB);
}

static void run_quiet(uint64_t mib) {
  struct rng rng = rng_stream(0);
  object_count = mib * KIB;
  size_t table_bytes = (object_count + 1) * sizeof *object;
  object = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(object != MAP_FAILED, "mmap: errno %d", errno);
  objects_make(&rng);
  change_often(QUIET, &rng);
  change_to_keep();
  objects_free(64);
  change_often(THINNED, &rng);
  change_to_keep();
  objects_free(0);
  change_back();
  objects_make(&rng);
  change_to_keep();
  objects_free(64);
  change_to_lean(THIN_TO_LEAN, &rng);
  change_to_keep();
  objects_free(0);
  objects_make(&rng);
  objects_free(0);
  change_to_lean(EMPTY_TO_LEAN, &rng);
  change_back();
  REQUIRE(munmap(object, table_bytes) == 0, "munmap: errno %d", errno);
}

int main(int argc, char **argv) {
  stress_name = "stress_profiles";
  options_check(argc, argv, 1,
                "stress_profiles [--threads N] [--seconds N] [--resident-mib N] [--rounds N] "
                "[--limit-us N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t threads = option_u64(argc, argv, "--threads", 4);
  option_range("--threads", threads, 1, THREADS_MAX);
  uint64_t seconds = option_u64(argc, argv, "--seconds", 3);
  option_range("--seconds", seconds, 1, 1000000);
  uint64_t mib = option_u64(argc, argv, "--resident-mib", 64);
  option_range("--resident-mib", mib, 0, 65536);
  uint64_t rounds = option_u64(argc, argv, "--rounds", 1);
  option_range("--rounds", rounds, 1, 1000);
  limit_us = option_u64(argc, argv, "--limit-us", UINT64_MAX);
#ifndef HAK_TEST_DIRECT
  if (hak_option_set == NULL || hak_option_get == NULL) {
    puts("SKIP: hakmem is not preloaded");
    return 77;
  }
#endif
  printf("stress_profiles: %llu threads, %llu s\n", (unsigned long long)threads,
         (unsigned long long)seconds);
  start_once(threads);
  size_t before = live_bytes(), resident = anonymous_bytes();
  for (; rounds_done < rounds; rounds_done++) {
    run_quiet(mib);
    run_threads(threads, seconds);
    change_back(); /* a MEMORY_LIMIT may be in force: the next round would be refused memory */
  }
  phases_judge();
  T_trim(0);
  size_t after = live_bytes(), left = anonymous_bytes();
  printf(
      "stress_profiles: %llu steps, %llu refused; %zu bytes live, %zu before; KiB resident %zu, "
      "%zu before; at most %.1f us of own time a GiB in hak_option_set, %.1f in calls after it\n",
      (unsigned long long)steps_done, (unsigned long long)refusals, after, before, left / KIB,
      resident / KIB, worst_us[OF_SETS], worst_us[OF_NEXT]);
  size_t spare = T_IS_DIRECT ? 0 : LIVE_SPARE;
  REQUIRE(after <= before + spare, "%zu bytes live, %zu before", after, before);
  REQUIRE(STRESS_SANITIZED || left <= resident + LEFT_MAX_MIB * MIB, "%zu KiB stay resident",
          left / KIB);
  return 0;
}
