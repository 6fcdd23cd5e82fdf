/* test_os_twin.c — the fault-injecting twin itself: linked against it in place of os_sys.c.
 * Its settings are read once, so each case is a fresh process: this program, by execve, with the
 * case's name as its argument. Faults are asked for in mremap, which nothing else here calls.
 */
#include "unit_region.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "os_sys.h"

enum { ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS };

static char folder[] = "/tmp/hakmem-test-XXXXXX";
static char count_path[sizeof folder + 16];

/* Six calls; bit i of the result is set when call i failed, with ENOMEM. */
static int mask_of_failed_mremaps(void) {
  size_t page = os_sys_page_bytes();
  char *p = mmap(NULL, page, PROT_READ, ANONYMOUS, -1, 0);
  int mask = 0;
  for (int i = 0; i < 6; i++) {
    long result = os_sys_mremap(p, page, page, 0);
    if (result == -ENOMEM)
      mask |= 1 << i;
    else if (result != (long)p)
      return 100;
  }
  return mask;
}

/* The child of a fork goes on where its parent was: its first two calls are the seventh, eighth. */
static int mask_goes_on_in_the_child(void) {
  if (mask_of_failed_mremaps() != 0) return 100;
  pid_t pid = fork();
  if (pid == 0) exit(mask_of_failed_mremaps());
  int status;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

/* What is set once the first call has read the settings changes nothing. */
static int mask_after_new_settings(void) {
  if (mask_of_failed_mremaps() != 0 || setenv("HAKMEM_TWIN_FAIL_FROM", "1", 1) != 0) return 100;
  return mask_of_failed_mremaps();
}

/* Bit per call: each of them fails, and errno is left alone. */
static int mask_of_each_call(void) {
  char *p = mmap(NULL, 65536, PROT_READ, ANONYMOUS, -1, 0), modes[64];
  errno = 77;
  const long results[] = {os_sys_mmap(NULL, 65536, PROT_READ, ANONYMOUS),
                          os_sys_mprotect(p, 65536, PROT_READ),
                          os_sys_madvise(p, 65536, MADV_NORMAL),
                          os_sys_mremap(p, 65536, 65536, 0),
                          os_sys_prctl_name(p, 65536, "x"),
                          os_sys_thp_modes(modes, sizeof modes),
                          os_sys_munmap(p, 65536)};
  int mask = 0;
  for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
    mask |= (results[i] == -ENOMEM) << i;
  return errno == 77 ? mask : 200;
}

#define REQUIRE(x)                                                                                 \
  do {                                                                                             \
    if (!(x)) return __LINE__ % 250 + 1;                                                           \
  } while (0)

/* Mappings are aligned to the pretended page and everything else is refused, as there. */
static int pages_are_large(void) {
  size_t page = os_sys_page_bytes();
  REQUIRE(page == 65536);
  char *p[16];
  for (int i = 0; i < 16; i++) {
    long at = os_sys_mmap(NULL, page, PROT_READ | PROT_WRITE, ANONYMOUS);
    REQUIRE(at > 0 && at % 65536 == 0);
    p[i] = (char *)at;
    memset(p[i], 'a' + i, page);
  }
  long moved = os_sys_mremap(p[3], page, 64 * page, MREMAP_MAYMOVE);
  REQUIRE(moved > 0 && moved % 65536 == 0 && ((char *)moved)[page - 1] == 'd');
  REQUIRE(os_sys_mmap(NULL, 4096, PROT_READ, ANONYMOUS) == -EINVAL);
  REQUIRE(os_sys_mmap(p[0] + 4096, page, PROT_READ, ANONYMOUS | MAP_FIXED) == -EINVAL);
  REQUIRE(os_sys_munmap(p[0] + 4096, page) == -EINVAL);
  REQUIRE(os_sys_munmap(p[0], 4096) == -EINVAL);
  REQUIRE(os_sys_mprotect(p[0], 4096, PROT_READ) == -EINVAL);
  REQUIRE(os_sys_madvise(p[0] + 4096, page, MADV_DONTNEED) == -EINVAL);
  REQUIRE(os_sys_mremap(p[0], page, page + 4096, MREMAP_MAYMOVE) == -EINVAL);
  REQUIRE(os_sys_prctl_name(p[0], 4096, "x") == -EINVAL);
  REQUIRE(p[0][0] == 'a');
  REQUIRE(os_sys_mprotect(p[0], page, PROT_READ) == 0);
  REQUIRE(os_sys_madvise(p[0], page, MADV_DONTNEED) == 0 && p[0][0] == 0);
  REQUIRE(os_sys_munmap(p[0], page) == 0);
  return 0;
}

/* 32 superslabs of 2 MiB, committed 16 at a time. */
static int region_grows_by_two_steps(void) {
  layers_init(64 * MIB);
  for (int i = 0; i < 32; i++) {
    bool is_grown;
    LOCKED(0, is_grown = region_grow());
    REQUIRE(is_grown);
  }
  return 0;
}

static int case_main(const char *name) {
  if (strcmp(name, "mremaps") == 0) return mask_of_failed_mremaps();
  if (strcmp(name, "fork") == 0) return mask_goes_on_in_the_child();
  if (strcmp(name, "late") == 0) return mask_after_new_settings();
  if (strcmp(name, "each") == 0) return mask_of_each_call();
  if (strcmp(name, "region") == 0) return region_grows_by_two_steps();
  return pages_are_large();
}

struct run {
  const char *name;
  const char *settings[3];
};

static int becomes_the_case(void *argument) {
  const struct run *run = argument;
  char *environment[5];
  char *arguments[] = {(char *)(uintptr_t) "case", (char *)(uintptr_t)run->name, NULL};
  char count[sizeof count_path + 32];
  snprintf(count, sizeof count, "HAKMEM_TWIN_COUNT=%s", count_path);
  size_t used = 0;
  environment[used++] = count;
  for (size_t i = 0; i < 3 && run->settings[i] != NULL; i++)
    environment[used++] = (char *)(uintptr_t)run->settings[i];
  environment[used] = NULL;
  execve("/proc/self/exe", arguments, environment);
  return 126;
}

/* Exit status of the case, or -signal. */
static int status_of(struct run run) {
  char err[4096];
  size_t rest;
  unlink(count_path);
  int status = death_run(becomes_the_case, &run, err, sizeof err, &rest);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void expect_counts(const char *expected) {
  char text[256] = "";
  FILE *file = fopen(count_path, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  assert_string_equal(text, expected);
}

#define ONLY "HAKMEM_TWIN_FAIL_CALL=mremap"

static void nothing_fails_unasked(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"mremaps", {ONLY}}), 0);
  expect_counts("calls=6 injected=0\n");
  assert_int_equal(status_of((struct run){"each", {NULL}}), 0);
}

static void settings_are_read_once(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"late", {ONLY}}), 0);
}

static void the_nth_call_fails(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"mremaps", {ONLY, "HAKMEM_TWIN_FAIL_NTH=1"}}), 1);
  assert_int_equal(status_of((struct run){"mremaps", {ONLY, "HAKMEM_TWIN_FAIL_NTH=3"}}), 4);
  expect_counts("calls=6 injected=1\n");
  assert_int_equal(status_of((struct run){"mremaps", {ONLY, "HAKMEM_TWIN_FAIL_NTH=7"}}), 0);
  expect_counts("calls=6 injected=0\n");
}

static void all_fail_from_the_nth_on(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"mremaps", {ONLY, "HAKMEM_TWIN_FAIL_FROM=3"}}), 0x3c);
  expect_counts("calls=6 injected=4\n");
}

static void each_call_can_be_chosen(void **state) {
  (void)state;
  static const char *const calls[] = {"mmap",  "mprotect", "madvise", "mremap",
                                      "prctl", "thp",      "munmap"};
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    char only[64];
    snprintf(only, sizeof only, "HAKMEM_TWIN_FAIL_CALL=%s", calls[i]);
    struct run run = {"each", {only, "HAKMEM_TWIN_FAIL_FROM=1"}};
    int expected = 1 << i;
    assert_int_equal(status_of(run), expected);
  }
  assert_int_equal(status_of((struct run){"each", {"HAKMEM_TWIN_FAIL_FROM=1"}}), 0x7f);
}

static void a_forked_child_counts_on(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"fork", {ONLY, "HAKMEM_TWIN_FAIL_NTH=8"}}), 2);
  expect_counts("calls=12 injected=1\ncalls=6 injected=0\n");
}

/* madvise is called once for the word that a fork wipes, and once a step of growth. */
static void huge_pages_are_refused_where_they_come_unasked(void **state) {
  (void)state;
  static const char always[] = "HAKMEM_TWIN_THP=always", madvise[] = "HAKMEM_TWIN_THP=madvise";
  static const char advice[] = "HAKMEM_TWIN_FAIL_CALL=madvise", thp[] = "HAKMEM_TWIN_FAIL_CALL=thp";
  assert_int_equal(status_of((struct run){"region", {always, advice}}), 0);
  expect_counts("calls=3 injected=0\n");
  assert_int_equal(status_of((struct run){"region", {madvise, advice}}), 0);
  expect_counts("calls=1 injected=0\n");
  assert_int_equal(status_of((struct run){"region", {always, thp}}), 0);
  expect_counts("calls=1 injected=0\n"); /* the mode is read once */
}

static void a_larger_page_is_pretended(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"pages", {"HAKMEM_TWIN_PAGE=65536"}}), 0);
}

static void misspelt_settings_end_the_test(void **state) {
  (void)state;
  assert_int_equal(status_of((struct run){"each", {"HAKMEM_TWIN_FAIL_CALL=mmmap"}}), -SIGABRT);
  assert_int_equal(status_of((struct run){"each", {"HAKMEM_TWIN_FAIL_NTH=x"}}), -SIGABRT);
  assert_int_equal(status_of((struct run){"pages", {"HAKMEM_TWIN_PAGE=5000"}}), -SIGABRT);
}

static int folder_make(void **state) {
  (void)state;
  if (mkdtemp(folder) == NULL) return -1;
  snprintf(count_path, sizeof count_path, "%s/count", folder);
  return 0;
}

static int folder_remove(void **state) {
  (void)state;
  unlink(count_path);
  return rmdir(folder);
}

int main(int count, char **arguments) {
  if (count == 2 && strcmp(arguments[0], "case") == 0) return case_main(arguments[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_fails_unasked),
      cmocka_unit_test(settings_are_read_once),
      cmocka_unit_test(the_nth_call_fails),
      cmocka_unit_test(all_fail_from_the_nth_on),
      cmocka_unit_test(each_call_can_be_chosen),
      cmocka_unit_test(a_forked_child_counts_on),
      cmocka_unit_test(huge_pages_are_refused_where_they_come_unasked),
      cmocka_unit_test(a_larger_page_is_pretended),
      cmocka_unit_test(misspelt_settings_end_the_test),
  };
  return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
