/* test_entry_background.c — the thread that gives memory back while the program makes no calls:
 * what it does, when there is one, and what forks, refusals and ends make of it.
 */
#define _GNU_SOURCE 1
#include "unit_entry.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include "entry_background.h"
#include "os_proc.h"
#include "rt_options.h"

enum { BLOCK_BYTES = 30000, DEADLINE_MS = 20000, RETRY_MS = 5000 };

static uint64_t now_ms(void) {
  struct timespec now;
  NEED(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What waits for another thread looks until it is so; the deadline only ends a test that fails. */
static bool comes_true(bool (*is_true)(void), uint64_t within_ms) {
  static _Atomic(uint32_t) nothing;
  uint64_t end = now_ms() + within_ms;
  while (!is_true() && now_ms() < end) os_futex_wait_ms(&nothing, 0, 5);
  return is_true();
}

static size_t thread_count(void) {
  size_t count = 0;
  DIR *folder = opendir("/proc/self/task");
  NEED(folder != NULL);
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count - 2; /* . and .. */
}
static size_t named_count(void) {
  size_t count = 0;
  DIR *folder = opendir("/proc/self/task");
  NEED(folder != NULL);
  for (struct dirent *e; (e = readdir(folder)) != NULL;) {
    char path[300], name[32];
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
    if (os_read_file(path, name, sizeof name) > 0 && strcmp(name, "hakmem\n") == 0) count++;
  }
  closedir(folder);
  return count;
}
static size_t threads_before;
static bool has_more(size_t count) { /* a sanitizer's own come and go */
  return named_count() == count && (UNIT_SANITIZED || thread_count() == threads_before + count);
}
static bool has_one_more(void) { return has_more(1); }
static bool has_none(void) { return has_more(0); }

/* Slow paths, so many that the clock is looked at; it is coarse. */
static void tick(void) {
  for (int i = 0; i < 200; i++) hak_free(hak_malloc(40000));
}

static void turn_on(void) {
  hak_free(hak_malloc(1));
  threads_before = thread_count();
  NEED(hak_option_set("BACKGROUND", "1") == 0);
  NEED(comes_true(has_one_more, DEADLINE_MS));
}
static void turn_off(void) {
  NEED(hak_option_set("BACKGROUND", "0") == 0);
  NEED(comes_true(has_none, DEADLINE_MS));
}

struct link {
  struct link *next;
};
static void fill_and_free(size_t bytes) {
  struct link *list = NULL;
  for (size_t done = 0; done < bytes; done += BLOCK_BYTES) {
    struct link *p = hak_malloc(BLOCK_BYTES);
    NEED(p != NULL);
    memset(p, 1, BLOCK_BYTES);
    p->next = list;
    list = p;
  }
  while (list != NULL) {
    struct link *next = list->next;
    hak_free(list);
    list = next;
  }
}

/* Memory of its own; not the pages of files that are the first to be looked at. */
static size_t resident_bytes(void) {
  char text[4096];
  NEED(os_read_file("/proc/self/smaps_rollup", text, sizeof text) > 0);
  const char *at = strstr(text, "\nAnonymous:");
  NEED(at != NULL);
  return strtoull(at + 11, NULL, 10) * KIB; /* statm's is off by up to 64 pages a thread */
}
static size_t resident_before;
static bool is_given_back(void) { return resident_bytes() < resident_before + 2 * MIB; }

/* 100 MiB, of which the warm pool and more are free at the end; then no call. */
static void quiet(const char *warm_bytes) {
  NEED(hak_option_set("WARM_POOL_BYTES", warm_bytes) == 0);
  resident_before = resident_bytes();
  fill_and_free(100 * MIB);
}
static void gives_the_pool(void) {
  turn_on();
  quiet("16M");
  NEED(!is_given_back());
  NEED(comes_true(is_given_back, 1000 + 1000)); /* PURGE_DELAY_MS and some */
}
static void gives_slices(void) {
  turn_on();
  quiet("1G");
  NEED(comes_true(is_given_back, 1000 + 1000));
}
static void gives_soon(void) {
  turn_on();
  NEED(hak_option_set("PURGE_DELAY_MS", "100") == 0);
  quiet("1G");
  NEED(comes_true(is_given_back, 100 + 1000));
}
static void gives_nothing(void) {
  turn_on();
  turn_off();
  NEED(hak_option_set("PURGE_DELAY_MS", "100") == 0);
  quiet("16M");
  NEED(!comes_true(is_given_back, 100 + 1000)); /* nobody comes by */
}
static void what_is_free_goes_without_a_call(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* their own memory is resident, too */
  run_child(gives_the_pool);
  run_child(gives_slices);
  run_child(gives_soon);
  run_child(gives_nothing);
}

/* What a thread that sleeps keeps in its depot, and what others send it. */
static _Atomic(uint32_t) step;
static struct heap *sleeper;
static void *sleeps(void *unused) {
  static void *objects[20000];
  for (int round = 0; round < 12; round++) {
    for (size_t i = 0; i < HAK_COUNT_OF(objects); i++) objects[i] = hak_malloc(200);
    for (size_t i = 0; i < HAK_COUNT_OF(objects); i++) hak_free(objects[i]);
  }
  sleeper = heap_current->home;
  NEED(sleeper->depot_bytes != 0);
  step_set(&step, 1);
  step_wait(&step, 2);
  return unused;
}
static bool is_depot_empty(void) {
  NEED(lock_enter(&sleeper->lock));
  bool is_empty = sleeper->depot_bytes == 0;
  lock_leave(&sleeper->lock);
  return is_empty;
}
static void empties(void) {
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, sleeps, NULL) == 0);
  step_wait(&step, 1);
  turn_on();
  NEED(comes_true(is_depot_empty, DEADLINE_MS));
  step_set(&step, 2);
  NEED(pthread_join(thread, NULL) == 0);
}
static void what_a_sleeper_keeps_goes_too(void **state) {
  (void)state;
  if (UNIT_TSAN) skip(); /* threads after a fork */
  run_child(empties);
}

static void starts_and_ends(void) {
  hak_free(hak_malloc(1));
  threads_before = thread_count();
  tick();
  NEED(has_none() && !load_relaxed(&entry_background_due));
  for (int i = 0; i < 20; i++) {
    turn_on();
    tick();
    NEED(hak_option_set("BACKGROUND", "1") == 0); /* one is enough */
    NEED(has_one_more());
    entry_background_tick(UINT64_MAX);
    NEED(!load_relaxed(&entry_background_due));
    turn_off();
  }
  /* Turned on again before it has ended: at the latest the next tick sees that there is none. */
  for (int i = 0; i < 200; i++) {
    NEED(hak_option_set("BACKGROUND", "1") == 0 && hak_option_set("BACKGROUND", "0") == 0);
  }
  NEED(hak_option_set("BACKGROUND", "1") == 0);
  tick();
  NEED(comes_true(has_one_more, DEADLINE_MS));
  turn_off();
}
static void it_is_there_while_the_option_says_so(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(starts_and_ends);
}

static pthread_barrier_t barrier;
static _Atomic(uint32_t) ready_count; /* what a barrier wakes one after the other would not meet */
static void *turns_on(void *unused) {
  add_relaxed(&ready_count, 1u);
  while (load_relaxed(&ready_count) != 2) {
  }
  NEED(hak_option_set("BACKGROUND", "1") == 0);
  (void)pthread_barrier_wait(&barrier); /* neither's end is in the count */
  (void)pthread_barrier_wait(&barrier);
  return unused;
}
static void two_ask(void) {
  hak_free(hak_malloc(1));
  NEED(pthread_barrier_init(&barrier, NULL, 3) == 0);
  for (int i = 0; i < 60; i++) {
    pthread_t thread[2];
    store_relaxed(&ready_count, 0);
    for (int k = 0; k < 2; k++) NEED(pthread_create(&thread[k], NULL, turns_on, NULL) == 0);
    threads_before = 3;
    (void)pthread_barrier_wait(&barrier);
    NEED(comes_true(has_one_more, DEADLINE_MS));
    (void)pthread_barrier_wait(&barrier);
    for (int k = 0; k < 2; k++) NEED(pthread_join(thread[k], NULL) == 0);
    threads_before = 1;
    turn_off();
  }
}
static void one_is_enough_for_two(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(two_ask);
}

/* Frees may come from libc, which holds what starting a thread takes. */
static void is_started_by_allocations(void) {
  static void *objects[400];
  struct heap *h = heap_own();
  for (size_t i = 0; i < HAK_COUNT_OF(objects); i++) objects[i] = hak_malloc(40000);
  threads_before = thread_count();
  NEED(rt_option_set(RT_OPTION_BACKGROUND, "1"));
  for (size_t i = 0; i < HAK_COUNT_OF(objects); i++) hak_free(objects[i]);
  NEED(load_relaxed(&entry_background_due) && has_none());
  NEED(hak_option_set("BORROW", "1") == 0); /* of a handler, perhaps */
  NEED(load_relaxed(&entry_background_due) && has_none());
  heap_busy_begin();
  hak_free(hak_malloc(100)); /* a handler amid a slow path */
  entry_background_poll();
  heap_busy_end(h);
  NEED(has_none() && !load_relaxed(&entry_background_due));
  errno = 77;
  tick();
  NEED(errno == 77 && !load_relaxed(&entry_background_due));
  NEED(comes_true(has_one_more, DEADLINE_MS));
  sigset_t signals;
  NEED(pthread_sigmask(SIG_SETMASK, NULL, &signals) == 0 && !sigismember(&signals, SIGUSR1));
  turn_off();
  NEED(rt_option_set(RT_OPTION_BACKGROUND, "1"));
}
static void an_allocation_starts_it_and_no_free(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(is_started_by_allocations);
}

/* A signal that is for the process goes to the program's own threads. */
static _Atomic(pid_t) taker;
static void takes(int number) {
  (void)number;
  store_relaxed(&taker, gettid());
}
static bool is_taken(void) { return load_relaxed(&taker) != 0; }
static void signalled(void) {
  turn_on();
  NEED(signal(SIGUSR1, takes) != SIG_ERR);
  sigset_t one, before;
  NEED(sigemptyset(&one) == 0 && sigaddset(&one, SIGUSR1) == 0);
  NEED(pthread_sigmask(SIG_BLOCK, &one, &before) == 0);
  NEED(kill(getpid(), SIGUSR1) == 0);
  tick();
  NEED(!comes_true(is_taken, 300)); /* it has looked, and slept, meanwhile */
  NEED(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
  NEED(comes_true(is_taken, DEADLINE_MS) && load_relaxed(&taker) == getpid());
}
static void it_takes_no_signal(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(signalled);
}

static uint64_t switches_of_others(void) {
  uint64_t sum = 0;
  DIR *folder = opendir("/proc/self/task");
  NEED(folder != NULL);
  for (struct dirent *e; (e = readdir(folder)) != NULL;) {
    char path[300], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
    if (e->d_name[0] == '.' || atoi(e->d_name) == getpid() ||
        os_read_file(path, text, sizeof text) <= 0)
      continue;
    const char *at = strstr(text, "\nvoluntary_ctxt_switches:");
    NEED(at != NULL);
    sum += strtoull(strchr(at, ':') + 1, NULL, 10);
  }
  closedir(folder);
  return sum;
}
static bool never(void) { return false; }
static void sleeps_long(void) {
  turn_on();
  fill_and_free(20 * MIB);
  NEED(!comes_true(never, 2500)); /* until nothing is left to do */
  uint64_t start_ms = now_ms(), before = switches_of_others();
  NEED(!comes_true(never, 3000));
  uint64_t count = switches_of_others() - before;
  NEED(count >= 4 && count <= (now_ms() - start_ms) / 500 + 1); /* docs/tuning.md says twice */
}
static void a_quiet_process_is_woken_twice_a_second(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* a thread of their own is woken, too */
  run_child(sleeps_long);
}

static void takes_little(void) {
  hak_free(hak_malloc(1));
  tick();
  threads_before = thread_count();
  size_t before = resident_bytes();
  turn_on();
  NEED(!comes_true(never, 1200));
  NEED(resident_bytes() <= before + 48 * KIB); /* as docs/tuning.md has it; seen: 32 to 36 */
}
static void it_takes_little_memory(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(takes_little);
}

static void child_has_its_own(void) {
  turn_on();
  for (int i = 0; i < 3; i++) {
    pid_t pid = fork();
    NEED(pid >= 0);
    if (pid != 0) {
      child_wait(pid);
      NEED(has_one_more());
      continue;
    }
    child_start();
    threads_before = 1;
    NEED(has_none() && thread_count() == 1);
    if (i == 0) _exit(0);
    if (i == 1) tick();
    if (i == 2) {
      NEED(hak_option_set("WARM_POOL_BYTES", "1M") == 0); /* of a handler, perhaps */
      NEED(load_relaxed(&entry_background_due) && has_none());
      NEED(hak_option_set("BACKGROUND", "1") == 0);
    }
    NEED(comes_true(has_one_more, DEADLINE_MS));
    pid = fork();
    NEED(pid >= 0);
    if (pid != 0) {
      child_wait(pid);
      exit(0);
    }
    child_start();
    tick();
    NEED(comes_true(has_one_more, DEADLINE_MS));
    turn_off();
    exit(0);
  }
}
static void a_child_starts_its_own(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(child_has_its_own);
}

/* libc's locks are as threads that are gone have left them. */
static void bare_child_has_none(void) {
  turn_on();
  pid_t pid = _Fork();
  NEED(pid >= 0);
  if (pid != 0) {
    child_wait(pid);
    NEED(has_one_more());
    return;
  }
  child_start();
  tick();
  fill_and_free(20 * MIB);
  NEED(hak_option_set("BACKGROUND", "0") == 0 && hak_option_set("BACKGROUND", "1") == 0);
  tick();
  NEED(thread_count() == 1);
  _exit(0);
}
static void bare_child_of_none(void) {
  hak_free(hak_malloc(1));
  NEED(rt_option_set(RT_OPTION_BACKGROUND, "1"));
  pid_t pid = _Fork();
  NEED(pid >= 0);
  if (pid != 0) {
    child_wait(pid);
    return;
  }
  child_start();
  tick();
  NEED(thread_count() == 1);
  _exit(0);
}
static void a_child_without_handlers_does_without(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(bare_child_has_none);
  run_child(bare_child_of_none);
}

static void refused(void) {
  hak_free(hak_malloc(1));
  threads_before = thread_count();
  struct rlimit none = {0, RLIM_INFINITY}, before;
  if (getuid() == 0) NEED(setresuid(12345, 12345, 0) == 0); /* the limit is not root's */
  NEED(getrlimit(RLIMIT_NPROC, &before) == 0);
  none.rlim_max = before.rlim_max;
  NEED(setrlimit(RLIMIT_NPROC, &none) == 0);
  pthread_t thread;
  if (pthread_create(&thread, NULL, sleeps, NULL) == 0) child_skip("RLIMIT_NPROC is no limit here");
  errno = 77;
  uint64_t start = now_ms();
  NEED(hak_option_set("BACKGROUND", "1") == 0 && errno == 77);
  NEED(setrlimit(RLIMIT_NPROC, &before) == 0);
  tick();
  NEED(has_none()); /* not tried again at once */
  while (!has_one_more() && now_ms() < start + DEADLINE_MS) tick();
  NEED(has_one_more() && now_ms() >= start + RETRY_MS - 100);
}
static void a_refusal_is_quiet_and_tried_again(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(refused);
}

/* The process ends by itself as without: main's thread first, then the others. */
static void *ends_last(void *unused) {
  step_wait(&step, 2);
  return unused;
}
static void main_ends(void) {
  turn_on();
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, ends_last, NULL) == 0 && pthread_detach(thread) == 0);
  step_set(&step, 2);
  pthread_exit(NULL);
}
static void the_last_thread_of_the_program_ends_it(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  store_relaxed(&step, 0);
  run_child(main_ends);
}

static void exits(void) {
  turn_on();
  fill_and_free(MIB);
  exit(0);
}
static void exits_at_once(void) {
  turn_on();
  _exit(0);
}
static void *thread_exits(void *unused) {
  (void)unused;
  exit(0);
}
static void exits_from_a_thread(void) {
  turn_on();
  thread_run(thread_exits, NULL);
}
static void execs(void) {
  turn_on();
  char *const arguments[] = {(char *)(uintptr_t) "test", (char *)(uintptr_t) "nothing", NULL};
  char *const environment[] = {(char *)(uintptr_t) "HAKMEM_BACKGROUND=1", NULL};
  if (vfork() == 0) {
    execve("/proc/self/exe", arguments, environment);
    _exit(1);
  }
  int status = -1;
  NEED(wait(&status) > 0 && status == 0 && has_one_more());
  execve("/proc/self/exe", arguments, environment);
  _exit(1);
}
static void an_end_waits_for_nothing(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  for (int i = 0; i < 10; i++) {
    run_child(exits);
    run_child(exits_at_once);
    run_child(exits_from_a_thread);
    run_child(execs);
  }
}

/* From the environment: no thread before there is something to do; then one. */
static int from_the_environment(void) {
  child_start();
  threads_before = 1;
  NEED(has_none() && rt_option(RT_OPTION_BACKGROUND) == 1);
  tick();
  NEED(comes_true(has_one_more, DEADLINE_MS));
  return 0;
}
static void the_environment_turns_it_on(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_program("environment", "HAKMEM_BACKGROUND=1", 0);
}

/* With TSan: in this process, from its start. */
static void goes_on_beside_the_program(void **state) {
  (void)state;
  turn_on();
  NEED(hak_option_set("PURGE_DELAY_MS", "100") == 0);
  store_relaxed(&step, 0);
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, sleeps, NULL) == 0);
  step_wait(&step, 1);
  while (!is_depot_empty()) fill_and_free(MIB);
  step_set(&step, 2);
  NEED(pthread_join(thread, NULL) == 0);
  turn_off();
}

int main(int argc, char **argv) {
  if (argc > 1) return strcmp(argv[1], "nothing") == 0 ? 0 : from_the_environment();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_free_goes_without_a_call),
      cmocka_unit_test(what_a_sleeper_keeps_goes_too),
      cmocka_unit_test(it_is_there_while_the_option_says_so),
      cmocka_unit_test(one_is_enough_for_two),
      cmocka_unit_test(an_allocation_starts_it_and_no_free),
      cmocka_unit_test(it_takes_no_signal),
      cmocka_unit_test(a_quiet_process_is_woken_twice_a_second),
      cmocka_unit_test(it_takes_little_memory),
      cmocka_unit_test(a_child_starts_its_own),
      cmocka_unit_test(a_child_without_handlers_does_without),
      cmocka_unit_test(a_refusal_is_quiet_and_tried_again),
      cmocka_unit_test(the_last_thread_of_the_program_ends_it),
      cmocka_unit_test(an_end_waits_for_nothing),
      cmocka_unit_test(the_environment_turns_it_on),
      cmocka_unit_test(goes_on_beside_the_program),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
