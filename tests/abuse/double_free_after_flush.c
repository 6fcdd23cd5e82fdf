/* So many objects are freed that the first ones are back in their slab; one of them is freed again.
 * Found at once, or at the latest when the second one is flushed. Argument: bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  static void *objects[BULK_COUNT];
  size_t bytes = size_argument(argc, argv, 1);
  for (size_t i = 0; i < BULK_COUNT; i++) objects[i] = malloc(bytes);
  size_t class_bytes = malloc_usable_size(objects[10]); /* a later one's may be tailored */
  for (size_t i = 0; i < BULK_COUNT; i++) free(objects[i]);
  announce(objects[10], class_bytes);
  free(opaque(objects[10]));
  churn(bytes);
  return 0;
}
