/* test_api_options.c — what hak_option_set and hak_option_get answer. tests/api/options_test.c has
 * a program's own defaults.
 */
#include "unit_entry.h"

static bool is(const char *name, const char *expected) {
  char value[64];
  return hak_option_get(name, value, sizeof value) == 0 && strcmp(value, expected) == 0;
}

static void gets(void) {
  char value[64] = "#";
  NEED(hak_option_get("NO_SUCH", value, sizeof value) == ENOENT && value[0] == '#');
  NEED(is("profile", "balanced") && is("HEAPS", "0") && is("WARM_POOL_BYTES", "16M"));
  NEED(hak_option_set("PROFILE", "lean") == 0);
  NEED(hak_option_get("PROFILE", value, 4) == ERANGE && value[0] == '#');
  NEED(hak_option_get("PROFILE", value, 0) == ERANGE && value[0] == '#');
  NEED(hak_option_get("PROFILE", value, 5) == 0 && strcmp(value, "lean") == 0);
  NEED(hak_option_get("PROFILE", NULL, 0) == ERANGE);
}

static void get_answers_or_says_why(void **state) {
  (void)state;
  run_child(gets);
}

static void sets(void) {
  errno = 0;
  NEED(hak_option_set("NO_SUCH", "1") == ENOENT);
  NEED(hak_option_set("DEPOT_BYTES", "") == EINVAL && is("DEPOT_BYTES", "256K"));
  NEED(hak_option_set("CONF_STRICT", "1") == EPERM && is("CONF_STRICT", "0"));
  NEED(hak_option_set("depot_bytes", "0") == 0 && is("DEPOT_BYTES", "0"));
  NEED(hak_option_set("profile", "balanced") == 0 && is("DEPOT_BYTES", "256K"));
  NEED(errno == 0);
}

/* As in a handler that has interrupted a slow path: whoever waits there may wait for ever. */
static void sets_amid(void) {
  struct heap *h = heap_own();
  heap_busy_begin();
  NEED(hak_option_set("DEPOT_BYTES", "1K") == EBUSY);
  heap_busy_end(h);
  NEED(lock_enter(&h->home->lock));
  NEED(hak_option_set("DEPOT_BYTES", "1K") == EBUSY && is("DEPOT_BYTES", "256K"));
  lock_leave(&h->home->lock);
  NEED(hak_option_set("DEPOT_BYTES", "1K") == 0 && is("DEPOT_BYTES", "1K"));
}
static void amid_a_slow_path_nothing_is_set(void **state) {
  (void)state;
  run_child(sets_amid);
}

static void set_holds_or_says_why(void **state) {
  (void)state;
  run_child(sets);
}

/* A child of a program that changes options in another thread can change them too. */
static _Atomic(bool) is_over;
static void *changes(void *unused) {
  (void)unused;
  while (!load_relaxed(&is_over)) NEED(hak_option_set("PROFILE", "speed") == 0);
  return NULL;
}

static void forks_meanwhile(void) {
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, changes, NULL) == 0);
  for (int i = 0; i < 100; i++) {
    pid_t pid = fork();
    NEED(pid >= 0);
    if (pid == 0) {
      NEED(hak_option_set("PROFILE", "lean") == 0 && is("DEPOT_BYTES", "64K"));
      _exit(0);
    }
    int status;
    NEED(waitpid(pid, &status, 0) == pid && status == 0);
  }
  store_relaxed(&is_over, true);
  NEED(pthread_join(thread, NULL) == 0);
}

static void a_fork_leaves_no_lock_behind(void **state) {
  (void)state;
  run_child(forks_meanwhile);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(get_answers_or_says_why),
      cmocka_unit_test(set_holds_or_says_why),
      cmocka_unit_test(amid_a_slow_path_nothing_is_set),
      cmocka_unit_test(a_fork_leaves_no_lock_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
