/* unit_heap.h — heaps seen from inside: which class, where an object waits, magazines by hand.
 */
#ifndef UNIT_HEAP_H
#define UNIT_HEAP_H

#include "unit_entry.h"

#include "flush.h"
#include "rt_options.h"
#include "view_stats.h"

static inline size_t live_objects(uint32_t c) {
  struct view_totals t;
  view_stats_collect(&t);
  NEED(t.is_exact);
  return t.cls[c].live_count;
}

static inline void allocate_all(void **objects, size_t count, size_t n) {
  for (size_t i = 0; i < count; i++) NEED((objects[i] = hak_malloc(n)) != NULL);
}
static inline void free_all(void *const *objects, size_t count) {
  for (size_t i = 0; i < count; i++) hak_free(objects[i]);
}

/* The calling thread's heap, locked. */
static inline struct heap *enter(void) {
  struct heap *h = entry_enter();
  NEED(h != NULL && lock_is_mine(&h->lock));
  return h;
}

/* Objects of all classes that are out of h's bitmaps. */
static inline size_t taken_of(const struct heap *h) {
  size_t taken = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) taken += h->cls[c].taken_count;
  return taken;
}

/* A magazine of h that holds these live objects of class c; the caller holds h's lock. */
static inline struct magazine *magazine_with(struct heap *h, uint32_t c, void *const *objects,
                                             uint32_t count) {
  struct magazine *m = flush_magazine_get(h, c);
  NEED(m != NULL && count <= size_classes[c].magazine_capacity);
  memcpy(m->slot, objects, count * sizeof *objects);
  store_relaxed(&m->count, (uint16_t)count);
  return m;
}

#endif
