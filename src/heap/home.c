/* home.c — see home.h. Owns: the lists of homes and guests without a thread, the ring of hosts.
 */
#include "home.h"

#include "depot.h"
#include "flush.h"
#include "idle.h"
#include "mail.h"
#include "os_check.h"
#include "os_mem.h"
#include "outbox.h"

enum {
  HOMES_LEAST = 2,    /* measured, as the next: docs/decisions/0022 */
  HOMES_PER_HOST = 2, /* of so many homes one takes guests: few, so that most frees are local */
  HOST_LOOKS = 8,     /* hosts that a guest chooses from. Arbitrary, as the next */
  LEFT_LOOKS = 16,    /* ids that a thread's start looks at after a fork */
};

static _Atomic(uint32_t) home_count_max = 1; /* until home_set_count */

static struct rt_lock orphans_lock = LOCK_INIT(LOCK_RANK_ORPHANS);
/* All under orphans_lock. */
static struct heap *orphans; /* homes without threads */
static struct heap *guests;  /* heaps without threads that are no homes */
static struct heap *hosts;   /* homes that take guests: a ring, entered anywhere */
static uint32_t home_count;
static uint32_t host_count;
static uint32_t left_behind_next;       /* next id to look at after a fork */
static uint32_t left_behind_generation; /* the fork that the scan is of */
static uint32_t homes_generation;       /* after bare forks: the one that hosts and counts are of */

/* What the bins, second magazines and outbox of a thread say that exists only in the parent was
 * copied at different instants and cannot be trusted: those objects stay allocated (lost in fork).
 */
static void forget_thread(struct heap *h) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    heap_bin_reset(h, c);
    store_relaxed(&h->cls[c].previous, NULL);
    h->cls[c].window = 0;
    h->cls[c].streak = 0;
  }
  outbox_forget(h);
  h->to_free = NULL;
  h->frees_strays = false;
  h->is_asleep = false;
}

void home_survive_fork(struct heap *h) {
  struct heap *home = h->home;
  uint32_t generation = load_relaxed(&fork_generation);
  if (h->is_owned) {
    if (home != h) {
      forget_thread(home);
      home->has_thread = false;
    }
    store_relaxed(&home->thread_count, 1u);
    home->asleep_count = h->is_asleep;
    store_relaxed(&home->absence, h->is_asleep ? HEAP_ASLEEP : HEAP_PRESENT);
  }
  if (home != h) store_relaxed(&h->generation, generation);
  /* Last: after a bare fork another thread may choose it for its home from then on. */
  store_release(&home->generation, generation);
}

static void push_guest(struct heap *h) {
  ASSERT(h->is_guest && h->outbox_room == OUTBOX_BYTES);
  h->has_thread = false;
  h->next_orphan = guests;
  signal_fence(); /* docs/decisions/0005 */
  guests = h;
}

/* The heap of a thread that exists only in the parent. Of a home depot, inbox and slabs live on. */
static void revive(struct heap *h) {
  forget_thread(h);
  h->has_thread = false;
  h->asleep_count = 0;
  store_relaxed(&h->thread_count, 0u);
}

/* After a fork, heaps left behind: each id is looked at once, a few a call. There are no orphans
 * then: choose has taken them before. NULL: none among these few. */
static struct heap *take_left_behind(void) {
  uint32_t generation = load_relaxed(&fork_generation);
  /* After a bare fork one of these heaps may be that of the thread that lives on. */
  if (generation == 0 || load_relaxed(&fork_was_bare)) return NULL;
  if (left_behind_generation != generation) {
    left_behind_generation = generation;
    left_behind_next = HEAP_ID_FIRST;
  }
  for (uint32_t i = 0; i < LEFT_LOOKS && left_behind_next < heap_id_end(); i++) {
    struct heap *h = heap_of_id(left_behind_next++);
    if (h == NULL || load_relaxed(&h->generation) == generation) continue;
    if (!heap_is_home(h) && !h->has_thread) continue; /* on the list of guests */
    revive(h);
    if (heap_is_home(h)) return h;
    push_guest(h);
  }
  return NULL;
}

/* The host with the fewest threads of the next few in the ring, else one left behind that
 * take_left_behind has not come to yet; NULL without any. */
static struct heap *choose_host(void) {
  struct heap *least = NULL, *left = NULL, *h = hosts;
  if (h == NULL) return NULL;
  for (uint32_t i = 0; i < HOST_LOOKS; i++, h = h->next_host) {
    ASSERT(heap_is_home(h) && h->next_host != NULL);
    if (load_relaxed(&h->absence) == HEAP_ORPHAN) continue; /* about to be on the list */
    if (load_acquire(&h->generation) != load_relaxed(&fork_generation)) {
      left = h;
      continue;
    }
    if (least == NULL || load_relaxed(&h->thread_count) < load_relaxed(&least->thread_count))
      least = h;
  }
  hosts = hosts->next_host;
  if (least != NULL || left == NULL) return least;
  revive(left); /* not after a bare fork: then the ring has new ones only */
  return left;
}

static void add_home(struct heap *h) {
  home_count++;
  if (host_count >= (load_relaxed(&home_count_max) + 1) / HOMES_PER_HOST) return;
  host_count++;
  h->next_host = hosts == NULL ? h : hosts->next_host;
  signal_fence(); /* docs/decisions/0005 */
  if (hosts == NULL) {
    hosts = h;
  } else {
    hosts->next_host = h;
  }
}

void home_set_count(uint32_t count) {
  uint32_t cpus = os_cpu_count();
  if (count == 0) count = cpus < HOMES_LEAST ? HOMES_LEAST : cpus;
  store_relaxed(&home_count_max, count);
}

/* After a bare fork nobody uses the homes of before, but for one thread: their number begins anew.
 */
static void forget_left_behind(void) {
  uint32_t generation = load_relaxed(&fork_generation);
  if (HAK_LIKELY(generation == homes_generation) || !load_relaxed(&fork_was_bare)) return;
  hosts = NULL;
  signal_fence(); /* docs/decisions/0005 */
  host_count = 0;
  home_count = 0;
  signal_fence();
  homes_generation = generation;
}

/* A heap whose home has room for one thread more. */
static struct heap *choose(void) {
  forget_left_behind();
  struct heap *h = orphans;
  if (h != NULL) orphans = h->next_orphan;
  if (h == NULL) h = take_left_behind();
  struct heap *home = NULL;
  if (h == NULL && home_count >= load_relaxed(&home_count_max)) {
    home = choose_host();
    if (home != NULL && !home->has_thread) {
      h = home;
    } else if (home != NULL && guests != NULL) {
      h = guests;
      guests = h->next_orphan;
      h->home = home;
      h->key = home->key;
    }
  }
  if (h == NULL) {
    h = heap_new(home);
    if (h == NULL) return NULL;
    if (home == NULL) add_home(h);
  }
  h->has_thread = true;
  bump_relaxed(&h->home->thread_count, 1u);
  return h;
}

struct heap *home_acquire(void) {
  ASSERT(lock_is_mine(&heap_none.lock));
  lock_nested(&orphans_lock);
  struct heap *h = choose();
  if (h != NULL) {
    heap_requests_reset(h);
    store_relaxed(&h->generation, load_relaxed(&fork_generation));
    h->trim_seen = load_relaxed(&trim_epoch);       /* it is empty */
    store_relaxed(&h->home->absence, HEAP_PRESENT); /* as in home_wake */
  }
  lock_leave(&orphans_lock);
  return h;
}

/* True when the home's threads are gone, or asleep: then the mark is set. Mark first, then look
 * once more (both seq_cst): a sender pushes first, then reads the mark. Under orphans_lock, so that
 * a thread that comes to live there takes it back. */
static bool mark_if_away(struct heap *home) {
  uint32_t count = load_relaxed(&home->thread_count);
  ASSERT(home->asleep_count <= count);
  if (home->asleep_count < count) return false;
  store_seq(&home->absence, count == 0 ? HEAP_ORPHAN : HEAP_ASLEEP);
  return true;
}

void home_fall_asleep(struct heap *h) {
  ASSERT(lock_is_mine(&h->home->lock) && !h->is_asleep);
  h->is_asleep = true;
  h->home->asleep_count++;
  lock_nested(&orphans_lock);
  (void)mark_if_away(h->home);
  lock_leave(&orphans_lock);
}

bool home_has_mail(struct heap *h) {
  /* seq_cst: a sender pushes, then tries the lock that we have given back. Where others are awake
   * they look at it, and it may never be empty. */
  return load_seq(&h->home->inbox) != NULL && heap_is_away(h->home);
}

void home_wake(struct heap *h) {
  ASSERT(lock_is_mine(&h->home->lock) && h->is_asleep && h->home->asleep_count != 0);
  h->is_asleep = false;
  h->home->asleep_count--;
  store_relaxed(&h->home->absence, HEAP_PRESENT); /* who still reads the mark does our work */
}

/* One thread less in h's home: true if none is awake there any more. */
static bool leave_home(struct heap *h) {
  struct heap *home = h->home;
  ASSERT(!h->is_asleep);
  lock_nested(&orphans_lock);
  store_relaxed(&home->thread_count, load_relaxed(&home->thread_count) - 1);
  if (home == h) {
    h->has_thread = false;
  } else {
    push_guest(h);
  }
  bool is_away = mark_if_away(home);
  lock_leave(&orphans_lock);
  return is_away;
}

static void push_orphan(struct heap *home) {
  ASSERT(load_relaxed(&home->absence) == HEAP_ORPHAN && heap_is_home(home));
  lock_nested(&orphans_lock);
  home->next_orphan = orphans;
  signal_fence(); /* docs/decisions/0005 */
  orphans = home;
  lock_leave(&orphans_lock);
}

struct heap_fault home_abandon(struct heap *h, struct magazine **strays) {
  ASSERT(h != heap_current && h->is_owned);
  struct heap *home = h->home;
  *strays = NULL;
  struct heap_fault fault = {FAULT_NONE, NULL};
  if (NEVER(!lock_enter(&home->lock))) return fault; /* an exit inside a slow path of its own */
  if (HAK_UNLIKELY(load_relaxed(&h->generation) != load_relaxed(&fork_generation)))
    home_survive_fork(h);
  if (h->is_asleep) home_wake(h);
  flush_owner_magazines(h);
  outbox_send_all(h);
  ASSERT(heap_is_valid(home));
  fault = h->mail_fault;
  *strays = h->to_free;
  h->to_free = NULL;
  if (leave_home(h)) { /* h itself may be another thread's from here on */
    mail_drain_to_bitmaps(home);
    flush_empty_slab(home); /* nobody else would give it back */
    if (load_relaxed(&home->thread_count) == 0) push_orphan(home);
  }
  depot_trim(home);
  if (fault.kind == FAULT_NONE) fault = home->fault;
  flush_take_strays(home, strays);
  lock_leave(&home->lock);
  mail_redrain(home, false, strays);
  return fault;
}
