/* option_effect.c — prints one figure in which an option shows, option_effects.py compares it
 * between the option's values. option_effect OPTION [VALUE]: with VALUE it is set by a call at the
 * start of main, else the environment has it. `option_effect list` prints the options known here.
 * A figure is bytes or a count; objects are written to, so that they are resident.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "check_that.h"

int hak_option_set(const char *name, const char *value) __attribute__((weak));

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

enum { OBJECTS_MAX = 1 << 17 };
static void *object[OBJECTS_MAX];

static void fill(size_t count, size_t size) {
  CHECK_THAT(count <= OBJECTS_MAX);
  for (size_t i = 0; i < count; i++) {
    object[i] = malloc(size);
    CHECK_THAT(object[i] != NULL);
    memset(object[i], 0x5a, size);
  }
}

static void empty(size_t count) {
  for (size_t i = 0; i < count; i++) free(object[i]);
}

/* Resident bytes that are no file's; read without a stream, which would allocate. */
static size_t anonymous(void) {
  char text[128];
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  ssize_t got = read(fd, text, sizeof text - 1);
  CHECK_THAT(fd >= 0 && got > 0);
  close(fd);
  text[got] = '\0';
  char *field = strchr(text, ' ');
  CHECK_THAT(field != NULL);
  size_t all = strtoull(field, &field, 10), of_files = strtoull(field, NULL, 10);
  return (all - of_files) * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t above(size_t now, size_t before) { return now > before ? now - before : 0; }

static void pause_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&t, &t) != 0) {
  }
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- What stays resident --- */

enum { PEAK_OBJECTS = 100 * 1024, PEAK_SIZE = 1000, WARM_OBJECTS = 10 * 1024 };

/* After 100 MiB were freed. */
static size_t left_after_free(void) {
  size_t before = anonymous();
  fill(PEAK_OBJECTS, PEAK_SIZE);
  empty(PEAK_OBJECTS);
  return above(anonymous(), before);
}

/* Of what is resident, that the kernel may take at once: MADV_FREE. */
static size_t lazy_after_free(void) {
  static char buffer[64 * 1024], line[512];
  (void)left_after_free();
  FILE *smaps = fopen("/proc/self/smaps", "re");
  CHECK_THAT(smaps != NULL);
  setvbuf(smaps, buffer, _IOFBF, sizeof buffer);
  size_t kib = 0;
  while (fgets(line, sizeof line, smaps) != NULL)
    if (strncmp(line, "LazyFree:", 9) == 0) kib += strtoull(line + 9, NULL, 10);
  return kib * KIB;
}

/* One object in 64 lives on: hardly a chunk becomes free. */
static size_t left_between_objects(void) {
  size_t before = anonymous();
  fill(PEAK_OBJECTS, PEAK_SIZE);
  for (size_t i = 0; i < PEAK_OBJECTS; i++)
    if (i % 64 != 0) free(object[i]);
  return above(anonymous(), before);
}

/* 10 MiB, which the warm pool keeps, and then little work until they are gone or time is up: the
 * option's effect is a matter of time. */
enum { WAIT_MS = 4000, WORK_MS = 20 };
static size_t left_after_delay(void) {
  size_t before = anonymous();
  fill(WARM_OBJECTS, PEAK_SIZE);
  empty(WARM_OBJECTS);
  uint64_t end_ms = now_ms() + WAIT_MS;
  size_t left = 0;
  do {
    pause_ms(WORK_MS);
    fill(64, 3000);
    empty(64);
    left = above(anonymous(), before);
  } while (left > 4 * MIB && now_ms() < end_ms);
  return left;
}

/* The same with no call at all: only a thread of the library's can give it back. */
static size_t left_untouched(void) {
  size_t before = anonymous();
  fill(WARM_OBJECTS, PEAK_SIZE);
  empty(WARM_OBJECTS);
  uint64_t end_ms = now_ms() + WAIT_MS;
  size_t left = 0;
  do {
    pause_ms(WORK_MS);
    left = above(anonymous(), before);
  } while (left > 4 * MIB && now_ms() < end_ms);
  return left;
}

/* Of 32 MiB in objects of 1 KiB. */
static size_t faults(void) {
  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  fill(32 * 1024, 1024);
  getrusage(RUSAGE_SELF, &after);
  empty(32 * 1024);
  return (size_t)(after.ru_minflt - before.ru_minflt);
}

/* --- Address space --- */

/* Mapped, and open to nobody. */
static size_t reserved(void) {
  static char buffer[64 * 1024], line[512];
  free(malloc(1));
  FILE *maps = fopen("/proc/self/maps", "re");
  CHECK_THAT(maps != NULL);
  setvbuf(maps, buffer, _IOFBF, sizeof buffer);
  size_t bytes = 0;
  while (fgets(line, sizeof line, maps) != NULL) {
    char *at;
    size_t first = strtoull(line, &at, 16), end = strtoull(at + 1, &at, 16);
    if (strncmp(at, " ---p", 5) == 0) bytes += end - first;
  }
  return bytes;
}

/* Bytes of mappings that are to have huge pages, the heap as it has become for 40 MiB. */
static size_t huge_wanted(void) {
  static char buffer[64 * 1024], line[512];
  fill(40 * 1024, 1024);
  FILE *smaps = fopen("/proc/self/smaps", "re");
  CHECK_THAT(smaps != NULL);
  setvbuf(smaps, buffer, _IOFBF, sizeof buffer);
  size_t bytes = 0, kib = 0;
  while (fgets(line, sizeof line, smaps) != NULL) {
    if (strncmp(line, "Size:", 5) == 0) kib = strtoull(line + 5, NULL, 10);
    if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " hg") != NULL) bytes += kib * KIB;
  }
  empty(40 * 1024);
  return bytes;
}

/* Until malloc refuses, 128 MiB at most. */
static size_t granted(void) {
  size_t count = 0;
  while (count < 2048 && (object[count] = malloc(64 * KIB)) != NULL)
    memset(object[count++], 0x5a, 64 * KIB);
  if (count < 2048) CHECK_SAME((size_t)errno, (size_t)ENOMEM);
  empty(count);
  return count * 64 * KIB;
}

/* --- Heaps, bins, classes --- */

enum { THREADS = 16, HELD = 64, STEP = 40 };
static pthread_barrier_t are_filled, may_end;

static void *hold_some(void *unused) {
  void *held[HELD];
  for (size_t i = 0; i < HELD; i++) {
    size_t size = 16 + i * STEP;
    CHECK_THAT((held[i] = malloc(size)) != NULL);
    memset(held[i], 0x5a, size);
  }
  pthread_barrier_wait(&are_filled);
  pthread_barrier_wait(&may_end);
  for (size_t i = 0; i < HELD; i++) free(held[i]);
  return unused;
}

/* What threads take that hold one object of many sizes each. */
static size_t taken_by_threads(void) {
  pthread_t thread[THREADS];
  CHECK_THAT(pthread_barrier_init(&are_filled, NULL, THREADS + 1) == 0);
  CHECK_THAT(pthread_barrier_init(&may_end, NULL, THREADS + 1) == 0);
  size_t before = anonymous();
  for (size_t i = 0; i < THREADS; i++)
    CHECK_THAT(pthread_create(&thread[i], NULL, hold_some, NULL) == 0);
  pthread_barrier_wait(&are_filled);
  size_t bytes = above(anonymous(), before);
  pthread_barrier_wait(&may_end);
  for (size_t i = 0; i < THREADS; i++) CHECK_THAT(pthread_join(thread[i], NULL) == 0);
  return bytes;
}

/* Bytes of free objects that the thread keeps after a load that swings. */
static size_t cached(size_t count, size_t size) {
  for (size_t i = 0; i < 20; i++) {
    fill(count, size);
    empty(count);
  }
  return mallinfo2().fsmblks;
}
static size_t cached_in_depot(void) { return cached(4096, 1000); }
static size_t cached_in_bin(void) { return cached(64, 8000); }

/* What an object has beyond 9 KiB (a class has either 9 or 10), many of which there are by now. */
static size_t rounded_up(void) {
  fill(2048, 9 * KIB);
  size_t bytes = malloc_usable_size(object[2047]) - 9 * KIB;
  empty(2048);
  return bytes;
}

/* Objects of a larger class than their own, where that has many that are free. */
static size_t borrowed(void) {
  fill(512, 1024);
  empty(512);
  size_t count = 0;
  fill(64, 896);
  for (size_t i = 0; i < 64; i++) count += malloc_usable_size(object[i]) > 896;
  empty(64);
  return count;
}

static size_t nothing(void) {
  fill(1000, 100);
  empty(1000);
  return 0;
}

/* --- Which option shows in what --- */

static const struct effect {
  const char *option;
  size_t (*figure)(void);
} effects[] = {
    {"PROFILE", left_after_free},
    {"SS_MEM_LEAN", left_after_free},
    {"REGION_BYTES", reserved},
    {"HEAPS", taken_by_threads},
    {"DEPOT_BYTES", cached_in_depot},
    {"WARM_POOL_BYTES", left_after_free},
    {"CLASS_REFINE", rounded_up},
    {"REFINE_BYTES", rounded_up},
    {"SS_RELEASE", left_after_free},
    {"SS_RELEASE.free", lazy_after_free},
    {"PURGE_DELAY_MS", left_after_delay},
    {"BORROW", borrowed},
    {"BIN_BYTES", cached_in_bin},
    {"SUBSLAB_PURGE", left_between_objects},
    {"MEMORY_LIMIT", granted},
    {"THP", huge_wanted},
    {"TINY_MEM_DUMP", nothing},
    {"SS_STATS_DUMP", nothing},
    {"WARM_POOL_STATS", nothing},
    {"CONF_STRICT", nothing},
    {"BACKGROUND", left_untouched},
    {"PREWARM", faults},
};

int main(int argc, char **argv) {
  size_t i = 0, count = sizeof effects / sizeof *effects;
  CHECK_THAT(argc == 2 || argc == 3);
  if (strcmp(argv[1], "list") == 0) {
    for (; i < count; i++) puts(effects[i].option);
    return 0;
  }
  while (i < count && strcmp(argv[1], effects[i].option) != 0) i++;
  CHECK_THAT(i < count);
  if (argc == 3) {
    char name[64];
    CHECK_THAT(hak_option_set != NULL && strlen(argv[1]) < sizeof name);
    strcpy(name, argv[1]);
    name[strcspn(name, ".")] = '\0';
    CHECK_SAME((size_t)hak_option_set(name, argv[2]), (size_t)0);
  }
  size_t bytes = effects[i].figure();
  printf("%zu\n", bytes);
  return 0;
}
