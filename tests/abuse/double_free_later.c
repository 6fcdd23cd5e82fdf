/* free(a), 1,024 other frees of the same class, free(a). Found when it leaves the bin at the
 * latest. Argument: bytes. */
#include "abuse.h"

int main(int argc, char **argv) {
  static void *others[1024];
  size_t bytes = size_argument(argc, argv, 1);
  void *a = malloc(bytes);
  for (size_t i = 0; i < 1024; i++) others[i] = malloc(bytes);
  announce(a, malloc_usable_size(a));
  free(a);
  for (size_t i = 0; i < 1024; i++) free(others[i]);
  free(opaque(a));
  churn(bytes);
  return 0;
}
