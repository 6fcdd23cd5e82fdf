/* purge.h — free chunks go back to the kernel, and when.
 *
 *   automatic  what is above WARM_POOL_BYTES, what regrets let stay (regret.h) and what was touched
 *              ahead (prewarm.h), at once; what of the first nobody has needed for PURGE_DELAY_MS,
 *              by ticks; SS_RELEASE says how, or not at all
 *   asked for  all of it
 *
 * A purge owns what it purges: it takes the chunks out of the superslab's word, and gives them back
 * when the kernel has answered. Only what the kernel has purged is called zero.
 * Lock: purge (rank 2), tried: an automatic purge waits for no other, but inside a slab that it has
 * begun; one that was asked for waits. Fork waits for it.
 */
#ifndef PURGE_H
#define PURGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"
#include "rt_options.h"
#include "superslab.h"

/* Of each automatic purge: then it ends where it is. Arbitrary: two and what else a slow path does
 * stay below a millisecond, docs/decisions/0026. */
enum { PURGE_SLICE_US = 250 };

enum purge_release { RELEASE_OFF, RELEASE_FREE, RELEASE_DONTNEED }; /* words of SS_RELEASE */

/* Called by region_init. */
void purge_init(void);
/* True when more free chunks are resident than may stay. Inline, since every slow path asks;
 * only where they are more than WARM_POOL_BYTES is the clock read. */
bool purge_is_due_now(void);
HAK_INLINE bool purge_is_due(void) {
  size_t dirty_bytes = load_relaxed(&superslab_dirty_count) * CHUNK_BYTES;
  return HAK_UNLIKELY(dirty_bytes > rt_option(RT_OPTION_WARM_POOL_BYTES)) && purge_is_due_now();
}
/* Purge free chunks: some of what is above what may stay, or all; empty superslabs first, each from
 * the highest address down; but for all, nothing if another thread purges. The caller holds no
 * lock. Returns the bytes purged. */
size_t purge_chunks(bool all);
/* A tick: purge as much as has been dirty all the time since the tick before the last
 * PURGE_DELAY_MS began, a slice each tick. The caller holds no lock; now_ms: a coarse clock. */
void purge_tick(uint64_t now_ms);
/* What one observer of the process knows: since when no chunk with pages has been claimed, and how
 * much was dirty then. All 0 at first. */
struct purge_quiet {
  uint64_t since_ms; /* 0: nothing yet */
  size_t warm_count; /* of claims */
  size_t dirty_bytes;
};
/* For who comes by often, and so can be more exact than ticks: purge, a slice each call, what was
 * dirty when the last PURGE_DELAY_MS began, where no chunk with pages has been claimed in it. True:
 * there is more to purge now. *due_ms: when there will be, UINT64_MAX as far as is known never. The
 * caller holds no lock. */
HAK_MUST_USE bool purge_quiet(struct purge_quiet *q, uint64_t now_ms, uint64_t *due_ms);
/* The process is larger than ever: purge chunks that were dirty all the time since it last was, and
 * so served no claim of what it has grown by; `most_bytes` of them, a slice. The caller holds no
 * lock. */
void purge_note_peak(size_t most_bytes);
/* Fewer bytes of chunks are dirty than before: `count` chunks. Any thread. */
void purge_note_dirty(size_t count);

/* The right to purge what the caller has taken out of use; false when another thread has it and the
 * caller does not wait (`waits`: until it has ended, and a fork has). Fork waits for its end. The
 * caller holds no lock, and says at the end how much of slabs it has purged and whether the kernel
 * refused. */
HAK_MUST_USE bool purge_begin(bool waits);
void purge_end(size_t slab_bytes, bool is_refused);

/* Returns when a purge that another thread is at, if any, has ended: what it held can be claimed.
 * How many runs were purged so far. The caller holds no lock. */
size_t purge_wait(void);
/* True amid a purge of the calling thread's, to a signal handler. */
bool purge_is_mine(void);

/* Since the start. Any thread. */
struct purge_events {
  size_t run_count; /* of chunks, given back to the kernel */
  size_t run_bytes;
  size_t slab_bytes; /* of pages inside slabs */
};
HAK_MUST_USE struct purge_events purge_events(void);

#endif
