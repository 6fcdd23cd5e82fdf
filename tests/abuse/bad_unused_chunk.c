/* An address in the heap's window where no slab is. Arguments: operation, distance: the last chunk
 * of the object's superslab, or so many bytes behind the object. */
#include "abuse.h"

int main(int argc, char **argv) {
  enum { CHUNK_BYTES = 64 << 10, SUPERSLAB_BYTES = 2 << 20 };
  char *a = malloc(100);
  const char *distance = word_argument(argc, argv, 2);
  uintptr_t target = ((uintptr_t)a | (SUPERSLAB_BYTES - 1)) + 1 - CHUNK_BYTES;
  if (strcmp(distance, "last-chunk") != 0) target = (uintptr_t)a + size_argument(argc, argv, 2);
  announce((void *)target, 0);
  misuse(word_argument(argc, argv, 1), (void *)target);
  free(a);
  return 0;
}
