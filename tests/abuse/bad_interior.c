/* A pointer into an object, behind its start and aligned. Arguments: operation, bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  size_t bytes = size_argument(argc, argv, 2);
  char *a = malloc(bytes);
  announce(a + 16, malloc_usable_size(a));
  misuse(word_argument(argc, argv, 1), a + 16);
  return 0;
}
