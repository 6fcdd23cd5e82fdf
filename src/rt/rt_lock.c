/* rt_lock.c — see rt_lock.h for the order. Owns: the fork gate, the registry of outermost locks,
 * the word that a child finds wiped. Invariant: a nested lock is held only under an outermost one.
 */
#include "rt_lock.h"

#include "os_check.h"
#include "os_mem.h"

enum {
  SPIN_COUNT = 64, /* arbitrary: about as long as a short slow path */
  ALIVE = 1,
  RECOVERING = 2,
  LANES = 16,        /* measured with 1,000 threads: tests/stress/stress_fork_pause.c */
  AMID_LOOK_MS = 10, /* arbitrary: how long a fork may wait for one that must come first */
};

_Atomic(uint32_t) fork_generation;
_Atomic(bool) fork_was_bare;

/* The thread that is forking, or 0. Pairs with lock_enter: prepare stores the gate, then reads the
 * locks; a thread stores its lock, then reads the gate (all seq_cst), so one of them sees the
 * other. */
static _Atomic(uint64_t) fork_gate;

/* Each heap's lock lies in a page of its own: a fork that follows one list waits for memory and for
 * the page tables at every lock. Of several lists it waits for one lock of each at a time. */
static _Atomic(struct rt_lock *) outermost_locks[LANES];
static _Atomic(uint32_t) outermost_count;
static _Atomic(struct rt_lock *) nested_locks;

/* ALIVE; reads 0 in the child of any fork, handlers or not, where the kernel can wipe pages.
 * Where it cannot, it stays ALIVE and `_Fork` is not noticed. */
static _Atomic(uint32_t) alive_without_wipe = ALIVE;
static _Atomic(uint32_t) *alive = &alive_without_wipe;

static _Atomic(bool) is_fork_expected;
bool lock_notices_fork(void) { return alive != &alive_without_wipe; }
void lock_expect_fork(bool is_expected) { store_relaxed(&is_fork_expected, is_expected); }

#if HAK_DEBUG
/* Bit r set: this thread holds a lock of rank r. Debug builds only: it costs thread storage. */
static _Thread_local uint32_t ranks_held;
static _Thread_local const struct rt_lock *second_heap; /* that it holds beside its first */
static void rank_took(const struct rt_lock *lock, bool is_second) {
  uint32_t deeper = ranks_held >> lock->rank;
  ASSERT(is_second ? deeper == 1 && second_heap == NULL : deeper == 0);
  ASSERT(lock->rank <= LOCK_RANK_HEAP || (ranks_held & (3u << LOCK_RANK_PURGE)) != 0);
  if (is_second) second_heap = lock;
  ranks_held |= 1u << lock->rank;
}
static void rank_left(const struct rt_lock *lock) {
  ASSERT(ranks_held >> lock->rank == 1); /* nothing deeper: a fork waits for outermost ones only */
  ASSERT(lock->rank > LOCK_RANK_HEAP || second_heap == NULL || lock == second_heap);
  if (lock != second_heap) ranks_held &= ~(1u << lock->rank);
  if (lock == second_heap) second_heap = NULL;
}
#else
#define rank_took(lock, is_second) ((void)0)
#define rank_left(lock) ((void)0)
#endif

void lock_init_process(void) {
  size_t page = os_page_bytes();
  void *p = os_map(page);
  if (p == NULL) return;
  if (os_wipe_on_fork(p, page)) {
    _Atomic(uint32_t) *word = p;
    store_relaxed(word, ALIVE);
    alive = word;
  } else if (!os_unmap(p, page)) {
    return; /* one page of address space stays: harmless */
  }
}

static bool registry_has(_Atomic(struct rt_lock *) *list, const struct rt_lock *lock) {
  struct rt_lock *l = load_acquire(list);
  while (l != NULL && l != lock) l = l->next;
  return l != NULL;
}

static void registry_push(_Atomic(struct rt_lock *) *list, struct rt_lock *lock) {
  struct rt_lock *head = load_relaxed(list);
  do {
    lock->next = head;
  } while (!cas_seq(list, &head, lock)); /* lock-free: each failure is another's success */
}

void lock_register(struct rt_lock *lock) {
  ASSERT(lock->rank <= LOCK_RANK_HEAP);
  registry_push(&outermost_locks[add_relaxed(&outermost_count, 1u) % LANES], lock);
}

/* Always the first lane, so that a handler's push in between makes ours fail. */
void lock_register_once(struct rt_lock *lock) {
  ASSERT(lock->rank <= LOCK_RANK_HEAP);
  while (!registry_has(&outermost_locks[0], lock)) { /* ends: a failure is another's success */
    struct rt_lock *head = load_relaxed(&outermost_locks[0]);
    lock->next = head;
    signal_fence();
    if (cas_seq(&outermost_locks[0], &head, lock)) break;
  }
}

/* fn for every outermost lock that is held, by whomever: of 1,000 hardly one is. */
HAK_INLINE void for_each_held(void (*fn)(struct rt_lock *)) {
  struct rt_lock *next[LANES];
  for (uint32_t i = 0; i < LANES; i++) next[i] = load_acquire(&outermost_locks[i]);
  for (bool is_more = true; is_more;) { /* as many rounds as the longest lane has locks */
    is_more = false;
    for (uint32_t i = 0; i < LANES; i++) {
      struct rt_lock *lock = next[i];
      if (lock == NULL) continue;
      is_more = true;
      next[i] = lock->next;
      if (HAK_UNLIKELY(load_seq(&lock->word) != 0)) fn(lock);
    }
  }
}

/* Of who closed the gate, and only it looks: forks of handlers that interrupted the prepare
 * handlers of their own thread's fork (the gate opens after the outermost); nobody else holds a
 * lock. */
static uint32_t gate_depth;
static bool is_gate_quiet;
/* How often prepare took the lock of libc's streams, and parent has to give it back. */
static uint32_t streams_depth;
static bool is_walk_cut; /* a lock was held, and not waited for */
/* Forks under way of handlers that came amid a slow path. Such a one waits for the lock of streams,
 * so who has that must not wait for what the interrupted slow path holds. */
static _Atomic(uint32_t) amid_forks;
static uint32_t amid_streams_depth; /* how often they took that lock; of who has it */
static bool gate_is_mine(void) { return load_relaxed(&fork_gate) == os_thread_self(); }

static void recover_lost(struct rt_lock *lock) {
  if (lock_is_mine(lock)) return;
  if (lock->recover != NULL) lock->recover(lock);
  store_release(&lock->word, (uint64_t)0); /* pairs with word_take: what it protects is whole */
}

/* A child without handlers: whoever comes first puts the locks in order, while all others wait.
 * Those of threads that are gone are freed. What nested ones protect is written so that stopping
 * between any two stores leaves it usable; for outermost ones there is `recover`. */
static HAK_COLD void recover_after_bare_fork(void) {
  if (gate_is_mine() &&
      is_gate_quiet) { /* a good fork, but another library's handler comes before ours */
    lock_fork_child(false);
    return;
  }
  uint32_t seen = 0;
  if (!cas_seq(alive, &seen, (uint32_t)RECOVERING)) {
    while (load_acquire(alive) != ALIVE) os_yield(); /* until the first comer is done */
    return;
  }
  add_relaxed(&fork_generation, 1u);
  if (!load_relaxed(&is_fork_expected)) store_relaxed(&fork_was_bare, true);
  gate_depth = 0; /* of a thread that is gone, like the gate */
  if (streams_depth != 0 || amid_streams_depth != 0) os_streams_reset(); /* likewise */
  streams_depth = 0;
  amid_streams_depth = 0;
  store_relaxed(&amid_forks, 0u);
  is_gate_quiet = false;
  store_relaxed(&fork_gate, (uint64_t)0);
  for_each_held(recover_lost);
  for (struct rt_lock *l = load_acquire(&nested_locks); l != NULL; l = l->next) {
    if (!lock_is_mine(l)) store_release(&l->word, (uint64_t)0);
  }
  store_release(alive, (uint32_t)ALIVE);
}

/* A handler may fork within a slow path; its thread then goes on in the child. */
HAK_INLINE void look_for_bare_fork(void) {
  if (HAK_UNLIKELY(load_relaxed(alive) != ALIVE)) recover_after_bare_fork();
}

static bool gate_is_closed(void) {
  uint64_t gate = load_seq(&fork_gate);
  return HAK_UNLIKELY(gate != 0) && gate != os_thread_self();
}

static void unlock(struct rt_lock *lock) {
  uint64_t old = swap_seq(&lock->word, (uint64_t)0);
  if (HAK_UNLIKELY((old & 1) != 0)) os_futex_wake_all(&lock->word);
}

/* One attempt; seq_cst pairs with the gate. */
static bool word_take(struct rt_lock *lock) {
  uint64_t expected = 0;
  return cas_seq(&lock->word, &expected, (uint64_t)os_thread_self());
}

/* Sleep until the word changes from what it is now, or so long (0: for ever). The waiting bit makes
 * the holder wake us. */
static void word_wait_ms(struct rt_lock *lock, uint32_t ms) {
  for (int i = 0; i < SPIN_COUNT; i++) {
    if (load_relaxed(&lock->word) == 0) return;
    cpu_pause();
  }
  uint64_t seen = load_relaxed(&lock->word);
  if (seen == 0) return;
  if ((seen & 1) == 0 && !cas_seq(&lock->word, &seen, seen | 1)) return;
  if (ms == 0) {
    os_futex_wait(&lock->word, (uint32_t)(seen | 1));
  } else {
    os_futex_wait_ms(&lock->word, (uint32_t)(seen | 1), ms);
  }
}
static void word_wait(struct rt_lock *lock) { word_wait_ms(lock, 0); }

static void gate_wait(void) {
  uint64_t gate = load_seq(&fork_gate);
  if (gate != 0 && gate != os_thread_self()) os_futex_wait(&fork_gate, (uint32_t)gate);
}

bool lock_enter(struct rt_lock *lock) {
  for (;;) { /* ends: a holder of this lock waits for no one but nested locks; a fork ends */
    look_for_bare_fork();
    if (word_take(lock)) {
      if (HAK_LIKELY(!gate_is_closed())) {
        rank_took(lock, false);
        return true;
      }
      unlock(lock);
      gate_wait();
    } else {
      if (lock_is_mine(lock)) return false;
      word_wait(lock);
    }
  }
}

bool lock_try_enter(struct rt_lock *lock) {
  look_for_bare_fork();
  if (!word_take(lock)) return false;
  if (gate_is_closed()) {
    unlock(lock);
    return false;
  }
  rank_took(lock, false);
  return true;
}

/* No look at the gate: a fork waits for the first lock, and that is given back after this one. So
 * when its walk over the locks is done neither is held, even where it came by this one before it
 * was taken. */
bool lock_try_second(struct rt_lock *lock) {
  ASSERT(lock->rank == LOCK_RANK_HEAP);
  if (!word_take(lock)) return false;
  rank_took(lock, true);
  return true;
}

void lock_under_purge(struct rt_lock *lock) {
  ASSERT(lock->rank == LOCK_RANK_HEAP && !lock_is_mine(lock));
  for (;;) { /* ends: its holder waits for nested locks only */
    look_for_bare_fork();
    if (word_take(lock)) break;
    word_wait(lock);
  }
  rank_took(lock, false);
}

/* Before it is taken first: a bare fork amid that must find it. */
static HAK_COLD void register_nested(struct rt_lock *lock) {
  bool is_known = false;
  if (cas_acq_rel(&lock->is_registered, &is_known, true)) registry_push(&nested_locks, lock);
}

void lock_nested(struct rt_lock *lock) {
  ASSERT(lock->rank > LOCK_RANK_HEAP);
  if (HAK_UNLIKELY(!load_relaxed(&lock->is_registered))) register_nested(lock);
  for (;;) { /* ends: holders of nested locks never block */
    look_for_bare_fork();
    if (word_take(lock)) break;
    word_wait(lock);
  }
  rank_took(lock, false);
}

/* What was taken under a lock is given back before it, a second heap's lock too. A fork relies on
 * it: its walk reads each outermost lock until that is free, and those that were taken without a
 * look at the gate (lock_try_second, lock_under_purge) it finds free for no other reason than
 * that the lock which they were taken under is. */
void lock_leave(struct rt_lock *lock) {
  ASSERT(lock_is_mine(lock));
  rank_left(lock);
  unlock(lock);
}

void lock_wait(struct rt_lock *lock) {
  look_for_bare_fork();
  if (load_relaxed(&lock->word) != 0) word_wait(lock);
}

/* The holder may be amid a fork that waits for us, or be about to: it cannot wake us then. Once one
 * is, the walk is cut short, and has to be made anew. */
static void wait_until_free(struct rt_lock *lock) {
  while (load_seq(&lock->word) != 0 && !lock_is_mine(lock) && !is_walk_cut) {
    is_walk_cut = streams_depth != 0 && load_seq(&amid_forks) != 0;
    if (!is_walk_cut) word_wait_ms(lock, AMID_LOOK_MS);
  }
}

/* True: this thread had closed it before, and its handler forks. */
static bool gate_close(void) {
  uint64_t self = os_thread_self();
  uint64_t expected = 0;
  while (!cas_seq(&fork_gate, &expected, self)) { /* two threads fork: one after the other */
    if (expected == self) return true;
    gate_wait();
    expected = 0;
  }
  return false;
}

static void gate_open(void) {
  is_gate_quiet = false;
  store_seq(&fork_gate, (uint64_t)0);
  os_futex_wake_all(&fork_gate);
}

/* Forks that came amid a slow path first: all that prepare holds is given back, and taken again
 * when they are over. */
static HAK_COLD void back_out(void) {
  uint32_t gates = gate_depth, streams = streams_depth, taken = 0, count;
  gate_depth = 0;
  streams_depth = 0;
  gate_open();
  for (uint32_t i = 0; i < streams; i++) os_streams_unlock();
  while ((count = load_seq(&amid_forks)) != 0) os_futex_wait(&amid_forks, count);
  for (uint32_t i = 0; i < streams; i++) taken += os_streams_lock();
  if (gate_close()) gates++; /* never: a handler's fork opens what it closes */
  gate_depth = gates;
  streams_depth = taken;
}

HAK_COLD void lock_fork_prepare(bool is_amid) {
  look_for_bare_fork(); /* else the wait below may be for threads that are gone */
  if (is_amid) {
    add_seq(&amid_forks, 1u);
    if (os_streams_lock()) amid_streams_depth++;
    return;
  }
  bool has_streams = os_streams_lock(); /* before the gate, at which who holds it might wait */
  if (gate_close()) gate_depth++;
  if (has_streams) streams_depth++;
  for (;;) { /* ends: each further round follows such a fork */
    is_walk_cut = false;
    for_each_held(wait_until_free);
    if (HAK_LIKELY(!is_walk_cut)) break;
    back_out();
  }
  is_gate_quiet = true;
}

HAK_COLD void lock_fork_parent(bool is_amid) {
  if (is_amid) {
    if (amid_streams_depth != 0) {
      amid_streams_depth--;
      os_streams_unlock();
    }
    if (sub_seq(&amid_forks, 1u) == 1) os_futex_wake_all(&amid_forks);
    return;
  }
  if (!gate_is_mine()) return; /* this process is a handler's child */
  bool has_streams = streams_depth != 0;
  if (has_streams) streams_depth--;
  if (gate_depth != 0) {
    gate_depth--;
  } else {
    gate_open();
  }
  if (has_streams) os_streams_unlock();
}

static void free_in_child(struct rt_lock *lock) {
  if (!lock_is_mine(lock)) store_relaxed(&lock->word, (uint64_t)0);
}

/* Whoever takes a lock after the gate has closed gives it back untouched; the child may have been
 * copied in between. No other thread holds a lock in earnest: prepare waited for that. */
HAK_COLD void lock_fork_child(bool is_amid) {
  if (amid_streams_depth != 0) os_streams_reset();
  amid_streams_depth = 0;
  store_relaxed(&amid_forks, 0u);
  if (is_amid) look_for_bare_fork();      /* now: what the handler came amid may be a wait */
  if (is_amid || !gate_is_mine()) return; /* the second: done already, recover_after_bare_fork */
  gate_depth = 0;
  if (streams_depth != 0) os_streams_reset();
  streams_depth = 0;
  for_each_held(free_in_child); /* each store to one that is free would copy its page */
  add_relaxed(&fork_generation, 1u);
  store_relaxed(alive, (uint32_t)ALIVE);
  gate_open();
}
