/* at_secure.py makes this set-user-ID: says whether the kernel treats it as such, and uses the
 * heap. */
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "api/check_that.h"

const char *hak_version(void);

int main(void) {
  for (size_t n = 1; n < 6u << 20; n += n / 2 + 1) {
    char *p = malloc(n);
    CHECK_THAT(p != NULL);
    memset(p, 1, n);
    free(p);
  }
  printf("secure=%lu version=%s\n", getauxval(AT_SECURE), hak_version());
  return 0;
}
