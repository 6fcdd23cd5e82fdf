/* free(a); free(b); free(a). Argument: bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  size_t bytes = size_argument(argc, argv, 1);
  void *a = malloc(bytes);
  void *b = malloc(bytes);
  announce(a, malloc_usable_size(a));
  free(a);
  free(b);
  free(opaque(a));
  return 0;
}
