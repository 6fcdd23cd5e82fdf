/* entry_limit.h — near a limit (region/limit.h): what slow paths and ticks do about it.
 */
#ifndef ENTRY_LIMIT_H
#define ENTRY_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* A tick's part: looks when it is time to, and tightens the options. True: entry_limit_settle has
 * something to do. The caller holds no lock, but may be amid a slow path. */
HAK_MUST_USE bool entry_limit_tick(uint64_t now_ms);
/* Call the program where it wants to know. The caller is amid nothing. */
void entry_limit_settle(void);
/* There was no memory for `bytes`: give back all that is free in the process, and look at the
 * limits anew. False: trying again is of no use. is_written: as limit_refuses_written. O(heap). The
 * caller holds no lock. */
HAK_MUST_USE bool entry_reclaim(size_t bytes, bool is_written);
/* There was none after that either: call the program, if it wants to be (hak_limit_callback) and a
 * limit is known that has room for `bytes` at all, and give back what it has freed. False: it was
 * not called, or trying again is of no use. */
HAK_MUST_USE bool entry_limit_ask(size_t bytes, bool is_written);
/* In the child of a fork whose handlers run: a callback that forked is inside here too, another
 * thread's is not. */
void entry_limit_fork_child(void);

#endif
