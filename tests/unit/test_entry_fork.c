/* test_entry_fork.c — libc is told of the fork handlers once there is a reason, and a child of a
 * process that had none goes on as its parent would. Here others' handlers count as passing by.
 */
#include "unit_entry.h"

#include <pthread.h>
#include <sys/wait.h>

#include "entry_fork.h"
#include "os_thread.h"
#include "rt_lock.h"
#include "rt_options.h"

bool entry_atfork_is_in_front(void) { return true; }

/* Set where libc calls our handlers: the last of them, in the parent. */
static int forks_seen;
static void parent(void) { forks_seen++; }

static void begin(void) {
  if (!os_is_alone()) child_skip("this C library does not tell when there are threads");
  NEED(lock_notices_fork() && load_relaxed(&entry_fork_waits));
}

static void wait_for(pid_t child) {
  int status = -1;
  NEED(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void *nothing(void *unused) { return unused; }
static void *allocates(void *unused) {
  hak_free(hak_malloc(100));
  NEED(heap_current->is_owned);
  return unused;
}

static void thread(void) {
  begin();
  void *p = hak_calloc(3, 100);
  NEED(p != NULL && load_relaxed(&entry_fork_waits));
  hak_free(p);
  pthread_t one;
  NEED(pthread_create(&one, NULL, nothing, NULL) == 0 && pthread_join(one, NULL) == 0);
  NEED(!os_is_alone() && load_relaxed(&entry_fork_waits)); /* this library does not serve libc */
  hak_free(hak_calloc(3, 100));
  NEED(!load_relaxed(&entry_fork_waits));
  uint32_t before = load_relaxed(&fork_generation);
  pid_t child = fork();
  if (child == 0) { /* by the handler: there was no slow path */
    NEED(load_relaxed(&fork_generation) == before + 1 && !load_relaxed(&fork_was_bare));
    _exit(0);
  }
  wait_for(child);
}
static void a_second_thread_is_a_reason(void **state) {
  (void)state;
  run_child(thread);
}

/* The heap of the one thread lives on; that of none is left behind. */
static void alone(void) {
  begin();
  hak_free(hak_malloc(100));
  struct heap *h = heap_current;
  uint32_t before = load_relaxed(&fork_generation);
  for (int is_told_first = 0; is_told_first < 2; is_told_first++) {
    pid_t child = fork();
    if (child == 0) {
      NEED(load_relaxed(&fork_generation) == before);
      if (is_told_first) {
        entry_fork_tell();
      } else {
        NEED(entry_enter() == h);
        entry_leave(h);
      }
      NEED(load_relaxed(&fork_generation) == before + 1 && !load_relaxed(&fork_was_bare));
      NEED(heap_current == h && load_relaxed(&h->generation) == before + 1);
      NEED(load_relaxed(&entry_fork_waits) == !is_told_first);
      hak_free(hak_calloc(1, 1));
      pthread_t one;
      NEED(pthread_create(&one, NULL, allocates, NULL) == 0 && pthread_join(one, NULL) == 0);
      NEED(heap_current == h && heap_is_valid(h));
      _exit(0);
    }
    wait_for(child);
  }
  NEED(load_relaxed(&entry_fork_waits) && load_relaxed(&fork_generation) == before);
}
static void a_child_of_one_thread_is_no_bare_one(void **state) {
  (void)state;
  run_child(alone);
}

static void background(void) {
  begin();
  NEED(hak_option_set("BACKGROUND", "0") == 0 && load_relaxed(&entry_fork_waits));
  NEED(hak_option_set("BACKGROUND", "1") == 0 && !load_relaxed(&entry_fork_waits));
}
static void callback(size_t used_bytes, size_t limit_bytes, void *context) {
  (void)used_bytes;
  (void)limit_bytes;
  (void)context;
}
static void watched(void) {
  begin();
  NEED(hak_limit_callback(0, callback, NULL) == 0 && !load_relaxed(&entry_fork_waits));
}
static void what_handlers_do_is_a_reason(void **state) {
  (void)state;
  run_child(background);
  run_child(watched);
}

/* Once, whoever asks. */
static void twice(void) {
  begin();
  entry_fork_tell();
  entry_fork_tell();
  entry_fork_init();
  NEED(!load_relaxed(&entry_fork_waits) && pthread_atfork(NULL, parent, NULL) == 0);
  uint32_t before = load_relaxed(&fork_generation);
  pid_t child = fork();
  if (child == 0) {
    NEED(load_relaxed(&fork_generation) == before + 1);
    _exit(0);
  }
  wait_for(child);
  NEED(forks_seen == 1);
}
static void libc_is_told_once(void **state) {
  (void)state;
  run_child(twice);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_second_thread_is_a_reason),
      cmocka_unit_test(a_child_of_one_thread_is_no_bare_one),
      cmocka_unit_test(what_handlers_do_is_a_reason),
      cmocka_unit_test(libc_is_told_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
