/* flush.h — objects from magazines to the bitmaps of their slabs, each one checked on the way.
 * All functions: h is a home, but for those about the owner, and the caller holds its home's lock.
 * What is wrong is noted in h->fault, for entry/ to report once the lock is given back; the object
 * is then left alone.
 */
#ifndef FLUSH_H
#define FLUSH_H

#include "heap.h"

/* n objects of class c, owned by h. Oldest first, so that the order of a bitmap's changes is that
 * of the frees. */
void flush_slots(struct heap *h, uint32_t c, void *const *slots, uint32_t n);
/* All objects of m (owned by h; it may be a mix); m is empty afterwards and still the caller's. */
void flush_magazine(struct heap *h, struct magazine *m);
/* What flushing left of h's strays goes before those in *strays: the caller frees them once more,
 * when it holds no lock. */
void flush_take_strays(struct heap *h, struct magazine **strays);
/* The loaded and second magazine of class c; its window stays. The caller is the owner thread. */
void flush_owner_class(struct heap *h, uint32_t c);
/* The same of all classes; what its home's threads share too, if no other of them
 * is awake: everything that h keeps at hand but its outbox. A class keeps its
 * window if it had a magazine: the next thread to adopt the heap is likely to be of the same kind,
 * and finds what it needs resident; half of it where one refill was enough. The caller is the owner
 * thread. */
void flush_owner_magazines(struct heap *h);
/* What all threads of the home share: depot, spares, the empty slab. */
void flush_shared(struct heap *home);
/* Windows start small again; no class has a magazine. The caller is the owner thread. */
void flush_owner_windows(struct heap *h);

/* The slab had `before` free objects, and has `now`, which is more: it had none before, or has all
 * of them now. */
void flush_slab_gained(struct heap *h, struct slab *s, uint32_t before, uint32_t now);
/* Slabs with free objects: link one (newest first) or take it off. */
void flush_link_slab(struct heap *h, struct slab *s);
void flush_unlink_slab(struct heap *h, struct slab *s);

/* h has a slab more or less. */
void flush_count_slab(struct heap *h, const struct slab *s, bool is_new);
/* Give the one slab back that is kept though empty. */
void flush_empty_slab(struct heap *h);

/* Empty magazines: one a kind stays with the heap. */
HAK_MUST_USE struct magazine *flush_magazine_get(struct heap *h, uint32_t c);
/* The same, with at least `slots` slots instead of the class's capacity. */
HAK_MUST_USE struct magazine *flush_magazine_get_small(struct heap *h, uint32_t c, uint32_t slots);
void flush_magazine_give(struct heap *h, struct magazine *m);

#endif
