/* mail.c — see mail.h.
 */
#include "mail.h"

#include "depot.h"
#include "flush.h"
#include "os_check.h"

/* A magazine less full than this is not worth a place in the depot: sorted to bitmaps. */
enum { WORTHY_SHARE = 2 };
/* Slots that are looked at before one is posted for want of room; measured: docs/decisions/0013. */
enum { OUTBOX_LOOKS = 8 };

static const struct size_class *class_of_entry(uint32_t entry) {
  return &size_classes[map_entry_class(entry)];
}

static void inbox_push(struct heap *owner, struct magazine *m) {
  struct magazine *head = load_relaxed(&owner->inbox);
  do { /* lock-free */
    m->next = head;
  } while (!cas_seq(&owner->inbox, &head, m));
}

static struct magazine *inbox_take_all(struct heap *h) { return swap_seq(&h->inbox, NULL); }

void mail_drain_to_bitmaps(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  struct magazine *m = inbox_take_all(h);
  while (m != NULL) {
    struct magazine *next = m->next;
    flush_magazine(h, m);
    magazine_give(m);
    m = next;
  }
}

void mail_drain(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  struct magazine *m = inbox_take_all(h);
  while (m != NULL) {
    struct magazine *next = m->next;
    uint32_t c = map_entry_class(m->entry);
    if (load_relaxed(&m->count) * WORTHY_SHARE >= size_classes[c].magazine_capacity) {
      depot_put(h, c, m);
    } else {
      flush_magazine(h, m);
      flush_magazine_give(h, m);
    }
    m = next;
  }
}

/* The holder of the lock looks again after it has unlocked; so whoever fails to get it may leave.
 */
static void redrain(struct heap *orphan, bool (*try_lock)(struct rt_lock *)) {
  /* seq_cst: a sender pushes, then tries the lock; its holder unlocks, then looks. Each round
   * empties it. */
  while (load_seq(&orphan->inbox) != NULL && heap_is_ownerless(orphan)) {
    if (!try_lock(&orphan->lock)) return;
    mail_drain_to_bitmaps(orphan);
    lock_leave(&orphan->lock);
  }
}

void mail_redrain_orphan(struct heap *orphan) { redrain(orphan, lock_try_enter); }

static uint32_t slot_bytes(const struct outbox_slot *slot) {
  struct magazine *m = load_relaxed((_Atomic(struct magazine *) *)&slot->objects);
  return m == NULL ? 0 : load_relaxed(&m->count) * class_of_entry(slot->entry)->size;
}

static void post(struct heap *h, struct outbox_slot *slot) {
  struct magazine *m = load_relaxed(&slot->objects);
  ASSERT(m != NULL && m->entry == slot->entry);
  struct heap *owner = heap_of_id(map_entry_id(slot->entry));
  h->outbox_room += slot_bytes(slot);
  ASSERT(h->outbox_room <= OUTBOX_BYTES);
  slot->entry = 0;
  store_relaxed(&slot->objects, NULL);
  if (NEVER(owner == NULL)) return; /* the map names heaps that exist: the objects are lost */
  inbox_push(owner, m);
  if (HAK_UNLIKELY(heap_is_ownerless(owner))) redrain(owner, lock_try_second);
}

/* Post until the outbox has room for `bytes`: of the next few slots the one that holds most. */
static void make_room(struct heap *h, uint32_t bytes) {
  while (h->outbox_room < bytes) { /* each round posts one: what is held lies in some slot */
    struct outbox_slot *most = NULL;
    for (uint32_t i = 0; most == NULL || i < OUTBOX_LOOKS; i++) {
      struct outbox_slot *slot = &h->outbox[h->outbox_next_slot++ % OUTBOX_SLOTS];
      if (slot->entry == 0) continue;
      if (most == NULL || slot_bytes(slot) > slot_bytes(most)) most = slot;
    }
    post(h, most);
  }
}

bool mail_collect(struct heap *h, uint32_t entry, void *p) {
  ASSERT(lock_is_mine(&h->lock));
  const struct size_class *k = class_of_entry(entry);
  struct outbox_slot *slot = mail_slot(h, entry);
  bool is_in_the_way = slot->entry != 0 &&
                       (slot->entry != entry || slot_bytes(slot) / k->size == k->magazine_capacity);
  if (is_in_the_way) post(h, slot);
  make_room(h, k->size);
  if (slot->entry == 0) {
    struct magazine *m = flush_magazine_get(h, map_entry_class(entry));
    if (m == NULL) return false;
    m->entry = entry;
    store_relaxed(&slot->objects, m);
    slot->entry = entry;
  }
  return mail_try_collect(h, entry, p);
}

void mail_send_all(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  for (uint32_t i = 0; i < OUTBOX_SLOTS; i++) {
    if (h->outbox[i].entry != 0) post(h, &h->outbox[i]);
  }
  ASSERT(h->outbox_room == OUTBOX_BYTES);
}
