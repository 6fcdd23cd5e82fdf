/* home.h — which heap a thread gets, and what becomes of it.
 *
 *   first slow path --home_acquire--> an orphan; else a home of its own, while there are few; else
 *                                     a guest of the host with the fewest threads
 *   thread's end    --home_abandon--> list of guests; orphans, where it was the last at home
 *
 * Lock: orphans (docs/locks.md), for lists and counts of threads.
 */
#ifndef HOME_H
#define HOME_H

#include "heap.h"

/* How many homes there may be; 0: one for each processor, at least 2. Half of them are hosts. Heaps
 * that exist stay as they are. */
void home_set_count(uint32_t count);
/* A heap for the calling thread: an orphan, else one left by a thread that a fork took away, else
 * a new home or, if there are enough of these, a guest. NULL without memory. The caller holds
 * heap_none's lock (its umbrella). O(1): after a fork each call looks at a few heaps more. */
HAK_MUST_USE struct heap *home_acquire(void);
/* The calling thread's heap h is given up: everything to bitmaps and owners. The caller has already
 * made another heap current, and frees the *strays once more. Returns what was found wrong on the
 * way. */
HAK_MUST_USE struct heap_fault home_abandon(struct heap *h, struct magazine **strays);
/* The calling thread, whose heap is h, has nothing at hand and will do nothing for a while: if all
 * threads of its home say so, its mail is sorted by those who send it. The caller holds the home's
 * lock. */
void home_fall_asleep(struct heap *h);
/* After that, and after unlocking: true when mail has come meanwhile that nobody else looks at. */
HAK_MUST_USE bool home_has_mail(struct heap *h);
/* It goes on. The home's lock is held. */
void home_wake(struct heap *h);

#endif
