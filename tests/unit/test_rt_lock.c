/* test_rt_lock.c — exclusion, self-entry, ranks, the fork gate, and locks after a bare fork. */
#include "unit_child.h"

#include "rt_lock.h"

enum { THREADS = 4, ROUNDS = 20000, FORKS = 40 };

/* What a lock protects: two numbers that are equal whenever it is free. */
struct pair {
  struct rt_lock lock;
  uint64_t a, b;
};
static struct pair heaps[THREADS] = {{.lock = LOCK_INIT(LOCK_RANK_HEAP)},
                                     {.lock = LOCK_INIT(LOCK_RANK_HEAP)},
                                     {.lock = LOCK_INIT(LOCK_RANK_HEAP)},
                                     {.lock = LOCK_INIT(LOCK_RANK_HEAP)}};
static struct pair purge = {.lock = LOCK_INIT(LOCK_RANK_PURGE)};
static struct pair nested = {.lock = LOCK_INIT(LOCK_RANK_STOCK)};
static struct pair deeper = {.lock = LOCK_INIT(LOCK_RANK_META)};
static struct rt_lock *const heap = &heaps[0].lock;

static void pair_bump(struct pair *p) {
  NEED(p->a == p->b);
  p->a++;
  NEED(p->a == p->b + 1);
  p->b++;
}

static void *bumps_all_the_same(void *number) {
  struct pair *second = &heaps[1 + (uintptr_t)number % (THREADS - 1)];
  for (int i = 0; i < ROUNDS; i++) {
    NEED(lock_enter(heap));
    pair_bump(&heaps[0]);
    if (lock_try_second(&second->lock)) {
      pair_bump(second);
      lock_leave(&second->lock);
    }
    lock_leave(heap);
  }
  return NULL;
}

static void one_thread_at_a_time(void **state) {
  (void)state;
  uint64_t before = heaps[0].a;
  threads_run(THREADS, bumps_all_the_same);
  assert_int_equal(heaps[0].a - before, THREADS * ROUNDS);
  assert_int_equal(heaps[0].b, heaps[0].a);
}

/* Own outermost locks, the same nested ones. */
static void *bumps_nested(void *number) {
  struct pair *own = &heaps[(uintptr_t)number];
  for (int i = 0; i < ROUNDS; i++) {
    NEED(lock_enter(&own->lock));
    lock_nested(&nested.lock);
    pair_bump(&nested);
    lock_nested(&deeper.lock);
    pair_bump(&deeper);
    lock_leave(&deeper.lock);
    lock_leave(&nested.lock);
    lock_leave(&own->lock);
  }
  return NULL;
}

static void nested_locks_exclude_too(void **state) {
  (void)state;
  threads_run(THREADS, bumps_nested);
  assert_int_equal(nested.a, THREADS * ROUNDS);
  assert_int_equal(deeper.b, THREADS * ROUNDS);
}

static void *finds_it_taken(void *unused) {
  (void)unused;
  NEED(!lock_is_mine(heap) && !lock_try_enter(heap));
  NEED(lock_enter(&heaps[1].lock));
  NEED(!lock_try_second(heap));
  lock_leave(&heaps[1].lock);
  return NULL;
}

static void the_holder_is_known(void **state) {
  (void)state;
  assert_false(lock_is_mine(heap));
  assert_true(lock_enter(heap));
  assert_true(lock_is_mine(heap));
  assert_false(lock_enter(heap)); /* self-entry */
  assert_false(lock_try_enter(heap));
  assert_true(lock_is_mine(heap));
  thread_run(finds_it_taken, NULL);
  lock_leave(heap);
  assert_false(lock_is_mine(heap));
  assert_true(lock_try_enter(heap));
  lock_leave(heap);
}

static _Atomic(uint32_t) step;

static void *waits_for_the_release(void *released) {
  step_set(&step, 1);
  lock_wait(heap);
  NEED(load_acquire((_Atomic(bool) *)released));
  return NULL;
}

static void a_wait_ends_with_the_release(void **state) {
  (void)state;
  lock_wait(heap); /* free: does not sleep */
  for (int i = 0; i < 200; i++) {
    _Atomic(bool) is_released = false;
    pthread_t thread;
    store_relaxed(&step, 0);
    assert_true(lock_enter(heap));
    assert_int_equal(pthread_create(&thread, NULL, waits_for_the_release, &is_released), 0);
    step_wait(&step, 1);
    if (i % 2 == 0) os_yield();
    store_release(&is_released, true);
    lock_leave(heap);
    assert_int_equal(pthread_join(thread, NULL), 0);
  }
}

static _Atomic(bool) must_stop;

static void *bumps_until_told(void *number) {
  struct pair *own = &heaps[(uintptr_t)number];
  while (!load_relaxed(&must_stop)) {
    if (lock_try_enter(&purge.lock)) {
      pair_bump(&purge);
      lock_leave(&purge.lock);
    }
    NEED(lock_enter(&own->lock));
    pair_bump(own);
    lock_nested(&nested.lock);
    pair_bump(&nested);
    lock_leave(&nested.lock);
    lock_leave(&own->lock);
  }
  return NULL;
}

/* In a child of fork every lock is free, and what it protects is whole. */
static void all_is_whole(uint32_t generation) {
  NEED(load_relaxed(&fork_generation) == generation + 1);
  NEED(lock_try_enter(&purge.lock));
  pair_bump(&purge);
  lock_leave(&purge.lock);
  for (int i = 0; i < THREADS; i++) {
    NEED(lock_try_enter(&heaps[i].lock));
    pair_bump(&heaps[i]);
    lock_nested(&nested.lock);
    pair_bump(&nested);
    lock_leave(&nested.lock);
    lock_leave(&heaps[i].lock);
  }
}

static void *forks(void *unused) {
  (void)unused;
  for (int i = 0; i < FORKS; i++) {
    uint32_t generation = load_relaxed(&fork_generation);
    pid_t pid = fork();
    if (pid == 0) {
      child_start();
      all_is_whole(generation);
      _exit(0);
    }
    child_wait(pid);
    NEED(load_relaxed(&fork_generation) == generation);
  }
  return NULL;
}

/* Two threads fork while two lock. */
static void forks_wait_for_whole_state(void) {
  pthread_t threads[2];
  for (uintptr_t i = 0; i < 2; i++)
    NEED(pthread_create(&threads[i], NULL, bumps_until_told, (void *)(i + 1)) == 0);
  threads_run(2, forks);
  store_relaxed(&must_stop, true);
  for (int i = 0; i < 2; i++) NEED(pthread_join(threads[i], NULL) == 0);
  NEED(heaps[1].a != 0 && heaps[2].a != 0);
}
static void a_child_of_fork_finds_whole_state(void **state) {
  (void)state;
  run_child(forks_wait_for_whole_state);
}

/* Who wants a lock after prepare has looked takes the word, sees the gate, and gives it back. The
 * child may be cut off in between. These run after prepare, before parent: they came first. */
static bool has_latecomer;
static const uint64_t LATECOMER = 0x1000; /* some other thread's word */
static void latecomer_comes(void) {
  if (!has_latecomer) return;
  for (int i = 0; i < THREADS; i++) store_relaxed(&heaps[i].lock.word, LATECOMER);
  store_relaxed(&purge.lock.word, LATECOMER);
}
static void latecomer_leaves(void) {
  if (!has_latecomer) return;
  for (int i = 0; i < THREADS; i++) store_relaxed(&heaps[i].lock.word, (uint64_t)0);
  store_relaxed(&purge.lock.word, (uint64_t)0);
}
static void forks_with_a_latecomer(void) {
  uint32_t generation = load_relaxed(&fork_generation);
  has_latecomer = true;
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    all_is_whole(generation);
    _exit(0);
  }
  child_wait(pid);
}
static void a_latecomer_leaves_no_lock_taken(void **state) {
  (void)state;
  run_child(forks_with_a_latecomer);
}

/* The handlers of fork. */
static bool is_amid, is_early;
static void before_fork(void) { lock_fork_prepare(is_amid); }
static void after_fork(void) { lock_fork_parent(is_amid); }
static void in_child(void) { lock_fork_child(is_amid); }
/* Another library's, that was registered first: it comes before ours. */
static void early_in_child(void) {
  if (!is_early) return;
  NEED(lock_enter(heap));
  lock_leave(heap);
}

static int recovered[THREADS];
static void counts_recovery(struct rt_lock *lock) {
  for (int i = 0; i < THREADS; i++) recovered[i] += lock == &heaps[i].lock;
}

/* A signal handler forks that interrupted a slow path: others may wait for what its thread holds,
 * so it waits for nobody. */
static _Atomic(uint32_t) amid_step;
static void *holds_meanwhile(void *unused) {
  NEED(lock_enter(&heaps[1].lock));
  step_set(&amid_step, 1);
  step_wait(&amid_step, 2);
  lock_leave(&heaps[1].lock);
  return unused;
}
static void a_forking_holder_keeps_its_lock(void) {
  pthread_t thread;
  for (int i = 0; i < THREADS; i++) heaps[i].lock.recover = counts_recovery;
  NEED(lock_enter(heap));
  NEED(pthread_create(&thread, NULL, holds_meanwhile, NULL) == 0);
  step_wait(&amid_step, 1);
  is_amid = true;
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    NEED(lock_is_mine(heap) && !lock_enter(heap));
    lock_leave(heap);
    NEED(lock_enter(&heaps[1].lock) && recovered[1] == 1 && recovered[0] == 0);
    lock_leave(&heaps[1].lock);
  } else {
    lock_leave(heap);
    step_set(&amid_step, 2);
    NEED(pthread_join(thread, NULL) == 0);
  }
  NEED(lock_enter(heap));
  lock_leave(heap);
  is_amid = false;
  if (pid == 0) _exit(0);
  child_wait(pid);
}
static void fork_inside_a_slow_path(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(a_forking_holder_keeps_its_lock);
}

/* A signal handler forks while its thread prepares to: the gate stays closed until that is done. */
static void *tries(void *out) {
  *(bool *)out = lock_try_enter(heap);
  if (*(bool *)out) lock_leave(heap);
  return NULL;
}
static void forks_twice(void) {
  bool is_taken;
  lock_fork_prepare(false);
  lock_fork_prepare(false);
  lock_fork_parent(false);
  thread_run(tries, &is_taken);
  NEED(!is_taken);
  lock_fork_parent(false);
  thread_run(tries, &is_taken);
  NEED(is_taken);
}
static void a_fork_amid_a_fork_leaves_the_gate_closed(void **state) {
  (void)state;
  run_child(forks_twice);
}

static void is_no_bare_fork(void) {
  uint32_t generation = load_relaxed(&fork_generation);
  is_early = true;
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    NEED(!load_relaxed(&fork_was_bare) && load_relaxed(&fork_generation) == generation + 1);
    all_is_whole(generation);
    _exit(0);
  }
  child_wait(pid);
}
static void a_child_handler_before_ours_finds_no_bare_fork(void **state) {
  (void)state;
  run_child(is_no_bare_fork);
}

static void *holds_what_fork_takes_away(void *unused) {
  (void)unused;
  NEED(lock_try_enter(&purge.lock));
  NEED(lock_enter(&heaps[1].lock));
  NEED(lock_try_second(&heaps[2].lock));
  lock_nested(&nested.lock);
  lock_nested(&deeper.lock);
  step_set(&step, 1);
  step_wait(&step, 2);
  lock_leave(&deeper.lock);
  lock_leave(&nested.lock);
  lock_leave(&heaps[2].lock);
  lock_leave(&heaps[1].lock);
  lock_leave(&purge.lock);
  return NULL;
}

static void locks_after_a_bare_fork(void) {
  pthread_t thread;
  store_relaxed(&step, 0);
  for (int i = 0; i < THREADS; i++) heaps[i].lock.recover = counts_recovery;
  NEED(pthread_create(&thread, NULL, holds_what_fork_takes_away, NULL) == 0);
  step_wait(&step, 1);
  NEED(lock_enter(&heaps[3].lock));
  uint32_t generation = load_relaxed(&fork_generation);
  pid_t pid = _Fork();
  if (pid == 0) {
    child_start();
    NEED(lock_is_mine(&heaps[3].lock) && !lock_enter(&heaps[3].lock));
    lock_leave(&heaps[3].lock);
    NEED(lock_enter(heap));
    NEED(load_relaxed(&fork_generation) == generation + 1);
    NEED(recovered[1] == 1 && recovered[2] == 1 && recovered[0] == 0 && recovered[3] == 0);
    NEED(lock_try_second(&heaps[1].lock));
    lock_leave(&heaps[1].lock);
    lock_nested(&nested.lock);
    lock_nested(&deeper.lock);
    lock_leave(&deeper.lock);
    lock_leave(&nested.lock);
    lock_leave(heap);
    NEED(lock_try_enter(&heaps[2].lock));
    lock_leave(&heaps[2].lock);
    lock_wait(&heaps[1].lock); /* nobody has it: does not sleep */
    NEED(lock_try_enter(&purge.lock));
    lock_leave(&purge.lock);
    pid = fork();
    if (pid == 0) _exit(0);
    child_wait(pid);
    _exit(0);
  }
  lock_leave(&heaps[3].lock);
  child_wait(pid);
  step_set(&step, 2);
  NEED(pthread_join(thread, NULL) == 0);
  NEED(load_relaxed(&fork_generation) == generation && recovered[1] == 0);
}
/* More threads than lanes register at once: fork knows each lock, so that a bare one frees it. */
enum { REGISTERING = 32, REGISTERED = 30 };
static struct rt_lock many[REGISTERING][REGISTERED];
static pthread_barrier_t may_register;
static void *registers(void *number) {
  struct rt_lock *mine = many[(uintptr_t)number];
  for (size_t i = 0; i < REGISTERED; i++) mine[i] = (struct rt_lock)LOCK_INIT(LOCK_RANK_HEAP);
  pthread_barrier_wait(&may_register);
  for (size_t i = 0; i < REGISTERED; i++) lock_register(&mine[i]);
  return NULL;
}
static void locks_registered_side_by_side(void) {
  static char another_thread[64];
  NEED(pthread_barrier_init(&may_register, NULL, REGISTERING) == 0);
  threads_run(REGISTERING, registers);
  for (size_t i = 0; i < REGISTERING * REGISTERED; i++)
    store_relaxed(&many[i / REGISTERED][i % REGISTERED].word, (uintptr_t)another_thread & ~15ul);
  pid_t pid = _Fork();
  if (pid == 0) {
    child_start();
    NEED(lock_enter(heap));
    for (size_t i = 0; i < REGISTERING * REGISTERED; i++)
      NEED(load_relaxed(&many[i / REGISTERED][i % REGISTERED].word) == 0);
    lock_leave(heap);
    _exit(0);
  }
  child_wait(pid);
}
/* Another thread is about to fork, with the gate closed, when this one forks without handlers. */
static _Atomic(uint32_t) gate_step;
static void *closes_the_gate(void *unused) {
  lock_fork_prepare(false);
  lock_fork_prepare(false); /* of a handler that forks amid that */
  step_set(&gate_step, 1);
  step_wait(&gate_step, 2);
  lock_fork_parent(false);
  lock_fork_parent(false);
  return unused;
}
static void bare_fork_at_a_closed_gate(void) {
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, closes_the_gate, NULL) == 0);
  step_wait(&gate_step, 1);
  pid_t pid = _Fork();
  if (pid == 0) {
    child_start();
    NEED(lock_enter(heap)); /* nobody will open it */
    lock_leave(heap);
    lock_fork_prepare(false);
    lock_fork_parent(false);
    bool is_taken;
    thread_run(tries, &is_taken);
    NEED(is_taken); /* how deep that thread was is nothing to a fork here */
    _exit(0);
  }
  child_wait(pid);
  step_set(&gate_step, 2);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_bare_fork_opens_the_gate(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(bare_fork_at_a_closed_gate);
}

static void fork_knows_each_lock(void **state) {
  (void)state;
  run_child(locks_registered_side_by_side);
}

static void a_bare_fork_recovers_and_frees(void **state) {
  (void)state;
  size_t page = os_page_bytes();
  void *p = os_map(page);
  if (p == NULL || !os_wipe_on_fork(p, page)) skip();
  assert_true(os_unmap(p, page));
  run_child(locks_after_a_bare_fork);
}

static int misuses_locks(void *number) {
  switch (*(int *)number) {
  case 0: /* nested, without an umbrella */
    lock_nested(&nested.lock);
    return 0;
  case 1: /* upwards */
    if (!lock_enter(heap)) return 2;
    lock_nested(&deeper.lock);
    lock_nested(&nested.lock);
    return 0;
  case 2: /* two of one rank, not tried */
    return lock_enter(heap) && lock_enter(&heaps[1].lock) ? 0 : 2;
  case 3: /* a third heap */
    if (!lock_enter(heap) || !lock_try_second(&heaps[1].lock)) return 2;
    return lock_try_second(&heaps[2].lock) ? 0 : 2;
  case 4: /* another's, or nobody's */
    lock_leave(heap);
    return 0;
  case 5: /* a second heap's, without a first */
    return lock_try_second(heap) ? 0 : 2;
  case 6: /* the own heap's is given back before the second one's */
    if (!lock_enter(heap) || !lock_try_second(&heaps[1].lock)) return 2;
    lock_leave(heap);
    return 0;
  case 7: /* an umbrella before what is under it */
    if (!lock_enter(heap)) return 2;
    lock_nested(&nested.lock);
    lock_leave(heap);
    return 0;
  case 8: /* the purge lock before a heap's that was taken under it */
    if (!lock_enter(&purge.lock)) return 2;
    lock_under_purge(heap);
    lock_leave(&purge.lock);
    return 0;
  default: /* purge, with a lock held */
    return lock_enter(heap) && lock_try_enter(&purge.lock) ? 0 : 2;
  }
}

static void the_order_of_ranks_is_watched(void **state) {
  (void)state;
  for (int i = 0; i <= 9; i++) {
    char err[512];
    size_t rest;
    int status = death_run(misuses_locks, &i, err, sizeof err, &rest);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_memory_equal(err, "hakmem: internal error: ", 24);
  }
}

/* A fork looks at several lists side by side: neighbours in time are not neighbours in one. */
static void locks_are_spread_over_lists(void **state) {
  (void)state;
  static struct rt_lock one = LOCK_INIT(LOCK_RANK_HEAP), next = LOCK_INIT(LOCK_RANK_HEAP);
  lock_register(&one);
  lock_register(&next);
  assert_true(next.next != &one);
}

/* However often it is registered, a lock is in one place: no other is lost to fork, and the walk
 * over all of them ends. */
static void registering_once_more_changes_nothing(void **state) {
  (void)state;
  enum { LATE = 40 };
  static struct rt_lock once = LOCK_INIT(LOCK_RANK_HEAP), late[LATE];
  const uint64_t someone = 1u << 20;
  lock_fork_prepare(false);
  for (int i = 0; i < LATE; i++) {
    late[i] = (struct rt_lock)LOCK_INIT(LOCK_RANK_HEAP);
    lock_register_once(&once);
    lock_register(&late[i]);
    store_relaxed(&late[i].word, someone);
  }
  store_relaxed(&once.word, someone);
  lock_fork_child(false); /* frees what threads that are gone have held */
  assert_int_equal(load_relaxed(&once.word), 0);
  for (int i = 0; i < LATE; i++) assert_int_equal(load_relaxed(&late[i].word), 0);
}

int main(void) {
  os_mem_init();
  lock_init_process();
  if (!os_at_fork(latecomer_comes, latecomer_leaves, NULL)) return 1;
  if (!os_at_fork(NULL, NULL, early_in_child)) return 1;
  if (!os_at_fork(before_fork, after_fork, in_child)) return 1;
  for (int i = 0; i < THREADS; i++) lock_register(&heaps[i].lock);
  lock_register(&purge.lock);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_thread_at_a_time),
      cmocka_unit_test(nested_locks_exclude_too),
      cmocka_unit_test(the_holder_is_known),
      cmocka_unit_test(a_wait_ends_with_the_release),
      cmocka_unit_test(a_child_of_fork_finds_whole_state),
      cmocka_unit_test(a_latecomer_leaves_no_lock_taken),
      cmocka_unit_test(locks_are_spread_over_lists),
      cmocka_unit_test(fork_inside_a_slow_path),
      cmocka_unit_test(a_fork_amid_a_fork_leaves_the_gate_closed),
      cmocka_unit_test(a_child_handler_before_ours_finds_no_bare_fork),
      cmocka_unit_test(a_bare_fork_recovers_and_frees),
      cmocka_unit_test(a_bare_fork_opens_the_gate),
      cmocka_unit_test(fork_knows_each_lock),
      cmocka_unit_test(the_order_of_ranks_is_watched),
      cmocka_unit_test(registering_once_more_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
