/* A slot that exists in a slab but was never handed out: the same chunk, far behind the first
 * objects, on a slot boundary. Arguments: operation, bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  enum { CHUNK_BYTES = 64 << 10 };
  size_t bytes = size_argument(argc, argv, 2);
  char *a = malloc(bytes);
  size_t class_bytes = malloc_usable_size(a);
  size_t room_bytes = CHUNK_BYTES - (uintptr_t)a % CHUNK_BYTES;
  size_t slot = room_bytes / class_bytes - 1;
  if (slot < 2) return 2;
  announce(a + slot * class_bytes, class_bytes);
  misuse(word_argument(argc, argv, 1), a + slot * class_bytes);
  churn(bytes);
  return 0;
}
