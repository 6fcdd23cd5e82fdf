/* pull.h — slabs that one heap has too many of go to another that needs one.
 *
 *   heap with a surplus --offer: its id--> two words a class --> heap without a free object: tries
 *   the other's lock, and takes its emptiest slab, if that is hardly used
 *
 * Whoever frees an object of such a slab from then on finds its new owner in the slab map. What the
 * old owner's magazines hold of it are strays: good for malloc as before; on their way to a bitmap
 * they are told by the map, and freed once more (struct heap: strays).
 */
#ifndef PULL_H
#define PULL_H

#include "heap.h"

enum {
  PULL_SURPLUS_BYTES = 256 * 1024, /* free in slabs: so much every heap may have */
  PULL_SURPLUS_SHARE = 8,          /* or this share of what it has in use */
};
/* Hints: an even heap id, and an odd one, or 0. Two, so that what a heap offers of a class does not
 * hide from itself what another offers, when its own is used up. */
extern HAK_HIDDEN _Atomic(uint32_t) pull_offers[CLASS_COUNT][2];
HAK_INLINE _Atomic(uint32_t) *pull_offer_word(uint32_t c, uint32_t id) {
  return &pull_offers[c][id % 2];
}

/* Bytes in slabs of h that are neither in use nor in a magazine, above what it may have. The caller
 * holds its lock. */
HAK_INLINE bool pull_has_surplus(const struct heap *h) {
  size_t free_bytes = load_relaxed(&h->slab_bytes) - h->taken_bytes;
  return free_bytes > PULL_SURPLUS_BYTES && free_bytes > h->taken_bytes / PULL_SURPLUS_SHARE;
}
/* Objects of class c came back to h's slabs: others may have one, if that is too much. Same
 * caller. */
HAK_INLINE void pull_offer(const struct heap *h, uint32_t c) {
  if (HAK_LIKELY(!pull_has_surplus(h) || !h->is_owned)) return;
  _Atomic(uint32_t) *offer = pull_offer_word(c, heap_id(h));
  if (load_relaxed(offer) != heap_id(h))
    store_release(offer, heap_id(h)); /* pairs with pull_slab: it finds the heap */
}
/* A slab of class c with free objects that was another heap's, on the home h's list; NULL when
 * there is none. The caller is one of its threads and holds its lock. O(1). */
HAK_MUST_USE struct slab *pull_slab(struct heap *h, uint32_t c);

#endif
