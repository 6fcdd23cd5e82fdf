/* A slot that was never handed out but already waits in the bin, so that its bit says allocated:
 * one of those behind the first object. Found when a second copy of it turns up, if at all.
 * Arguments: operation, bytes, how many slots behind. */
#include "abuse.h"

int main(int argc, char **argv) {
  size_t bytes = size_argument(argc, argv, 2);
  char *a = malloc(bytes);
  size_t class_bytes = malloc_usable_size(a);
  char *slot = a + size_argument(argc, argv, 3) * class_bytes;
  announce(slot, class_bytes);
  misuse(word_argument(argc, argv, 1), slot);
  churn(bytes);
  return 0;
}
