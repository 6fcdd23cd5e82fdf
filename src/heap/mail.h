/* mail.h — magazines of objects on their way to the heap that owns them: the inbox.
 *
 *   sender's outbox (outbox.h) --push--> owner's inbox --exchange--> owner's depot, or bitmaps
 *
 * The inbox is a lock-free stack: push by compare-and-swap; under the owner's lock emptied by
 * exchange, or popped by compare-and-swap. A sender pushes, then reads whether the owner is away;
 * an owner that exits, or idles, says so, then empties its inbox (all seq_cst): one of the two sees
 * the other, so nothing is stranded.
 *
 * An owner looks at its inbox in its slow paths only. Where one sleeps, or is slower than its
 * senders, they sort its mail into its bitmaps themselves, a few magazines at a time.
 */
#ifndef MAIL_H
#define MAIL_H

#include "heap.h"

/* A magazine less full than one in so many is not worth a place in the depot. */
enum { MAIL_WORTHY_SHARE = 2 };

/* m, of `bytes` bytes of the owner's objects, goes to its inbox; and some of what waits there to
 * its bitmaps, where that is too much or too old. The caller is the owner thread of `h`, with h's
 * lock or none. What is found wrong is noted in h->mail_fault. */
void mail_post(struct heap *h, struct heap *owner, struct magazine *m, uint32_t bytes);
/* All that waits in the owner's inbox to its bitmaps, a few magazines a hold of its lock. The
 * caller is the owner thread of `h` and holds its lock. Faults as above. */
void mail_help(struct heap *h, struct heap *owner);
/* Empty h's inbox into its depot; the caller is the owner thread and holds the lock. */
void mail_drain(struct heap *h);
/* Empty h's inbox into the bitmaps; the caller holds the lock. */
void mail_drain_to_bitmaps(struct heap *h);
/* Empty the inbox of a heap whose thread is away, if nobody does: whoever has held the lock of
 * another's heap looks again after unlocking, so that a sender who found it taken may leave. The
 * caller holds the lock of a heap of its own (is_inside) or none, and frees the strays, which are
 * put before those in *strays, once more; with NULL they stay with the heap. */
void mail_redrain(struct heap *away, bool is_inside, struct magazine **strays);

HAK_INLINE bool mail_is_waiting(struct heap *h) { return load_relaxed(&h->inbox) != NULL; }

#endif
