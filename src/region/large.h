/* large.h — large objects with a mapping of their own, outside the region.
 * Owns: the hash of their addresses. Does not own: chunk runs inside the region (superslab.h).
 * Lock: large (rank 6), taken inside; the caller holds an outermost lock, except where said.
 * An address is looked up by value: the memory behind it is never touched.
 */
#ifndef LARGE_H
#define LARGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base_attr.h"

struct large {
  void *address; /* start of the mapping and of the object; NULL: not found */
  size_t bytes;  /* of the mapping: what the user may use */
};

/* Make room in the hash, then remember `object`, of which fresh_bytes have no pages yet. False when
 * there is no memory for the hash. */
HAK_MUST_USE bool large_insert(struct large object, size_t fresh_bytes);
/* The object that starts exactly at p. */
HAK_MUST_USE struct large large_find(const void *p);
/* Forget the object that starts at p; .address is NULL when there is none. */
HAK_MUST_USE struct large large_remove(const void *p);
/* Forget p, but keep its place in the hash for what it becomes: large_end_move cannot fail. Until
 * then it counts as counted_bytes, what it is or, where that is exact, is to be: nobody else is
 * given that room. .address is NULL when there is none, and then there is nothing to end. */
HAK_MUST_USE struct large large_begin_move(const void *p, size_t counted_bytes);
/* counted_bytes: as at the begin. */
void large_end_move(struct large object, size_t counted_bytes, size_t fresh_bytes);
/* True when p lies inside an object, not at its start. O(objects): for verdicts only. */
HAK_MUST_USE bool large_is_interior(const void *p);
/* True when an object that started at p was removed lately (the last 64). For verdicts only. */
HAK_MUST_USE bool large_was_removed(const void *p);

/* Figures. Any thread, no lock. */
size_t large_bytes(void);
size_t large_count(void);
size_t large_peak_bytes(void);
/* Objects inserted since the start. */
size_t large_inserted_count(void);

#endif
