/* subslab.h — purge inside slabs: whole pages of which every object is free go back to the kernel,
 * while the slab stays where it is, for the objects that others still hold.
 * A page counts as free when its objects' bits say so: those in bins, depots and mail are not.
 *
 *   under the owner's lock    take the bits of the run's objects: nobody can be given one
 *   under no heap's lock      madvise
 *   under the owner's lock    (who may be another by now) put the bits back
 *
 * All of it under the purge lock, for which fork waits: no child inherits bits that are taken.
 */
#ifndef SUBSLAB_H
#define SUBSLAB_H

#include "heap.h"
#include "purge.h"
#include "rt_options.h"

enum {
  SUBSLAB_STEP_BYTES = 1048576, /* arbitrary: a purge is a walk over all slabs of a home */
  SUBSLAB_STEP_SHARE = 8,       /* ... and an eighth of what is in use must have become free */
};

/* True when the home has so many more free bytes in its slabs than at the last purge that it is
 * time for one, or one is on. The caller holds its lock. 5 instructions where the option is off:
 * what is free then counts whole once it is set. */
HAK_INLINE HAK_MUST_USE bool subslab_is_due(struct heap *home) {
  bool is_on = load_relaxed(&home->subslab_next) != 0; /* without the option after growth */
  bool is_wanted = rt_option(RT_OPTION_SUBSLAB_PURGE) != 0 || is_on;
  if (HAK_LIKELY(!is_wanted) || rt_option(RT_OPTION_SS_RELEASE) == RELEASE_OFF) {
    home->subslab_free_bytes = 0;
    return false;
  }
  if (is_on) return true;
  size_t taken = home->taken_bytes, free_bytes = load_relaxed(&home->slab_bytes) - taken;
  if (free_bytes < home->subslab_free_bytes) home->subslab_free_bytes = free_bytes;
  return free_bytes - home->subslab_free_bytes > SUBSLAB_STEP_BYTES + taken / SUBSLAB_STEP_SHARE;
}

/* Purge the slabs of all homes (`home` is NULL), or a slice of those of one, which ends with the
 * slab in which PURGE_SLICE_US are over: while its subslab_next is not 0 there is more. Bytes
 * purged, pages that had none behind them included; stops where the kernel refuses and, for one
 * home, where another thread purges. O(chunks). The caller is the owner thread of `own` and holds
 * no lock; strays of mail that it comes upon are put into own->to_free. */
size_t subslab_purge(struct heap *own, struct heap *home);

#endif
