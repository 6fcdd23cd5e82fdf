/* entry_fork.c — see entry_fork.h. Owns: whether libc has been told.
 */
#include "entry_fork.h"

#include "entry.h"
#include "entry_background.h"
#include "entry_thread.h"
#include "rt_conf.h"
#include "rt_lock.h"
#include "rt_options.h"

_Atomic(bool) entry_fork_waits;
static _Atomic(bool) is_told;

__attribute__((weak)) bool entry_atfork_is_in_front(void) { return false; }

static bool may_wait(void) {
  if (!entry_atfork_is_in_front()) return false;
  if (!os_is_alone() || !lock_notices_fork()) return false;
  return rt_option(RT_OPTION_BACKGROUND) == 0 && rt_report_path() == NULL;
}

void entry_fork_init(void) {
  if (!load_relaxed(&is_told) && may_wait()) {
    lock_expect_fork(true);
    store_relaxed(&entry_fork_waits, true);
  } else {
    entry_fork_tell();
  }
}

/* In a child that has noticed nothing so far: its thread's heap lives on, which no other thread may
 * take for one left behind. */
static void catch_up(void) {
  struct heap *h = entry_enter();
  if (h != NULL) entry_leave(h);
  lock_expect_fork(false);
  entry_background_fork_child(); /* there is no such thread yet, here or in the parent */
}

HAK_COLD void entry_fork_tell(void) {
  bool is_told_before = false;
  if (!cas_acq_rel(&is_told, &is_told_before, true)) return;
  if (load_relaxed(&entry_fork_waits)) {
    store_relaxed(&entry_fork_waits, false);
    catch_up();
  }
  /* Without handlers a fork is like a bare one: the child puts the locks in order (rt_lock.c). */
  (void)!os_at_fork(entry_thread_fork_prepare, entry_thread_fork_parent, entry_thread_fork_child);
}
