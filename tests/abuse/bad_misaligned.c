/* A pointer that no allocation can have: an odd address in an object. Arguments: operation, offset.
 */
#include "abuse.h"

int main(int argc, char **argv) {
  char *a = malloc(100);
  char *odd = a + size_argument(argc, argv, 2);
  announce(odd, malloc_usable_size(a));
  misuse(word_argument(argc, argv, 1), odd);
  return 0;
}
