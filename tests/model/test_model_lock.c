/* test_model_lock.c — locks exclude, wake who waits, and let a fork find none of them held.
 *
 * What a lock protects is a plain variable: two accesses that the lock does not order are a race,
 * which the model reports.
 */
#include "model.h"
#include "model_atomic.h"

#include "heap.h"
#include "rt_lock.h"

enum { FORKS = 2, REGISTRY_LANES = 16 /* as in rt_lock.c */ };

static struct rt_lock first = LOCK_INIT(LOCK_RANK_HEAP), second = LOCK_INIT(LOCK_RANK_HEAP);
static struct rt_lock inner = LOCK_INIT(LOCK_RANK_STOCK);
/* Two halves that are equal whenever their lock is free. */
static struct halves { unsigned left, right; } of_first, of_second, of_inner;
static unsigned fork_count;
static _Atomic(bool) is_child; /* of the scenarios with one */
static bool has_refused;

static void begin(void) {
  model_allocator_init();
  lock_register(&first);
  lock_register(&second);
}

/* So many that the newcomer comes before `first`, in the same lane of the registry. */
static struct rt_lock between[REGISTRY_LANES - 1], newcomer;
static void begin_registering(void) {
  begin();
  for (size_t i = 0; i < REGISTRY_LANES - 2; i++) {
    between[i] = (struct rt_lock)LOCK_INIT(LOCK_RANK_HEAP);
    lock_register(&between[i]);
  }
  newcomer = (struct rt_lock)LOCK_INIT(LOCK_RANK_HEAP);
}
static void registers(void) { lock_register(&newcomer); }

static void change(struct halves *h) {
  h->left++;
  h->right++;
}

static void enters(struct rt_lock *lock, struct halves *h) {
  MODEL_NEED(lock_enter(lock));
  change(h);
  MODEL_NEED(lock_is_mine(lock) && !lock_enter(lock)); /* self-entry */
  lock_leave(lock);
}
static void enters_first(void) { enters(&first, &of_first); }
static void enters_second(void) { enters(&second, &of_second); }
static void enters_inner(void) {
  MODEL_NEED(lock_enter(&first));
  lock_nested(&inner);
  change(&of_inner);
  lock_leave(&inner);
  change(&of_first);
  lock_leave(&first);
}
static void tries_first(void) {
  if (lock_try_enter(&first)) {
    change(&of_first);
    lock_leave(&first);
  } else {
    has_refused = true;
  }
}
static void waits_for_first(void) {
  lock_wait(&first);
  enters(&first, &of_first);
}
/* Each with its own lock held wants the other's. */
static void enters_and_tries(struct rt_lock *own, struct halves *of_own, struct rt_lock *other,
                             struct halves *of_other) {
  MODEL_NEED(lock_enter(own));
  if (lock_try_second(other)) {
    change(of_other);
    lock_leave(other);
  }
  change(of_own);
  lock_leave(own);
}
static void enters_both(void) { enters_and_tries(&first, &of_first, &second, &of_second); }
static void enters_both_crosswise(void) {
  enters_and_tries(&second, &of_second, &first, &of_first);
}

/* The child of a bare fork, with two threads before any of them has looked: `first` was held by one
 * that is gone, in the middle of a change. */
static unsigned recovery_count;
static void recovers(struct rt_lock *lock) {
  MODEL_NEED(lock == &first);
  recovery_count++;
  of_first.right = of_first.left;
}
static void begin_in_a_child(void) {
  begin();
  first.recover = recovers;
  store_relaxed(&first.word, (uint64_t)1 << 20);
  of_first.left++;
  model_fork_wipes();
}
static void finds_first_whole(void) {
  MODEL_NEED(lock_enter(&first));
  MODEL_NEED(of_first.left == of_first.right);
  change(&of_first);
  lock_leave(&first);
}
static void recovered_once(void) {
  MODEL_NEED(recovery_count == 1 && load_relaxed(&fork_generation) == 1);
  MODEL_NEED(of_first.left == 3 && of_first.right == 3 && load_relaxed(&first.word) == 0);
}

static bool is_whole(const struct halves *h) { return h->left == h->right; }

/* A fork copies the process at any moment between prepare and parent. */
static void forks(void) {
  lock_fork_prepare(false);
  MODEL_NEED(is_whole(&of_first) && is_whole(&of_second) && is_whole(&of_inner));
  fork_count++;
  lock_fork_parent(false);
}
/* Its own handlers may still need the allocator. */
static void forks_and_allocates(void) {
  lock_fork_prepare(false);
  MODEL_NEED(is_whole(&of_first) && is_whole(&of_second) && is_whole(&of_inner));
  enters(&second, &of_second);
  fork_count++;
  lock_fork_parent(false);
}

/* libc has a lock of streams, which its fork takes after all handlers. */
static void begin_with_streams(void) {
  begin();
  model_set_streams();
}
/* As glibc's: it has the lock of the list of handlers all the time but while it calls one. */
static _Atomic(uint32_t) handlers_lock;
static void handlers_enter(void) {
  uint32_t seen = 0;
  while (!cas_seq(&handlers_lock, &seen, 1u)) {
    os_futex_wait(&handlers_lock, 1);
    seen = 0;
  }
}
static void handlers_leave(void) {
  store_seq(&handlers_lock, 0u);
  os_futex_wake_all(&handlers_lock);
}
static void libc_forks(bool is_amid) {
  lock_fork_prepare(is_amid);
  handlers_enter();
  MODEL_NEED(os_streams_lock());
  if (!is_amid) MODEL_NEED(is_whole(&of_first) && is_whole(&of_second) && is_whole(&of_inner));
  fork_count++;
  os_streams_unlock();
  handlers_leave();
  lock_fork_parent(is_amid);
}
static void forks_by_libc(void) { libc_forks(false); }
/* A handler that comes within a slow path forks. Beside enters_under_streams that can hang, as
 * under glibc's own malloc: each may hold what the other waits for. */
static void forks_amid_a_slow_path(void) {
  MODEL_NEED(lock_enter(&first));
  of_first.left++;
  libc_forks(true);
  of_first.right++;
  lock_leave(&first);
}
/* A stream's own functions allocate, and so does a thread that another waits for there. */
static void enters_under_streams(void) {
  MODEL_NEED(os_streams_lock());
  enters_first();
  os_streams_unlock();
}
static void becomes_a_child_with_streams(void) {
  lock_fork_prepare(false);
  model_fork_wipes();
  lock_fork_child(false);
  MODEL_NEED(load_relaxed(&fork_generation) == 1);
  store_release(&is_child, true);
  enters_under_streams();
}
static void starts_under_streams(void) {
  while (!load_acquire(&is_child)) cpu_pause();
  enters_under_streams();
}

/* A child with handlers. The fork copies while others run: of a thread that took `first` behind the
 * gate there is nothing but the word. The kernel has wiped what a child finds wiped. */
static void becomes_a_child(void) {
  lock_fork_prepare(false);
  MODEL_NEED(is_whole(&of_first));
  store_relaxed(&first.word, (uint64_t)1 << 20);
  model_fork_wipes();
  lock_fork_child(false);
  MODEL_NEED(load_relaxed(&fork_generation) == 1 && !load_relaxed(&fork_was_bare));
  store_release(&is_child, true);
  enters_first();
}
/* Threads of the child: there is none before its handlers are done. */
static void starts_in_the_child(void) {
  while (!load_acquire(&is_child)) cpu_pause();
  enters_both();
}

static void all_are_free(void) {
  MODEL_NEED(load_relaxed(&first.word) == 0 && load_relaxed(&second.word) == 0);
  MODEL_NEED(load_relaxed(&inner.word) == 0);
  MODEL_NEED(is_whole(&of_first) && is_whole(&of_second) && is_whole(&of_inner));
}
static void two_have_entered(void) {
  all_are_free();
  MODEL_NEED(of_first.left == 2 || (has_refused && of_first.left == 1));
}
static void three_have_entered(void) {
  all_are_free();
  MODEL_NEED(of_first.left == 3);
}
static void one_child_whose_locks_are_free(void) {
  all_are_free();
  MODEL_NEED(of_first.left == 2 && load_relaxed(&fork_generation) == 1);
}
static void both_have_forked(void) {
  all_are_free();
  MODEL_NEED(fork_count == FORKS);
}

static const struct model_scenario scenarios[] = {
    {"recover_recover", begin_in_a_child, {finds_first_whole, finds_first_whole}, recovered_once},
    {"enter_enter", begin, {enters_first, enters_first}, two_have_entered},
    {"enter_try", begin, {enters_first, tries_first}, two_have_entered},
    {"enter_enter_wait", begin, {enters_first, enters_first, waits_for_first}, three_have_entered},
    {"nested", begin, {enters_inner, enters_inner}, two_have_entered},
    {"crosswise", begin, {enters_both, enters_both_crosswise}, all_are_free},
    {"fork_enter", begin, {forks, enters_first}, all_are_free},
    {"fork_nested", begin, {forks, enters_inner}, all_are_free},
    {"fork_fork", begin, {forks, forks_and_allocates}, both_have_forked},
    {"fork_enter_enter", begin, {forks, enters_first, enters_second}, all_are_free},
    {"fork_fork_enter", begin, {forks, forks_and_allocates, enters_first}, both_have_forked},
    {"fork_register", begin_registering, {forks, enters_first, registers}, all_are_free},
    {"fork_try", begin, {forks, tries_first}, all_are_free},
    {"fork_crosswise", begin, {forks, enters_both, enters_both_crosswise}, all_are_free},
    {"fork_streams", begin_with_streams, {forks_by_libc, enters_under_streams}, all_are_free},
    {"fork_fork_streams",
     begin_with_streams,
     {forks_by_libc, forks_by_libc, enters_under_streams},
     both_have_forked},
    {"fork_amid", begin_with_streams, {forks_by_libc, forks_amid_a_slow_path}, both_have_forked},
    {"fork_child_streams",
     begin_with_streams,
     {becomes_a_child_with_streams, starts_under_streams},
     one_child_whose_locks_are_free},
    {"fork_child", begin, {becomes_a_child, starts_in_the_child}, one_child_whose_locks_are_free},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 50000}, (struct model_bounds){3, 2, 1000000});
}
