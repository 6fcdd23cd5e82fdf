/* stress_util.h — what the stress programs share: seeded random numbers, failing with the seed,
 * options, byte patterns, the size mixture. Nothing here allocates of its own accord, so that a
 * broken allocator cannot keep a failure from being told.
 */
#ifndef HAK_STRESS_UTIL_H
#define HAK_STRESS_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hak_test_alloc.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define STRESS_SANITIZED 1
#endif
#endif
#ifndef STRESS_SANITIZED
#define STRESS_SANITIZED 0
#endif

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define UTIL __attribute__((unused)) static

UTIL const char *stress_name = "stress";
UTIL uint64_t stress_seed = 1;

/* Tells the failure with the seed that repeats it, in one write, and aborts. */
__attribute__((noreturn, format(printf, 4, 5), unused)) static void
stress_fail(const char *file, int line, const char *condition, const char *format, ...) {
  char text[512];
  int used = snprintf(text, sizeof text, "%s: FAILED (seed %llu) %s:%d: %s: ", stress_name,
                      (unsigned long long)stress_seed, file, line, condition);
  va_list args;
  va_start(args, format);
  used += vsnprintf(text + used, sizeof text - (size_t)used, format, args);
  va_end(args);
  if ((size_t)used > sizeof text - 2) {
    used = sizeof text - 2;
  }
  text[used] = '\n';
  if (write(STDERR_FILENO, text, (size_t)used + 1) < 0) {
    abort(); /* no stderr: the exit status alone tells */
  }
  abort();
}

#define REQUIRE(cond, ...) ((cond) ? (void)0 : stress_fail(__FILE__, __LINE__, #cond, __VA_ARGS__))

/* Bad arguments: one line, exit 2. */
__attribute__((noreturn, unused)) static void option_refuse(const char *name, const char *value,
                                                            const char *what) {
  fprintf(stderr, "%s: %s%s%s: %s (--help tells more)\n", stress_name, name,
          value[0] == '\0' ? "" : " ", value, what);
  exit(2);
}

/* Before the options are read: refuses what `usage`, a line of [--name N] and [--switch], has not.
 * The first option is argv[first]. --help prints the line. */
UTIL void options_check(int argc, char **argv, int first, const char *usage) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      printf("%s\nExit: 0 as it should be, 2 bad arguments, SIGABRT and one line if not\n", usage);
      exit(0);
    }
  }
  for (int i = first; i < argc; i++) {
    char with_value[80], alone[80];
    snprintf(with_value, sizeof with_value, "[%s ", argv[i]);
    snprintf(alone, sizeof alone, "[%s]", argv[i]);
    if (strstr(usage, alone) != NULL) {
      continue;
    }
    if (strstr(usage, with_value) == NULL) {
      option_refuse(argv[i], "", "unknown");
    }
    if (++i == argc) {
      option_refuse(argv[i - 1], "", "a value is missing");
    }
  }
}

/* The number after NAME on the command line, or FALLBACK. */
UTIL uint64_t option_u64(int argc, char **argv, const char *name, uint64_t fallback) {
  for (int i = 1; i + 1 < argc; i++) {
    if (strcmp(argv[i], name) != 0) {
      continue;
    }
    char *end;
    errno = 0;
    uint64_t value = strtoull(argv[i + 1], &end, 0);
    if (argv[i + 1][0] < '0' || argv[i + 1][0] > '9' || *end != '\0' || errno != 0) {
      option_refuse(name, argv[i + 1], "no number, or too large");
    }
    return value;
  }
  return fallback;
}

UTIL void option_range(const char *name, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least || value > most) {
    char text[32], range[64];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    snprintf(range, sizeof range, "must be %llu to %llu", (unsigned long long)least,
             (unsigned long long)most);
    option_refuse(name, text, range);
  }
}

UTIL bool option_has(int argc, char **argv, const char *name) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], name) == 0) {
      return true;
    }
  }
  return false;
}

/* splitmix64: one word of state, any seed is good. */
struct rng {
  uint64_t state;
};

UTIL uint64_t rng_next(struct rng *r) {
  uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

UTIL uint64_t rng_below(struct rng *r, uint64_t bound) { return rng_next(r) % bound; }

/* An independent stream of the run's seed for each user number. */
UTIL struct rng rng_stream(uint64_t user) {
  struct rng r = {stress_seed * 0xd1342543de82ef95u + user};
  return (struct rng){rng_next(&r) ^ user};
}

/* Uniform in the exponent, so that every size decade is met: LOW <= result <= HIGH. */
UTIL size_t size_between(struct rng *r, size_t low, size_t high) {
  size_t top = high;
  while (top / 2 >= low && (rng_next(r) & 1)) {
    top /= 2;
  }
  size_t bottom = top / 2 > low ? top / 2 : low;
  return bottom + rng_below(r, top - bottom + 1);
}

/* Mostly tiny, some medium, few large, hardly ever more than 4 MiB; 0 occurs. */
UTIL size_t size_mixed(struct rng *r) {
  uint64_t pick = rng_below(r, 10000);
  if (pick < 7000) {
    return rng_below(r, 1025);
  }
  if (pick < 9500) {
    return size_between(r, 1025, 32 * KIB);
  }
  if (pick < 9960) {
    return size_between(r, 32 * KIB, 256 * KIB);
  }
  if (pick < 9995) {
    return size_between(r, 256 * KIB, 4 * MIB);
  }
  return size_between(r, 4 * MIB, 16 * MIB);
}

/* Patterns: word i of an object holds key + i * odd. Objects over PATTERN_WHOLE_MAX bytes are
 * filled at both ends only, except for one key in 16: their pages cost more than they tell. */
#define PATTERN_WHOLE_MAX (64 * KIB)
#define PATTERN_END_BYTES ((size_t)2048)
#define PATTERN_STEP 0x9e3779b97f4a7c15u

/* The hole [*from, *to) that the pattern of an object of SIZE bytes leaves out. */
UTIL void pattern_hole(size_t size, uint64_t key, size_t *from, size_t *to) {
  bool whole = size <= PATTERN_WHOLE_MAX || (key & 15) == 0;
  *from = whole ? size : PATTERN_END_BYTES;
  *to = whole ? size : (size - PATTERN_END_BYTES) & ~(size_t)7;
}

UTIL void pattern_fill(void *object, size_t size, uint64_t key) {
  unsigned char *bytes = object;
  size_t from, to;
  pattern_hole(size, key, &from, &to);
  for (size_t at = 0; at < size; at += 8) {
    if (at == from) {
      at = to;
    }
    uint64_t word = key + (at / 8) * PATTERN_STEP;
    memcpy(bytes + at, &word, size - at < 8 ? size - at : 8);
  }
}

/* The offset of the first byte group below LIMIT that is not as filled, or SIZE_MAX. */
UTIL size_t pattern_check(const void *object, size_t size, uint64_t key, size_t limit) {
  const unsigned char *bytes = object;
  size_t from, to;
  pattern_hole(size, key, &from, &to);
  size_t end = limit < size ? limit : size;
  for (size_t at = 0; at < end; at += 8) {
    if (at == from) {
      at = to;
      if (at >= end) {
        break;
      }
    }
    uint64_t word = key + (at / 8) * PATTERN_STEP;
    uint64_t seen = word;
    memcpy(&seen, bytes + at, end - at < 8 ? end - at : 8);
    if (seen != word) {
      return at;
    }
  }
  return SIZE_MAX;
}

/* The first byte of [0, size) that is not zero, or SIZE_MAX. */
UTIL size_t nonzero_at(const void *object, size_t size) {
  const unsigned char *bytes = object;
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    uint64_t word;
    memcpy(&word, bytes + at, 8);
    if (word != 0) {
      break;
    }
  }
  for (; at < size; at++) {
    if (bytes[at] != 0) {
      return at;
    }
  }
  return SIZE_MAX;
}

/* A self-describing object: who gets only the pointer can check all of it. */
struct tagged {
  uint64_t key;
  uint64_t size_check;
};

#define TAGGED_SIZE_MAX (16 * MIB)

/* NULL only if the allocator returned NULL with ENOMEM. SIZE >= sizeof(struct tagged). */
UTIL void *tagged_new(size_t size, uint64_t key) {
  errno = 0;
  struct tagged *t = T_malloc(size);
  if (t == NULL) {
    REQUIRE(errno == ENOMEM, "malloc(%zu) failed with errno %d", size, errno);
    return NULL;
  }
  REQUIRE(((uintptr_t)t & 15) == 0, "malloc(%zu) = %p is not aligned", size, (void *)t);
  pattern_fill(t + 1, size - sizeof *t, key);
  t->key = key;
  t->size_check = size ^ (key * PATTERN_STEP);
  return t;
}

/* Checks all of it and returns its size. */
UTIL size_t tagged_check(const void *object) {
  const struct tagged *t = object;
  size_t size = t->size_check ^ (t->key * PATTERN_STEP);
  REQUIRE(size >= sizeof *t && size <= TAGGED_SIZE_MAX, "%p: head overwritten", object);
  size_t bad = pattern_check(t + 1, size - sizeof *t, t->key, SIZE_MAX);
  REQUIRE(bad == SIZE_MAX, "%p of %zu bytes: changed at offset %zu", object, size, bad + sizeof *t);
  return size;
}

/* Checks and frees, and holds free to keeping errno. */
UTIL void tagged_free(void *object) {
  tagged_check(object);
  errno = 4242;
  T_free(object);
  REQUIRE(errno == 4242, "free(%p) changed errno to %d", object, errno);
}

/* Fields 2 and 3 of /proc/self/statm in bytes, 0 where there is no /proc. */
UTIL void resident_pages(size_t *all, size_t *of_files) {
  char text[128];
  *all = *of_files = 0;
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return;
  }
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got <= 0) {
    return;
  }
  text[got] = 0;
  char *field = strchr(text, ' ');
  if (field != NULL) {
    *all = strtoull(field, &field, 10) * (size_t)sysconf(_SC_PAGESIZE);
    *of_files = strtoull(field, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
  }
}

/* Resident bytes of this process. */
UTIL size_t resident_bytes(void) {
  size_t all, of_files;
  resident_pages(&all, &of_files);
  return all;
}

/* The same without the pages of files: the kernel maps some of those around one that is touched,
 * as it sees fit. */
UTIL size_t anonymous_bytes(void) {
  size_t all, of_files;
  resident_pages(&all, &of_files);
  return all - of_files;
}

UTIL pthread_t thread_start(void *(*body)(void *), void *arg) {
  pthread_t id;
  int error = pthread_create(&id, NULL, body, arg);
  REQUIRE(error == 0, "pthread_create: errno %d", error);
  return id;
}

UTIL void thread_join(pthread_t id) {
  int error = pthread_join(id, NULL);
  REQUIRE(error == 0, "pthread_join: errno %d", error);
}

UTIL void barrier_init(pthread_barrier_t *barrier, unsigned count) {
  int error = pthread_barrier_init(barrier, NULL, count);
  REQUIRE(error == 0, "pthread_barrier_init: errno %d", error);
}

#endif
