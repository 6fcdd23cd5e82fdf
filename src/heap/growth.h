/* growth.h — what a heap gives up when the process has become larger than it ever was: free
 * objects in bins and depot keep slabs, and free pages inside slabs lie idle, while what is asked
 * for next would touch new ones. Only at such moments, which come a share of the whole apart: a
 * load that swings below its peak keeps all it has.
 */
#ifndef GROWTH_H
#define GROWTH_H

#include <stdbool.h>

#include "base_attr.h"
#include "superslab.h"

struct heap;

/* The next such moment. */
extern HAK_HIDDEN _Atomic(size_t) growth_next_bytes;
/* True when the peak has reached it. 3 instructions of each slow path. */
HAK_INLINE HAK_MUST_USE bool growth_is_due(void) {
  return HAK_UNLIKELY(superslab_peak_bytes() >= load_relaxed(&growth_next_bytes));
}
/* Bins, second magazines and depot go to the bitmaps. The caller is h's owner thread and holds its
 * lock. True when so much is free inside the slabs of h's home that a purge there is worth it
 * (subslab.h), for which nobody may hold a lock. */
HAK_MUST_USE bool growth_flush(struct heap *h);
/* Free chunks that did not serve what the process has grown by: back they go, no more than it grows
 * by until the next such moment. The caller is h's owner thread and holds no lock. */
void growth_purge(struct heap *h);

#endif
