/* refill.c — see refill.h.
 *
 * The window is how much of the loaded magazine is used. It starts small, so that a process with
 * few objects touches few pages, and doubles when the bin overflows after it ran empty: a load
 * that swings needs room, one that only grows or only shrinks does not. Second magazine and depot
 * come into play once the window is the whole magazine.
 */
#include "refill.h"

#include "base_mem.h"
#include "depot.h"
#include "flush.h"
#include "mail.h"
#include "os_check.h"

enum {
  WINDOW_FIRST_BYTES = 1024,
  WINDOW_FIRST_MAX = 8,
  BORROW_SURPLUS = 8,    /* measured: docs/decisions/0010 */
  BORROW_SIZE_SHARE = 4, /* a lender is at most a quarter larger: one step of the coarse classes */
};

/* Which objects a refill may take from slabs: on resident pages only, or others too. */
enum reach { REACH_RESIDENT, REACH_FRESH };

static uint16_t window_first(const struct size_class *k) {
  uint32_t w = WINDOW_FIRST_BYTES / k->size;
  return (uint16_t)(w < 1 ? 1 : w > WINDOW_FIRST_MAX ? WINDOW_FIRST_MAX : w);
}

/* The bin's pointers for magazine m holding `count` objects; hi >= sp always. */
static void bin_load(struct heap *h, uint32_t c, struct magazine *m, uint32_t count) {
  struct bin *b = &h->bin[c];
  uint32_t room = h->cls[c].window > count ? h->cls[c].window : count;
  store_relaxed(&b->lo, m->slot);
  store_relaxed(&b->sp, m->slot + count);
  b->hi = m->slot + room;
}

static void *bin_pop(struct bin *b) {
  void **sp = load_relaxed(&b->sp);
  ASSERT(sp > load_relaxed(&b->lo));
  store_relaxed(&b->sp, sp - 1);
  return sp[-1];
}

static void bin_push(struct bin *b, void *p) {
  void **sp = load_relaxed(&b->sp);
  ASSERT(sp < b->hi);
  *sp = p;
  store_relaxed(&b->sp, sp + 1);
}

static struct magazine *loaded_of(struct bin *b) {
  void **lo = load_relaxed(&b->lo);
  return lo == NULL ? NULL : magazine_of_slots(lo);
}

/* The loaded magazine becomes the second one, and the second is loaded. */
static void swap_previous(struct heap *h, uint32_t c) {
  struct bin *b = &h->bin[c];
  struct magazine *loaded = loaded_of(b);
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  ASSERT(loaded != NULL && previous != NULL && loaded != previous);
  store_relaxed(&loaded->count, (uint16_t)bin_count(b));
  store_relaxed(&h->cls[c].previous, loaded);
  bin_load(h, c, previous, load_relaxed(&previous->count));
}

static void *swap_and_pop(struct heap *h, uint32_t c) {
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  if (previous == NULL || load_relaxed(&previous->count) == 0) return NULL;
  h->cls[c].is_underflowed = true;
  swap_previous(h, c);
  return bin_pop(&h->bin[c]);
}

/* Objects of class c that malloc reaches without a lock. */
static uint32_t count_unlocked(struct heap *h, uint32_t c) {
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  return bin_count(&h->bin[c]) + (previous == NULL ? 0 : load_relaxed(&previous->count));
}

void *refill_unlocked(struct heap *h, uint32_t c, bool may_borrow) {
  ASSERT(!h->is_shared);
  /* A signal handler may have freed something since malloc found the bin empty. */
  if (HAK_UNLIKELY(bin_count(&h->bin[c]) != 0)) return bin_pop(&h->bin[c]);
  void *p = swap_and_pop(h, c);
  if (p != NULL) return p;
  struct heap_class *k = &h->cls[c];
  uint32_t lender = k->lender;
  if (lender == 0 || !may_borrow || !load_relaxed(&k->is_dry) || mail_is_waiting(h)) return NULL;
  if (count_unlocked(h, lender) <= BORROW_SURPLUS) return NULL;
  return bin_count(&h->bin[lender]) != 0 ? bin_pop(&h->bin[lender]) : swap_and_pop(h, lender);
}

/* Load a full magazine; the empty ones that it replaces stay at hand. */
static void load_full(struct heap *h, uint32_t c, struct magazine *m) {
  struct magazine *empty = loaded_of(&h->bin[c]);
  if (empty != NULL) {
    store_relaxed(&empty->count, (uint16_t)0);
    if (size_classes[c].has_previous) {
      struct magazine *previous = load_relaxed(&h->cls[c].previous);
      store_relaxed(&h->cls[c].previous, empty);
      empty = previous;
    }
    if (empty != NULL) flush_magazine_give(h, empty);
  }
  if (h->cls[c].window == 0) h->cls[c].window = window_first(&size_classes[c]);
  bin_load(h, c, m, load_relaxed(&m->count));
}

static struct slab *slab_with_room(struct heap *h, uint32_t c) {
  if (h->cls[c].slabs != NULL) return h->cls[c].slabs;
  struct slab *s = slab_new(heap_id(h), c, h->preferred_superslab);
  if (s == NULL) return NULL;
  h->preferred_superslab = slab_chunk(s) / SUPERSLAB_CHUNKS;
  flush_link_slab(h, s);
  return s;
}

static uint32_t take_from(struct heap *h, struct slab *s, void **slots, uint32_t want) {
  if (h->empty_slab == s) h->empty_slab = NULL;
  uint32_t got = slab_take(s, slots, want);
  ASSERT(got != 0);
  if (s->free_count == 0) flush_unlink_slab(h, s);
  h->cls[s->class_index].taken_count += got;
  bump_relaxed(&h->objects_out, (size_t)got);
  return got;
}

/* Up to `want` objects; pages that nobody has touched yet only as `reach` allows and when all
 * others gave nothing, and then no further than the first of them. */
static uint32_t take_from_slabs(struct heap *h, uint32_t c, void **slots, uint32_t want,
                                enum reach reach) {
  uint32_t got = 0;
  while (got < want) { /* each round takes at least one, or is the last */
    struct slab *s = h->cls[c].slabs;
    bool is_resident = s != NULL && slab_resident_free(s, &size_classes[c]) != 0;
    if (!is_resident) {
      if (got != 0 || reach == REACH_RESIDENT) break;
      s = slab_with_room(h, c);
      if (s == NULL) break;
    }
    got += take_from(h, s, slots + got, slab_take_limit(s, want - got));
    if (!is_resident) break;
  }
  return got;
}

void *refill_take_one(struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&h->lock));
  void *p = NULL;
  return take_from_slabs(h, c, &p, 1, REACH_FRESH) == 1 ? p : NULL;
}

static bool sample_countdown(struct heap *h, size_t bytes) {
  h->sample_countdown_bytes -= (int64_t)bytes;
  if (HAK_LIKELY(h->sample_countdown_bytes > 0)) return false;
  h->sample_countdown_bytes = SAMPLE_INTERVAL_BYTES;
  return true;
}

static void *refill_from_slabs(struct heap *h, uint32_t c, enum reach reach, bool *is_sample_due) {
  if (reach == REACH_RESIDENT && h->cls[c].slabs == NULL) return NULL;
  struct heap_class *k = &h->cls[c];
  if (k->window == 0) k->window = window_first(&size_classes[c]);
  struct magazine *m = loaded_of(&h->bin[c]);
  if (m == NULL) m = flush_magazine_get(h, c);
  if (m == NULL) return refill_take_one(h, c);
  uint32_t got = take_from_slabs(h, c, m->slot, k->window, reach);
  bin_load(h, c, m, got);
  if (got == 0) return NULL;
  *is_sample_due = sample_countdown(h, (size_t)got * size_classes[c].size);
  return bin_pop(&h->bin[c]);
}

/* From what is free and resident, nearest first; NULL when there is no such object. */
static void *refill_from_resident(struct heap *h, uint32_t c, bool *is_sample_due) {
  h->cls[c].is_underflowed = true;
  struct magazine *m = depot_take(h, c);
  if (m == NULL) return refill_from_slabs(h, c, REACH_RESIDENT, is_sample_due);
  load_full(h, c, m);
  *is_sample_due = sample_countdown(h, (size_t)bin_count(&h->bin[c]) * size_classes[c].size);
  return bin_pop(&h->bin[c]);
}

/* True when class c has more free objects on resident pages than its own next few mallocs need. */
static bool has_surplus(struct heap *h, uint32_t c) {
  const struct heap_class *k = &h->cls[c];
  if (k->depot_count != 0) return true;
  const struct slab *s = k->slabs;
  uint32_t count = count_unlocked(h, c) + (s == NULL ? 0 : slab_resident_free(s, &size_classes[c]));
  return count > BORROW_SURPLUS;
}

/* An object of a class a little larger that has a surplus. */
static void *borrow(struct heap *h, uint32_t c, bool *is_sample_due) {
  uint32_t size_max = size_classes[c].size + size_classes[c].size / BORROW_SIZE_SHARE;
  for (uint32_t wider = c + 1; wider < CLASS_COUNT; wider++) { /* at most 16, a quarter of 1 KiB */
    if (size_classes[wider].size > size_max) break;
    if (!has_surplus(h, wider)) continue;
    ASSERT(size_classes[wider].size > size_classes[c].size);
    h->cls[c].lender = (uint8_t)wider;
    if (bin_count(&h->bin[wider]) != 0) return bin_pop(&h->bin[wider]);
    void *p = swap_and_pop(h, wider);
    return p != NULL ? p : refill_from_resident(h, wider, is_sample_due);
  }
  return NULL;
}

void *refill_slow(struct heap *h, uint32_t c, bool may_borrow, bool *is_sample_due) {
  ASSERT(lock_is_mine(&h->lock));
  /* Taking a heap may have allocated already: libc keeps a key's value in memory of ours. */
  if (bin_count(&h->bin[c]) != 0) return bin_pop(&h->bin[c]);
  if (mail_is_waiting(h)) mail_drain(h);
  void *p = refill_from_resident(h, c, is_sample_due);
  if (p == NULL) {
    store_relaxed(&h->cls[c].is_dry, true);
    if (may_borrow) p = borrow(h, c, is_sample_due);
  }
  return p != NULL ? p : refill_from_slabs(h, c, REACH_FRESH, is_sample_due);
}

static bool window_is_whole(const struct heap *h, uint32_t c) {
  return h->cls[c].window >= size_classes[c].magazine_capacity;
}

bool refill_make_room(struct heap *h, uint32_t c, void *p) {
  ASSERT(!h->is_shared && p != NULL);
  struct bin *b = &h->bin[c];
  struct heap_class *k = &h->cls[c];
  void **lo = load_relaxed(&b->lo);
  if (lo == NULL) return false;
  if (!window_is_whole(h, c)) {
    if (!k->is_underflowed) return false;
    uint32_t wider = 2u * k->window;
    uint32_t whole = size_classes[c].magazine_capacity;
    k->window = (uint16_t)(wider < whole ? wider : whole);
    k->is_underflowed = false;
    if (b->hi < lo + k->window) b->hi = lo + k->window;
    if (load_relaxed(&b->sp) == b->hi) return false;
  } else {
    struct magazine *previous = load_relaxed(&k->previous);
    if (previous == NULL || load_relaxed(&previous->count) != 0) return false;
    swap_previous(h, c);
  }
  bin_push(b, p);
  return true;
}

/* The older half of the loaded magazine leaves it: into `half` and the depot, or to the bitmaps
 * when half is NULL. */
static void shed_older_half(struct heap *h, uint32_t c, struct magazine *half) {
  struct bin *b = &h->bin[c];
  void **lo = load_relaxed(&b->lo);
  uint32_t count = bin_count(b);
  uint32_t older = (count + 1) / 2;
  ASSERT(count != 0 && count <= size_classes[c].magazine_capacity);
  if (half == NULL) {
    flush_slots(h, c, lo, older);
  } else {
    mem_copy(half->slot, lo, older * sizeof *lo);
    store_relaxed(&half->count, (uint16_t)older);
  }
  mem_move(lo, lo + older, (size_t)(count - older) * sizeof *lo);
  bin_load(h, c, magazine_of_slots(lo), count - older);
  /* A received magazine may hold more than twice the window: it keeps its fill until empty. */
  if (b->hi < lo + count) b->hi = lo + count;
  if (half != NULL) depot_put(h, c, half);
}

/* The loaded magazine is full and as large as it gets. With a second magazine it moves there and
 * the second (full) one into the depot; without, half of it goes, so that the next few operations
 * find objects and room, whichever they need. */
static void shed_full(struct heap *h, uint32_t c) {
  struct bin *b = &h->bin[c];
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  if (previous != NULL && load_relaxed(&previous->count) == 0) {
    swap_previous(h, c); /* the window became whole only now */
    return;
  }
  struct magazine *empty = flush_magazine_get(h, c);
  if (empty == NULL || !size_classes[c].has_previous) {
    shed_older_half(h, c, empty);
    return;
  }
  struct magazine *loaded = loaded_of(b);
  store_relaxed(&loaded->count, (uint16_t)bin_count(b));
  store_relaxed(&h->cls[c].previous, loaded);
  bin_load(h, c, empty, 0);
  if (previous != NULL) depot_put(h, c, previous);
}

void refill_overflow(struct heap *h, uint32_t c, void *p) {
  ASSERT(lock_is_mine(&h->lock) && !h->is_shared);
  struct bin *b = &h->bin[c];
  if (loaded_of(b) == NULL) { /* the first free of a class in an adopted heap */
    struct magazine *m = flush_magazine_get(h, c);
    if (m == NULL) {
      flush_slots(h, c, &p, 1);
      return;
    }
    if (h->cls[c].window == 0) h->cls[c].window = window_first(&size_classes[c]);
    bin_load(h, c, m, 0);
  } else if (window_is_whole(h, c)) {
    shed_full(h, c);
  } else {
    shed_older_half(h, c, NULL);
  }
  bin_push(b, p);
}
