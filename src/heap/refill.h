/* refill.h — the slow sides of a bin: nothing left to give, no room left to take.
 */
#ifndef REFILL_H
#define REFILL_H

#include "heap.h"

/* Bin c of h is empty: if the second magazine has objects, swap the two and pop; else, where no
 * object of class c is free on a resident page, one of the class that lent the last time. NULL when
 * there is none. The caller is the owner thread; no lock. */
HAK_MUST_USE void *refill_unlocked(struct heap *h, uint32_t c, bool may_borrow);
/* Bin c is empty: from mail, depot or slabs, then pop one. NULL without memory. The caller is the
 * owner thread and holds the lock. *is_sample_due: the sampling countdown ran out. */
HAK_MUST_USE void *refill_slow(struct heap *h, uint32_t c, bool may_borrow, bool *is_sample_due);

/* Bin c has no room for p: widen the window or swap magazines if that is enough. The caller is
 * the owner thread; no lock. */
HAK_MUST_USE bool refill_make_room(struct heap *h, uint32_t c, void *p);
/* Bin c has no room for p: make some, and take p. Never fails: without memory for a magazine p
 * goes to its bitmap. The caller is the owner thread and holds the lock. */
void refill_overflow(struct heap *h, uint32_t c, void *p);

/* One object of class c of a shared heap, straight from the bitmap. The caller holds the lock. */
HAK_MUST_USE void *refill_take_one(struct heap *h, uint32_t c);

#endif
