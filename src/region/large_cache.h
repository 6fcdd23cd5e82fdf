/* large_cache.h — freed mappings that wait to be used again: afresh, each page is a page fault.
 *
 *   how much   WARM_POOL_BYTES, or a twentieth of live bytes; nothing near a limit (limit.h)
 *   how long   half a second, PURGE_DELAY_MS if that is less, or until memory is handed out that
 *              with it would be more than ever; ticks give it back
 *   for whom   requests that leave no more than half of it unused, a 16th where addresses are short
 *              or counted: the caller purges what is left
 *
 * Lock: large (rank 6), a second one, taken inside; the caller holds an outermost lock.
 */
#ifndef LARGE_CACHE_H
#define LARGE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"
#include "large.h"

/* A loop that frees and maps more than may wait gets it, up to 64 MiB, for ten seconds. What is
 * given back, the caller unmaps, holding no lock.
 */

enum { LARGE_CACHE_PLACES = 16 }; /* arbitrary: few mappings are freed and mapped in turn */

/* What is not kept: address is NULL in all unused places. */
struct large_evicted {
  struct large object[LARGE_CACHE_PLACES + 1];
};

/* Keep `object`, a mapping that nobody uses any more, or say in *out that it goes, and what goes in
 * its place. now_ms: a coarse clock. */
void large_cache_put(struct large object, uint64_t now_ms, struct large_evicted *out);
/* A mapping of at least `bytes` at a multiple of `align`; .address is NULL: none. Its contents are
 * what they were. */
HAK_MUST_USE struct large large_cache_take(size_t bytes, size_t align, uint64_t now_ms);
/* True when something is kept that is too old, or in the way. */
HAK_MUST_USE bool large_cache_is_due(uint64_t now_ms);
/* True when what is kept and what is handed out would be more than was ever handed out at once: a
 * new peak is not paid for with what waits. */
HAK_MUST_USE bool large_cache_is_in_the_way(void);
/* So much is handed out, in chunks and mappings. */
void large_cache_note_held(size_t bytes);
/* Take out what is too old or in the way, or all. */
void large_cache_expire(uint64_t now_ms, bool all, struct large_evicted *out);

/* Bytes kept, and mappings. Any thread, no lock. */
HAK_MUST_USE size_t large_cache_bytes(void);
HAK_MUST_USE size_t large_cache_count(void);

#endif
