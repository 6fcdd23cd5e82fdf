/* entry_fork.h — when libc is told of our fork handlers (docs/decisions/0034).
 *
 * While a process has one thread, fork needs none: the child is that thread, no lock is another's,
 * and the child notices by itself that it is one (rt_lock.h). Telling libc makes 160 KiB of libc
 * resident, so it waits until there is a reason:
 *   a second thread        pthread_create allocates for it by calloc, and libc has said before that
 *                          the process is no longer single-threaded: entry_fork_look
 *   handlers of others     they pass by us (entry_atfork.c): ours come before them, so that our
 * gate closes after all they do (docs/decisions/0009) work for the handlers  a report, the
 * background thread, a limit callback Where one of these cannot be seen, libc is told at the start.
 */
#ifndef ENTRY_FORK_H
#define ENTRY_FORK_H

#include <stdbool.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "os_thread.h"

/* True while libc has not been told. */
extern HAK_HIDDEN _Atomic(bool) entry_fork_waits;

/* When libc is up and options are read: tells it, unless that may wait. Before, a fork is a bare
 * one (nothing forks in an IFUNC resolver). Called by the constructor. */
void entry_fork_init(void);
/* Tell libc, unless that has been done. The caller holds no lock. */
void entry_fork_tell(void);
/* At the begin of a calloc. */
HAK_INLINE void entry_fork_look(void) {
  if (HAK_UNLIKELY(load_relaxed(&entry_fork_waits)) && !os_is_alone()) entry_fork_tell();
}

/* True when other libraries' handlers pass by us: entry_atfork.c's, in the shared libraries; false
 * elsewhere. */
HAK_MUST_USE bool entry_atfork_is_in_front(void);

#endif
