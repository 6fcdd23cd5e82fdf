/* realloc or malloc_usable_size of a block that was freed, and is back in its slab or with the
 * kernel. Arguments: operation, bytes, whether another block keeps its slab: alone or kept. */
#include "abuse.h"

int main(int argc, char **argv) {
  size_t bytes = size_argument(argc, argv, 2);
  char *a = malloc(bytes), *other = malloc(bytes);
  a[0] = 1;
  announce(a, malloc_usable_size(a));
  free(a);
  if (strcmp(word_argument(argc, argv, 3), "alone") == 0) free(other);
  malloc_trim(0);
  misuse(word_argument(argc, argv, 1), a);
  return 0;
}
