/* outbox.h — the sender's side of mail: objects that other heaps own, collected until there is a
 * magazine full.
 *
 *   free -> slot of (owner, class) --full, or in the way and half full--> owner's inbox (mail.h)
 *                 |                                                          ^
 *                 +--in the way, and less full--> mix of the owner --full----+
 *
 * A slot's magazine holds objects of one map entry: one owner and class. A mix holds objects of one
 * owner and whatever class, so that few objects of many classes make one magazine, not many.
 * Owner thread only, and no lock: nobody else looks at it but to count (view/). Posting takes one
 * atomic read-modify-write a magazine; empty ones are fetched several at a time.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include "heap.h"

/* Slot of an entry: neighbouring classes of one owner never share one (64 slots, and the owners
 * are spread by a multiplication). */
HAK_INLINE struct outbox_slot *outbox_slot_of(struct heap *h, uint32_t entry) {
  uint32_t owner = map_entry_id(entry) * 0x9E3779B1u >> 16;
  return &h->outbox[(owner + map_entry_class(entry)) % OUTBOX_SLOTS];
}

/* Collect p, whose map entry is `entry`: false when its slot or the outbox has no room for it, or
 * the slot belongs to another entry. The caller is h's owner thread, and h is not current.
 * budget: 23 instructions */
HAK_HOT HAK_MUST_USE bool outbox_try_collect(struct heap *h, uint32_t entry, void *p) {
  struct outbox_slot *slot = outbox_slot_of(h, entry);
  if (load_relaxed(&slot->entry) != entry) return false;
  struct magazine *m = load_relaxed(&slot->objects);
  uint16_t count = load_relaxed(&m->count);
  const struct size_class *k = &size_classes[map_entry_class(entry)];
  if (count >= k->magazine_capacity) return false;
  uint32_t room;
  if (__builtin_sub_overflow(h->outbox_room, k->size, &room)) return false;
  h->outbox_room = room;
  m->slot[count] = p;
  store_relaxed(&m->count, (uint16_t)(count + 1));
  return true;
}

/* Post what is in the way, then collect. False when there is no empty magazine at hand: then
 * outbox_restock helps. Same caller; what posting finds wrong is noted in h->mail_fault. */
HAK_MUST_USE bool outbox_collect(struct heap *h, uint32_t entry, void *p);
/* Fetch empty magazines for objects of class c. False without memory. The caller holds h's lock
 * besides. */
HAK_MUST_USE bool outbox_restock(struct heap *h, uint32_t c);
/* Post everything, and give the empty magazines back. The caller holds h's lock besides. */
void outbox_send_all(struct heap *h);
/* Forget everything: after a fork, in a heap whose thread is gone (its objects are lost). */
void outbox_forget(struct heap *h);

#endif
