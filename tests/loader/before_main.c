/* malloc before any constructor: in an IFUNC resolver, in preinit_array, in constructors. What they
 * allocated is intact in main, and can be resized and freed there. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "api/check_that.h"

enum { EARLY_COUNT = 64 };

struct early {
  char *blocks[EARLY_COUNT];
  int done;
};

static struct early in_resolver, in_preinit, in_constructor;

/* No library function but malloc's family: a resolver runs before the program is relocated. */
static void early_take(struct early *early) {
  for (int i = 0; i < EARLY_COUNT; i++) {
    size_t bytes = (size_t)i * 37 + 1;
    char *block = i % 2 ? malloc(bytes) : calloc(1, bytes);
    if (block == NULL) return;
    if (i % 4 == 0) free(malloc(bytes * 100));
    if (i % 8 == 3) block = realloc(block, bytes * 2);
    if (block == NULL) return;
    for (size_t j = 0; j < bytes; j++) ((volatile char *)block)[j] = (char)i;
    early->blocks[i] = block;
  }
  early->done = 1;
}

static void early_check(struct early *early) {
  CHECK_THAT(early->done);
  for (int i = 0; i < EARLY_COUNT; i++) {
    size_t bytes = (size_t)i * 37 + 1;
    CHECK_THAT(malloc_usable_size(early->blocks[i]) >= bytes);
    early->blocks[i] = realloc(early->blocks[i], bytes + 3000);
    CHECK_THAT(early->blocks[i] != NULL);
    for (size_t j = 0; j < bytes; j++) CHECK_THAT(early->blocks[i][j] == (char)i);
    free(early->blocks[i]);
  }
}

static int answer_plain(void) { return 42; }

typedef int answer_function(void);

__attribute__((used)) static answer_function *answer_resolve(void) {
  early_take(&in_resolver);
  return answer_plain;
}

int answer(void) __attribute__((ifunc("answer_resolve")));

static void preinit(void) { early_take(&in_preinit); }

__attribute__((section(".preinit_array"), used)) static void (*preinit_entry)(void) = preinit;

__attribute__((constructor(101))) static void construct(void) { early_take(&in_constructor); }

int main(void) {
  CHECK_THAT(answer() == 42);
  early_check(&in_resolver);
  early_check(&in_preinit);
  early_check(&in_constructor);
  puts("ok");
  return 0;
}
