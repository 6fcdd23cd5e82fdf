/* test_entry_resolver.c — the shared library has a resolver of its own, and with it a program whose
 * IFUNC resolvers allocate starts. The file under test is in the shared library only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int run(const char *format, const char *folder) {
  char command[1024];
  int length = snprintf(command, sizeof command, format, folder);
  assert_true(length > 0 && (size_t)length < sizeof command);
  return system(command); /* NOLINT(cert-env33-c): a fixed command of this build's folder */
}

static const char *build_folder(void) {
  const char *folder = getenv("HAK_BUILD_DIR");
  assert_non_null(folder);
  return folder;
}

static void the_library_has_one_resolver(void **state) {
  (void)state;
  const char *folder = build_folder();
  if (run("test -e '%s/libhakmem.so'", folder) != 0) skip(); /* sanitizer builds have no library */
  assert_int_equal(
      run("test \"$(readelf -rW '%s/libhakmem.so' | grep -c R_.*_IRELATIV)\" = 1", folder), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_library_has_one_resolver)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
