/* mail.h — objects that another heap owns, on their way to it, a magazine at a time.
 *
 *   sender's outbox slot -> magazine of one owner and class -> owner's inbox -> owner's depot
 *
 * The inbox is a lock-free stack: push by compare-and-swap, emptied by exchange under the owner's
 * lock. A sender pushes, then reads the owner's orphan mark; an exiting owner sets the mark, then
 * empties its inbox (all seq_cst): one of the two sees the other, so nothing is stranded.
 */
#ifndef MAIL_H
#define MAIL_H

#include "heap.h"

/* Slot of an entry: neighbouring classes of one owner never share one (64 slots, and the owners
 * are spread by a multiplication). */
HAK_INLINE struct outbox_slot *mail_slot(struct heap *h, uint32_t entry) {
  uint32_t owner = map_entry_id(entry) * 0x9E3779B1u >> 16;
  return &h->outbox[(owner + map_entry_class(entry)) % OUTBOX_SLOTS];
}

/* Collect p, whose map entry is `entry`, without a lock: false when its slot or the outbox has no
 * room for it, or the slot belongs to another entry. The caller is h's owner thread.
 * budget: 23 instructions */
HAK_HOT HAK_MUST_USE bool mail_try_collect(struct heap *h, uint32_t entry, void *p) {
  struct outbox_slot *slot = mail_slot(h, entry);
  if (slot->entry != entry) return false;
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

/* Post what is in the way, then collect. False when there is no empty magazine to be had.
 * The caller is h's owner thread and holds its lock. */
HAK_MUST_USE bool mail_collect(struct heap *h, uint32_t entry, void *p);
/* Post everything in the outbox. Same caller. */
void mail_send_all(struct heap *h);

/* Empty h's inbox into its depot; the caller is the owner thread and holds the lock. */
void mail_drain(struct heap *h);
/* Empty h's inbox into the bitmaps; the caller holds the lock. */
void mail_drain_to_bitmaps(struct heap *h);
/* Empty an orphan's inbox if nobody does; the caller holds no lock. */
void mail_redrain_orphan(struct heap *orphan);

HAK_INLINE bool mail_is_waiting(struct heap *h) { return load_relaxed(&h->inbox) != NULL; }

#endif
