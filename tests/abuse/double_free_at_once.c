/* free(a); free(a). Argument: bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  void *a = malloc(size_argument(argc, argv, 1));
  announce(a, malloc_usable_size(a));
  free(a);
  free(opaque(a));
  return 0;
}
