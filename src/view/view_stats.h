/* view_stats.h — where the process's memory is, summed over all heaps. Read-only: takes locks, one
 * heap's besides its own, and changes nothing. docs/stats.md says what each figure means to a user.
 * Exact at rest. While other threads work, each figure is off by at most what moved during the walk
 * (a whole bin, where one is filled or emptied between the look at slabs and that at bins), and the
 * sums stated here hold all the same.
 */
#ifndef VIEW_STATS_H
#define VIEW_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "size_class.h"

/* Objects of one class, in slabs of all heaps. Their sum is what the slabs can hold. */
struct view_class {
  size_t live_count;   /* the program has them; so counted: parked by a signal handler, or in a bin
                        * that a fork took the thread of */
  size_t cached_count; /* free, in bins, depots and mail */
  size_t free_count;   /* free, in their slabs */
};

struct view_totals {
  struct view_class cls[CLASS_COUNT];
  bool is_exact;      /* false: a heap could not be locked, see view_stats_collect */
  size_t heap_count;  /* heaps there are, the two shared ones included once they are needed */
  size_t arena_bytes; /* of the region, open to objects: used_bytes + free_bytes */
  size_t used_bytes;  /* live objects at the size of their class, and run_bytes */
  size_t free_bytes;
  size_t run_bytes;    /* large objects inside the region */
  size_t cached_bytes; /* part of free_bytes: objects in bins, depots and mail */
  size_t cached_count;
  size_t free_block_count; /* free objects in slabs, and free chunks */
  size_t empty_bytes;      /* part of free_bytes: resident superslabs without any object */
  size_t peak_bytes;       /* most bytes ever in slabs and runs at once */
  size_t large_bytes;      /* own mappings, outside the region */
  size_t large_count;
  size_t large_peak_bytes;
  size_t meta_bytes; /* our own structures, outside the region: address space */
};

/* In a signal handler that interrupted a slow path of this thread there is no lock to be had:
 * is_exact is false, no class has objects, and used_bytes counts slabs whole. is_exact is false
 * too when a bare fork left a heap locked: all that it had taken then counts as live.
 * O(heaps * classes). */
void view_stats_collect(struct view_totals *out);
/* Bytes of slabs of each class that no object has ever used: free, and never touched. A part of
 * free_count * size, and exact at rest. 0 where a heap cannot be locked. O(slabs). */
void view_stats_untouched(size_t bytes[CLASS_COUNT]);

#endif
