/* huge.h — which memory of the region may have huge pages (transparent ones, of SUPERSLAB_BYTES).
 *   THP=auto    what the heap grows by once 64 MiB are in use, or 16 MiB where it grows by 8 MiB
 *               in 16 ms, if nearly all of what it last grew by is resident: it then faults 512
 *               times less, and what is resident and never used is little; from 256 MiB on
 *               metadata too (docs/decisions/0029); not where a limit is near (0027)
 *   THP=always  all that it grows by; never: nothing
 *
 * A superslab whose pages are given back one by one is broken first, with the group of 8 MiB around
 * it, so that khugepaged does not fill the holes and mappings stay few; a group that is empty and
 * purged is whole again.
 * Lock: none. A byte a superslab; racing threads give the kernel the same advice twice.
 */
#ifndef HUGE_H
#define HUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* `bytes`: one a superslab, zero, readable as far as superslabs are committed; NULL where there are
 * to be none (the window). Reads the kernel's mode. Called by region_init. */
void huge_init(void *bytes);
/* Superslabs from `first` on are committed. */
void huge_note_commit(size_t first, size_t count);
/* The superslab is committed, and about to be announced. The caller holds the region's lock. */
void huge_note_growth(size_t superslab);
/* True when the superslab may lie on a huge page: giving back a part of it would break that. */
HAK_MUST_USE bool huge_is_whole(size_t superslab);
/* Before a part of the superslab is given back. */
void huge_break(size_t superslab);
/* A run for `bytes` at p is about to be handed out, of chunks that read as zero. Where it begins a
 * superslab and more like it would leave an eighth of that unused, the superslab is broken. The
 * caller holds no lock. */
void huge_note_run(const void *p, size_t bytes);
/* True when a block of its own mapping, that grows to so many bytes, is to have huge pages: who
 * grows it writes to it in order. */
HAK_MUST_USE bool huge_is_for_growing(size_t bytes);
/* The superslab has been given back whole. */
void huge_note_purge(size_t superslab);

#endif
