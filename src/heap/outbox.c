/* outbox.c — see outbox.h.
 */
#include "outbox.h"

#include "mail.h"
#include "os_check.h"

enum {
  /* A magazine less full than this share goes into the mix: the receiver sorts such ones to bitmaps
   * anyway. */
  WORTHY_SHARE = MAIL_WORTHY_SHARE,
  /* Slots that are looked at before one is posted for want of room; measured: docs/decisions/0013.
   */
  OUTBOX_LOOKS = 8,
};

static bool is_mix(const struct heap *h, const struct outbox_slot *slot) {
  return slot >= h->outbox + OUTBOX_SLOTS;
}

static uint32_t slot_count(struct outbox_slot *slot) {
  struct magazine *m = load_relaxed(&slot->objects);
  return m == NULL ? 0 : load_relaxed(&m->count);
}

static const struct size_class *class_of_entry(uint32_t entry) {
  return &size_classes[map_entry_class(entry)];
}

static uint32_t slot_bytes(const struct heap *h, struct outbox_slot *slot) {
  if (is_mix(h, slot)) return slot->mix_bytes;
  uint32_t entry = load_relaxed(&slot->entry);
  return entry == 0 ? 0 : slot_count(slot) * class_of_entry(entry)->size;
}

bool outbox_restock(struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&h->home->lock));
  uint8_t kind = size_classes[c].magazine_kind;
  return h->shelf.first[kind - 1] != NULL || shelf_fetch(&h->shelf, kind);
}

/* The slot's magazine to its owner. */
static void post(struct heap *h, struct outbox_slot *slot) {
  struct magazine *m = load_relaxed(&slot->objects);
  uint32_t entry = load_relaxed(&slot->entry), bytes = slot_bytes(h, slot);
  ASSERT(m != NULL && m->entry == entry && load_relaxed(&m->count) != 0);
  struct heap *owner = heap_of_id(map_entry_id(entry));
  h->outbox_room += bytes;
  h->quiet_count = 0;
  ASSERT(h->outbox_room <= OUTBOX_BYTES);
  slot->mix_bytes = 0;
  store_relaxed(&slot->entry, 0u);
  store_relaxed(&slot->objects, NULL);
  if (NEVER(owner == NULL)) return; /* the map names heaps that exist: the objects are lost */
  mail_post(h, owner, m, bytes);
}

/* Of few owners each has a mix of its own, if their ids follow each other, as those of threads that
 * start together do: two that share one post it half empty, again and again. */
static struct outbox_slot *mix_of(struct heap *h, uint32_t owner_id) {
  return &h->outbox[OUTBOX_SLOTS + owner_id % OUTBOX_MIXES];
}

/* The slot's objects into their owner's mix, which has room for them. */
static void move_into(struct heap *h, struct outbox_slot *mix, struct outbox_slot *slot) {
  struct magazine *to = load_relaxed(&mix->objects), *from = load_relaxed(&slot->objects);
  uint32_t have = load_relaxed(&to->count), n = load_relaxed(&from->count);
  ASSERT(have + n <= OUTBOX_MIX_OBJECTS);
  mix->mix_bytes += slot_bytes(h, slot);
  for (uint32_t i = 0; i < n; i++) mix_set(to, have + i, from->slot[i]);
  store_relaxed(&to->count, (uint16_t)(have + n));
  store_relaxed(&slot->entry, 0u);
  store_relaxed(&slot->objects, NULL);
  store_relaxed(&from->count, (uint16_t)0);
  shelf_put(&h->shelf, from); /* it came from there: no more of them than slots */
}

/* An envelope for a mix; NULL where it takes the lock to get one, or memory that there is not. */
static struct magazine *take_envelope(struct heap *h) {
  uint8_t kind = magazine_kind_for(OUTBOX_MIX_OBJECTS);
  struct magazine *m = shelf_take(&h->shelf, kind);
  if (m == NULL && lock_is_mine(&h->home->lock) && shelf_fetch(&h->shelf, kind))
    m = shelf_take(&h->shelf, kind);
  return m;
}

/* Its objects are somewhere else afterwards: on their way, or in the mix. False where it takes the
 * lock to get an envelope: then the slot is as it was. */
static bool evict(struct heap *h, struct outbox_slot *slot) {
  uint32_t entry = load_relaxed(&slot->entry), n = slot_count(slot);
  ASSERT(entry != 0 && n != 0);
  bool is_small = !is_mix(h, slot) && n <= OUTBOX_MIX_OBJECTS / 2 &&
                  n * WORTHY_SHARE < class_of_entry(entry)->magazine_capacity;
  if (!is_small) {
    post(h, slot);
    return true;
  }
  uint32_t mix_entry = map_entry(map_entry_id(entry), MAP_CLASS_OTHER);
  struct outbox_slot *mix = mix_of(h, map_entry_id(entry));
  bool is_in_the_way = load_relaxed(&mix->entry) != 0 && (load_relaxed(&mix->entry) != mix_entry ||
                                                          slot_count(mix) + n > OUTBOX_MIX_OBJECTS);
  if (is_in_the_way) post(h, mix);
  if (load_relaxed(&mix->entry) == 0) {
    struct magazine *m = take_envelope(h);
    if (m == NULL) {
      if (!lock_is_mine(&h->home->lock)) return false;
      post(h, slot); /* without memory it goes as it is */
      return true;
    }
    m->entry = mix_entry;
    store_relaxed(&mix->objects, m);
    store_relaxed(&mix->entry, mix_entry);
  }
  move_into(h, mix, slot);
  return true;
}

/* Evict until the outbox has room for `bytes`: of the next few slots the one that holds most. False
 * as above. */
static bool make_room(struct heap *h, uint32_t bytes) {
  while (h->outbox_room < bytes) { /* each round empties one: what is held lies in some slot */
    struct outbox_slot *most = NULL;
    for (uint32_t i = 0; most == NULL || i < OUTBOX_LOOKS; i++) {
      struct outbox_slot *slot = &h->outbox[h->outbox_next_slot++ % OUTBOX_SLOTS_ALL];
      if (load_relaxed(&slot->entry) == 0) continue;
      if (most == NULL || slot_bytes(h, slot) > slot_bytes(h, most)) most = slot;
    }
    if (!evict(h, most)) return false;
  }
  return true;
}

bool outbox_collect(struct heap *h, uint32_t entry, void *p) {
  ASSERT(map_entry_id(entry) >= HEAP_ID_FIRST && map_entry_id(entry) != heap_id(h));
  const struct size_class *k = class_of_entry(entry);
  struct outbox_slot *slot = outbox_slot_of(h, entry);
  uint32_t present = load_relaxed(&slot->entry);
  if (present == entry && slot_count(slot) >= k->magazine_capacity) {
    post(h, slot);
  } else if (present != 0 && present != entry && !evict(h, slot)) {
    return false;
  }
  if (!make_room(h, k->size)) return false;
  if (load_relaxed(&slot->entry) == 0) {
    struct magazine *m = shelf_take(&h->shelf, k->magazine_kind);
    if (m == NULL) return false;
    m->entry = entry;
    store_relaxed(&slot->objects, m);
    store_relaxed(&slot->entry, entry);
  }
  return outbox_try_collect(h, entry, p);
}

void outbox_send_all(struct heap *h) {
  ASSERT(lock_is_mine(&h->home->lock));
  for (uint32_t i = 0; i < OUTBOX_SLOTS_ALL; i++) { /* the mixes last */
    if (load_relaxed(&h->outbox[i].entry) != 0 && !evict(h, &h->outbox[i])) ASSERT(false);
  }
  ASSERT(h->outbox_room == OUTBOX_BYTES);
  shelf_clear(&h->shelf);
}

void outbox_forget(struct heap *h) {
  for (uint32_t i = 0; i < OUTBOX_SLOTS_ALL; i++) {
    store_relaxed(&h->outbox[i].entry, 0u);
    store_relaxed(&h->outbox[i].objects, NULL);
    h->outbox[i].mix_bytes = 0;
  }
  h->shelf = (struct magazine_shelf){.count = {0}};
  h->outbox_room = OUTBOX_BYTES;
}
