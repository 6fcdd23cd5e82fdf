/* A pointer into a block too large for a class. Arguments: operation, bytes, offset. */
#include "abuse.h"

int main(int argc, char **argv) {
  char *a = malloc(size_argument(argc, argv, 2));
  char *inside = a + size_argument(argc, argv, 3);
  announce(inside, malloc_usable_size(a));
  misuse(word_argument(argc, argv, 1), inside);
  return 0;
}
