/* size_class.h — size classes: which sizes exist, and which request goes to which.
 *
 * Every class that can ever exist has its id:
 *   0 .. 63     tiny    16 B apart:   16, 32, ... 1,024
 *   64 .. 103   medium  8 a doubling: 1,152, 1,280, ... 2,048, 2,304, ... 32,768
 *  104 .. 119   tailored: of a size that many requests of a medium class turned out to have
 * Requests find theirs in one table of bytes, which starts coarse (4 classes a doubling: 16 .. 128
 * by 16, then 160, 192, 224, 256, 320, ...); a class of which the process holds much is split in
 * two (8 a doubling), and where all requests for it are smaller still they get one of their own.
 * The table decides only where new objects come from: an object's class is the slab map's.
 */
#ifndef SIZE_CLASS_H
#define SIZE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "slab_map.h"

/* Slabs are 1 or 2 chunks, aligned to their length; objects end flush with the slab's end, so
 * whatever does not fit lies before the first one:
 *
 *   | slack | object 0 | object 1 | ... | object n-1 |
 *
 * so an object's alignment is the largest power of two that divides its size, and the distance of
 * an object from the slab's end is a multiple of its size, never zero: one multiplication tells.
 *
 * Lock: none. The table's bytes are relaxed atomics; each always names a class large enough.
 */

enum {
  CLASS_TINY_COUNT = 64,
  CLASS_MEDIUM_PER_DOUBLING = 8,
  CLASS_FIXED_COUNT = CLASS_TINY_COUNT + 5 * CLASS_MEDIUM_PER_DOUBLING,
  CLASS_TAILORED_COUNT = 16,
  CLASS_COUNT = CLASS_FIXED_COUNT + CLASS_TAILORED_COUNT,
  CLASS_GRAIN_SHIFT = 4, /* sizes are multiples of 16 B, and requests are looked up in such steps */
  CLASS_MEDIUM_GRAIN_SHIFT = 7, /* sizes of fixed medium classes are multiples of 128 B */
  TINY_MAX = 1024,
  CLASS_SIZE_MIN = 16,
  CLASS_SIZE_MAX = 32768,
};
_Static_assert((int)CLASS_COUNT < (int)MAP_CLASS_OTHER,
               "classes and MAP_CLASS_OTHER share the bits");

struct size_class {
  uint32_t size;       /* bytes of an object */
  uint32_t reciprocal; /* ceil(2^32 / size): x is a multiple iff (uint32_t)(x * it) < it (Lemire,
                        * Kaser and Kurz 2019, faster remainder by direct computation); exact for
                        * all x <= the slab's bytes, which a unit test shows by trying them all */
  uint32_t high_mask;  /* ~(slab bytes - 1): -(p | high_mask) is the distance to the slab's end */
  uint32_t slack;      /* bytes before the first object */
  uint16_t slab_objects;
  uint16_t magazine_capacity; /* objects */
  uint8_t slab_chunks;
  uint8_t magazine_kind; /* see heap/magazine.h */
  bool has_previous;     /* keeps a second magazine beside the loaded one */
};

/* Constant after size_class_init; those of a tailored class, which is as the largest until then,
 * after size_class_tailor. Tailored classes are not in the order of sizes. */
extern HAK_HIDDEN struct size_class size_classes[CLASS_COUNT];

enum { TINY_REQUESTS = TINY_MAX / 16 + 1 };

/* Entries are classes times MAP_CLASS_SCALE: one added to a heap's address is a bin's. malloc reads
 * its heap's own copy of `tiny`, in which a loan can show. */
struct size_class_table {
  _Atomic(uint16_t) tiny[TINY_REQUESTS];
  _Atomic(uint16_t) medium[CLASS_SIZE_MAX / 16 + 1]; /* of requests above TINY_MAX */
};
extern HAK_HIDDEN struct size_class_table size_class_table;
/* How often the table has changed since size_class_init; counted after the change (release). */
extern HAK_HIDDEN _Atomic(uint32_t) size_class_split_count;

void size_class_init(void);

/* Place of a request of 0 <= n <= CLASS_SIZE_MAX bytes in its table. Two instructions. */
HAK_INLINE size_t size_class_request(size_t n) { return (n + 15) >> CLASS_GRAIN_SHIFT; }

/* Class of a request of 0 <= n <= CLASS_SIZE_MAX bytes, times MAP_CLASS_SCALE. */
HAK_INLINE size_t size_class_scaled(size_t n) {
  if (n <= TINY_MAX) return load_relaxed(&size_class_table.tiny[size_class_request(n)]);
  return load_relaxed(&size_class_table.medium[size_class_request(n)]);
}
/* The same class, of n > TINY_MAX, whose values may be read: a tailored one may have come since.
 * Pairs with redirect. */
HAK_INLINE uint32_t size_class_known(size_t n) {
  return (uint32_t)load_acquire(&size_class_table.medium[size_class_request(n)]) / MAP_CLASS_SCALE;
}
HAK_INLINE uint32_t size_class_of(size_t n) {
  return (uint32_t)size_class_scaled(n) / MAP_CLASS_SCALE;
}
/* Class whose objects hold n bytes at a multiple of `align` (a power of two); CLASS_COUNT when
 * there is none. */
uint32_t size_class_of_aligned(size_t n, size_t align);
/* The largest size of which every request that class c serves uses at least half: what realloc
 * leaves in place, and size_class_could_hold takes for possible. */
uint32_t size_class_half_used_max(uint32_t c);
/* Size of the next smaller class that there is now; 0: none. */
uint32_t size_class_below(uint32_t c);
/* Size of the finest class that could ever hold n <= CLASS_SIZE_MAX bytes. */
size_t size_class_finest(size_t n);
/* False when an object of class c cannot have been requested with n bytes at a multiple of `align`
 * (a power of two; 1 for none). */
HAK_MUST_USE bool size_class_could_hold(uint32_t c, size_t n, size_t align);
/* Send the smaller half of the requests of the coarse class c to a class of its own. False when
 * that was done before, when there is no finer class, or when c is none of the coarse ones. */
bool size_class_split(uint32_t c);
/* Send those requests of the fixed medium class c that need no more than n bytes to a class of
 * their own, whose size is that of n. False when no tailored class is left, or n is too close to
 * the size of c to be worth it. */
bool size_class_tailor(uint32_t c, size_t n);
/* End of the classes that there are now: CLASS_FIXED_COUNT and the tailored ones. What is below it
 * can be read. */
uint32_t size_class_count(void);
/* The smallest fixed class that is larger than c; CLASS_FIXED_COUNT: none is. */
uint32_t size_class_wider(uint32_t c);

/* Distance of p from the end of its slab: 1 .. slab bytes. */
HAK_INLINE uint32_t size_class_from_end(const struct size_class *k, const void *p) {
  return -((uint32_t)(uintptr_t)p | k->high_mask);
}
/* True when p is the start of an object, given that p lies in a slab of class k. */
HAK_INLINE bool size_class_is_slot(const struct size_class *k, const void *p) {
  return size_class_from_end(k, p) * k->reciprocal < k->reciprocal;
}
/* The same, and which object it is, by one multiplication: the low half is less than the reciprocal
 * iff an object begins at p, whose number is the high half then. low_mask is ~high_mask. Of what
 * lies in the slack the distance wraps: that is less than an object, and no multiple. */
HAK_INLINE uint64_t size_class_slot_product(const void *p, uint32_t low_mask, uint32_t slack,
                                            uint64_t reciprocal) {
  return (((uint32_t)(uintptr_t)p & low_mask) - slack) * reciprocal;
}

#endif
