/* flush.c — see flush.h. Invariant: a slab is on its class's list exactly while it has free
 * objects; at most one slab of a heap stays empty.
 */
#include "flush.h"

#include "depot.h"
#include "os_check.h"
#include "pull.h"

enum { STRAY_OBJECTS = 64 }; /* of a magazine: arbitrary, strays are few */

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

/* What both walks below need. The class's constants are copied: as far as the compiler knows, a
 * store to a bitmap changes them. */
struct flush {
  struct heap *h;
  uint32_t own; /* the map entry that every object must have */
  uint32_t low_mask;
  uint32_t slack;
  uint32_t slab_objects;
  uint64_t reciprocal;
  size_t size;
  size_t head_mask;     /* chunk of an object -> first chunk of its slab */
  uint32_t fault_count; /* objects left alone, strays among them */
};

static HAK_COLD void flush_fault(struct flush *f, void *p, enum heap_fault_kind kind) {
  f->fault_count++;
  note_fault(f->h, p, kind);
}

static HAK_COLD void note_stray(struct heap *h, void *p) {
  struct magazine *m = h->strays;
  if (m == NULL || load_relaxed(&m->count) == magazine_room(m)) {
    m = magazine_get(magazine_kind_for(STRAY_OBJECTS));
    if (m == NULL) {
      h->stray_lost_count++;
      return;
    }
    m->next = h->strays;
    h->strays = m;
  }
  uint16_t count = load_relaxed(&m->count);
  m->slot[count] = p;
  store_relaxed(&m->count, (uint16_t)(count + 1));
}

void flush_take_strays(struct heap *h, struct magazine **strays) {
  ASSERT(lock_is_mine(&h->lock));
  struct magazine *last = h->strays;
  if (HAK_LIKELY(last == NULL)) return;
  while (last->next != NULL) last = last->next;
  last->next = *strays;
  *strays = h->strays;
  h->strays = NULL;
}

/* True for an object whose slab another heap has pulled since it came into a magazine of h's. */
static bool is_stray(const struct heap *h, uint32_t entry) {
  return map_entry_is_slab(entry) && map_entry_id(entry) >= HEAP_ID_FIRST &&
         map_entry_id(entry) != heap_id(h);
}

static HAK_COLD void flush_stranger(struct flush *f, void *p, uint32_t entry) {
  if (is_stray(f->h, entry) && map_entry_class(entry) == map_entry_class(f->own)) {
    f->fault_count++;
    note_stray(f->h, p);
    return;
  }
  flush_fault(f, p, map_entry_id(entry) == HEAP_ID_FREED ? FAULT_DOUBLE_FREE : FAULT_CORRUPTED);
}

void flush_slab_gained(struct heap *h, struct slab *s, uint32_t before, uint32_t now) {
  if (before == 0) flush_link_slab(h, s);
  if (now == size_classes[s->class_index].slab_objects) slab_emptied(h, s);
}

/* The slab of an object that has just become free was full, or is empty now. */
static HAK_NOINLINE void one_gained(struct heap *h, struct slab *s) {
  ASSERT(s->free_count != 0 && slab_is_valid(s));
  flush_slab_gained(h, s, s->free_count - 1u, s->free_count);
}

/* Objects of which hardly one follows a neighbour. 40 instructions an object (callgrind), and no
 * branch that depends on where it lies */
static HAK_NOINLINE void flush_scattered(struct flush *f, void *const *slots, uint32_t n) {
  const uint32_t between = f->slab_objects - 2, own = f->own;
  const uint32_t low_mask = f->low_mask, slack = f->slack;
  const uint64_t reciprocal = f->reciprocal;
  const size_t head_mask = f->head_mask;
  _Atomic(uint32_t) *const map = region_map;
  char *const records = region_records;
  for (void *const *end = slots + n; slots != end; slots++) {
    void *p = *slots;
    size_t chunk = chunk_index(p);
    uint32_t entry = HAK_LIKELY(chunk < region_chunk_count) ? load_relaxed(&map[chunk]) : 0;
    if (HAK_UNLIKELY(entry != own)) {
      flush_stranger(f, p, entry);
      continue;
    }
    uint64_t product = size_class_slot_product(p, low_mask, slack, reciprocal);
    if (HAK_UNLIKELY((uint32_t)product >= (uint32_t)reciprocal)) {
      flush_fault(f, p, FAULT_CORRUPTED);
      continue;
    }
    struct slab *s = (struct slab *)(void *)(records + (chunk & head_mask) * RECORD_BYTES);
    uint32_t index = (uint32_t)(product >> 32);
    _Atomic(uint64_t) *word = &s->bits[index / 64];
    uint64_t bits = load_relaxed(word);
    if (HAK_UNLIKELY((bits >> (index % 64) & 1) != 0)) {
      flush_fault(f, p, FAULT_DOUBLE_FREE);
      continue;
    }
    store_relaxed(word, bits | (uint64_t)1 << (index % 64));
    s->hint = 0;
    uint32_t before = s->free_count;
    s->free_count = (uint16_t)(before + 1);
    /* Was it full, or is it empty now? Both at once: slabs have at least two objects. */
    if (HAK_UNLIKELY(before - 1 >= between)) one_gained(f->h, s);
  }
}

/* Objects that are neighbours in memory and follow each other in the slots, up or down: a row of
 * bits in one word. */
struct span {
  uint32_t count;
  uint32_t low; /* bit of the lowest */
};

/* The span that begins with slots[0], whose object is bit `bit`. No more than `most` upwards. */
HAK_INLINE struct span span_at(void *const *slots, uint32_t n, uint32_t bit, uint32_t most,
                               size_t size) {
  if (most > n) most = n;
  uintptr_t next = (uintptr_t)slots[0] + size;
  uint32_t count = 1;
  for (; count < most && (uintptr_t)slots[count] == next; count++) next += size;
  if (count > 1) return (struct span){count, bit};
  most = n < bit + 1 ? n : bit + 1;
  next = (uintptr_t)slots[0] - size;
  for (; count < most && (uintptr_t)slots[count] == next; count++) next -= size;
  return (struct span){count, bit + 1 - count};
}

HAK_INLINE uint64_t span_mask(struct span span) {
  return UINT64_MAX >> (64 - span.count) << span.low;
}

/* The objects from slots[0] on that set their bits in s together: one at least, whose number is
 * `index`. Returns how many. */
HAK_INLINE uint32_t flush_span(struct flush *f, struct slab *s, uint32_t index, void *const *slots,
                               uint32_t n) {
  const uint32_t objects = f->slab_objects, bit = index % 64;
  uint32_t most = 64 - bit < objects - index ? 64 - bit : objects - index;
  struct span span = span_at(slots, n, bit, most, f->size);
  _Atomic(uint64_t) *word = &s->bits[index / 64];
  uint64_t bits = load_relaxed(word);
  if (HAK_UNLIKELY((bits & span_mask(span)) != 0)) {
    span = (struct span){1, bit}; /* which of them is it? One at a time */
    if ((bits & span_mask(span)) != 0) {
      flush_fault(f, slots[0], FAULT_DOUBLE_FREE);
      return 1;
    }
  }
  store_relaxed(word, bits | span_mask(span));
  s->hint = 0;
  uint32_t before = s->free_count, now = before + span.count;
  s->free_count = (uint16_t)now;
  if (HAK_UNLIKELY(before == 0 || now == objects)) flush_slab_gained(f->h, s, before, now);
  return span.count;
}

/* Objects many of which follow a neighbour. A span costs little more than one scattered object,
 * and each further object of it 6 instructions. */
static HAK_NOINLINE void flush_neighbours(struct flush *f, void *const *slots, uint32_t n) {
  while (n != 0) { /* each round looks at one object at least */
    void *p = slots[0];
    uint32_t done = 1;
    size_t chunk = chunk_index(p);
    uint32_t entry = HAK_LIKELY(chunk < region_chunk_count) ? map_load(chunk) : 0;
    uint64_t product = size_class_slot_product(p, f->low_mask, f->slack, f->reciprocal);
    if (HAK_UNLIKELY(entry != f->own)) {
      flush_stranger(f, p, entry);
    } else if (HAK_UNLIKELY((uint32_t)product >= (uint32_t)f->reciprocal)) {
      flush_fault(f, p, FAULT_CORRUPTED);
    } else {
      uint32_t index = (uint32_t)(product >> 32);
      done = flush_span(f, region_record(chunk & f->head_mask), index, slots, n);
    }
    slots += done;
    n -= done;
  }
}

static bool are_neighbours(void *const *slots, size_t size) {
  uintptr_t distance = (uintptr_t)slots[1] - (uintptr_t)slots[0];
  return distance == size || distance == 0 - size;
}

void flush_slots(struct heap *h, uint32_t c, void *const *slots, uint32_t n) {
  ASSERT(lock_is_mine(&h->lock));
  ASSERT(c < CLASS_COUNT);
  if (n == 0) return;
  const struct size_class *k = &size_classes[c];
  struct flush f = {.h = h,
                    .own = heap_entry(h, c),
                    .reciprocal = k->reciprocal,
                    .low_mask = ~k->high_mask,
                    .slack = k->slack,
                    .slab_objects = k->slab_objects,
                    .size = k->size,
                    .head_mask = ~(size_t)(k->slab_chunks - 1)};
  /* Both walks are right for any order; two samples tell which will be faster. */
  if (n > 1 && are_neighbours(&slots[0], k->size) && are_neighbours(&slots[(n - 1) / 2], k->size)) {
    flush_neighbours(&f, slots, n);
  } else {
    flush_scattered(&f, slots, n);
  }
  ASSERT(h->cls[c].taken_count >= n - f.fault_count);
  h->cls[c].taken_count -= n - f.fault_count;
  h->taken_bytes -= (size_t)(n - f.fault_count) * k->size;
  pull_offer(h, c);
  store_relaxed(&h->cls[c].is_dry, false);
}

/* The map entry of an object; 0 where it is none of the region's. */
static uint32_t entry_of(const void *p) {
  size_t i = chunk_index(p);
  return i < region_chunk_count ? map_load(i) : 0;
}

/* Rows of objects of the same class, one after the other. */
static void flush_mix(struct heap *h, struct magazine *m) {
  uint32_t n = load_relaxed(&m->count), row;
  for (uint32_t i = 0; i < n; i += row) {
    uint32_t entry = entry_of(m->slot[i]);
    row = 1;
    if (HAK_UNLIKELY(is_stray(h, entry))) {
      note_stray(h, m->slot[i]);
      continue;
    }
    if (HAK_UNLIKELY(!map_entry_is_slab(entry) || map_entry_id(entry) != heap_id(h))) {
      note_fault(h, m->slot[i],
                 map_entry_id(entry) == HEAP_ID_FREED ? FAULT_DOUBLE_FREE : FAULT_CORRUPTED);
      continue;
    }
    while (i + row < n && entry_of(m->slot[i + row]) == entry) row++;
    flush_slots(h, map_entry_class(entry), &m->slot[i], row);
  }
  store_relaxed(&m->count, (uint16_t)0);
}

void flush_magazine(struct heap *h, struct magazine *m) {
  if (magazine_is_mix(m)) {
    flush_mix(h, m);
    return;
  }
  ASSERT(m->entry == heap_entry(h, map_entry_class(m->entry)));
  flush_slots(h, map_entry_class(m->entry), m->slot, load_relaxed(&m->count));
  store_relaxed(&m->count, (uint16_t)0);
}

void flush_count_slab(struct heap *h, const struct slab *s, bool is_new) {
  size_t bytes = (size_t)s->chunk_count * CHUNK_BYTES, before = load_relaxed(&h->slab_bytes);
  ASSERT(is_new || before >= bytes);
  store_relaxed(&h->slab_bytes, is_new ? before + bytes : before - bytes);
}

void flush_empty_slab(struct heap *h) {
  struct slab *empty = h->empty_slab;
  if (empty == NULL) return;
  ASSERT(empty->free_count == size_classes[empty->class_index].slab_objects);
  h->empty_slab = NULL;
  flush_unlink_slab(h, empty);
  flush_count_slab(h, empty, false);
  /* Its chunks are resident: the next slab is better there than on fresh ones further up. */
  uint32_t superslab = slab_chunk(empty) / SUPERSLAB_CHUNKS;
  if (superslab < h->preferred_superslab) h->preferred_superslab = superslab;
  slab_release(empty);
}

void flush_shared(struct heap *home) {
  ASSERT(lock_is_mine(&home->lock));
  for (uint32_t c = 0; c < CLASS_COUNT; c++) depot_flush_class(home, c);
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) {
    if (home->spare[i] != NULL) magazine_give(home->spare[i]);
    home->spare[i] = NULL;
  }
  flush_empty_slab(home);
}

void flush_owner_class(struct heap *h, uint32_t c) {
  struct heap *home = h->home;
  ASSERT(lock_is_mine(&home->lock) && h->is_owned);
  struct heap_class *k = &h->cls[c];
  struct magazine *loaded = load_relaxed(&k->loaded);
  if (loaded != NULL) {
    heap_bin_spill(h, c);
    flush_slots(home, c, loaded->slot, heap_bin_count(h, c));
    heap_bin_reset(h, c);
    store_relaxed(&loaded->count, (uint16_t)0);
    magazine_give(loaded);
  }
  struct magazine *previous = load_relaxed(&k->previous);
  if (previous != NULL) {
    store_relaxed(&k->previous, NULL);
    flush_magazine(home, previous);
    magazine_give(previous);
  }
}

void flush_owner_magazines(struct heap *h) {
  struct heap *home = h->home;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    struct heap_class *k = &h->cls[c];
    if (load_relaxed(&k->loaded) == NULL) k->window = 0;
    if (k->streak == 1) k->window = (uint16_t)((k->window + 1) / 2); /* one refill was enough */
    k->streak = 0;
    k->is_underflowed = false;
    flush_owner_class(h, c);
  }
  uint32_t others_asleep = home->asleep_count - h->is_asleep;
  if (others_asleep + 1 >= load_relaxed(&home->thread_count)) flush_shared(home);
}

void flush_owner_windows(struct heap *h) {
  ASSERT(lock_is_mine(&h->home->lock) && h->is_owned);
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    ASSERT(load_relaxed(&h->cls[c].loaded) == NULL && h->cls[c].streak == 0);
    h->cls[c].window = 0;
  }
}

static struct magazine *get_of_kind(struct heap *h, uint32_t c, uint8_t kind) {
  ASSERT(lock_is_mine(&h->lock));
  struct magazine *m = h->spare[kind - 1];
  h->spare[kind - 1] = NULL;
  if (m == NULL) m = magazine_get(kind);
  if (m != NULL) m->entry = heap_entry(h, c);
  return m;
}

struct magazine *flush_magazine_get(struct heap *h, uint32_t c) {
  return get_of_kind(h, c, size_classes[c].magazine_kind);
}

struct magazine *flush_magazine_get_small(struct heap *h, uint32_t c, uint32_t slots) {
  return get_of_kind(h, c, magazine_kind_for(slots));
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
