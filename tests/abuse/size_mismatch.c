/* A sized free whose size cannot be the one that was asked for. Arguments: how, bytes, wrong bytes.
 */
#include "abuse.h"

void free_sized(void *p, size_t bytes) __attribute__((weak));
void free_aligned_sized(void *p, size_t alignment, size_t bytes) __attribute__((weak));
void sized_delete(void *p, size_t bytes) __asm__("_ZdlPvm") __attribute__((weak));
void sized_array_delete(void *p, size_t bytes) __asm__("_ZdaPvm") __attribute__((weak));

int main(int argc, char **argv) {
  const char *how = word_argument(argc, argv, 1);
  size_t bytes = size_argument(argc, argv, 2);
  size_t wrong_bytes = size_argument(argc, argv, 3);
  if (free_sized == NULL || free_aligned_sized == NULL || sized_delete == NULL) return 2;
  void *a = strcmp(how, "aligned") == 0 ? aligned_alloc(64, bytes) : malloc(bytes);
  announce(a, malloc_usable_size(a));
  if (strcmp(how, "sized") == 0) free_sized(a, wrong_bytes);
  if (strcmp(how, "aligned") == 0) free_aligned_sized(a, 64, wrong_bytes);
  if (strcmp(how, "delete") == 0) sized_delete(a, wrong_bytes);
  if (strcmp(how, "delete-array") == 0) sized_array_delete(a, wrong_bytes);
  return 0;
}
