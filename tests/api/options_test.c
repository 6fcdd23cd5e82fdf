/* options_test.c — a program's own defaults (hak_conf), what beats them, and a change.
 * usage: options_test [NAME=VALUE ...]: what the options must be at the start
 */
#include <stdlib.h>
#include <string.h>

#include "api/check_that.h"
#include "hakmem.h"

const char hak_conf[] = "profile=speed,depot_bytes=3M,refine_bytes=1M,conf_strict=1";

static int is(const char *name, const char *expected) {
  char value[64];
  int error = hak_option_get(name, value, sizeof value);
  return error == 0 && strcmp(value, expected) == 0;
}

static void starts_as(char **expected) {
  for (; *expected != NULL; expected++) {
    char *equals = strchr(*expected, '=');
    CHECK_THAT(equals != NULL);
    *equals = '\0';
    if (!is(*expected, equals + 1)) fprintf(stderr, "%s is not %s\n", *expected, equals + 1);
    CHECK_THAT(is(*expected, equals + 1));
  }
}

int main(int count, char **arguments) {
  (void)count;
  starts_as(arguments + 1);
  CHECK_THAT(hak_option_set("profile", "balanced") == 0 && is("DEPOT_BYTES", "256K"));
  return 0;
}
