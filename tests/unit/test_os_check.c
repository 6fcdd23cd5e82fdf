/* test_os_check.c — the checks: silent when they hold, one line and SIGABRT when they do not. */
#include "unit_death.h"

#include <stdio.h>
#include <string.h>

#include "os_check.h"

static int check_fails(void *argument) {
  (void)argument;
  os_check_failed("sp <= hi", "bin.c", 42);
}

static int call_fails(void *argument) {
  (void)argument;
  os_call_failed("futex wait", 22);
}

static int check_is_longer_than_the_line(void *argument) { os_check_failed(argument, "bin.c", 42); }

static int check_macro_is_false(void *zero) {
  CHECK(*(int *)zero != 0);
  return 0;
}

static int assert_macro_is_false(void *zero) {
  ASSERT(*(int *)zero != 0);
  return 0;
}

static int never_macro_is_true(void *zero) { return NEVER(*(int *)zero == 0); }

static void messages(void **state) {
  (void)state;
  expect_abort(check_fails, NULL, "hakmem: internal error: sp <= hi (bin.c:42)\n");
  expect_abort(call_fails, NULL, "hakmem: internal error: futex wait failed with errno 22\n");
}

static void a_long_message_is_cut_but_ends_its_line(void **state) {
  (void)state;
  char what[1000], expected[600];
  memset(what, 'w', sizeof what - 1);
  what[sizeof what - 1] = '\0';
  snprintf(expected, sizeof expected, "hakmem: internal error: %.*s\n", 510 - 24, what);
  expect_abort(check_is_longer_than_the_line, what, expected);
}

static void expect_abort_in_this_file(int (*fn)(void *), const char *what) {
  int zero = 0;
  char err[600];
  size_t rest;
  int status = death_run(fn, &zero, err, sizeof err, &rest);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_int_equal(rest, 0);
  assert_ptr_equal(strstr(err, what), err);
  assert_non_null(strstr(err, "test_os_check.c:"));
}

static void macros_that_do_not_hold(void **state) {
  (void)state;
  expect_abort_in_this_file(check_macro_is_false, "hakmem: internal error: *(int *)zero != 0 (");
  expect_abort_in_this_file(assert_macro_is_false, "hakmem: internal error: *(int *)zero != 0 (");
  expect_abort_in_this_file(never_macro_is_true, "hakmem: internal error: never: ");
}

static void macros_that_hold(void **state) {
  (void)state;
  int evaluations = 0;
  CHECK(++evaluations == 1);
  ASSERT(evaluations == 1);
  assert_false(NEVER(evaluations != 1));
  assert_int_equal(evaluations, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages),
      cmocka_unit_test(a_long_message_is_cut_but_ends_its_line),
      cmocka_unit_test(macros_that_do_not_hold),
      cmocka_unit_test(macros_that_hold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
