/* abuse.h: what the one-misuse programs share. Each says on stdout which pointer it is about to
 * misuse and the class it belongs to, then does it; run_abuse.py asserts the message and the abort.
 * A program that comes back from its misuse ends with status 0, which is the failure. */
#ifndef ABUSE_H
#define ABUSE_H

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than a bin, its previous magazine and a depot hold, for objects of 64 B and up: a bulk of so
 * many cannot end without a flush. */
#define BULK_COUNT 20000

/* `class_bytes` 0 says: of no class. */
static inline void announce(const void *p, size_t class_bytes) {
  char line[64];
  int length = snprintf(line, sizeof line, "0x%zx %zu\n", (size_t)(uintptr_t)p, class_bytes);
  if (write(STDOUT_FILENO, line, (size_t)length) != length) exit(2);
}

/* The compiler must not know what the pointer is. */
static inline void *opaque(const volatile void *p) {
  uintptr_t volatile hidden = (uintptr_t)p;
  return (void *)hidden;
}

static inline void misuse(const char *operation, void *p) {
  if (strcmp(operation, "free") == 0) {
    free(opaque(p));
  } else if (strcmp(operation, "realloc") == 0) {
    void *moved = realloc(opaque(p), 300);
    if (moved == p) _exit(3);
  } else if (strcmp(operation, "usable") == 0) {
    if (malloc_usable_size(opaque(p)) == 1) _exit(3);
  } else {
    fprintf(stderr, "unknown operation %s\n", operation);
    exit(2);
  }
}

/* Frees so much of one class that what waits in a bin, depot or mail comes back to its slab. */
static inline void churn(size_t bytes) {
  static void *bulk[BULK_COUNT];
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < BULK_COUNT; i++) bulk[i] = malloc(bytes);
    for (size_t i = 0; i < BULK_COUNT; i++) free(bulk[i]);
  }
  malloc_trim(0);
}

static inline size_t size_argument(int argc, char **argv, int index) {
  if (argc <= index) {
    fprintf(stderr, "usage: argument %d missing\n", index);
    exit(2);
  }
  return strtoull(argv[index], NULL, 0);
}

static inline const char *word_argument(int argc, char **argv, int index) {
  if (argc <= index) {
    fprintf(stderr, "usage: argument %d missing\n", index);
    exit(2);
  }
  return argv[index];
}

#endif
