/* entry_thread.h — a thread's first and last call.
 */
#ifndef ENTRY_THREAD_H
#define ENTRY_THREAD_H

#include "heap.h"

/* Create the key whose destructor ends a thread's heap. Called once, while booting. */
void entry_thread_init(void);
/* Does this thread hold a lock of ours, or is it at its bins? To a signal handler: then it must
 * wait for nobody, since others may wait for what it holds. */
HAK_MUST_USE bool entry_thread_is_amid(void);
/* The handlers of fork. In the child the forking thread keeps its heap; all others are left behind.
 * A signal handler may fork amid a slow path of its own thread. */
void entry_thread_fork_prepare(void);
void entry_thread_fork_parent(void);
void entry_thread_fork_child(void);

#endif
