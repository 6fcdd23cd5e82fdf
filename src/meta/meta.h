/* meta.h — memory for our own structures, straight from the kernel.
 * Owns: blocks of metadata, handed out in steps and never given back (the structures are
 * type-stable: a late reader may still look at one). Does not own: the slab map and slab records,
 * which grow with the region (region/region.c). Lock: meta (rank 8), taken inside.
 */
#ifndef META_H
#define META_H

#include <stdbool.h>
#include <stddef.h>

#include "base_attr.h"

/* `size` zeroed bytes aligned to a cache line, for ever. NULL when the kernel has no more.
 * The caller holds an outermost lock. */
HAK_MUST_USE void *meta_alloc(size_t size);
/* Whether blocks opened from now on are to be huge pages: of a heap so large that the rest of one
 * is nothing to it. Any thread; no block is opened. */
void meta_set_huge(bool is_huge);
/* Bytes taken from the kernel so far. Any thread. */
size_t meta_bytes(void);

#endif
