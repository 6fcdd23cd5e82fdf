/* NULL is no misuse: free(NULL) and realloc(NULL, n) do what the standard says, and print nothing.
 */
#include "abuse.h"

int main(void) {
  announce(NULL, 0);
  free(opaque(NULL));
  void *p = realloc(opaque(NULL), 10);
  free(p);
  return malloc_usable_size(opaque(NULL)) == 0 ? 0 : 1;
}
