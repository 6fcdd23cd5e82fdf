/* unit_heap.h — heaps seen from inside: which class, where an object waits, magazines by hand.
 */
#ifndef UNIT_HEAP_H
#define UNIT_HEAP_H

#include "unit_child.h"

#include "entry.h"
#include "flush.h"
#include "hakmem.h"
#include "heap.h"
#include "rt_options.h"
#include "view_stats.h"

static inline uint32_t object_entry(const void *p) { return map_load(chunk_index(p)); }
static inline uint32_t object_class(const void *p) {
  uint32_t entry = object_entry(p);
  NEED(chunk_index(p) < region_chunk_count && map_entry_is_slab(entry));
  return map_entry_class(entry);
}

/* True when p is free in the bitmap of its slab, or its slab was given back. */
static inline bool is_in_bitmap(const void *p) {
  if (map_entry_id(object_entry(p)) == HEAP_ID_FREED) return true;
  const struct size_class *k = &size_classes[object_class(p)];
  return slab_has(slab_of_chunk(k, chunk_index(p)), k, p);
}

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
