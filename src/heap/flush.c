/* flush.c — see flush.h. Invariant: a slab is on its class's list exactly while it has free
 * objects; at most one slab of a heap stays empty.
 */
#include "flush.h"

#include "depot.h"
#include "os_check.h"

void flush_link_slab(struct heap *h, struct slab *s) {
  ASSERT(s->free_count != 0);
  struct heap_class *k = &h->cls[s->class_index];
  s->prev = NULL;
  s->next = k->slabs;
  if (s->next != NULL) s->next->prev = s;
  k->slabs = s;
}

void flush_unlink_slab(struct heap *h, struct slab *s) {
  struct heap_class *k = &h->cls[s->class_index];
  ASSERT(s->prev != NULL || k->slabs == s);
  if (s->next != NULL) s->next->prev = s->prev;
  if (s->prev != NULL) {
    s->prev->next = s->next;
  } else {
    k->slabs = s->next;
  }
  s->next = NULL;
  s->prev = NULL;
}

/* All objects of s are free. The slab emptied before it, if still empty, goes back. */
static HAK_NOINLINE void slab_emptied(struct heap *h, struct slab *s) {
  ASSERT(h->empty_slab != s);
  ASSERT(slab_is_valid(s));
  flush_empty_slab(h);
  h->empty_slab = s;
}

static HAK_COLD void note_fault(struct heap *h, void *p, enum heap_fault_kind kind) {
  if (h->fault.kind == FAULT_NONE) h->fault = (struct heap_fault){kind, p};
}

static HAK_COLD void note_stranger(struct heap *h, void *p, uint32_t entry) {
  bool is_freed = map_entry_id(entry) == HEAP_ID_FREED;
  note_fault(h, p, is_freed ? FAULT_DOUBLE_FREE : FAULT_CORRUPTED);
}

void flush_slots(struct heap *h, uint32_t c, void *const *slots, uint32_t n) {
  ASSERT(lock_is_mine(&h->lock));
  ASSERT(c < CLASS_COUNT);
  const struct size_class *k = &size_classes[c];
  uint32_t own = h->key | c;
  uint32_t done = 0;
  for (uint32_t i = 0; i < n; i++) {
    void *p = slots[i];
    size_t chunk = chunk_index(p);
    uint32_t entry = HAK_LIKELY(chunk < region_chunk_count) ? map_load(chunk) : 0;
    if (HAK_UNLIKELY(entry != own)) {
      note_stranger(h, p, entry);
      continue;
    }
    struct slab *s = slab_of_chunk(k, chunk);
    if (HAK_UNLIKELY(!size_class_is_slot(k, p))) {
      note_fault(h, p, FAULT_CORRUPTED);
      continue;
    }
    if (HAK_UNLIKELY(!slab_put(s, k, p))) {
      note_fault(h, p, FAULT_DOUBLE_FREE);
      continue;
    }
    done++;
    if (HAK_UNLIKELY(s->free_count == 1)) flush_link_slab(h, s);
    if (HAK_UNLIKELY(s->free_count == s->object_count)) slab_emptied(h, s);
  }
  ASSERT(h->cls[c].taken_count >= done);
  h->cls[c].taken_count -= done;
}

void flush_magazine(struct heap *h, struct magazine *m) {
  ASSERT((m->entry & ~(uint32_t)MAP_CLASS_MASK) == h->key);
  flush_slots(h, map_entry_class(m->entry), m->slot, load_relaxed(&m->count));
  store_relaxed(&m->count, (uint16_t)0);
}

void flush_empty_slab(struct heap *h) {
  struct slab *empty = h->empty_slab;
  if (empty == NULL) return;
  ASSERT(empty->free_count == empty->object_count);
  h->empty_slab = NULL;
  flush_unlink_slab(h, empty);
  slab_release(empty);
}

void flush_owner_magazines(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock) && !h->is_shared);
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    struct bin *b = &h->bin[c];
    struct heap_class *k = &h->cls[c];
    void **lo = load_relaxed(&b->lo);
    if (lo != NULL) {
      flush_slots(h, c, lo, bin_count(b));
      struct magazine *loaded = magazine_of_slots(lo);
      bin_reset(b);
      store_relaxed(&loaded->count, (uint16_t)0);
      magazine_give(loaded);
    }
    struct magazine *previous = load_relaxed(&k->previous);
    if (previous != NULL) {
      store_relaxed(&k->previous, NULL);
      flush_magazine(h, previous);
      magazine_give(previous);
    }
    k->window = 0;
    k->is_underflowed = false;
    depot_flush_class(h, c);
  }
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) {
    if (h->spare[i] != NULL) magazine_give(h->spare[i]);
    h->spare[i] = NULL;
  }
  flush_empty_slab(h);
}

struct magazine *flush_magazine_get(struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&h->lock));
  size_t kind = size_classes[c].magazine_kind - 1u;
  struct magazine *m = h->spare[kind];
  h->spare[kind] = NULL;
  if (m == NULL) m = magazine_get(c);
  if (m != NULL) m->entry = h->key | c;
  return m;
}

void flush_magazine_give(struct heap *h, struct magazine *m) {
  ASSERT(load_relaxed(&m->count) == 0);
  size_t kind = m->kind - 1u;
  if (h->spare[kind] == NULL) {
    h->spare[kind] = m;
  } else {
    magazine_give(m);
  }
}
