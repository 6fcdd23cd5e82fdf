/* entry_background.c — see entry_background.h. Owns: whether there is a thread.
 * Lock: none. Whoever sets is_running starts the thread; only the thread, or who failed to start
 * it, takes it back. A child of fork has neither; one made without handlers never gets one, since
 * libc's locks are then as threads that are gone have left them.
 */
#include "entry_background.h"

#include "entry.h"
#include "entry_fork.h"
#include "entry_large.h"
#include "entry_limit.h"
#include "entry_thread.h"
#include "idle.h"
#include "large_cache.h"
#include "os_proc.h"
#include "os_thread.h"
#include "purge.h"
#include "rt_options.h"

enum {
  LOOK_MS = 100,   /* while there is something to do; arbitrary, as the next ones */
  QUIET_MS = 500,  /* a process that does nothing is woken twice a second */
  RETRY_MS = 5000, /* after a thread was refused */
};

_Atomic(bool) entry_background_due;
static _Atomic(bool) is_running;
static _Atomic(int) process; /* a child of vfork is another, in our memory: it starts nothing */
static _Atomic(uint64_t) next_start_ms;
static _Atomic(uint32_t) wake_count; /* the thread sleeps on it */

static bool is_wanted(void) { return rt_option(RT_OPTION_BACKGROUND) != 0; }

/* One look; how long to sleep after it. */
static uint32_t look(struct purge_quiet *q) {
  uint64_t now_ms = os_coarse_ms(), due_ms;
  struct magazine *strays = NULL;
  bool is_waiting;
  struct heap_fault fault = idle_look(&strays, now_ms, &is_waiting);
  entry_report_fault(fault);
  if (strays != NULL) entry_free_strays(strays);
  if (entry_limit_tick(now_ms)) entry_limit_settle();
  purge_tick(now_ms);
  entry_large_expire(now_ms);
  while (is_wanted() && purge_is_due() && purge_chunks(false) != 0) { /* each round: a slice less */
  }
  while (purge_quiet(q, now_ms, &due_ms) && is_wanted()) { /* the same */
  }
  if (is_waiting || large_cache_count() != 0) return LOOK_MS;
  uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
  return left_ms < LOOK_MS ? LOOK_MS : left_ms < QUIET_MS ? (uint32_t)left_ms : QUIET_MS;
}

/* Who wants a thread from here on finds none, or has said so before we ask once more. */
static bool may_end(void) {
  store_seq(&is_running, false);
  if (!is_wanted()) return true;
  bool seen = false;
  return !cas_seq(&is_running, &seen, true);
}

static void *background(void *unused) {
  (void)heap_make_exit_current(); /* no home that the program's threads would miss */
  struct purge_quiet quiet = {0, 0, 0};
  do {
    while (load_relaxed(&is_running)) { /* not in a child whose parent was about to start us */
      uint32_t seen = load_acquire(&wake_count); /* before the option, pairs with settle */
      if (!is_wanted()) break;
      uint32_t sleep_ms = look(&quiet);
      if (sleep_ms > LOOK_MS && os_thread_is_last()) return unused;
      os_futex_wait_ms(&wake_count, seen, sleep_ms);
    }
  } while (!may_end());
  return unused;
}

void entry_background_init(void) { store_relaxed(&process, os_pid()); }

void entry_background_tick(uint64_t now_ms) {
  if (HAK_LIKELY(!is_wanted()) || load_relaxed(&is_running)) return;
  if (now_ms >= load_relaxed(&next_start_ms)) store_relaxed(&entry_background_due, true);
}

void entry_background_start(void) {
  store_relaxed(&entry_background_due, false); /* what libc allocates on the way starts none */
  if (!is_wanted() || entry_is_booting() || entry_thread_is_amid()) return;
  if (load_relaxed(&process) != os_pid()) return;
  bool seen = false;
  if (!cas_seq(&is_running, &seen, true)) return;
  if (os_thread_start(background, "hakmem")) return;
  store_relaxed(&next_start_ms, os_coarse_ms() + RETRY_MS);
  store_seq(&is_running, false);
}

void entry_background_settle(void) {
  if (is_wanted()) entry_fork_tell();
  add_release(&wake_count, 1u); /* pairs with the thread's load: it sees the option */
  os_futex_wake_all(&wake_count);
  entry_background_tick(os_coarse_ms());
}

void entry_background_fork_child(void) {
  store_relaxed(&is_running, false);
  store_relaxed(&process, os_pid());
}
