/* slab.h — one or more chunks with objects of one class, and the bitmap of those that are free.
 *
 * The record lies out of line (region_record), so no overflow of an object reaches it:
 *
 *    0      8      16     18      20    21     22    23   24
 *   | next | prev | free | carved |class|chunks|state|hint| bits ->  ... 32
 *   | inline bits 0..255                                             ... 64
 *
 * Bit i set: object i (from the slab's low end) is free in the slab. What sits in a bin, depot or
 * mail is allocated here. Classes of 256 B and more have their bits inline: one cache line a slab;
 * smaller ones point to a side bitmap, of an odd number of lines so that many do not share sets.
 */
#ifndef SLAB_H
#define SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "region.h"
#include "size_class.h"
#include "slab_map.h"

/* Lock: that of the owning heap, for every field; bits may be read without it (relaxed). Does not
 * own: which heap that is (slab map).
 */

enum slab_state { SLAB_STATE_NONE, SLAB_STATE_SLAB };
enum { SLAB_INLINE_WORDS = 4 };
/* In `hint`, so that who changes bits takes it away without an instruction more: no object has left
 * or come back since slab_note_unchanged. */
enum { SLAB_UNCHANGED = 0x80 };

struct slab {
  struct slab *next; /* in the owner's list of slabs of this class that have free objects */
  struct slab *prev;
  uint16_t free_count;
  uint16_t carved_count; /* objects below the carve mark: none above was ever handed out */
  uint8_t class_index;
  uint8_t chunk_count;
  uint8_t state; /* enum slab_state */
  uint8_t hint;  /* no word below it has a bit set; and SLAB_UNCHANGED */
  _Atomic(uint64_t) *bits;
  _Atomic(uint64_t) inline_bits[SLAB_INLINE_WORDS];
};
_Static_assert(sizeof(struct slab) == RECORD_BYTES, "the region commits this much a chunk");
_Static_assert(offsetof(struct slab, inline_bits) == 32, "half a line of header");

bool slab_is_valid(const struct slab *s);

HAK_INLINE void slab_note_unchanged(struct slab *s) { s->hint |= SLAB_UNCHANGED; }
HAK_INLINE void slab_note_changed(struct slab *s) { s->hint &= (uint8_t)~SLAB_UNCHANGED; }
HAK_INLINE HAK_MUST_USE bool slab_is_unchanged(const struct slab *s) {
  return (s->hint & SLAB_UNCHANGED) != 0;
}
HAK_INLINE uint32_t slab_hint(const struct slab *s) { return s->hint & ~(uint32_t)SLAB_UNCHANGED; }
/* Bits were set in this word or above. It counts as no change. */
HAK_INLINE void slab_lower_hint(struct slab *s, uint32_t word) {
  if (word < slab_hint(s)) s->hint = (uint8_t)(word | (s->hint & SLAB_UNCHANGED));
}

/* A fresh slab of class c for heap `heap_id`, all objects free, on no list; the map entries are
 * written last. Tries superslab `preferred` first. NULL without memory. */
HAK_MUST_USE struct slab *slab_new(uint32_t heap_id, uint32_t c, size_t preferred);
/* n bytes are wanted of class c, and no object is at hand: where the process holds much of a medium
 * class and all such requests are smaller than it by far, they get a class of their own. */
void slab_note_request(uint32_t c, size_t n);
/* Give a slab back whose objects are all free, and that is on no list. */
void slab_release(struct slab *s);

/* First chunk of the slab. */
uint32_t slab_chunk(const struct slab *s);
/* Move up to `want` free objects out, lowest address last in `slots`: a stack pops it first.
 * Returns how many. Cost: some 20 instructions a run of neighbours, 4 an object. */
uint32_t slab_take(struct slab *s, void **slots, uint32_t want);

/* Free objects whose pages are resident. None while a purge has taken what was never carved. */
HAK_INLINE uint32_t slab_resident_free(const struct slab *s, const struct size_class *k) {
  uint32_t uncarved = (uint32_t)k->slab_objects - s->carved_count;
  return s->free_count < uncarved ? 0 : s->free_count - uncarved;
}
/* Of `want` objects, how many to take from s at once: all on resident pages; else those up to the
 * end of the first page that is not. */
uint32_t slab_take_limit(const struct slab *s, uint32_t want);

/* The record of the slab that chunk i of class k belongs to. */
HAK_INLINE struct slab *slab_of_chunk(const struct size_class *k, size_t i) {
  return (struct slab *)region_record(i & ~(size_t)(k->slab_chunks - 1));
}

/* Number of object p in its slab, from the low end. p is the start of an object. */
HAK_INLINE uint32_t slab_index(const struct size_class *k, const void *p) {
  return k->slab_objects - (uint32_t)(((uint64_t)size_class_from_end(k, p) * k->reciprocal) >> 32);
}

/* True when object p is free in its slab. Needs no lock when p is live: relaxed. */
HAK_INLINE HAK_MUST_USE bool slab_has(const struct slab *s, const struct size_class *k,
                                      const void *p) {
  uint32_t index = slab_index(k, p);
  return (load_relaxed(&s->bits[index / 64]) >> (index % 64) & 1) != 0;
}

/* Bytes of slabs of class c in the process, all heaps. Any thread. */
size_t slab_class_bytes(uint32_t c);

#endif
