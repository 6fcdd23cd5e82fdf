/* free(a); free(a), with nothing else ever freed: the bin is all but empty. */
#include "abuse.h"

int main(void) {
  void *keep = malloc(48);
  void *a = malloc(48);
  announce(a, malloc_usable_size(a));
  free(a);
  free(opaque(a));
  free(keep);
  return 0;
}
