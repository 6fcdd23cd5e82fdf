/* An address out of the blue: wild, non-canonical, of the kernel. Arguments: operation, address. */
#include "abuse.h"

int main(int argc, char **argv) {
  free(malloc(100));
  void *p = (void *)(uintptr_t)size_argument(argc, argv, 2);
  announce(p, 0);
  misuse(word_argument(argc, argv, 1), p);
  return 0;
}
