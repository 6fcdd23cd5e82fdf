/* realloc or malloc_usable_size of a block that was freed. Arguments: operation, bytes, where it
 * is: back in its slab or with the kernel, alone or kept by another block; or still in the bin,
 * last or last-but-one. */
#include "abuse.h"

#include <stdbool.h>

int main(int argc, char **argv) {
  size_t bytes = size_argument(argc, argv, 2);
  char *a = malloc(bytes), *other = malloc(bytes);
  a[0] = 1;
  announce(a, malloc_usable_size(a));
  const char *where = word_argument(argc, argv, 3);
  bool is_in_bin = strncmp(where, "last", 4) == 0;
  free(a);
  if (strcmp(where, "alone") == 0 || strcmp(where, "last-but-one") == 0) free(other);
  if (!is_in_bin) malloc_trim(0);
  misuse(word_argument(argc, argv, 1), a);
  return 0;
}
