/* stress_release.c — what is freed goes back to the system: 400,000 objects are made, all are freed
 * or 63 of 64, and what stays resident is held to a part of the most, or to the C library's.
 *   stress_release work|nothing --percent N    of 1,000 B, all freed, then 1,020 small operations
 * in a second or more, or 2 s without one: at most N percent of the peak are resident
 *   stress_release trim|thin --permille N      of 600 B, one of 64 at random left, then a
 *                                              malloc_trim(0), or small operations as above: at
 *                                              most N per mille of what a child on the C library's
 *                                              own malloc (LD_PRELOAD removed) has after a trim
 * Memory decides: a machine that is slow only gives more time. HAKMEM_PROFILE says which profile,
 * and must be in force.
 */
#define _GNU_SOURCE 1
#include "stress_util.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#ifndef HAK_TEST_DIRECT
int hak_option_get(const char *name, char *value, size_t capacity) __attribute__((weak));
#endif

enum {
  OBJECTS = 400000,
  FREED_SIZE = 1000,
  THINNED_SIZE = 600,
  KEEP = 64, /* one of so many */
  OPERATIONS = 1020,
  SMALL_OBJECTS = 60, /* live ones */
  PAUSE_US = 1000,
  NOTHING_S = 2,
};

extern char **environ;

struct allocator {
  void *(*malloc)(size_t);
  void (*free)(void *);
  int (*trim)(size_t);
};

static void **object;

static void fill(const struct allocator *a, size_t size) {
  for (size_t i = 0; i < OBJECTS; i++) {
    object[i] = a->malloc(size);
    REQUIRE(object[i] != NULL, "out of memory after %zu objects", i);
    memset(object[i], 0x5a, size);
  }
}

/* All, or but one of each KEEP. */
static void empty(const struct allocator *a, bool keeps) {
  struct rng rng = rng_stream(1);
  size_t kept = OBJECTS;
  for (size_t i = 0; i < OBJECTS; i++) {
    if (keeps && i % KEEP == 0) kept = i + rng_below(&rng, KEEP);
    if (i != kept) a->free(object[i]);
  }
}

static void small_work(const struct allocator *a) {
  static void *small[SMALL_OBJECTS];
  const struct timespec pause = {0, PAUSE_US * 1000};
  for (size_t i = 0; i < OPERATIONS; i++) {
    void **s = &small[i % SMALL_OBJECTS];
    a->free(*s);
    *s = a->malloc(16 + i % SMALL_OBJECTS * 16);
    REQUIRE(*s != NULL, "out of memory in small work");
    memset(*s, 0x5a, 16);
    nanosleep(&pause, NULL);
  }
}

/* Resident bytes when all objects are there, and at the end. The table of the objects is gone. */
static void run(const struct allocator *a, const char *mode, size_t *peak, size_t *end) {
  bool keeps = strcmp(mode, "trim") == 0 || strcmp(mode, "thin") == 0;
  size_t table_bytes = OBJECTS * sizeof *object;
  object = mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(object != MAP_FAILED, "mmap: errno %d", errno);
  fill(a, keeps ? THINNED_SIZE : FREED_SIZE);
  *peak = resident_bytes();
  empty(a, keeps);
  REQUIRE(munmap(object, table_bytes) == 0, "munmap: errno %d", errno);
  if (strcmp(mode, "nothing") == 0) {
    sleep(NOTHING_S);
  } else if (strcmp(mode, "trim") == 0) {
    (void)a->trim(0); /* whether there was something, memory says */
  } else {
    small_work(a);
  }
  *end = resident_bytes();
}

/* What the C library's own malloc ends with, in a child without the preload. */
static size_t libc_end(void) {
  char *argv[] = {(char *)(uintptr_t) "stress_release", (char *)(uintptr_t) "trim",
                  (char *)(uintptr_t) "--child", NULL};
  char *bare[256];
  size_t count = 0, bytes = 0;
  for (char **e = environ; *e != NULL; e++) {
    if (strncmp(*e, "LD_PRELOAD=", 11) == 0) continue;
    REQUIRE(count + 1 < sizeof bare / sizeof *bare, "too many environment variables");
    bare[count++] = *e;
  }
  bare[count] = NULL;
  int ends[2], status;
  REQUIRE(pipe(ends) == 0, "pipe: errno %d", errno);
  pid_t pid = fork();
  REQUIRE(pid >= 0, "fork: errno %d", errno);
  if (pid == 0) {
    if (dup2(ends[1], STDOUT_FILENO) >= 0) execve("/proc/self/exe", argv, bare);
    _exit(127);
  }
  close(ends[1]);
  ssize_t got = read(ends[0], &bytes, sizeof bytes);
  close(ends[0]);
  REQUIRE(waitpid(pid, &status, 0) == pid, "waitpid: errno %d", errno);
  REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0 && got == (ssize_t)sizeof bytes,
          "child: status %#x", (unsigned)status);
  return bytes;
}

/* The allocator is ours, and heeds the profile. */
static void profile_check(void) {
  char profile[32] = "";
  const char *wanted = getenv("HAKMEM_PROFILE");
#ifndef HAK_TEST_DIRECT
  REQUIRE(hak_option_get != NULL, "hakmem is not preloaded");
#endif
  T_free(T_malloc(1)); /* a direct build reads its options with the first */
  REQUIRE(hak_option_get("PROFILE", profile, sizeof profile) == 0, "no profile");
  REQUIRE(wanted == NULL || strcmp(profile, wanted) == 0, "profile %s, not %s", profile, wanted);
  printf("stress_release: profile %s: ", profile);
}

int main(int argc, char **argv) {
  static const char usage[] =
      "stress_release work|nothing|trim|thin [--percent N] [--permille N] [--seed N] [--child]";
  const struct allocator own = {T_malloc, T_free, T_trim}, libc = {malloc, free, malloc_trim};
  size_t peak, end;
  stress_name = "stress_release";
  options_check(argc, argv, 2, usage);
  const char *mode = argc > 1 ? argv[1] : "";
  if (strcmp(mode, "work") != 0 && strcmp(mode, "nothing") != 0 && strcmp(mode, "trim") != 0 &&
      strcmp(mode, "thin") != 0)
    option_refuse(mode, "", "work, nothing, trim or thin");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t percent = option_u64(argc, argv, "--percent", 100);
  uint64_t permille = option_u64(argc, argv, "--permille", UINT64_MAX);
  if (option_has(argc, argv, "--child")) {
    run(&libc, mode, &peak, &end);
    return write(STDOUT_FILENO, &end, sizeof end) == (ssize_t)sizeof end ? 0 : 1;
  }
  profile_check();
  bool is_compared = permille != UINT64_MAX;
  size_t libc_bytes = is_compared ? libc_end() : 0;
  run(&own, mode, &peak, &end);
  printf("peak %zu KiB, at the end %zu (%.2f %%)", peak / KIB, end / KIB,
         100.0 * (double)end / (double)peak);
  if (is_compared)
    printf(", %.3f of the C library's %zu", (double)end / (double)libc_bytes, libc_bytes / KIB);
  putchar('\n');
  fflush(stdout);
  REQUIRE(peak > OBJECTS * (size_t)THINNED_SIZE, "the peak is less than the objects take");
  REQUIRE(end * 100 <= peak * percent, "more than %llu %%", (unsigned long long)percent);
  REQUIRE(!is_compared || end / KIB * 1000 <= libc_bytes / KIB * permille,
          "more than %llu per mille of the C library's", (unsigned long long)permille);
  return 0;
}
