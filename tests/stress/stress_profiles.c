/* stress_profiles.c — threads allocate, resize and free objects whose bytes are checked, while
 * another one sets live options, profiles among them, to values at random.
 *   stress_profiles [--threads N] [--seconds N] [--resident-mib N] [--seed N]
 * Nothing may be lost or changed; at the end all options are back at their defaults, no more
 * objects live than at the start, and little stays resident after a trim. The longest call of
 * hak_option_set is printed, not judged: with the resident objects and no other thread, with most
 * of them free but resident, and beside the threads.
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
  OBJECT_MAX = 2 * 1024 * 1024, /* beyond runs, so that mappings are met too */
  VALUE_BYTES = 64,
  QUIET_CALLS = 20000,
  PAUSE_US = 50, /* between two changes: some slow paths see each */
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

/* --- Changing them --- */

/* By the clock, where other programs take the core too, and of the thread's own time. */
struct longest {
  clockid_t clock;
  double begin_us, us;
  char call[2 * VALUE_BYTES];
};
static struct longest longest[] = {{.clock = CLOCK_MONOTONIC}, {.clock = CLOCK_THREAD_CPUTIME_ID}};
enum { CLOCKS = sizeof longest / sizeof *longest };
static uint64_t calls;

static double now_us(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void change(const char *name, const char *value) {
  for (size_t i = 0; i < CLOCKS; i++) longest[i].begin_us = now_us(longest[i].clock);
  int error = hak_option_set(name, value);
  for (size_t i = 0; i < CLOCKS; i++) {
    struct longest *l = &longest[i];
    double took = now_us(l->clock) - l->begin_us;
    if (took <= l->us) continue;
    l->us = took;
    snprintf(l->call, sizeof l->call, "%s=%s", name, value);
  }
  REQUIRE(error == 0, "hak_option_set(%s, %s): %d", name, value, error);
  calls++;
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

static void longest_print(const char *when, size_t resident) {
  printf("stress_profiles: %s, %zu MiB resident: longest of %llu hak_option_set: %.1f us (%s), of "
         "own time %.1f us (%s)\n",
         when, resident / MIB, (unsigned long long)calls, longest[0].us, longest[0].call,
         longest[1].us, longest[1].call);
  fflush(stdout);
  longest[0].us = longest[1].us = 0;
  calls = 0;
}

/* --- The threads --- */

static atomic_bool is_over;
static _Atomic(uint64_t) steps_done, refusals;

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
  uint64_t steps = 0;
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
  for (uintptr_t i = 0; i < threads; i++) thread[i] = thread_start(work, (void *)i);
  double end_us = now_us(CLOCK_MONOTONIC) + (double)seconds * 1e6;
  struct timespec pause = {0, PAUSE_US * 1000};
  while (now_us(CLOCK_MONOTONIC) < end_us) {
    change_any(&rng);
    nanosleep(&pause, NULL);
  }
  longest_print("beside threads", anonymous_bytes());
  is_over = true;
  for (uint64_t i = 0; i < threads; i++) thread_join(thread[i]);
}

/* Objects of 1 KiB, `mib` MiB of them, and changes while they live; no other thread runs. */
static void run_quiet(uint64_t mib) {
  size_t count = mib * KIB;
  struct rng rng = rng_stream(0);
  void **object = mmap(NULL, (count + 1) * sizeof *object, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(object != MAP_FAILED, "mmap: errno %d", errno);
  for (size_t i = 0; i < count; i++) {
    object[i] = tagged_new(KIB, rng_next(&rng));
    REQUIRE(object[i] != NULL, "out of memory after %zu KiB", i);
  }
  for (size_t i = 0; i < QUIET_CALLS; i++) change_any(&rng);
  longest_print("quiet", anonymous_bytes());
  change_back();
  change("SS_RELEASE", "off");
  change("MEMORY_LIMIT", "off");
  for (size_t i = 0; i < count; i++)
    if (i % 64 != 0) tagged_free(object[i]);
  size_t resident = anonymous_bytes();
  for (size_t i = 0; i < QUIET_CALLS; i++) change_any(&rng);
  longest_print("with one object in 64 left", resident);
  change_back();
  for (size_t i = 0; i < count; i += 64) tagged_free(object[i]);
  munmap(object, (count + 1) * sizeof *object);
}

int main(int argc, char **argv) {
  stress_name = "stress_profiles";
  options_check(argc, argv, 1,
                "stress_profiles [--threads N] [--seconds N] [--resident-mib N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t threads = option_u64(argc, argv, "--threads", 4);
  option_range("--threads", threads, 1, THREADS_MAX);
  uint64_t seconds = option_u64(argc, argv, "--seconds", 3);
  option_range("--seconds", seconds, 1, 1000000);
  uint64_t mib = option_u64(argc, argv, "--resident-mib", 64);
  option_range("--resident-mib", mib, 0, 65536);
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
  run_quiet(mib);
  run_threads(threads, seconds);
  change_back();
  T_trim(0);
  size_t after = live_bytes(), left = anonymous_bytes();
  printf("stress_profiles: %llu steps, %llu refused; %zu bytes live, %zu before; KiB resident %zu, "
         "%zu before\n",
         (unsigned long long)steps_done, (unsigned long long)refusals, after, before, left / KIB,
         resident / KIB);
  size_t spare = T_IS_DIRECT ? 0 : LIVE_SPARE;
  REQUIRE(after <= before + spare, "%zu bytes live, %zu before", after, before);
  REQUIRE(STRESS_SANITIZED || left <= resident + LEFT_MAX_MIB * MIB, "%zu KiB stay resident",
          left / KIB);
  return 0;
}
