/* depot.c — see depot.h.
 */
#include "depot.h"

#include "base_mem.h"
#include "flush.h"
#include "os_check.h"
#include "rt_options.h"

enum {
  SHARES_MAX = 4, /* threads of a home whose depots it may be; measured: docs/decisions/0022 */
  UNWANTED = 64,  /* evictions in a row: more than any swing makes. Arbitrary, as the next two */
  UNWANTED_MOST = 4096,
  ADDED_BYTES = 65536, /* of a magazine to which depot_add adds */
};

static size_t magazine_bytes(const struct magazine *m) {
  return (size_t)load_relaxed(&((struct magazine *)(uintptr_t)m)->count) *
         size_classes[map_entry_class(m->entry)].size;
}

/* The next newer one. */
static struct magazine *newer(struct magazine *m) {
  return (struct magazine *)(uintptr_t)load_relaxed(&m->link);
}
static void set_newer(struct magazine *m, struct magazine *other) {
  store_relaxed(&m->link, (uint64_t)(uintptr_t)other);
}

static void unlink_oldest(struct heap *h, struct heap_class *k) {
  struct magazine *m = k->depot_oldest;
  ASSERT(m != NULL && m->next == NULL && k->depot_count != 0);
  k->depot_oldest = newer(m);
  if (k->depot_oldest != NULL) {
    k->depot_oldest->next = NULL;
  } else {
    k->depot_newest = NULL;
  }
  k->depot_count--;
  h->depot_bytes -= magazine_bytes(m);
}

static void evict_oldest(struct heap *h, uint32_t c) {
  struct magazine *m = h->cls[c].depot_oldest;
  ASSERT(m != NULL);
  unlink_oldest(h, &h->cls[c]);
  flush_magazine(h, m);
  flush_magazine_give(h, m);
}

/* Round robin over the classes, so that one which is no longer used gives its share up. */
static uint32_t evict_class(struct heap *h) {
  for (uint32_t i = 0; i < CLASS_COUNT; i++) {
    h->depot_evict_class = (h->depot_evict_class + 1) % CLASS_COUNT;
    if (h->cls[h->depot_evict_class].depot_count != 0) break;
  }
  return h->depot_evict_class;
}

static uint32_t thread_count(const struct heap *h) {
  return load_relaxed(&((struct heap *)(uintptr_t)h)->thread_count);
}

static uint64_t bound_of(const struct heap *h) {
  uint32_t threads = thread_count(h);
  return rt_option(RT_OPTION_DEPOT_BYTES) * (threads < SHARES_MAX ? threads : SHARES_MAX);
}

bool depot_is_unwanted(const struct heap *h) {
  return h->depot_unwanted >= UNWANTED && thread_count(h) > 1;
}

void depot_note_unwanted(struct heap *h) {
  for (uint32_t c = 0; h->depot_bytes != 0 && c < CLASS_COUNT; c++) depot_flush_class(h, c);
  if (h->depot_unwanted < UNWANTED_MOST) h->depot_unwanted++;
}

void depot_put(struct heap *h, uint32_t c, struct magazine *m) {
  ASSERT(lock_is_mine(&h->lock));
  ASSERT(m->entry == heap_entry(h, c) && load_relaxed(&m->count) != 0);
  if (HAK_UNLIKELY(depot_is_unwanted(h))) {
    flush_magazine(h, m);
    flush_magazine_give(h, m);
    depot_note_unwanted(h);
    return;
  }
  struct heap_class *k = &h->cls[c];
  set_newer(m, NULL);
  m->next = k->depot_newest;
  if (m->next != NULL) {
    set_newer(m->next, m);
  } else {
    k->depot_oldest = m;
  }
  k->depot_newest = m;
  k->depot_count++;
  h->depot_bytes += magazine_bytes(m);
  uint64_t bound = bound_of(h);
  while (h->depot_bytes > bound) { /* each round takes a magazine out */
    /* A class that holds most of the depot evicts its own: no search in a bulk loop. */
    bool is_own =
        k->depot_count * (size_t)size_classes[c].magazine_capacity * size_classes[c].size >
        bound / 2;
    evict_oldest(h, is_own ? c : evict_class(h));
    h->depot_unwanted++;
  }
}

void depot_trim(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  while (h->depot_bytes > bound_of(h)) evict_oldest(h, evict_class(h));
}

struct magazine *depot_take(struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&h->lock));
  struct heap_class *k = &h->cls[c];
  struct magazine *m = k->depot_newest;
  if (m == NULL) {
    h->depot_unwanted /= 2; /* a few of these, and it is wanted again */
    return NULL;
  }
  h->depot_unwanted = 0;
  k->depot_newest = m->next;
  if (m->next != NULL) {
    set_newer(m->next, NULL);
  } else {
    k->depot_oldest = NULL;
  }
  k->depot_count--;
  h->depot_bytes -= magazine_bytes(m);
  m->next = NULL;
  return m;
}

void depot_add(struct heap *h, uint32_t c, void *const *slots, uint32_t n) {
  ASSERT(lock_is_mine(&h->lock) && n != 0 && n <= size_classes[c].magazine_capacity);
  uint32_t most = ADDED_BYTES / size_classes[c].size;
  if (most > size_classes[c].magazine_capacity) most = size_classes[c].magazine_capacity;
  struct magazine *m = h->cls[c].depot_newest;
  if (m != NULL && load_relaxed(&m->count) + n <= most) {
    uint32_t unwanted = h->depot_unwanted;
    m = depot_take(h, c);
    h->depot_unwanted = unwanted; /* it goes back at once */
  } else {
    m = flush_magazine_get(h, c);
  }
  if (m == NULL) {
    flush_slots(h, c, slots, n);
    return;
  }
  uint32_t count = load_relaxed(&m->count);
  mem_copy(m->slot + count, slots, n * sizeof *slots);
  store_relaxed(&m->count, (uint16_t)(count + n));
  depot_put(h, c, m);
}

void depot_flush_class(struct heap *h, uint32_t c) {
  while (h->cls[c].depot_count != 0) evict_oldest(h, c);
}
