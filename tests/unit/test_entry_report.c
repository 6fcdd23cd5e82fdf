/* test_entry_report.c — the line that each process appends at its exit. */
#include "unit_entry.h"

#include <fcntl.h>
#include <unistd.h>

static char folder[] = "/tmp/hakmem-test-XXXXXX";
static char path[sizeof folder + 16], variable[sizeof path + 32];

static size_t read_report(char *text, size_t capacity) {
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  size_t length = fread(text, 1, capacity - 1, file);
  fclose(file);
  text[length] = '\0';
  return length;
}

struct line {
  int pid;
  char program[64], version[16], flavour[16];
  size_t objects, peak_bytes;
};
/* Exactly the promised form; returns what comes after it. */
static const char *parse(const char *text, struct line *line) {
  int length = 0;
  int got = sscanf(text,
                   "{\"pid\":%d,\"program\":\"%63[^\"]\",\"version\":\"%15[^\"]\",\"flavour\":"
                   "\"%15[^\"]\",\"objects\":%zu,\"peak_bytes\":%zu}%n",
                   &line->pid, line->program, line->version, line->flavour, &line->objects,
                   &line->peak_bytes, &length);
  assert_int_equal(got, 6);
  assert_true(length > 0 && text[length] == '\n');
  assert_string_equal(line->version, HAK_VERSION);
  assert_string_equal(line->flavour, "standard");
  return text + length + 1;
}

/* What the processes do; each leaves by returning from main. */
static void works(void) {
  void *objects[10000];
  for (size_t i = 0; i < 10000; i++) objects[i] = hak_malloc(100);
  for (size_t i = 0; i < 10000; i++) hak_free(objects[i]);
  hak_free(hak_malloc(10 * MIB));
  hak_free(hak_malloc(300000));
}
static void *works_in_a_thread(void *unused) {
  works();
  return unused;
}
static int child_pid;
static void forks(void) {
  works();
  child_pid = fork();
  if (child_pid == 0) return; /* and reports, too */
  child_wait(child_pid);
}
static void forks_an_idle_child(void) {
  works();
  threads_run(2, works_in_a_thread);
  child_pid = fork();
  if (child_pid == 0) return;
  child_wait(child_pid);
}
static void threads_work(void) {
  works();
  threads_run(2, works_in_a_thread);
}
static void does_nothing(void) {}
static void forgets_where(void) { NEED(setenv("HAKMEM_REPORT", "/nowhere", 1) == 0); }

static const struct {
  const char *name;
  void (*run)(void);
} programs[] = {{"works", works},
                {"forks", forks},
                {"forks_an_idle_child", forks_an_idle_child},
                {"threads_work", threads_work},
                {"does_nothing", does_nothing},
                {"forgets_where", forgets_where}};

static const char *report_of(const char *name, struct line *line, char *text, size_t capacity) {
  (void)unlink(path);
  run_program(name, variable, 0);
  assert_true(read_report(text, capacity) != 0);
  return parse(text, line);
}

static void a_process_tells_what_it_did(void **state) {
  (void)state;
  char text[4096];
  struct line idle, busy, threaded;
  assert_string_equal(report_of("does_nothing", &idle, text, sizeof text), "");
  assert_string_equal(report_of("works", &busy, text, sizeof text), "");
  assert_string_equal(report_of("threads_work", &threaded, text, sizeof text), "");
  assert_true(busy.objects >= 10002 && busy.objects < 40000);
  assert_true(idle.objects < 100 && idle.peak_bytes < 4 * MIB);
  assert_true(busy.peak_bytes >= 10 * MIB + 1000000 && busy.peak_bytes < 20 * MIB);
  assert_true(threaded.objects > 2 * busy.objects); /* of threads that are gone, too */
  assert_true(busy.pid != idle.pid && busy.pid != getpid());
  assert_string_equal(busy.program, "test");
}

static void children_report_on_lines_of_their_own(void **state) {
  (void)state;
  char text[4096];
  struct line child, parent;
  const char *rest = report_of("forks", &child, text, sizeof text);
  assert_string_equal(parse(rest, &parent), "");
  assert_true(child.pid != parent.pid);
  assert_true(parent.objects >= 10002);
}

static void a_child_counts_only_its_own(void **state) {
  (void)state;
  char text[4096];
  struct line child, parent;
  const char *rest = report_of("forks_an_idle_child", &child, text, sizeof text);
  assert_string_equal(parse(rest, &parent), "");
  assert_true(parent.objects > 3 * 10002);
  assert_true(child.objects < 100);
}

static void it_is_appended(void **state) {
  (void)state;
  char text[4096];
  (void)unlink(path);
  for (int i = 0; i < 3; i++) run_program("works", variable, 0);
  assert_true(read_report(text, sizeof text) != 0);
  struct line line;
  const char *rest = text;
  for (int i = 0; i < 3; i++) rest = parse(rest, &line);
  assert_string_equal(rest, "");
}

static void the_place_is_that_of_the_start(void **state) {
  (void)state;
  char text[4096];
  struct line line;
  assert_string_equal(report_of("forgets_where", &line, text, sizeof text), "");
}

static int ends_without_a_place(void *unused) {
  (void)unused;
  char *const arguments[] = {(char *)(uintptr_t) "test", (char *)(uintptr_t) "works", NULL};
  char *const environment[] = {(char *)(uintptr_t) "HAKMEM_REPORT=/no/such/folder/x", NULL};
  execve("/proc/self/exe", arguments, environment);
  return 1;
}

static void nothing_is_ever_printed_unasked(void **state) {
  (void)state;
  char err[512], text[64];
  size_t rest;
  assert_int_equal(death_run(ends_without_a_place, NULL, err, sizeof err, &rest), 0);
  assert_string_equal(err, "");
  (void)unlink(path);
  run_program("works", NULL, 0);
  run_program("works", "HAKMEM_REPORT=", 0);
  assert_int_equal(read_report(text, sizeof text), 0);
}

static int remove_folder(void **state) {
  (void)state;
  (void)unlink(path);
  return rmdir(folder);
}

int main(int argc, char **argv) {
  entry_init();
  for (size_t i = 0; argc == 2 && i < sizeof programs / sizeof programs[0]; i++) {
    if (strcmp(argv[1], programs[i].name) != 0) continue;
    programs[i].run();
    return 0;
  }
  if (mkdtemp(folder) == NULL) return 1;
  snprintf(path, sizeof path, "%s/report", folder);
  snprintf(variable, sizeof variable, "HAKMEM_REPORT=%s", path);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_process_tells_what_it_did),
      cmocka_unit_test(children_report_on_lines_of_their_own),
      cmocka_unit_test(a_child_counts_only_its_own),
      cmocka_unit_test(it_is_appended),
      cmocka_unit_test(the_place_is_that_of_the_start),
      cmocka_unit_test(nothing_is_ever_printed_unasked),
  };
  return cmocka_run_group_tests(tests, NULL, remove_folder);
}
