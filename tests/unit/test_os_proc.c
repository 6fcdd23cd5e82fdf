/* test_os_proc.c — environment, names, files, stderr, the end. */
#include "unit_death.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include "os_proc.h"

enum { ERRNO_BEFORE = 77 };
static char folder[] = "/tmp/hakmem-test-XXXXXX";
static char path[sizeof folder + 16];

static int errno_is_set(void **state) {
  (void)state;
  errno = ERRNO_BEFORE;
  return 0;
}

static int errno_is_kept(void **state) {
  (void)state;
  return errno == ERRNO_BEFORE ? 0 : -1;
}

static int folder_make(void **state) {
  (void)state;
  if (mkdtemp(folder) == NULL) return -1;
  snprintf(path, sizeof path, "%s/file", folder);
  return 0;
}

static int folder_remove(void **state) {
  (void)state;
  unlink(path);
  return rmdir(folder);
}

static void the_process_is_as_libc_says(void **state) {
  (void)state;
  assert_ptr_equal(os_environ(), environ);
  assert_int_equal(os_pid(), getpid());
  assert_int_equal(os_is_secure(), getauxval(AT_SECURE) != 0);
}

static void the_program_has_its_short_name(void **state) {
  (void)state;
  char name[64], cut[5] = "####";
  os_program_name(name, sizeof name);
  assert_string_equal(name, program_invocation_short_name);
  os_program_name(cut, sizeof cut);
  assert_int_equal(strncmp(cut, name, 4), 0);
  assert_int_equal(cut[4], '\0');
}

static int name_without_libcs(void *expected) {
  program_invocation_short_name = NULL;
  char name[64];
  os_program_name(name, sizeof name);
  return strcmp(name, expected) == 0 ? 0 : 1;
}

static void the_kernels_name_is_the_fall_back(void **state) {
  (void)state;
  char comm[64] = "", err[64];
  size_t rest;
  assert_true(os_read_file("/proc/self/comm", comm, sizeof comm) > 1);
  comm[strcspn(comm, "\n")] = '\0';
  assert_int_equal(death_run(name_without_libcs, comm, err, sizeof err, &rest), 0);
}

static void files_grow_by_whole_texts(void **state) {
  (void)state;
  char text[64];
  assert_int_equal(os_append_file(path, "one\n", 4), 0);
  assert_int_equal(os_append_file(path, "two\n", 4), 0);
  assert_int_equal(os_read_file(path, text, sizeof text), 8);
  assert_string_equal(text, "one\ntwo\n");
  assert_int_equal(os_read_file(path, text, 4), 3);
  assert_string_equal(text, "one");
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777 & ~0644, 0);
}

static void files_that_cannot_be_had(void **state) {
  (void)state;
  char text[8] = "####";
  assert_int_equal(os_append_file("/nowhere/at/all", "x", 1), ENOENT);
  assert_int_equal(os_append_file("/", "x", 1), EISDIR);
  assert_int_equal(os_append_file("/dev/full", "x", 1), ENOSPC);
  assert_int_equal(os_read_file("/nowhere/at/all", text, sizeof text), -ENOENT);
  assert_string_equal(text, "");
  assert_int_equal(os_read_file("/", text, sizeof text), -EISDIR);
  assert_int_equal(os_read_file("/dev/null", text, sizeof text), -ENODEV);
}

static void no_descriptor_is_left_open(void **state) {
  (void)state;
  char text[8];
  int before = dup(0);
  assert_true(before >= 0);
  close(before);
  (void)!os_append_file(path, "x", 1);
  (void)!os_append_file("/dev/full", "x", 1);
  (void)!os_read_file(path, text, sizeof text);
  (void)!os_read_file("/", text, sizeof text);
  int after = dup(0);
  assert_int_equal(after, before);
  close(after);
}

static int says_hello(void *argument) {
  (void)argument;
  os_write_stderr("hello", 5);
  return 3;
}

static int says_hello_to_nobody(void *argument) {
  (void)argument;
  close(2);
  os_write_stderr("hello", 5);
  return 4;
}

static int aborts(void *argument) {
  (void)argument;
  os_abort();
}

static void stderr_gets_one_write(void **state) {
  (void)state;
  char err[64];
  size_t rest;
  int status = death_run(says_hello, NULL, err, sizeof err, &rest);
  assert_string_equal(err, "hello");
  assert_int_equal(rest, 0);
  assert_int_equal(WEXITSTATUS(status), 3);
  status = death_run(says_hello_to_nobody, NULL, err, sizeof err, &rest);
  assert_string_equal(err, "");
  assert_int_equal(WEXITSTATUS(status), 4);
}

static void abort_is_by_signal_and_silent(void **state) {
  (void)state;
  expect_abort(aborts, NULL, "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, errno_is_set, errno_is_kept)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_process_is_as_libc_says),
      TEST(the_program_has_its_short_name),
      TEST(the_kernels_name_is_the_fall_back),
      TEST(files_grow_by_whole_texts),
      TEST(files_that_cannot_be_had),
      TEST(no_descriptor_is_left_open),
      TEST(stderr_gets_one_write),
      TEST(abort_is_by_signal_and_silent),
  };
  return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
