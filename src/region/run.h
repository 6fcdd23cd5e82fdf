/* run.h — large objects of up to 4 MiB (and larger ones where a mapping is refused) as runs of
 * chunks inside the region.
 * The record of the first chunk holds the length; the map says RUN there and RUN_REST behind.
 * Lock: none of its own. A run belongs to whoever holds its pointer; freeing is decided by one
 * compare-and-swap of the map entry, so of two frees at once one is told so.
 */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* `bytes` at a multiple of `align` <= 2 MiB. NULL without memory. The caller holds an outermost
 * lock. *is_zero: the memory reads as zero. */
HAK_MUST_USE void *run_alloc(size_t bytes, size_t align, size_t preferred, bool *is_zero);
/* False when the chunk is not, or no longer, the first of a run: nothing happened. */
HAK_MUST_USE bool run_free(uint32_t chunk);
/* Bytes that the user of the run may use. */
size_t run_bytes(uint32_t chunk);
/* Grow or shrink in place to hold `bytes`; false when the neighbours are not free. */
HAK_MUST_USE bool run_resize(uint32_t chunk, size_t bytes);
/* Count one growing realloc of the run; returns how many there have been, this one included. */
uint32_t run_count_growth(uint32_t chunk);
/* Runs handed out since the start, and bytes in runs now. Any thread. */
size_t run_alloc_count(void);
size_t run_total_bytes(void);

#endif
