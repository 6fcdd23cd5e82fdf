/* test_rt_conf.c — what is read at the start, which source wins, and the one line for what is
 * wrong. It is read once, so each case is a child that reads its own environment.
 */
#include "unit_death.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "os_mem.h"
#include "os_proc.h"
#include "rt_conf.h"
#include "rt_options.h"

static const struct {
  const char *name;
  const char *words; /* of a choice */
  uint64_t preset, min, max;
} knobs[] = {
#define KNOB(name, type, def, min, max, when, words, doc) {#name, words, def, min, max},
#include "knobs.def"
#undef KNOB
};

enum { EXIT_CONFIG = 78 };
#define ENDS " (CONF_STRICT ends the process)\n" /* of a line, where it does */

/* Some other test's options must not reach the children of this one. */
static char *environment[8]; /* NULL at its end */

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
  os_mem_init();
  if (!rt_conf_init() || !rt_conf_init()) return 10;
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

/* `err`: all that is said on stderr when these are in the environment; one write a line. */
static void expect_status(const char *one, const char *two, const char *three,
                          struct answer expected, const char *err, int exit_status) {
  char said[4096];
  size_t rest, count = 0;
  environment[count++] = (char *)(uintptr_t) "PATH=/usr/bin";
  environment[count++] = (char *)(uintptr_t) "HAKMEM_WITHOUT_A_VALUE";
  if (one != NULL) environment[count++] = (char *)(uintptr_t)one;
  if (two != NULL) environment[count++] = (char *)(uintptr_t)two;
  if (three != NULL) environment[count++] = (char *)(uintptr_t)three;
  environment[count] = NULL;
  int status = death_run(reads_options, &expected, said, sizeof said, &rest);
  assert_string_equal(said, err);
  assert_int_equal(rest, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), exit_status);
}

static void expect_read(const char *one, const char *two, struct answer expected, const char *err) {
  expect_status(one, two, NULL, expected, err, 0);
}

static struct answer value_is(enum rt_option option, uint64_t value) {
  return (struct answer){option, value, NULL};
}

static size_t word_count(const char *words) {
  size_t count = words[0] != '\0';
  for (; *words != '\0'; words++) count += *words == '|';
  return count;
}

static void defaults_hold_without_an_environment(void **state) {
  (void)state;
  assert_int_equal(sizeof knobs / sizeof knobs[0], RT_OPTION_COUNT);
  for (int i = 0; i < RT_OPTION_COUNT; i++) {
    expect_read(NULL, NULL, value_is((enum rt_option)i, knobs[i].preset), "");
    bool is_word = knobs[i].preset < word_count(knobs[i].words);
    assert_true(is_word || knobs[i].min <= knobs[i].preset);
    assert_true(knobs[i].preset <= knobs[i].max);
  }
}

static void ends_of_every_range_are_taken(void **state) {
  (void)state;
  for (int i = 0; i < RT_OPTION_COUNT; i++) {
    const uint64_t ends[] = {knobs[i].min, knobs[i].max};
    for (size_t k = 0; k < 2; k++) {
      char entry[128];
      snprintf(entry, sizeof entry, "HAKMEM_%s=%llu", knobs[i].name, (unsigned long long)ends[k]);
      if (ends[k] < word_count(knobs[i].words)) {
        const char *word = ends[k] == 0 ? knobs[i].words : strrchr(knobs[i].words, '|') + 1;
        snprintf(entry, sizeof entry, "HAKMEM_%s=%.*s", knobs[i].name, (int)strcspn(word, "|"),
                 word);
      }
      expect_read(entry, NULL, value_is((enum rt_option)i, ends[k]), "");
    }
  }
}

static void bytes_have_suffixes(void **state) {
  (void)state;
  expect_read("HAKMEM_WARM_POOL_BYTES=7", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 7), "");
  expect_read("HAKMEM_WARM_POOL_BYTES=7K", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 7168), "");
  expect_read("HAKMEM_WARM_POOL_BYTES=7k", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 7168), "");
  expect_read("HAKMEM_WARM_POOL_BYTES=3m", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 3145728), "");
  expect_read("HAKMEM_WARM_POOL_BYTES=1g", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 1073741824),
              "");
  expect_read("HAKMEM_WARM_POOL_BYTES=3M", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 3145728), "");
  expect_read("HAKMEM_WARM_POOL_BYTES=2G", NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 2147483648),
              "");
}

static void bad_values_keep_the_default(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "foo",
                                    "-1",
                                    "+1",
                                    " 1",
                                    "1 ",
                                    "1kb",
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
    snprintf(entry, sizeof entry, "HAKMEM_WARM_POOL_BYTES=%s", bad[i]);
    snprintf(err, sizeof err,
             "hakmem: HAKMEM_WARM_POOL_BYTES=%s: expected bytes with suffix K, M or G, 0..1024G; "
             "keeping 16M\n",
             bad[i]);
    expect_read(entry, NULL, value_is(RT_OPTION_WARM_POOL_BYTES, 16777216), err);
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
  expect_read("HAKMEM_DEBUG=1", NULL, any,
              "hakmem: unknown option HAKMEM_DEBUG, see hakmem --help\n");
  expect_read(
      "HAKMEM_WARM_POOL_BYTE=1", NULL, any,
      "hakmem: unknown option HAKMEM_WARM_POOL_BYTE, did you mean HAKMEM_WARM_POOL_BYTES?\n");
  expect_read("HAKMEM_class_refine=0", NULL, any,
              "hakmem: unknown option HAKMEM_class_refine, did you mean HAKMEM_CLASS_REFINE?\n");
  expect_read("HAKMEM_REPROT=x", NULL, any,
              "hakmem: unknown option HAKMEM_REPROT, did you mean HAKMEM_REPORT?\n");
  expect_read("HAKMEM_DEPOT=1", NULL, any,
              "hakmem: unknown option HAKMEM_DEPOT, did you mean HAKMEM_DEPOT_BYTES?\n");
  expect_read("HAKMEM_SOMETHING_ELSE=1", NULL, any,
              "hakmem: unknown option HAKMEM_SOMETHING_ELSE, see hakmem --help\n");
}

static void an_empty_name_is_said(void **state) {
  (void)state;
  struct answer any = value_is(RT_OPTION_CLASS_REFINE, 1);
  expect_read("HAKMEM_=1", "HAKMEM_", any,
              "hakmem: HAKMEM_=1: expected HAKMEM_NAME=VALUE; ignored\n");
  expect_status("HAKMEM_=1", "HAKMEM_CONF_STRICT=1", NULL, any,
                "hakmem: HAKMEM_=1: expected HAKMEM_NAME=VALUE" ENDS, EXIT_CONFIG);
}

static void a_name_is_warned_of_once_and_the_first_counts(void **state) {
  (void)state;
  expect_read("HAKMEM_SOMETHING_ELSE=1", "HAKMEM_SOMETHING_ELSE=2",
              value_is(RT_OPTION_CLASS_REFINE, 1),
              "hakmem: unknown option HAKMEM_SOMETHING_ELSE, see hakmem --help\n");
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
  snprintf(err, sizeof err, "hakmem: unknown option HAKMEM_%.64s..., see hakmem --help\n", name);
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

/* Without a name: /tmp/hakmem-conf-XXXXXX, and HAKMEM_CONF_FILE= before it. */
static char file_entry[64] = "HAKMEM_CONF_FILE=";

static const char *conf_file(const char *text, size_t length) {
  char *path = file_entry + strlen("HAKMEM_CONF_FILE=");
  strcpy(path, "/tmp/hakmem-conf-XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, length), length);
  close(fd);
  return path;
}

static void expect_file(const char *text, const char *two, struct answer expected,
                        const char *what) {
  char err[256] = "";
  const char *path = conf_file(text, strlen(text));
  if (what != NULL) snprintf(err, sizeof err, "hakmem: %s%s", path, what);
  expect_read(file_entry, two, expected, err);
  unlink(path);
}

static void a_profile_sets_its_values(void **state) {
  (void)state;
  struct answer speed = value_is(RT_OPTION_DEPOT_BYTES, 1048576);
  struct answer balanced = value_is(RT_OPTION_DEPOT_BYTES, 262144);
  struct answer lean = value_is(RT_OPTION_DEPOT_BYTES, 65536);
  expect_read("HAKMEM_PROFILE=speed", NULL, speed, "");
  expect_read("HAKMEM_PROFILE=balanced", NULL, balanced, "");
  expect_read("HAKMEM_PROFILE=lean", NULL, lean, "");
  expect_read("HAKMEM_PROFILE=MIXED_TINYV3_C7_SAFE", NULL, speed, "");
  expect_read("HAKMEM_PROFILE=MIXED_TINYV3_C7_BALANCED", NULL, balanced, "");
  expect_read("HAKMEM_SS_MEM_LEAN=1", NULL, lean, "");
  expect_read("HAKMEM_SS_MEM_LEAN=1", "HAKMEM_PROFILE=speed", speed, "");
  expect_read("HAKMEM_PROFILE=lean", NULL, value_is(RT_OPTION_SS_MEM_LEAN, 1), "");
  expect_read("HAKMEM_PROFILE=Lean", NULL, lean, "");
  expect_read("HAKMEM_PROFILE=mixed_tinyv3_c7_safe", NULL, speed, "");
  expect_read(
      "HAKMEM_PROFILE=LEA", NULL, balanced,
      "hakmem: HAKMEM_PROFILE=LEA, did you mean lean? expected speed|balanced|lean; keeping "
      "balanced\n");
  expect_read("HAKMEM_PROFILE=fast", NULL, balanced,
              "hakmem: HAKMEM_PROFILE=fast: expected speed|balanced|lean; keeping balanced\n");
  expect_read("HAKMEM_PROFILE=", NULL, balanced,
              "hakmem: HAKMEM_PROFILE=: expected speed|balanced|lean; keeping balanced\n");
  expect_read("HAKMEM_MEMORY_LIMIT=atuo", NULL, value_is(RT_OPTION_MEMORY_LIMIT, 1),
              "hakmem: HAKMEM_MEMORY_LIMIT=atuo, did you mean auto? expected off|auto|bytes with "
              "suffix K, M or G, 1M..16384G; keeping auto\n");
}

static void what_is_named_beats_a_list_and_a_list_a_profile(void **state) {
  (void)state;
  expect_read("HAKMEM_DEPOT_BYTES=3K", "HAKMEM_PROFILE=lean", value_is(RT_OPTION_DEPOT_BYTES, 3072),
              "");
  expect_read("HAKMEM_CONF=depot_bytes=2K", "HAKMEM_PROFILE=lean",
              value_is(RT_OPTION_DEPOT_BYTES, 2048), "");
  expect_read("HAKMEM_DEPOT_BYTES=3K", "HAKMEM_CONF=depot_bytes=2K,profile=speed",
              value_is(RT_OPTION_DEPOT_BYTES, 3072), "");
  expect_read("HAKMEM_CONF=depot_bytes=2K,profile=speed", NULL,
              value_is(RT_OPTION_WARM_POOL_BYTES, 67108864), "");
  expect_read("HAKMEM_CONF=profile=speed", "HAKMEM_PROFILE=lean",
              value_is(RT_OPTION_DEPOT_BYTES, 65536), "");
}

static void a_list_says_where_it_is_wrong(void **state) {
  (void)state;
  struct answer preset = value_is(RT_OPTION_DEPOT_BYTES, 262144);
  expect_read("HAKMEM_CONF=", NULL, preset, "");
  expect_read("HAKMEM_CONF=,, ,", NULL, preset, "");
  expect_read("HAKMEM_CONF= Depot_Bytes = 1K , class_refine=0", NULL,
              value_is(RT_OPTION_DEPOT_BYTES, 1024), "");
  expect_read("HAKMEM_CONF=depot_bytes=1,depot_bytes=2", NULL, value_is(RT_OPTION_DEPOT_BYTES, 2),
              "");
  expect_read("HAKMEM_CONF=depot_bytes=x", NULL, preset,
              "hakmem: HAKMEM_CONF: DEPOT_BYTES=x: expected bytes with suffix K, M or G, 0..1G; "
              "keeping 256K\n");
  expect_read("HAKMEM_CONF=depot_byte=1", NULL, preset,
              "hakmem: HAKMEM_CONF: unknown option depot_byte, did you mean DEPOT_BYTES?\n");
  expect_read("HAKMEM_CONF=depot_bytes", NULL, preset,
              "hakmem: HAKMEM_CONF: depot_bytes: expected NAME=VALUE; ignored\n");
  expect_read("HAKMEM_CONF==7", NULL, preset,
              "hakmem: HAKMEM_CONF: =7: expected NAME=VALUE; ignored\n");
  expect_read("HAKMEM_CONF= HAKMEM_ = 7 ,", NULL, preset,
              "hakmem: HAKMEM_CONF: HAKMEM_ = 7: expected NAME=VALUE; ignored\n");
  expect_read("HAKMEM_CONF=HAKMEM_DEPOT_BYTES=1K", NULL, value_is(RT_OPTION_DEPOT_BYTES, 1024), "");
  expect_read("HAKMEM_CONF=hakmem_depot_bytes=1K", NULL, value_is(RT_OPTION_DEPOT_BYTES, 1024), "");
  expect_read("HAKMEM_CONF=hakmem_depot_byte=1K", NULL, preset,
              "hakmem: HAKMEM_CONF: unknown option depot_byte, did you mean DEPOT_BYTES?\n");
  char long_entry[512] = "HAKMEM_CONF=depot_bytes=";
  memset(long_entry + strlen(long_entry), '0', 256);
  strcat(long_entry, "1M");
  expect_read(long_entry, NULL, preset,
              "hakmem: HAKMEM_CONF: depot_bytes: longer than any name or value; ignored\n");
  expect_read("HAKMEM_CON=depot_bytes=1", NULL, preset,
              "hakmem: unknown option HAKMEM_CON, did you mean HAKMEM_CONF?\n");
  expect_read("HAKMEM_CONF_=depot_bytes=1", NULL, preset,
              "hakmem: unknown option HAKMEM_CONF_, did you mean HAKMEM_CONF_FILE?\n");
  expect_read("HAKMEM_CONF=con=1", NULL, preset,
              "hakmem: HAKMEM_CONF: unknown option con, did you mean CONF_STRICT?\n");
}

static void a_file_is_less_than_the_environment(void **state) {
  (void)state;
  struct answer preset = value_is(RT_OPTION_DEPOT_BYTES, 262144);
  expect_file("# a comment\n\n  depot_bytes = 5K\r\n\t# another\n", NULL,
              value_is(RT_OPTION_DEPOT_BYTES, 5120), NULL);
  expect_file("DEPOT_BYTES=5K", "HAKMEM_DEPOT_BYTES=6K", value_is(RT_OPTION_DEPOT_BYTES, 6144),
              NULL);
  expect_file("depot_bytes=5K", "HAKMEM_PROFILE=lean", value_is(RT_OPTION_DEPOT_BYTES, 65536),
              NULL);
  expect_file("depot_bytes=5K\nprofile=lean", NULL, value_is(RT_OPTION_DEPOT_BYTES, 5120), NULL);
  expect_file("profile=lean\n", "HAKMEM_SS_MEM_LEAN=0", preset, NULL);
  expect_file("profile=speed\n", "HAKMEM_SS_MEM_LEAN=0", value_is(RT_OPTION_DEPOT_BYTES, 1048576),
              NULL);
  expect_file("", NULL, preset, NULL);
  expect_file("\n\nwarm_pool=\n", NULL, preset,
              ":3: unknown option warm_pool, did you mean WARM_POOL_BYTES?\n");
  expect_file("profile=lean\ndepot_bytes=none\n", NULL, value_is(RT_OPTION_DEPOT_BYTES, 65536),
              ":2: DEPOT_BYTES=none: expected bytes with suffix K, M or G, 0..1G; keeping 64K\n");
  expect_file("lean\n", NULL, preset, ":1: lean: expected NAME=VALUE; ignored\n");
  expect_file("\n =lean\n", NULL, preset, ":2: =lean: expected NAME=VALUE; ignored\n");
}

static void a_file_that_is_no_file_is_said(void **state) {
  (void)state;
  struct answer preset = value_is(RT_OPTION_DEPOT_BYTES, 262144);
  expect_read("HAKMEM_CONF_FILE=", NULL, preset, "");
  expect_read(
      "HAKMEM_CONF_FILE=/nowhere/hakmem.conf", NULL, preset,
      "hakmem: HAKMEM_CONF_FILE=/nowhere/hakmem.conf: cannot be read, no such file; none of "
      "its options are set\n");
  expect_read("HAKMEM_CONF_FILE=/dev/null", NULL, preset,
              "hakmem: HAKMEM_CONF_FILE=/dev/null: cannot be read, it is a device; none of its "
              "options are set\n");
  expect_read("HAKMEM_CONF_FILE=/dev/null/file", NULL, preset,
              "hakmem: HAKMEM_CONF_FILE=/dev/null/file: cannot be read, errno 20; none of its "
              "options are set\n");
  char *fifo = file_entry + strlen("HAKMEM_CONF_FILE=");
  strcpy(fifo, "/tmp/hakmem-fifo-XXXXXX");
  assert_non_null(mkdtemp(fifo));
  strcat(fifo, "/f");
  assert_int_equal(mkfifo(fifo, 0600), 0);
  char fifo_err[256];
  snprintf(
      fifo_err, sizeof fifo_err,
      "hakmem: HAKMEM_CONF_FILE=%s: cannot be read, it is no regular file; none of its options "
      "are set\n",
      fifo);
  expect_read(file_entry, NULL, preset, fifo_err);
  unlink(fifo);
  *strrchr(fifo, '/') = '\0';
  rmdir(fifo);
  expect_read("HAKMEM_CONF_FILE=/tmp", NULL, preset,
              "hakmem: HAKMEM_CONF_FILE=/tmp: cannot be read, it is a directory; none of its "
              "options are set\n");
  static char text[20000];
  memset(text, '\n', sizeof text);
  memcpy(text, "depot_bytes=1", 13);
  char err[256];
  const char *path = conf_file(text, 16383);
  snprintf(err, sizeof err,
           "hakmem: HAKMEM_CONF_FILE=%s: longer than 16382 bytes; none of its options are set\n",
           path);
  expect_read(file_entry, NULL, preset, err);
  unlink(path);
  path = conf_file(text, 16382);
  expect_read(file_entry, NULL, value_is(RT_OPTION_DEPOT_BYTES, 1), "");
  unlink(path);
  path = conf_file("depot_bytes=1\n\0class_refine=0\n", 31);
  snprintf(
      err, sizeof err,
      "hakmem: HAKMEM_CONF_FILE=%s: no text (a zero byte in it); none of its options are set\n",
      path);
  expect_read(file_entry, NULL, preset, err);
  unlink(path);
}

#define SYSTEM_FILE "/etc/hakmem.conf"
enum { EXIT_NO_NAMESPACE = 40, EXIT_NOT_MADE }; /* child_main has no such status */
static int (*system_file_make)(void);

static bool write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  ssize_t length = (ssize_t)strlen(text);
  return fd >= 0 && write(fd, text, (size_t)length) == length && close(fd) == 0;
}

/* Mounts of this child's own, which a plain user may have as its own root. */
static bool leave_namespace(void) {
  char users[32], groups[32];
  snprintf(users, sizeof users, "0 %u 1", (unsigned)getuid());
  snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getgid());
  bool is_alone =
      unshare(CLONE_NEWNS) == 0 ||
      (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_file("/proc/self/setgroups", "deny") &&
       write_file("/proc/self/gid_map", groups) && write_file("/proc/self/uid_map", users));
  return is_alone && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("none", "/etc", "tmpfs", 0, NULL) == 0;
}

/* With an /etc of its own, and hakmem.conf in it as system_file_make makes it. */
static int reads_with_system_file(void *argument) {
  if (!leave_namespace()) return EXIT_NO_NAMESPACE;
  if (system_file_make != NULL && system_file_make() != 0) return EXIT_NOT_MADE;
  return reads_options(argument);
}

static int make_directory(void) { return mkdir(SYSTEM_FILE, 0700); }
static int make_fifo(void) { return mkfifo(SYSTEM_FILE, 0600); }
static int make_strict_file(void) {
  return write_file(SYSTEM_FILE, "lean\nconf_strict=1\n") ? 0 : -1;
}
static int make_mask(void) { return symlink("/dev/null", SYSTEM_FILE); }
static int make_file(void) { return write_file(SYSTEM_FILE, "depot_bytes=5K\n") ? 0 : -1; }

/* `variable`: all that is in the environment; NULL: nothing. */
static void expect_system_file(const char *variable, int (*make)(void), uint64_t depot_bytes,
                               const char *err, int exit_status) {
  struct answer expected = value_is(RT_OPTION_DEPOT_BYTES, depot_bytes);
  char said[4096];
  size_t rest;
  system_file_make = make;
  environment[0] = (char *)(uintptr_t)variable;
  environment[1] = NULL;
  int status = death_run(reads_with_system_file, &expected, said, sizeof said, &rest);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == EXIT_NO_NAMESPACE) skip();
  assert_string_equal(said, err);
  assert_int_equal(rest, 0);
  assert_int_equal(WEXITSTATUS(status), exit_status);
}

static void the_systems_file_may_be_missing_but_no_directory(void **state) {
  (void)state;
  static const char strict[] = "HAKMEM_CONF_STRICT=1";
  expect_system_file(strict, NULL, 262144, "", 0);
  expect_system_file(strict, make_file, 5120, "", 0);
  expect_system_file(strict, make_mask, 262144, "", 0);
  expect_system_file(strict, make_directory, 262144,
                     "hakmem: /etc/hakmem.conf: cannot be read, it is a directory" ENDS,
                     EXIT_CONFIG);
  expect_system_file(strict, make_fifo, 262144,
                     "hakmem: /etc/hakmem.conf: cannot be read, it is no regular file" ENDS,
                     EXIT_CONFIG);
  expect_system_file("HAKMEM_THP=NEVER", make_strict_file, 262144,
                     "hakmem: /etc/hakmem.conf:1: lean: expected NAME=VALUE" ENDS, EXIT_CONFIG);
}

static void expect_both_files(const char *named, uint64_t depot_bytes) {
  const char *path = conf_file(named, strlen(named));
  expect_system_file(file_entry, make_file, depot_bytes, "", 0);
  unlink(path);
}
static void a_named_file_beats_the_systems(void **state) {
  (void)state;
  expect_system_file(NULL, make_file, 5120, "", 0);
  expect_both_files("depot_bytes=7K\n", 7168);
  expect_both_files("profile=lean\n", 65536); /* what it brings, too */
  expect_both_files("warm_pool_bytes=1M\n", 5120);
}

static void strict_ends_the_process(void **state) {
  (void)state;
  struct answer preset = value_is(RT_OPTION_DEPOT_BYTES, 262144);
  static const char bad_value[] =
      "hakmem: HAKMEM_DEPOT_BYTES=1X: expected bytes with suffix K, M or G, 0..1G" ENDS;
  expect_status("HAKMEM_CONF_STRICT=1", "HAKMEM_DEPOT_BYTES=1X", NULL, preset, bad_value,
                EXIT_CONFIG);
  expect_status("HAKMEM_DEPOT_BYTES=1X", "HAKMEM_CONF_STRICT=1", NULL, preset, bad_value,
                EXIT_CONFIG);
  expect_status("HAKMEM_CONF=conf_strict=1", "HAKMEM_NO_SUCH_THING=1", NULL, preset,
                "hakmem: unknown option HAKMEM_NO_SUCH_THING, see hakmem --help" ENDS, EXIT_CONFIG);
  expect_status("HAKMEM_CONF=conf_strict=1,depot_byte=1", NULL, NULL, preset,
                "hakmem: HAKMEM_CONF: unknown option depot_byte, did you mean DEPOT_BYTES?" ENDS,
                EXIT_CONFIG);
  expect_status("HAKMEM_CONF_STRICT=1", "HAKMEM_CONF_FILE=/nowhere", NULL, preset,
                "hakmem: HAKMEM_CONF_FILE=/nowhere: cannot be read, no such file" ENDS,
                EXIT_CONFIG);
  expect_status("HAKMEM_CONF_STRICT=1", "HAKMEM_BENCH_ANY=1", "HAKMEM_DEPOT_BYTES=262144", preset,
                "", 0);
}

/* The lines about a source say what the sources after it have made of CONF_STRICT. */
static void the_last_word_on_strict_counts_for_all(void **state) {
  (void)state;
  struct answer preset = value_is(RT_OPTION_DEPOT_BYTES, 262144);
  char err[256];
  const char *path = conf_file("lean\n", 5);
  snprintf(err, sizeof err, "hakmem: %s:1: lean: expected NAME=VALUE" ENDS, path);
  expect_status(file_entry, "HAKMEM_CONF_STRICT=1", NULL, preset, err, EXIT_CONFIG);
  unlink(path);
  path = conf_file("conf_strict=1\nlean\n", 19);
  snprintf(err, sizeof err, "hakmem: %s:2: lean: expected NAME=VALUE; ignored\n", path);
  expect_status(file_entry, "HAKMEM_CONF_STRICT=0", NULL, preset, err, 0);
  unlink(path);
  path = conf_file("conf_strict=1\n", 14);
  expect_status(file_entry, "HAKMEM_CONF_STRICT=yes", NULL, preset,
                "hakmem: HAKMEM_CONF_STRICT=yes: expected bool 0..1" ENDS, EXIT_CONFIG);
  unlink(path);
}

int main(int count, char **arguments) {
  if (count == 4 && strcmp(arguments[0], "child") == 0) return child_main(arguments);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_hold_without_an_environment),
      cmocka_unit_test(ends_of_every_range_are_taken),
      cmocka_unit_test(bytes_have_suffixes),
      cmocka_unit_test(bad_values_keep_the_default),
      cmocka_unit_test(unknown_names_get_the_nearest),
      cmocka_unit_test(an_empty_name_is_said),
      cmocka_unit_test(a_name_is_warned_of_once_and_the_first_counts),
      cmocka_unit_test(a_warning_is_one_short_line),
      cmocka_unit_test(reserved_names_pass_in_silence),
      cmocka_unit_test(the_report_has_its_path),
      cmocka_unit_test(a_profile_sets_its_values),
      cmocka_unit_test(what_is_named_beats_a_list_and_a_list_a_profile),
      cmocka_unit_test(a_list_says_where_it_is_wrong),
      cmocka_unit_test(a_file_is_less_than_the_environment),
      cmocka_unit_test(a_file_that_is_no_file_is_said),
      cmocka_unit_test(the_systems_file_may_be_missing_but_no_directory),
      cmocka_unit_test(a_named_file_beats_the_systems),
      cmocka_unit_test(strict_ends_the_process),
      cmocka_unit_test(the_last_word_on_strict_counts_for_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
