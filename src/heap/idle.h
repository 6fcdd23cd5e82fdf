/* idle.h — what threads keep at hand and do not use goes back.
 *
 * A thread gives up all of it itself: at hak_thread_idle, at malloc_trim, and at its next slow path
 * after another thread's malloc_trim (trim epoch). Others empty its depot and sort its mail: at
 * malloc_trim, and by ticks once it had no slow path for IDLE_MS.
 *
 * A bin can only be emptied by its own thread: what one that sleeps for ever keeps is bounded by
 * its windows. Ticks come from slow paths, so a process that does nothing does nothing here either,
 * unless the background thread looks (entry_background.h).
 */
#ifndef IDLE_H
#define IDLE_H

#include "heap.h"

/* Raised by malloc_trim; each heap honours it once. */
extern HAK_HIDDEN _Atomic(uint32_t) trim_epoch;

HAK_INLINE bool idle_trim_is_due(const struct heap *h) {
  return load_relaxed(&trim_epoch) != h->trim_seen;
}
/* Everything that h keeps at hand goes to bitmaps and owners, and the windows start small. The
 * caller is h's owner thread and holds its lock. */
void idle_flush_own(struct heap *h);
/* The same for all heaps, as far as others can: their depots and mail now, the rest at their next
 * slow path. The caller is the owner of h and holds no lock; it waits for each heap's lock. Returns
 * what was found wrong. O(heaps). */
HAK_MUST_USE struct heap_fault idle_trim_all(struct heap *h);

/* True in the locked slow path in which it is time for idle_send: the outbox holds something, and
 * nothing has come since so many locked slow paths. The owner thread. */
HAK_INLINE HAK_MUST_USE bool idle_send_is_due(struct heap *h) {
  enum { QUIET_PATHS = 16 }; /* arbitrary: some more than one post costs */
  if (HAK_LIKELY(h->outbox_room == OUTBOX_BYTES)) return false;
  if (h->outbox_room != h->quiet_room) {
    h->quiet_room = h->outbox_room;
    h->quiet_count = 0;
  }
  return ++h->quiet_count >= QUIET_PATHS;
}
/* The outbox to its owners, and what waits in their inboxes to their bitmaps: who frees others'
 * objects and then does something else leaves nothing half done, even if the owners sleep. The
 * caller is h's owner thread and holds its lock. */
void idle_send(struct heap *h);

/* One locked slow path more of h: true when it is time to look at the clock. The owner thread. */
HAK_INLINE HAK_MUST_USE bool idle_count(struct heap *h) {
  enum { IDLE_COUNT_MASK = 63 }; /* the clock costs as much as a slow path */
  uint32_t n = load_relaxed(&h->slow_count) + 1;
  store_relaxed(&h->slow_count, n);
  return (n & IDLE_COUNT_MASK) == 0;
}
/* A tick, at most every TICK_MS in the whole process: looks at the next few heaps, and empties the
 * depots and inboxes of those whose thread had no slow path for IDLE_MS. O(1). The caller is a
 * thread with the heap `own`, and holds no lock; now_ms: a coarse clock. Returns what was found
 * wrong. */
HAK_MUST_USE struct heap_fault idle_tick(struct heap *own, uint64_t now_ms);
/* The same at all heaps, as often as the caller likes. *is_waiting: a thread has done something not
 * long ago, and may turn out to be idle. What is to be freed is put into *strays. O(heaps). The
 * caller holds no lock. */
HAK_MUST_USE struct heap_fault idle_look(struct magazine **strays, uint64_t now_ms,
                                         bool *is_waiting);

#endif
