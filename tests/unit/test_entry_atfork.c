/* test_entry_atfork.c — the shared library stands in front of libc's __register_atfork; the archive
 * does not: a static libc has it beside fork. The file under test is in the shared library only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int run(const char *format, const char *folder) {
  char command[1024];
  int length = snprintf(command, sizeof command, format, folder);
  assert_true(length > 0 && (size_t)length < sizeof command);
  return system(command); /* NOLINT(cert-env33-c): a fixed command of this build's folder */
}

static void who_registers_handlers(void **state) {
  (void)state;
  const char *folder = getenv("HAK_BUILD_DIR");
  assert_non_null(folder);
  if (run("test -e '%s/libhakmem.so'", folder) != 0) skip(); /* sanitizer builds have no library */
  assert_int_equal(
      run("nm -D --defined-only '%s/libhakmem.so' | grep -q ' T __register_atfork$'", folder), 0);
  assert_int_not_equal(
      run("nm --defined-only '%s/libhakmem.a' | grep -q ' T __register_atfork$'", folder), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(who_registers_handlers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
