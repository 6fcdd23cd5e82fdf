/* limit.h — how near the process is to what it may have, and what more is refused.
 *
 *   pressure  nearest limit used to    the options (rt_options.h)
 *   NEAR      80 %                     a quarter is left, no less than lean's
 *   CLOSE     90 %                     as lean
 *   TIGHT     95 %                     nothing is kept for later
 *
 * MEMORY_LIMIT=auto: of the control group and RLIMIT_AS, and stalls count; a number: our own bytes.
 * Lock: limit, of who looks, while it does; in ticks it is tried.
 */
#ifndef LIMIT_H
#define LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "rt_options.h"

/* RLIMIT_AS leads to CLOSE at most: what is purged keeps its addresses. That some task of the
 * group, or of the machine, stalls for memory a tenth of the time is NEAR, that all do is CLOSE.
 */

extern _Atomic(bool) limit_tick_due HAK_HIDDEN;

/* True when so much has been handed out that it is time for a tick: for a look, or for the cache of
 * freed mappings to make room. */
HAK_INLINE bool limit_is_due(void) { return load_relaxed(&limit_tick_due); }

/* Any number of times. */
void limit_init(void);
/* A tick: looks when it is time to; true when it has. now_ms: a coarse clock. The caller holds no
 * lock. */
HAK_MUST_USE bool limit_tick(uint64_t now_ms);
/* Look now, for who asks for memory and has written to all it got. Some 30 system calls. The caller
 * holds no lock, and its heap is busy: fork waits for it, so no handler must wait for a fork. */
void limit_look(uint64_t now_ms);
/* True when the calling thread is amid a look. */
HAK_MUST_USE bool limit_is_mine(void);
/* What the last look found. */
HAK_MUST_USE enum rt_pressure limit_pressure(void);

/* True when `bytes` more, without pages so far, exceed the limit as it was at the last look. */
HAK_MUST_USE bool limit_refuses(size_t bytes);
/* The same of bytes that are as good as written to, where limit_refuses lets a large request pass
 * that may be for addresses only. */
HAK_MUST_USE bool limit_refuses_written(size_t bytes);
/* True when what is held exceeds MEMORY_LIMIT's number: two threads were served at once. */
HAK_MUST_USE bool limit_is_exceeded(void);
/* True when MEMORY_LIMIT is a number. */
HAK_MUST_USE bool limit_counts_own(void);
/* True when there is a limit that limit_refuses knows. */
HAK_MUST_USE bool limit_is_deadly(void);
/* True when from one look to the next so much may be handed out: then as much may be resident
 * though less is counted, and others in the group lose no more than the part that they leave. */
HAK_MUST_USE bool limit_is_far(size_t bytes);
/* Chunks were claimed, or something mapped; so many bytes of it had no pages. */
void limit_note_growth(size_t fresh_bytes);
/* What is handed out, what is kept for it, and tables, in bytes: nothing that is free. */
HAK_MUST_USE size_t limit_held_bytes(void);

/* The limit that the last look found nearest. limit_bytes is 0: none. */
struct limit_room {
  size_t limit_bytes, used_bytes;
};
HAK_MUST_USE struct limit_room limit_nearest(void);
/* The next tick looks. */
void limit_look_soon(void);
/* A look is due when limit_held_bytes() reaches this; 0: never for that. */
void limit_watch(size_t held_bytes);

#endif
