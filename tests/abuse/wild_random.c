/* Random addresses: any 64 bits, any of user space, and within 16 TiB of the heap (but not in its
 * neighbourhood, where a slot might be real). Refused, never dereferenced. Arguments: operation,
 * pointers a kind. */
#define _GNU_SOURCE
#include "abuse_catch.h"

static const char *verdict_of(const char *operation) {
  if (strcmp(operation, "free") == 0) return "invalid free";
  return strcmp(operation, "realloc") == 0 ? "invalid realloc" : "invalid usable_size";
}

static uintptr_t any_address(void) { return random_next(); }

static uintptr_t user_address(void) { return random_next() & 0x7fffffffffff; }

static uintptr_t near_address(uintptr_t heap) {
  const uintptr_t APART_BYTES = (uintptr_t)256 << 20;
  unsigned shift = 28 + (unsigned)(random_next() % 17);
  uintptr_t distance = APART_BYTES + (random_next() & (((uintptr_t)1 << shift) - 1));
  return random_next() & 1 ? heap + distance : heap - distance;
}

int main(int argc, char **argv) {
  const char *operation = word_argument(argc, argv, 1);
  size_t pointer_count = size_argument(argc, argv, 2);
  char *heap = malloc(100);
  catch_start();
  for (size_t i = 0; i < 3 * pointer_count; i++) {
    uintptr_t address = i % 3 == 0   ? any_address()
                        : i % 3 == 1 ? user_address()
                                     : near_address((uintptr_t)heap);
    if (i / 3 % 2) address &= ~(uintptr_t)15;
    if (address == 0) continue;
    catch_misuse(operation, (void *)address, verdict_of(operation), NULL, 0);
  }
  free(heap);
  printf("%zu pointers\n", 3 * pointer_count);
  return 0;
}
