/* test_os_atfork.c — what is registered behind this library is libc's: its fork calls it. The file
 * under test is in the shared libraries only, and so compiled for this program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os_thread.h"

static int called;
static void prepare(void) { called = called * 10 + 1; }
static void parent(void) { called = called * 10 + 2; }
static void child(void) { called = called * 10 + 3; }

static void libc_calls_what_was_registered(void **state) {
  (void)state;
  assert_int_equal(os_register_atfork(prepare, parent, child, NULL), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(called);
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 13);
  assert_int_equal(called, 12);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(libc_calls_what_was_registered)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
