/* entry_background.h — a thread of the library's own, that does what ticks do while the program
 * makes no slow paths: option BACKGROUND, docs/decisions/0028.
 * It is one of the program's to the kernel and to libc, and to nobody else: it has no heap of its
 * own, and what it must free goes through the exit heap.
 */
#ifndef ENTRY_BACKGROUND_H
#define ENTRY_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"

/* Set by a tick that found none; the next allocation that takes a slow path starts it. */
extern _Atomic(bool) entry_background_due HAK_HIDDEN;

/* While booting. */
void entry_background_init(void);
/* A tick: is there to be a thread, and none? The caller may be amid a slow path. */
void entry_background_tick(uint64_t now_ms);
/* Start it. Takes libc's locks and allocates: the caller is amid nothing, and in no free, since
 * libc frees under a lock that starting a thread takes. */
HAK_COLD void entry_background_start(void);
HAK_INLINE void entry_background_poll(void) {
  if (HAK_UNLIKELY(load_relaxed(&entry_background_due))) entry_background_start();
}
/* Options have changed: one is due, or the one there is to end. The caller may be a signal handler
 * amid a hot path. */
void entry_background_settle(void);
/* In the child of a fork whose handlers run: it has no such thread, and may have one. */
void entry_background_fork_child(void);

#endif
