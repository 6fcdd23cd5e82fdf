/* recover.h — heaps whose lock was held, at a bare fork, by a thread that is gone in the child.
 */
#ifndef RECOVER_H
#define RECOVER_H

#include "rt_lock.h"

/* `lock` is a heap's. Lists and counts are made anew from the slab map and the bitmaps, which are
 * right whenever a thread stops; what lay in the depot stays allocated (lost in fork). The bins are
 * not touched: the thread that lives on may own this heap. Called by the only thread that is inside
 * a slow path. O(chunks ever used). */
void recover_heap(struct rt_lock *lock);

#endif
