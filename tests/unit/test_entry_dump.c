/* test_entry_dump.c — each option prints its lines at exit, and no other. */
#include "unit_entry.h"

/* All that a process started with this variable writes to stderr. */
static void said_with(const char *variable, char *err, size_t capacity) {
  char *const arguments[] = {(char *)(uintptr_t) "test", (char *)(uintptr_t) "works", NULL};
  char *const environment[] = {(char *)(uintptr_t)variable, NULL};
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    child_start();
    NEED(dup2(fds[1], 2) == 2 && close(fds[0]) == 0 && close(fds[1]) == 0);
    execve("/proc/self/exe", arguments, environment);
    child_fail(__FILE__, __LINE__, "execve");
  }
  close(fds[1]);
  size_t length = 0;
  ssize_t got;
  while ((got = read(fds[0], err + length, capacity - 1 - length)) > 0) length += (size_t)got;
  close(fds[0]);
  err[length] = '\0';
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static size_t count_lines(const char *text, const char *head) {
  size_t count = 0;
  for (const char *at = text; (at = strstr(at, head)) != NULL; at += strlen(head)) count++;
  return count;
}

static void each_option_has_its_lines(void **state) {
  (void)state;
  static char err[1 << 15];
  said_with("HAKMEM_TINY_MEM_DUMP=1", err, sizeof err);
  assert_true(count_lines(err, "hakmem tiny: class_bytes=") >= 1);
  assert_int_equal(count_lines(err, "hakmem tiny: total "), 1);
  assert_int_equal(count_lines(err, "hakmem "), count_lines(err, "hakmem tiny: "));
  said_with("HAKMEM_SS_STATS_DUMP=1", err, sizeof err);
  assert_int_equal(count_lines(err, "hakmem superslabs: total "), 1);
  assert_int_equal(count_lines(err, "\n"), 1);
  said_with("HAKMEM_WARM_POOL_STATS=1", err, sizeof err);
  assert_int_equal(count_lines(err, "hakmem warm: total "), 1);
  assert_int_equal(count_lines(err, "\n"), 1);
}

static void without_one_there_is_nothing(void **state) {
  (void)state;
  char err[512];
  said_with("HAKMEM_TINY_MEM_DUMP=0", err, sizeof err);
  assert_string_equal(err, "");
}

int main(int argc, char **argv) {
  entry_init();
  if (argc == 2 && strcmp(argv[1], "works") == 0) {
    hak_free(hak_malloc(100));
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_option_has_its_lines),
      cmocka_unit_test(without_one_there_is_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
