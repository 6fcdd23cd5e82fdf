/* recover.c — see recover.h and docs/decisions/0005. What is right at any instant, and hence the
 * truth here: a slab is the heap's when the first of its map entries says so (they are stored last
 * in slab_new, changed first in slab_release, and upwards), its record then names bitmap and class,
 * and an object whose bit is set belongs to nobody else (cleared before it is handed out, set once
 * it is freed).
 */
#include "recover.h"

#include "flush.h"
#include "heap.h"
#include "os_check.h"
#include "superslab.h"

static void forget(struct heap *h) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    struct heap_class *k = &h->cls[c];
    k->depot_newest = NULL;
    k->depot_oldest = NULL;
    k->depot_count = 0;
    k->slabs = NULL;
    k->taken_count = 0;
    store_relaxed(&k->is_dry, false);
  }
  h->depot_bytes = 0;
  h->taken_bytes = 0;
  h->strays = NULL;
  store_relaxed(&h->slab_bytes, (size_t)0);
  h->empty_slab = NULL;
  h->fault = (struct heap_fault){FAULT_NONE, NULL};
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) h->spare[i] = NULL;
}

static void recover_slab(struct heap *h, struct slab *s) {
  const struct size_class *k = &size_classes[s->class_index];
  uint32_t count = 0;
  for (uint32_t w = 0; w * 64 < k->slab_objects; w++)
    count += (uint32_t)__builtin_popcountll(load_relaxed(&s->bits[w]));
  s->next = NULL;
  s->prev = NULL;
  s->free_count = (uint16_t)count;
  s->carved_count = k->slab_objects; /* not known: taken for resident */
  s->hint = 0;
  ASSERT(slab_is_valid(s));
  if (count != 0) flush_link_slab(h, s);
  flush_count_slab(h, s, true);
  h->cls[s->class_index].taken_count += k->slab_objects - count;
  h->taken_bytes += (size_t)(k->slab_objects - count) * k->size;
}

void recover_heap(struct rt_lock *lock) {
  ASSERT(lock->rank == LOCK_RANK_HEAP);
  superslab_recount();
  struct heap *h = (struct heap *)(void *)((char *)lock - offsetof(struct heap, lock));
  forget(h);
  size_t end = superslab_chunk_end();
  for (size_t i = 0; i < end; i++) {
    uint32_t entry = map_load(i);
    if (!map_entry_is_slab(entry) || map_entry_id(entry) != heap_id(h)) continue;
    const struct size_class *k = &size_classes[map_entry_class(entry)];
    if (i % k->slab_chunks != 0) continue;
    map_store((uint32_t)i, k->slab_chunks, entry); /* the rest may say what it said before */
    recover_slab(h, region_record(i));
  }
  ASSERT(heap_is_valid(h));
}
