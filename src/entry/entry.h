/* entry.h — what api/ calls: every operation of the allocator, hot paths excepted (entry_hot.h).
 * Owns: policy between the layers: who serves a request, what out-of-memory means, what is
 * reported. Errors: NULL with errno ENOMEM; a bad pointer ends the process (guard/). None of the
 * freeing functions changes errno. All functions may be called from any thread at any time.
 */
#ifndef ENTRY_H
#define ENTRY_H

#include <stdbool.h>
#include <stddef.h>

#include "base_attr.h"
#include "guard_verdict.h"
#include "heap.h"

/* n > TINY_MAX. */
HAK_MUST_USE void *entry_malloc_medium(size_t n);
/* n <= CLASS_SIZE_MAX; the bin was empty, or the thread has no heap yet. */
HAK_MUST_USE void *entry_malloc_slow(size_t n);
/* p is no object of this heap's bins, or a check failed: i is its chunk, below chunk_count. */
void entry_free_slow(void *p, size_t i);
/* The bin of class b has no room. */
void entry_free_flush(void *p, struct bin *b);
/* As free, but never through a bin: for code that a signal handler may interrupt, and whose own
 * steps on a bin would then be half done. */
void entry_free_locked(void *p);
/* p lies outside the region; NULL included. */
void entry_free_foreign(void *p);

HAK_MUST_USE void *entry_calloc(size_t count, size_t size);
/* realloc(NULL, n) is malloc; realloc(p, 0) frees and returns NULL. */
HAK_MUST_USE void *entry_realloc(void *p, size_t n);
/* align: a power of two, any size; n may be 0. */
HAK_MUST_USE void *entry_aligned(size_t align, size_t n);
/* As free; a size that p cannot have been requested with ends the process (not in minimal).
 * align: what aligned_alloc was given, or 1. */
void entry_free_sized(void *p, size_t n, size_t align);
/* Bytes that may be used behind p; 0 for NULL, and in a signal handler that interrupted this
 * thread's slow path where p has a mapping of its own. */
size_t entry_usable_size(const void *p);
/* An object is in a much larger place than it asked for: sized frees are told apart less from now.
 */
void entry_note_misfit(void);
/* What malloc(n) would let be used, in the finest case. */
size_t entry_good_size(size_t n);
/* rt_option_change; what threads keep in bins and depots goes at their next slow path, so that the
 * new bounds hold. */
HAK_MUST_USE int entry_option_set(const char *name, const char *value);
/* See hak_limit_callback. */
typedef void entry_limit_call(size_t used_bytes, size_t limit_bytes, void *context);
HAK_MUST_USE int entry_limit_callback(size_t soft_bytes, entry_limit_call *call, void *context);
/* Give all memory that is free back to the kernel, see hak_purge. Bytes. The caller holds no lock.
 */
size_t entry_purge(void);

/* The calling thread will not allocate for a while: what its heap keeps at hand goes back. */
void entry_thread_idle(void);

/* Make the process's allocator ready; idempotent, any thread. */
void entry_init(void);
/* True while this thread runs the initialisation: what it allocates comes from `booting`. */
bool entry_is_booting(void);
/* The calling thread's heap, made or adopted if it has none; a shared heap where it cannot have
 * one. NULL in a signal handler that interrupted this thread's slow path. */
HAK_MUST_USE struct heap *entry_thread_heap(void);
/* Lock the calling thread's heap as the umbrella of a slow path; NULL on self-entry. */
HAK_MUST_USE struct heap *entry_enter(void);
/* Give it back, and settle. */
void entry_leave(struct heap *h);
/* Give it back, and put all else off: bins are as they were, for callers that may be in a signal
 * handler amid a hot path. */
void entry_leave_bins(struct heap *h);
/* The end of a slow path, once nothing is held: report what was found wrong, free what signal
 * handlers parked, purge. */
void entry_settle(struct heap_fault fault);
/* The same for strays that wait in the calling thread's heap h. */
void entry_settle_strays_now(struct heap *h);
HAK_INLINE void entry_settle_strays(struct heap *h) {
  if (HAK_UNLIKELY(h->to_free != NULL)) entry_settle_strays_now(h);
}
/* purge_chunks. The caller holds no lock. */
size_t entry_purge_chunks(bool all);
/* subslab_purge, from the calling thread's heap h. The caller holds no lock. */
size_t entry_purge_slabs(struct heap *h, struct heap *home);
/* Free what lay in magazines of a heap whose slabs another has pulled (heap/pull.h); the magazines
 * go to the stock. The caller holds no lock. */
void entry_free_strays(struct magazine *strays);
/* End the process if something was found wrong with an object; the caller holds no lock. */
void entry_report_fault(struct heap_fault fault);

#endif
