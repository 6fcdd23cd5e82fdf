/* pull.h — what one heap has too much of goes to another that needs it: a slab, or objects of one.
 *
 *   heap with a surplus --offer: its id--> two words a class --> heap without a free object: tries
 *   the other's lock, and takes its emptiest slab, if that is hardly used; else objects of a slab,
 *   which stays the other's
 *
 * Whoever frees an object of such a slab from then on finds its new owner in the slab map. What the
 * old owner's magazines hold of it are strays, as are pulled objects in the magazines of who pulled
 * them: good for malloc as any other; on their way to a bitmap they are told by the map, and freed
 * once more (struct heap: strays).
 */
#ifndef PULL_H
#define PULL_H

#include "heap.h"

enum {
  PULL_SURPLUS_BYTES = 256 * 1024, /* free in slabs: so much every heap may have */
  PULL_SURPLUS_SHARE = 8,          /* or this share of what it has in use */
  /* Beyond this, and this share, others get objects of its slabs. Each is a remote free more, so
   * small heaps rather take a page more: 0021. */
  PULL_OBJECTS_BYTES = 1024 * 1024,
  PULL_OBJECTS_SHARE = 32,
};
/* Hints: an even heap id, and an odd one, or 0. Two, so that what a heap offers of a class does not
 * hide from itself what another offers, when its own is used up. */
extern HAK_HIDDEN _Atomic(uint32_t) pull_offers[CLASS_COUNT][2];
HAK_INLINE _Atomic(uint32_t) *pull_offer_word(uint32_t c, uint32_t id) {
  return &pull_offers[c][id % 2];
}

/* Bytes in slabs of h that are neither in use nor in a magazine. The caller holds its lock, as of
 * all three. */
HAK_INLINE size_t pull_free_bytes(const struct heap *h) {
  return load_relaxed(&h->slab_bytes) - h->taken_bytes;
}
/* Above what it may have: a slab may go, or objects. */
HAK_INLINE bool pull_has_surplus(const struct heap *h) {
  size_t free_bytes = pull_free_bytes(h);
  return free_bytes > PULL_SURPLUS_BYTES && free_bytes > h->taken_bytes / PULL_SURPLUS_SHARE;
}
HAK_INLINE bool pull_has_objects(const struct heap *h) {
  size_t free_bytes = pull_free_bytes(h);
  return free_bytes > PULL_OBJECTS_BYTES && free_bytes > h->taken_bytes / PULL_OBJECTS_SHARE;
}
/* Objects of class c came back to h's slabs: others may have one, if that is too much. Same
 * caller. */
HAK_INLINE void pull_offer(const struct heap *h, uint32_t c) {
  if (HAK_LIKELY(!pull_has_surplus(h) && !pull_has_objects(h))) return;
  if (!h->is_owned) return;
  _Atomic(uint32_t) *offer = pull_offer_word(c, heap_id(h));
  if (load_relaxed(offer) != heap_id(h))
    store_release(offer, heap_id(h)); /* pairs with pull_slab: it finds the heap */
}
/* Objects that came without their slab. */
struct pulled {
  void **slots;
  uint32_t want; /* room */
  uint32_t got;
};
/* A slab of class c with free objects that was another heap's, on the home h's list; NULL when
 * there is none, or there are objects in its place. The caller is one of its threads and holds its
 * lock. O(1). */
HAK_MUST_USE struct slab *pull_slab(struct heap *h, uint32_t c, struct pulled *objects);

#endif
