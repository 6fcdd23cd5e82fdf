/* at_secure.py makes this set-user-ID: says whether the kernel treats it as such, uses the heap,
 * and says which options are in force, and again after a call of its own. With -DWITH_CONF it has
 * defaults in a symbol. */
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "api/check_that.h"

const char *hak_version(void);
int hak_option_get(const char *name, char *value, size_t capacity);
int hak_option_set(const char *name, const char *value);

#ifdef WITH_CONF
extern const char hak_conf[];
const char hak_conf[] = "profile=lean,memory_limit=64M,bin_bytes=32K";
#endif

static void options_print(void) {
  static const char *const names[] = {"PROFILE", "DEPOT_BYTES", "MEMORY_LIMIT", "BIN_BYTES"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char value[64];
    CHECK_THAT(hak_option_get(names[i], value, sizeof value) == 0);
    printf(" %s=%s", names[i], value);
  }
}

int main(void) {
  for (size_t n = 1; n < 6u << 20; n += n / 2 + 1) {
    char *p = malloc(n);
    CHECK_THAT(p != NULL);
    memset(p, 1, n);
    free(p);
  }
  printf("secure=%lu version=%s", getauxval(AT_SECURE), hak_version());
  options_print();
  CHECK_THAT(hak_option_set("PROFILE", "speed") == 0);
  CHECK_THAT(hak_option_set("MEMORY_LIMIT", "128M") == 0);
  printf(" then");
  options_print();
  puts("");
  return 0;
}
