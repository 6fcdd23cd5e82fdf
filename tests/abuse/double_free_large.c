/* A large block freed twice, at once. Argument: bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  char *a = malloc(size_argument(argc, argv, 1));
  a[0] = 1;
  announce(a, malloc_usable_size(a));
  free(a);
  free(opaque(a));
  return 0;
}
