/* window.h — how many objects a bin may hold: its window.
 *
 *   | oldest | ... | newest | ... | last of the window | unused rest of the magazine |
 */
#ifndef WINDOW_H
#define WINDOW_H

#include "heap.h"
#include "os_check.h"
#include "rt_options.h"

enum {
  WINDOW_CROWD = 512,       /* threads of a home; measured: docs/decisions/0024 */
  WINDOW_OVERFLOW_RUN = 32, /* frees from which on others shrink; measured: docs/decisions/0023 */
};

/* A window starts small (in an adopted heap as it was left), so that a process with few objects
 * touches few pages, and doubles when the bin overflows after it ran empty: a load that swings
 * needs room, one that only grows or only shrinks does not.
 *
 * A thread whose frees overflow again and again, with no malloc in between that finds its bin
 * empty, gives up what it had. It may do nothing afterwards, and then nobody else can empty its
 * bins; each object there that is not tiny may keep a whole slab from others. So from some such
 * frees on each takes half of what a few bins hold, but for those of tiny objects. Once no bin of
 * others has a magazine, none is looked at until one gets its first.
 */

HAK_INLINE bool window_is_whole(const struct heap *h, uint32_t c) {
  return h->cls[c].window >= size_classes[c].magazine_capacity;
}
/* How many objects of class c a bin may hold: its magazine's capacity, or BIN_BYTES of them. */
HAK_INLINE uint32_t window_bound(uint32_t c) {
  const struct size_class *k = &size_classes[c];
  size_t bytes = rt_option(RT_OPTION_BIN_BYTES);
  if (HAK_LIKELY((size_t)k->magazine_capacity * k->size <= bytes)) return k->magazine_capacity;
  return bytes < k->size ? 1 : (uint32_t)(bytes / k->size);
}
/* How many objects the window may grow to. In a crowded home three quarters, and no second magazine
 * is filled then: bins of so many threads are memory, and the next object is in the home's depot.
 * Owner thread. */
HAK_INLINE uint32_t window_max(struct heap *h, uint32_t c) {
  uint32_t bound = window_bound(c);
  return load_relaxed(&h->home->thread_count) > WINDOW_CROWD ? bound - bound / 4 : bound;
}
/* A class that has none gets its first. */
void window_open(struct heap *h, uint32_t c);
/* The bin's pointers for magazine m holding `count` objects; hi >= sp always. */
void window_load(struct heap *h, uint32_t c, struct magazine *m, uint32_t count);

/* Half of what bin c holds goes to the bitmaps, with the second magazine; half its window goes,
 * too. It may have no magazine then. The caller is the owner thread and holds the home's lock. */
void window_shrink(struct heap *h, uint32_t c);
/* A bin ran empty, and was filled from depot or slabs. Owner thread. */
HAK_INLINE void window_note_refill(struct heap *h) { h->overflow_run = 0; }
/* A bin without a magazine got one. Owner thread. */
HAK_INLINE void window_note_first(struct heap *h) {
  ASSERT(h->is_owned && h->overflow_run <= 2 * WINDOW_OVERFLOW_RUN);
  if (h->overflow_run > WINDOW_OVERFLOW_RUN) h->overflow_run = WINDOW_OVERFLOW_RUN;
}
/* The bin of class c overflowed. If it was the last one too, it keeps what it has. The caller is
 * the owner thread and holds the home's lock. */
void window_note_overflow(struct heap *h, uint32_t c);

#endif
