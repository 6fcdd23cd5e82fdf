/* test_rt_options.c — the table's defaults, parsing, and the one line for what is wrong.
 * Options are constant once read, so each case is a child that reads its own environment.
 */
#include "unit_death.h"

#include <stdio.h>
#include <string.h>

#include "os_proc.h"
#include "rt_options.h"

static const struct {
  const char *name;
  uint64_t preset, min, max;
} knobs[] = {
#define KNOB(name, type, def, min, max, doc) {#name, def, min, max},
#include "knobs.def"
#undef KNOB
};

/* Some other test's options must not reach the children of this one. */
static char *environment[8];

struct answer {
  enum rt_option option;
  uint64_t value;
  const char *report;
};

/* 0: the options are as expected; the library's constructor read this process's own environment
 * in the parent, hence the execve into `child_main`. */
static int reads_options(void *argument) {
  const struct answer *expected = argument;
  char option[24], value[24];
  snprintf(option, sizeof option, "%d", (int)expected->option);
  snprintf(value, sizeof value, "%llu", (unsigned long long)expected->value);
  const char *report = expected->report != NULL ? expected->report : "";
  char *const arguments[] = {(char *)(uintptr_t) "child", option, value, (char *)(uintptr_t)report,
                             NULL};
  execve("/proc/self/exe", arguments, environment);
  return 126;
}

static int child_main(char **arguments) {
  if (!rt_options_init() || !rt_options_init()) return 10;
  if (rt_option((enum rt_option)atoi(arguments[1])) != strtoull(arguments[2], NULL, 10)) return 11;
  const char *report = rt_report_path();
  if (report == NULL ? arguments[3][0] != '\0' : strcmp(report, arguments[3]) != 0) return 12;
  /* What the program does to its environment later changes nothing. */
  char **entries = os_environ();
  for (size_t i = 0; entries[i] != NULL; i++) memset(entries[i], '#', strlen(entries[i]));
  if (rt_option((enum rt_option)atoi(arguments[1])) != strtoull(arguments[2], NULL, 10)) return 13;
  const char *later = rt_report_path();
  return (report == NULL && later == NULL) || strcmp(later, arguments[3]) == 0 ? 0 : 14;
}

/* `err`: all that is said on stderr when `one` and `two` are in the environment. */
static void expect_read(const char *one, const char *two, struct answer expected, const char *err) {
  char said[4096];
  size_t rest, count = 0;
  environment[count++] = (char *)(uintptr_t) "PATH=/usr/bin";
  environment[count++] = (char *)(uintptr_t) "HAKMEM_WITHOUT_A_VALUE";
  if (one != NULL) environment[count++] = (char *)(uintptr_t)one;
  if (two != NULL) environment[count++] = (char *)(uintptr_t)two;
  environment[count] = NULL;
  int status = death_run(reads_options, &expected, said, sizeof said, &rest);
  assert_string_equal(said, err);
  assert_int_equal(rest, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static struct answer value_is(enum rt_option option, uint64_t value) {
  return (struct answer){option, value, NULL};
}

static void defaults_hold_without_an_environment(void **state) {
  (void)state;
  assert_int_equal(sizeof knobs / sizeof knobs[0], RT_OPTION_COUNT);
  for (int i = 0; i < RT_OPTION_COUNT; i++) {
    expect_read(NULL, NULL, value_is((enum rt_option)i, knobs[i].preset), "");
    assert_true(knobs[i].min <= knobs[i].preset && knobs[i].preset <= knobs[i].max);
  }
}

static void ends_of_every_range_are_taken(void **state) {
  (void)state;
  for (int i = 0; i < RT_OPTION_COUNT; i++) {
    const uint64_t ends[] = {knobs[i].min, knobs[i].max};
    for (size_t k = 0; k < 2; k++) {
      char entry[128];
      snprintf(entry, sizeof entry, "HAKMEM_%s=%llu", knobs[i].name, (unsigned long long)ends[k]);
      expect_read(entry, NULL, value_is((enum rt_option)i, ends[k]), "");
    }
  }
}

static void bytes_have_suffixes(void **state) {
  (void)state;
  expect_read("HAKMEM_WARM_BYTES=7", NULL, value_is(RT_OPTION_WARM_BYTES, 7), "");
  expect_read("HAKMEM_WARM_BYTES=7K", NULL, value_is(RT_OPTION_WARM_BYTES, 7168), "");
  expect_read("HAKMEM_WARM_BYTES=3M", NULL, value_is(RT_OPTION_WARM_BYTES, 3145728), "");
  expect_read("HAKMEM_WARM_BYTES=2G", NULL, value_is(RT_OPTION_WARM_BYTES, 2147483648), "");
}

static void bad_values_keep_the_default(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "foo",
                                    "-1",
                                    "+1",
                                    " 1",
                                    "1 ",
                                    "1k",
                                    "1KB",
                                    "K",
                                    "0x10",
                                    "1099511627777",
                                    "1025G",
                                    "1e3",
                                    "1.5",
                                    "1T",
                                    "18446744073709551616",
                                    "18446744073709551615G"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char entry[128], err[256];
    snprintf(entry, sizeof entry, "HAKMEM_WARM_BYTES=%s", bad[i]);
    snprintf(err, sizeof err,
             "hakmem: HAKMEM_WARM_BYTES=%s: expected bytes with suffix K, M or G, 0..1024G; "
             "keeping 16M\n",
             bad[i]);
    expect_read(entry, NULL, value_is(RT_OPTION_WARM_BYTES, 16777216), err);
  }
  expect_read("HAKMEM_CLASS_REFINE=yes", NULL, value_is(RT_OPTION_CLASS_REFINE, 1),
              "hakmem: HAKMEM_CLASS_REFINE=yes: expected bool 0..1; keeping 1\n");
  expect_read("HAKMEM_CLASS_REFINE=0K", NULL, value_is(RT_OPTION_CLASS_REFINE, 1),
              "hakmem: HAKMEM_CLASS_REFINE=0K: expected bool 0..1; keeping 1\n");
  expect_read(
      "HAKMEM_REFINE_BYTES=1", NULL, value_is(RT_OPTION_REFINE_BYTES, 131072),
      "hakmem: HAKMEM_REFINE_BYTES=1: expected bytes with suffix K, M or G, 64K..1024G; keeping "
      "128K\n");
}

static void unknown_names_get_the_nearest(void **state) {
  (void)state;
  struct answer any = value_is(RT_OPTION_CLASS_REFINE, 1);
  expect_read("HAKMEM_WARM_BYTE=1", NULL, any,
              "hakmem: unknown option HAKMEM_WARM_BYTE, did you mean HAKMEM_WARM_BYTES?\n");
  expect_read("HAKMEM_class_refine=0", NULL, any,
              "hakmem: unknown option HAKMEM_class_refine, did you mean HAKMEM_CLASS_REFINE?\n");
  expect_read("HAKMEM_REPROT=x", NULL, any,
              "hakmem: unknown option HAKMEM_REPROT, did you mean HAKMEM_REPORT?\n");
  expect_read("HAKMEM_DEPOT=1", NULL, any,
              "hakmem: unknown option HAKMEM_DEPOT, did you mean HAKMEM_DEPOT_BYTES?\n");
  expect_read("HAKMEM_SOMETHING_ELSE=1", NULL, any,
              "hakmem: unknown option HAKMEM_SOMETHING_ELSE\n");
}

static void a_name_is_warned_of_once_and_the_first_counts(void **state) {
  (void)state;
  expect_read("HAKMEM_SOMETHING_ELSE=1", "HAKMEM_SOMETHING_ELSE=2",
              value_is(RT_OPTION_CLASS_REFINE, 1),
              "hakmem: unknown option HAKMEM_SOMETHING_ELSE\n");
  expect_read("HAKMEM_CLASS_REFINE=0", "HAKMEM_CLASS_REFINE=bad",
              value_is(RT_OPTION_CLASS_REFINE, 0), "");
}

static void a_warning_is_one_short_line(void **state) {
  (void)state;
  char entry[2048], name[1001], err[256];
  expect_read("HAKMEM_CLASS_REFINE=a\nb\x1b[1m", NULL, value_is(RT_OPTION_CLASS_REFINE, 1),
              "hakmem: HAKMEM_CLASS_REFINE=a?b?[1m: expected bool 0..1; keeping 1\n");
  memset(name, 'N', 1000);
  name[1000] = '\0';
  snprintf(entry, sizeof entry, "HAKMEM_%s=1", name);
  snprintf(err, sizeof err, "hakmem: unknown option HAKMEM_%.64s...\n", name);
  expect_read(entry, NULL, value_is(RT_OPTION_CLASS_REFINE, 1), err);
}

static void reserved_names_pass_in_silence(void **state) {
  (void)state;
  struct answer any = value_is(RT_OPTION_CLASS_REFINE, 1);
  expect_read("HAKMEM_BENCH_ROUNDS=3", "HAKMEM_LIB=/usr/lib/libhakmem.so", any, "");
  expect_read("HAKMEM_TRACE=app.trace", "HAKMEM_TRACE_MAX=1000", any, "");
  expect_read("HAKMEM_TWIN_COUNT_NOTHING=1", "hakmem_other=1", any, "");
  expect_read("XHAKMEM_WARM_BYTES=x", "HAKMEM=1", any, "");
}

static void the_report_has_its_path(void **state) {
  (void)state;
  struct answer with = {RT_OPTION_CLASS_REFINE, 0, "/tmp/r=eport.json"};
  expect_read("HAKMEM_REPORT=/tmp/r=eport.json", "HAKMEM_CLASS_REFINE=0", with, "");
  struct answer without = value_is(RT_OPTION_CLASS_REFINE, 1);
  expect_read("HAKMEM_REPORT=", NULL, without, "");
  static char too_long[5000] = "HAKMEM_REPORT=/";
  memset(too_long + 15, 'p', sizeof too_long - 16);
  expect_read(too_long, NULL, without, "");
}

int main(int count, char **arguments) {
  if (count == 4 && strcmp(arguments[0], "child") == 0) return child_main(arguments);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_hold_without_an_environment),
      cmocka_unit_test(ends_of_every_range_are_taken),
      cmocka_unit_test(bytes_have_suffixes),
      cmocka_unit_test(bad_values_keep_the_default),
      cmocka_unit_test(unknown_names_get_the_nearest),
      cmocka_unit_test(a_name_is_warned_of_once_and_the_first_counts),
      cmocka_unit_test(a_warning_is_one_short_line),
      cmocka_unit_test(reserved_names_pass_in_silence),
      cmocka_unit_test(the_report_has_its_path),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
