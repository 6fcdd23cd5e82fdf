/* rt_lock.h — ranked locks, the fork gate, and what becomes of both in a child.
 * Lock order (a thread takes them downward only; two heap locks: the second is only tried):
 *   1. options   changes of options while the program runs; taken with no lock held
 *   2. limit     a look at the limits: no fork while a file is open; taken with no lock held
 *   3. purge     serialises purges; taken with no lock held
 *   4. heap      the umbrella: every slow path holds its own heap's lock first
 *   5. orphans   list of heaps whose threads are gone
 *   6. stock     empty magazines on their way between heaps
 *   7. large     hash of own mappings
 *   8. region    growth of the region
 *   9. meta      memory for our own structures
 */
#ifndef RT_LOCK_H
#define RT_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "os_thread.h"

/* The word holds its holder's thread, so a signal handler that comes upon a lock of its own thread
 * knows it (self-entry) and does without. Ranks 1 to 4 are outermost and registered: fork waits
 * for them. Ranks 5 to 9 are nested: taken only while an outermost one is held, so fork need not
 * know them.
 */

enum lock_rank {
  LOCK_RANK_OPTIONS = 1,
  LOCK_RANK_LIMIT,
  LOCK_RANK_PURGE,
  LOCK_RANK_HEAP,
  LOCK_RANK_ORPHANS,
  LOCK_RANK_STOCK,
  LOCK_RANK_LARGE,
  LOCK_RANK_REGION,
  LOCK_RANK_META,
};

struct rt_lock {
  _Atomic(uint64_t) word;      /* 0 free, or its holder's thread; bit 0 set while someone waits */
  enum lock_rank rank;         /* constant */
  _Atomic(bool) is_registered; /* nested locks: in the list of locks that a child frees */
  /* Outermost locks: puts in order what the lock protects, in the child of a bare fork, when the
   * holder is gone. Constant; NULL where there is nothing to do. */
  void (*recover)(struct rt_lock *);
  struct rt_lock *next; /* registry of outermost locks; constant once registered */
};

#define LOCK_INIT(r)                                                                               \
  { .word = 0, .rank = (r), .is_registered = false, .next = NULL }

/* Process generation: 0 at start, one more in each child. Never wraps in practice (2^32 forks). */
extern _Atomic(uint32_t) fork_generation;

/* True once a fork without handlers was noticed: which thread lived on cannot be told then. */
extern _Atomic(bool) fork_was_bare;

/* Prepare the word that a child finds wiped. Called once at init. */
void lock_init_process(void);

/* True when a child notices by itself that it is one: the kernel can wipe pages. */
HAK_MUST_USE bool lock_notices_fork(void);
/* While the process has one thread it may fork without handlers: that thread lives on in the child,
 * which is then no child of a bare fork. At first false. */
void lock_expect_fork(bool is_expected);

/* Make fork know an outermost lock, for ever. Any thread, once a lock. */
void lock_register(struct rt_lock *lock);
/* The same if fork does not know it yet: for locks whose registering a bare fork may have cut off,
 * or a signal handler anticipated. One thread at a time and its handlers. */
void lock_register_once(struct rt_lock *lock);

/* Take an outermost lock while holding none, waiting if need be. False on self-entry: this thread
 * holds it already (we are in a signal handler), and the caller must do without. */
HAK_MUST_USE bool lock_enter(struct rt_lock *lock);
/* The same without waiting; false also when someone else holds it or a fork is under way. */
HAK_MUST_USE bool lock_try_enter(struct rt_lock *lock);
/* Try a second heap lock while holding the first, and no nested one. It is given back before the
 * first. */
HAK_MUST_USE bool lock_try_second(struct rt_lock *lock);
/* Take a heap's lock while holding the purge lock and no other; waits if need be. Fork waits for
 * the purge lock, and so for what is taken under it: no gate is looked at. */
void lock_under_purge(struct rt_lock *lock);
/* Take a nested lock; the caller holds an outermost one. Waits at most for a few stores. */
void lock_nested(struct rt_lock *lock);
void lock_leave(struct rt_lock *lock);
/* Sleep until `lock` has been released at least once, or not at all if it is free. Hold nothing. */
void lock_wait(struct rt_lock *lock);

HAK_INLINE bool lock_is_mine(const struct rt_lock *lock) {
  return (load_relaxed((_Atomic(uint64_t) *)&lock->word) & ~(uint64_t)1) == os_thread_self();
}

/* Fork handlers: close the gate and wait until no other thread holds an outermost lock; open it.
 * libc's lock of streams is taken before that (os_streams_lock).
 * A thread that holds a lock itself (a signal handler forks: is_amid) waits for nobody, since
 * others may wait for what it holds: its child is put in order like a bare fork's. */
void lock_fork_prepare(bool is_amid);
void lock_fork_parent(bool is_amid);
void lock_fork_child(bool is_amid);

#endif
