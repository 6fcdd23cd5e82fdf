/* pull.c — see pull.h. Owns: the offers.
 */
#include "pull.h"

#include "flush.h"
#include "mail.h"
#include "os_check.h"

enum {
  LOOKS = 32,     /* slabs of the other's list that are looked at, latest first: 0021 */
  USED_SHARE = 4, /* a slab may go that is used by a quarter at most */
};

_Atomic(uint32_t) pull_offers[CLASS_COUNT][2];

static struct slab *emptiest(const struct heap *h, uint32_t c) {
  const uint32_t objects = size_classes[c].slab_objects;
  struct slab *best = NULL, *s = h->cls[c].slabs;
  for (int i = 0; s != NULL && i < LOOKS; i++, s = s->next) {
    if ((uint32_t)(objects - s->free_count) * USED_SHARE > objects) continue;
    if (best == NULL || s->free_count > best->free_count) best = s;
  }
  return best;
}

/* What is out of the slab counts with its owner. */
static void count_taken(struct heap *h, const struct slab *s, bool is_added) {
  const struct size_class *k = &size_classes[s->class_index];
  uint32_t used = (uint32_t)k->slab_objects - s->free_count;
  uint32_t *taken = &h->cls[s->class_index].taken_count;
  ASSERT(is_added || (*taken >= used && h->taken_bytes >= (size_t)used * k->size));
  *taken = is_added ? *taken + used : *taken - used;
  size_t bytes = (size_t)used * k->size;
  h->taken_bytes = is_added ? h->taken_bytes + bytes : h->taken_bytes - bytes;
}

static struct slab *take_from(struct heap *other, struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&other->lock) && lock_is_mine(&h->lock) && other != h);
  struct slab *s = pull_has_surplus(other) ? emptiest(other, c) : NULL;
  if (s == NULL) {
    store_relaxed(pull_offer_word(c, heap_id(other)), 0u);
    return NULL;
  }
  if (other->empty_slab == s) other->empty_slab = NULL;
  flush_unlink_slab(other, s);
  flush_count_slab(other, s, false);
  count_taken(other, s, false);
  map_store(slab_chunk(s), s->chunk_count, heap_entry(h, c));
  count_taken(h, s, true);
  flush_count_slab(h, s, true);
  flush_link_slab(h, s);
  ASSERT(slab_is_valid(s));
  return s;
}

/* From the heap with this id; NULL when it has none to give, or its lock is taken. */
static struct slab *pull_from(struct heap *h, uint32_t c, uint32_t id) {
  struct heap *other = heap_of_id(id);
  if (NEVER(other == NULL) || !lock_try_second(&other->lock)) return NULL;
  struct slab *s = take_from(other, h, c);
  lock_leave(&other->lock);
  mail_redrain(other, true, NULL);
  return s;
}

struct slab *pull_slab(struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&h->lock));
  struct slab *s = NULL;
  for (uint32_t i = 0; i < 2 && s == NULL && h->is_owned; i++) {
    uint32_t id = load_acquire(&pull_offers[c][i]); /* pairs with pull_offer */
    if (HAK_UNLIKELY(id != 0) && id != heap_id(h)) s = pull_from(h, c, id);
  }
  return s;
}
