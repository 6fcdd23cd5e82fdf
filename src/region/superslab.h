/* superslab.h — who has which chunk: claim, release. Lock-free. superslab_word.h draws the word
 * that says so, purge.h gives free chunks back to the kernel.
 */
#ifndef SUPERSLAB_H
#define SUPERSLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"
#include "slab_map.h"

/* Invariant: a chunk is written, mapped to a class or purged only by its claimer.
 * Claims take the lowest address that fits, which keeps the heap dense and its tail empty.
 */

enum { SUPERSLAB_WORD_BYTES = 8, CHUNK_NONE = 0xFFFFFFFF };

struct chunk_run {
  uint32_t first; /* chunk index, CHUNK_NONE when nothing was found */
  uint32_t count; /* chunks */
  bool is_zero;   /* all of it reads as zero */
};

/* `words`: SUPERSLAB_WORD_BYTES a superslab, zero until announced. Called by region_init. */
void superslab_init(void *words);
/* Superslab `index` can be used: its first `usable_chunks` chunks are free and zero. */
void superslab_announce(size_t index, uint32_t usable_chunks);

/* Take `count` neighbouring chunks whose first is a multiple of `step` (a power of two, at most
 * 32) within its superslab; for count > 32 from the start of empty ones on. Tries superslab
 * `preferred` first. Grows the region when nothing fits. The caller holds an outermost lock.
 * run.first is CHUNK_NONE when there is no memory, or a limit (limit.h) refuses it. O(superslabs)
 * only when the heap is full. */
HAK_MUST_USE struct chunk_run superslab_claim(uint32_t count, uint32_t step, size_t preferred);
/* Take exactly these chunks, all within one superslab, if they are free now. */
HAK_MUST_USE bool superslab_claim_at(uint32_t first, uint32_t count, bool *is_zero);
/* Give chunks back; nothing reads or writes them any more. */
void superslab_release(uint32_t first, uint32_t count);

/* End of the chunks that can have been claimed. */
size_t superslab_chunk_end(void);
/* In the child of a bare fork: make up for what threads that are gone left undone in the counter of
 * empty superslabs and the search hint. Nobody else claims or releases meanwhile. */
void superslab_recount(void);

/* Figures. Any thread; each is exact at rest. */
size_t superslab_claimed_bytes(void); /* in slabs and runs */
/* Highest of the above: inline, since every slow path asks. */
extern HAK_HIDDEN _Atomic(size_t) superslab_peak;
HAK_INLINE size_t superslab_peak_bytes(void) { return load_relaxed(&superslab_peak); }
size_t superslab_announced_bytes(void);
size_t superslab_empty_bytes(void); /* superslabs that are resident and empty */
size_t superslab_dirty_bytes(void); /* free chunks that have pages: candidates for a purge */
/* The same in chunks, for every slow path to look at; may be below 0 for a moment. */
extern HAK_HIDDEN _Atomic(size_t) superslab_dirty_count;
/* Since the start. */
struct superslab_events {
  size_t claim_count; /* of runs of chunks */
  size_t warm_count;  /* ... of which some chunk had been used before and kept its pages */
  size_t release_count;
};
HAK_MUST_USE struct superslab_events superslab_events(void);

#endif
