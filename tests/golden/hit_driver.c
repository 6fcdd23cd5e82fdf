/* hit_driver: an ordinary program for count_hits.py to count the instructions of. After a warm-up
 * that takes every slow path once: hit_driver hit K     K times one malloc and one free of 64 B,
 * each a hit in its bin hit_driver bulk K    K times: allocate 1,000 objects of 64 B, free them in
 * order; refills and flushes included The counted loops are functions of their own: the counts are
 * read off their calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT_BYTES 64u
#define BULK_OBJECTS 1000u
/* Derived: more than any magazine or thread cache holds, so that the bins have reached their size.
 */
#define WARM_UP_ROUNDS 200u

static void *object[BULK_OBJECTS];

/* One function, one name in the profile, for whatever K. Clang has no noclone and does not clone.
 */
#ifdef __clang__
#define ONE_FUNCTION __attribute__((noinline))
#else
#define ONE_FUNCTION __attribute__((noinline, noclone))
#endif
ONE_FUNCTION static void hit_loop(unsigned long rounds) {
  for (unsigned long i = 0; i < rounds; i++) {
    void *one = malloc(OBJECT_BYTES);
    __asm__ volatile("" : "+r"(one));
    free(one);
  }
}

ONE_FUNCTION static void bulk_loop(unsigned long rounds) {
  for (unsigned long i = 0; i < rounds; i++) {
    for (size_t k = 0; k < BULK_OBJECTS; k++) {
      object[k] = malloc(OBJECT_BYTES);
    }
    for (size_t k = 0; k < BULK_OBJECTS; k++) {
      free(object[k]);
    }
  }
}

__attribute__((noinline)) static void warm_up(void) {
  for (unsigned round = 0; round < WARM_UP_ROUNDS; round++) {
    for (size_t k = 0; k < BULK_OBJECTS; k++) {
      object[k] = malloc(OBJECT_BYTES);
    }
    for (size_t k = 0; k < BULK_OBJECTS; k++) {
      free(object[k]);
    }
  }
}

int main(int argc, char **argv) {
  char *end = NULL;
  unsigned long rounds = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
  if (rounds == 0 || *end != '\0' ||
      (strcmp(argv[1], "hit") != 0 && strcmp(argv[1], "bulk") != 0)) {
    fprintf(stderr, "usage: hit_driver hit|bulk ROUNDS\n");
    return 2;
  }
  warm_up();
  if (argv[1][0] == 'h') {
    hit_loop(rounds);
  } else {
    bulk_loop(rounds);
  }
  return 0;
}
