/* magazine.h — an array of pointers to free objects of one class, moved as a whole between bin,
 * depot and mail; the stock of empty ones, and shelves.
 *
 *    0      8      16     20      22      23    24       32
 *   | next | link | entry| count | kind  |     | zero   | slot 0 | slot 1 | ...
 *
 * free() compares a pointer with the word below the slot of its bin's newest object, malloc reads
 * that word: below slot 0 these are the header's last two. Neither can equal a pointer: `zero` is
 * NULL, and `kind` (at least 1) sits in bits 56 to 63 of the other.
 */
#ifndef MAGAZINE_H
#define MAGAZINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "size_class.h"
#include "slab_map.h"

/* A loaded magazine has slots for its bin's window, those in depot and mail and the second one for
 * the class's whole capacity. A magazine spans an odd number of cache lines, so that those of
 * neighbouring classes do not fall into the same sets. Type-stable: storage never leaves the stock
 * for other uses. A mix, of mail only, holds objects of one owner and any class.
 */

enum { MAGAZINE_KIND_COUNT = 7 };

struct magazine {
  struct magazine *next;   /* in a depot (heap lock), an inbox, the stock, or a shelf */
  _Atomic(uint64_t) link;  /* in a depot: the next newer magazine; in an inbox see mail.c */
  uint32_t entry;          /* slab-map entry of its objects: owner and class; of a mix
                            * MAP_CLASS_OTHER */
  _Atomic(uint16_t) count; /* objects; of a loaded one see heap_bin_count */
  uint8_t capacity_unused; /* keeps kind in the top byte */
  uint8_t kind;            /* 1 + index of its storage size */
  uint64_t zero;           /* always 0: see above */
  void *slot[];
};
_Static_assert(offsetof(struct magazine, slot) == 32, "the header is 32 bytes");
_Static_assert(offsetof(struct magazine, kind) == 23, "kind is the top byte of its word");

/* Record the storage kind of each class in size_classes. Called once at init. */
void magazine_init(void);
/* The smallest kind with that many slots; no class has a larger capacity than the largest kind. */
HAK_MUST_USE uint8_t magazine_kind_for(uint32_t slots);
/* How many slots m has. */
HAK_MUST_USE uint32_t magazine_room(const struct magazine *m);
/* An empty magazine of a kind: from the stock, or new. NULL without memory. The caller holds an
 * outermost lock. */
HAK_MUST_USE struct magazine *magazine_get(uint8_t kind);
/* Give an empty magazine to the stock. The caller holds an outermost lock. */
void magazine_give(struct magazine *m);
/* The same for a chain of them, all of one kind, linked by `next`. */
void magazine_give_chain(struct magazine *first);

/* Empty magazines that one thread keeps at hand, to need neither lock nor stock. */
struct magazine_shelf {
  struct magazine *first[MAGAZINE_KIND_COUNT];
  uint8_t count[MAGAZINE_KIND_COUNT];
};
/* One of the kind, or NULL. The shelf's thread, as all of these. */
HAK_MUST_USE struct magazine *shelf_take(struct magazine_shelf *shelf, uint8_t kind);
/* Put an empty magazine there. */
void shelf_put(struct magazine_shelf *shelf, struct magazine *m);
/* True when it has twice as many of the kind as a fetch brings. */
HAK_MUST_USE bool shelf_is_full(const struct magazine_shelf *shelf, uint8_t kind);
/* Several of the kind, from the stock or new: false without memory. The caller holds an
 * outermost lock. */
HAK_MUST_USE bool shelf_fetch(struct magazine_shelf *shelf, uint8_t kind);
/* All to the stock. The caller holds an outermost lock. */
void shelf_clear(struct magazine_shelf *shelf);

HAK_INLINE bool magazine_is_mix(const struct magazine *m) {
  return map_entry_class(m->entry) == MAP_CLASS_OTHER;
}
/* Object i of a mix. What counts objects looks at those of other threads. */
HAK_INLINE void *mix_object(struct magazine *m, uint32_t i) {
  return load_relaxed((_Atomic(void *) *)&m->slot[i]);
}
HAK_INLINE void mix_set(struct magazine *m, uint32_t i, void *p) {
  store_relaxed((_Atomic(void *) *)&m->slot[i], p);
}

#endif
