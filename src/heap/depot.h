/* depot.h — a heap's bounded stock of full magazines (after Bonwick and Adams, magazines and
 * vmem, USENIX 2001). Lock: the heap's, for everything. Bound: option DEPOT_BYTES for each thread
 * of a home, up to 4; what comes above it pushes the oldest magazines down to the bitmaps.
 */
#ifndef DEPOT_H
#define DEPOT_H

#include "heap.h"

/* True when threads share the home, and nothing has been taken out for so many evictions that what
 * comes in only keeps slabs from going back: then all goes to the bitmaps, until some were wanted
 * in vain. */
HAK_MUST_USE bool depot_is_unwanted(const struct heap *h);
/* While that is so, objects went to the bitmaps past the depot: once more. What lies there goes,
 * too. */
void depot_note_unwanted(struct heap *h);
/* Put m (of class c, not empty, owned by h) in; then evict until within the bound. */
void depot_put(struct heap *h, uint32_t c, struct magazine *m);
/* n objects of class c, oldest first, to its newest magazine, or to one of their own; to the
 * bitmaps without memory. */
void depot_add(struct heap *h, uint32_t c, void *const *slots, uint32_t n);
/* The newest magazine of class c, or NULL. */
HAK_MUST_USE struct magazine *depot_take(struct heap *h, uint32_t c);
/* Evict until within the bound, which is less than before: a thread left the home. */
void depot_trim(struct heap *h);
/* Send all of class c to the bitmaps. */
void depot_flush_class(struct heap *h, uint32_t c);

#endif
