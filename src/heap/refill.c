/* refill.c — see refill.h.
 *
 * The window (window.h) is how many objects a bin may hold. It starts small (in an adopted heap as
 * it was left), so that a process with few objects touches few pages, and doubles when the bin
 * overflows after it ran empty: a load that swings needs room, one that only grows or only shrinks
 * does not. Where the loaded magazine is too small for the window, a larger one takes its place.
 * Second magazine and depot come into play once the window is the class's whole capacity.
 */
#include "refill.h"

#include "base_mem.h"
#include "depot.h"
#include "flush.h"
#include "mail.h"
#include "os_check.h"
#include "pull.h"
#include "region.h"
#include "rt_options.h"
#include "superslab.h"
#include "window.h"

enum {
  BORROW_SURPLUS = 8, /* measured, as the next three: docs/decisions/0010 */
  /* A lender may be twice as large for a class that holds so many bytes of objects at least, and
   * slabs of less than so many: there each fresh page counts. Else a quarter larger, one step of
   * the coarse classes. */
  BORROW_WIDE_LEAST_BYTES = 48 * 1024,
  BORROW_WIDE_BYTES = 192 * 1024,
  BORROW_SIZE_SHARE = 4,
  /* A class that is refilled again and again, and never full, only grows, or its objects are freed
   * elsewhere: from the fourth time on it takes twice as much each time, up to 8 windows at once.
   * docs/decisions/0017. */
  STREAK_FIRST = 2,
  STREAK_DOUBLINGS_MAX = 3,
};

/* Which objects a refill may take from slabs: on resident pages only, or others too. */
enum reach { REACH_RESIDENT, REACH_FRESH };

static void *bin_pop(struct bin *b) {
  void *p = bin_try_pop(b);
  ASSERT(p != NULL);
  return p;
}

/* The loaded magazine becomes the second one, and the second is loaded. */
static void swap_previous(struct heap *h, uint32_t c) {
  struct magazine *loaded = load_relaxed(&h->cls[c].loaded);
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  ASSERT(loaded != NULL && previous != NULL && loaded != previous);
  heap_bin_spill(h, c);
  store_relaxed(&loaded->count, (uint16_t)heap_bin_count(h, c));
  store_relaxed(&h->cls[c].previous, loaded);
  window_load(h, c, previous, load_relaxed(&previous->count));
}

/* The bin is empty and the second magazine is not. Where the last exchange went the other way, half
 * of it is taken, so that neither the next few frees nor the next few mallocs come here again: at
 * either end of a magazine a load that swings would be back after two steps. A load that goes one
 * way gets the whole, for one swap and no copy. */
static void take_over(struct heap *h, uint32_t c) {
  struct heap_class *k = &h->cls[c];
  struct magazine *loaded = load_relaxed(&k->loaded), *previous = load_relaxed(&k->previous);
  uint32_t count = load_relaxed(&previous->count);
  ASSERT(heap_bin_count(h, c) == 0 && count != 0);
  bool is_turn = k->was_full;
  k->was_full = false;
  if (!is_turn) {
    swap_previous(h, c);
    return;
  }
  uint32_t half = (count + 1) / 2;
  mem_copy(loaded->slot, previous->slot + (count - half), half * sizeof *loaded->slot);
  store_relaxed(&previous->count, (uint16_t)(count - half));
  window_load(h, c, loaded, half);
}

/* The other way round: the bin is full and as large as it gets, and the second magazine is not. */
static void hand_over(struct heap *h, uint32_t c) {
  struct heap_class *k = &h->cls[c];
  struct magazine *loaded = load_relaxed(&k->loaded), *previous = load_relaxed(&k->previous);
  uint32_t older = load_relaxed(&previous->count), count = heap_bin_count(h, c);
  uint32_t room = size_classes[c].magazine_capacity - older;
  ASSERT(room != 0 && count != 0);
  bool is_turn = !k->was_full;
  k->was_full = true;
  if (!is_turn && older == 0) {
    swap_previous(h, c);
    return;
  }
  uint32_t half = (count + 1) / 2;
  uint32_t n = half < room ? half : room;
  heap_bin_spill(h, c);
  mem_copy(previous->slot + older, loaded->slot, n * sizeof *loaded->slot);
  store_relaxed(&previous->count, (uint16_t)(older + n));
  mem_move(loaded->slot, loaded->slot + n, (count - n) * sizeof *loaded->slot);
  window_load(h, c, loaded, count - n);
}

static bool previous_has_room(struct heap *h, uint32_t c) {
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  return previous != NULL && load_relaxed(&previous->count) < size_classes[c].magazine_capacity;
}

static void *take_over_and_pop(struct heap *h, uint32_t c) {
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  if (previous == NULL || load_relaxed(&previous->count) == 0) return NULL;
  h->cls[c].is_underflowed = true;
  take_over(h, c);
  return bin_pop(&h->bin[c]);
}

/* Objects of class c that malloc reaches without a lock. */
static uint32_t count_unlocked(struct heap *h, uint32_t c) {
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  return heap_bin_count(h, c) + (previous == NULL ? 0 : load_relaxed(&previous->count));
}

/* One object of class `lender` for class c, and those that follow without coming here, until the
 * lender's bin is empty or this class's own is full. NULL when the lender has none at hand. */
static void *lend(struct heap *h, uint32_t lender, uint32_t c) {
  ASSERT(size_classes[lender].size > size_classes[c].size);
  h->cls[c].lender = (uint8_t)lender;
  void *p = bin_try_pop(&h->bin[lender]);
  if (p == NULL) p = take_over_and_pop(h, lender);
  if (p != NULL && c < CLASS_TINY_COUNT) heap_requests_direct(h, c, lender);
  return p;
}

/* malloc of class c looks for its own objects again. */
static void end_loan(struct heap *h, uint32_t c) {
  if (HAK_UNLIKELY(h->split_count != load_relaxed(&size_class_split_count))) heap_requests_reset(h);
  if (h->cls[c].is_borrowing) heap_requests_direct(h, c, c);
}

void *refill_unlocked(struct heap *h, uint32_t c, bool may_borrow) {
  ASSERT(h->is_owned);
  end_loan(h, c);
  /* It may be not empty: after a loan, or a signal handler has freed something meanwhile. */
  void *p = bin_try_pop(&h->bin[c]);
  if (p == NULL) p = take_over_and_pop(h, c);
  if (p != NULL) return p;
  struct heap_class *k = &h->cls[c];
  bool is_dry = load_relaxed(&h->home->cls[c].is_dry);
  if (k->lender == 0 || !may_borrow || rt_option(RT_OPTION_BORROW) == 0 || !is_dry ||
      mail_is_waiting(h->home))
    return NULL;
  return count_unlocked(h, k->lender) > BORROW_SURPLUS ? lend(h, k->lender, c) : NULL;
}

/* Load a full magazine; the empty ones that it replaces stay at hand. */
static void load_full(struct heap *h, uint32_t c, struct magazine *m) {
  struct heap_class *k = &h->cls[c];
  window_open(h, c);
  struct magazine *empty = load_relaxed(&k->loaded);
  if (empty == NULL) {
    window_load(h, c, m, load_relaxed(&m->count));
  } else if (size_classes[c].has_previous && window_is_whole(h, c)) {
    struct magazine *previous = load_relaxed(&k->previous);
    ASSERT(previous == NULL || load_relaxed(&previous->count) == 0);
    store_relaxed(&k->previous, m);
    take_over(h, c);
    if (previous != NULL) flush_magazine_give(h->home, previous);
  } else {
    store_relaxed(&empty->count, (uint16_t)0);
    window_load(h, c, m, load_relaxed(&m->count));
    flush_magazine_give(h->home, empty);
  }
}

static struct slab *slab_with_room(struct heap *h, uint32_t c) {
  if (h->cls[c].slabs != NULL) return h->cls[c].slabs;
  struct slab *s = pull_slab(h, c);
  if (s != NULL) return s;
  s = slab_new(heap_id(h), c, h->preferred_superslab);
  if (s == NULL) return NULL;
  h->preferred_superslab = slab_chunk(s) / SUPERSLAB_CHUNKS;
  flush_link_slab(h, s);
  flush_count_slab(h, s, true);
  return s;
}

static uint32_t take_from(struct heap *h, struct slab *s, void **slots, uint32_t want) {
  if (h->empty_slab == s) h->empty_slab = NULL;
  uint32_t got = slab_take(s, slots, want);
  ASSERT(got != 0);
  if (s->free_count == 0) flush_unlink_slab(h, s);
  h->cls[s->class_index].taken_count += got;
  h->taken_bytes += (size_t)got * size_classes[s->class_index].size;
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

/* How many objects of class c to take from slabs at once. */
static uint32_t refill_count(struct heap *h, uint32_t c) {
  struct heap_class *k = &h->cls[c];
  uint32_t most = window_bound(c);
  if (HAK_UNLIKELY(k->window > most)) k->window = (uint16_t)most; /* BIN_BYTES has changed */
  uint32_t doublings = k->streak <= STREAK_FIRST ? 0 : k->streak - STREAK_FIRST;
  if (doublings > STREAK_DOUBLINGS_MAX) doublings = STREAK_DOUBLINGS_MAX;
  /* Where memory may end, what a class took too much others lack. */
  if (doublings != 0 && region_is_scarce()) doublings = 0;
  uint32_t want = (uint32_t)k->window << doublings;
  return want < most ? want : most;
}

/* The bin is empty: its magazine, or one in its place that has room for `want`. */
static struct magazine *magazine_for(struct heap *h, uint32_t c, uint32_t want) {
  struct heap_class *k = &h->cls[c];
  struct magazine *loaded = load_relaxed(&k->loaded);
  ASSERT(heap_bin_count(h, c) == 0);
  if (loaded != NULL && magazine_room(loaded) >= want) return loaded;
  struct magazine *m = flush_magazine_get_small(h->home, c, want);
  if (m == NULL) return loaded; /* a smaller one, or none */
  if (loaded == NULL) return m;
  ASSERT(load_relaxed(&loaded->count) == 0);
  heap_bin_reset(h, c);
  flush_magazine_give(h->home, loaded);
  return m;
}

static void *refill_from_slabs(struct heap *h, uint32_t c, enum reach reach, bool *is_sample_due) {
  if (reach == REACH_RESIDENT && h->home->cls[c].slabs == NULL) return NULL;
  struct heap_class *k = &h->cls[c];
  window_open(h, c);
  uint32_t want = refill_count(h, c);
  struct magazine *m = magazine_for(h, c, want);
  if (m == NULL) return refill_take_one(h->home, c);
  if (want > magazine_room(m)) want = magazine_room(m);
  uint32_t got = take_from_slabs(h->home, c, m->slot, want, reach);
  if (got != 0 && k->streak < UINT8_MAX) k->streak++;
  window_load(h, c, m, got);
  if (got == 0) return NULL;
  *is_sample_due = sample_countdown(h->home, (size_t)got * size_classes[c].size);
  return bin_pop(&h->bin[c]);
}

/* From what is free and resident, nearest first; NULL when there is no such object. */
static void *refill_from_resident(struct heap *h, uint32_t c, bool *is_sample_due) {
  h->cls[c].is_underflowed = true;
  struct magazine *m = depot_take(h->home, c);
  if (m == NULL) return refill_from_slabs(h, c, REACH_RESIDENT, is_sample_due);
  load_full(h, c, m);
  *is_sample_due = sample_countdown(h->home, (size_t)heap_bin_count(h, c) * size_classes[c].size);
  return bin_pop(&h->bin[c]);
}

/* True when class c has more free objects on resident pages than its own next few mallocs need. */
static bool has_surplus(struct heap *h, uint32_t c) {
  const struct heap_class *k = &h->home->cls[c];
  if (k->depot_count != 0) return true;
  const struct slab *s = k->slabs;
  uint32_t count = count_unlocked(h, c) + (s == NULL ? 0 : slab_resident_free(s, &size_classes[c]));
  return count > BORROW_SURPLUS;
}

/* How large a lender may be. Objects up to twice as large only where the alternative is a page
 * more: chunks that were in use before are resident, and better than an object half used. */
static uint32_t lender_size_max(const struct heap *h, uint32_t c) {
  uint32_t size = size_classes[c].size, near = size + size / BORROW_SIZE_SHARE;
  bool is_wide = h->home->cls[c].taken_count * size >= BORROW_WIDE_LEAST_BYTES &&
                 slab_class_bytes(c) < BORROW_WIDE_BYTES &&
                 superslab_claimed_bytes() == superslab_peak_bytes();
  uint32_t far = size_class_half_used_max(c);
  return is_wide && far > near ? far : near;
}

/* An object of a class somewhat larger that has a surplus. */
static void *borrow(struct heap *h, uint32_t c, bool *is_sample_due) {
  uint32_t size_max = lender_size_max(h, c);
  /* At most 32: 512 B to 1 KiB. */
  for (uint32_t wider = size_class_wider(c); wider < CLASS_FIXED_COUNT; wider++) {
    if (size_classes[wider].size > size_max) break;
    if (!has_surplus(h, wider)) continue;
    void *p = lend(h, wider, c);
    return p != NULL ? p : refill_from_resident(h, wider, is_sample_due);
  }
  return NULL;
}

void *refill_slow(struct heap *h, uint32_t c, bool may_borrow, bool *is_sample_due) {
  struct heap *home = h->home;
  ASSERT(lock_is_mine(&home->lock));
  /* Taking a heap may have allocated already: libc keeps a key's value in memory of ours. */
  void *p = bin_try_pop(&h->bin[c]);
  if (p == NULL) p = take_over_and_pop(h, c); /* a handler has freed while we waited for the lock */
  if (p != NULL) return p;
  window_note_refill(h);
  if (mail_is_waiting(home)) mail_drain(home);
  p = refill_from_resident(h, c, is_sample_due);
  if (p == NULL) {
    store_relaxed(&home->cls[c].is_dry, true);
    if (may_borrow && rt_option(RT_OPTION_BORROW) != 0) p = borrow(h, c, is_sample_due);
  }
  return p != NULL ? p : refill_from_slabs(h, c, REACH_FRESH, is_sample_due);
}

bool refill_make_room(struct heap *h, uint32_t c, void *p) {
  ASSERT(h->is_owned && p != NULL);
  struct bin *b = &h->bin[c];
  if (load_relaxed(&h->cls[c].loaded) == NULL) return false;
  end_loan(h, c); /* no longer dry */
  h->cls[c].streak = 0;
  if (HAK_UNLIKELY(!bin_is_full(b))) {
    /* A signal handler has allocated since free found it full. */
  } else {
    if (!window_is_whole(h, c) || !previous_has_room(h, c)) return false;
    hand_over(h, c);
  }
  bin_push(b, load_relaxed(&b->sp), p);
  return true;
}

static bool is_shared(const struct heap *h) { return load_relaxed(&h->home->thread_count) > 1; }

/* The older half of the loaded magazine leaves it: into `half` and the depot; when half is NULL to
 * the bitmaps or, where other threads of the home may want them soon, to the depot too. */
static void shed_older_half(struct heap *h, uint32_t c, struct magazine *half) {
  struct bin *b = &h->bin[c];
  struct magazine *loaded = load_relaxed(&h->cls[c].loaded);
  uint32_t count = heap_bin_count(h, c);
  uint32_t older = (count + 1) / 2;
  ASSERT(count != 0 && count <= size_classes[c].magazine_capacity);
  heap_bin_spill(h, c);
  if (half == NULL && !is_shared(h)) {
    flush_slots(h->home, c, loaded->slot, older);
  } else if (half == NULL) {
    depot_add(h->home, c, loaded->slot, older);
  } else {
    mem_copy(half->slot, loaded->slot, older * sizeof *loaded->slot);
    store_relaxed(&half->count, (uint16_t)older);
  }
  mem_move(loaded->slot, loaded->slot + older, (size_t)(count - older) * sizeof *loaded->slot);
  window_load(h, c, loaded, count - older);
  /* A received magazine may hold more than twice the window: it keeps its fill until empty. */
  if (b->hi < loaded->slot + count - 1) b->hi = loaded->slot + count - 1;
  if (half != NULL) depot_put(h->home, c, half);
}

/* The window doubles if the class swings; or if threads share the home: what one only frees another
 * may only allocate, and full magazines are how it gets there. True when the bin has room then: a
 * received magazine may hold more than that. */
static bool widen(struct heap *h, uint32_t c) {
  struct heap_class *k = &h->cls[c];
  if (!k->is_underflowed && !(is_shared(h) && size_classes[c].has_previous)) return false;
  struct magazine *loaded = load_relaxed(&k->loaded), *m = loaded;
  uint32_t most = window_max(h, c), count = heap_bin_count(h, c);
  if (k->window >= most) return false;
  uint32_t wider = 2u * k->window < most ? 2u * k->window : most;
  if (magazine_room(loaded) < wider && (m = flush_magazine_get_small(h->home, c, wider)) == NULL)
    return false;
  k->window = (uint16_t)wider;
  k->is_underflowed = false;
  heap_bin_spill(h, c);
  if (m != loaded) mem_copy(m->slot, loaded->slot, count * sizeof *m->slot);
  window_load(h, c, m, count);
  if (m != loaded) {
    ASSERT(load_relaxed(&loaded->count) == 0);
    flush_magazine_give(h->home, loaded);
  }
  return !bin_is_full(&h->bin[c]);
}

/* True when the depot could not keep half a bin's objects. */
static bool is_too_much(uint32_t c) {
  const struct size_class *k = &size_classes[c];
  return (size_t)k->magazine_capacity / 2 * k->size >= rt_option(RT_OPTION_DEPOT_BYTES);
}

/* The loaded magazine is full and as large as it gets. The second (full) one goes into the depot,
 * and what the bin hands over into a new one; a class that has no second magazine sends half of the
 * bin's objects to the depot itself. */
static void shed_full(struct heap *h, uint32_t c) {
  if (previous_has_room(h, c)) { /* the window became whole only now */
    hand_over(h, c);
    return;
  }
  struct magazine *empty = is_too_much(c) ? NULL : flush_magazine_get(h->home, c);
  if (empty == NULL || !size_classes[c].has_previous) {
    shed_older_half(h, c, empty);
    return;
  }
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  store_relaxed(&h->cls[c].previous, empty);
  hand_over(h, c);
  if (previous != NULL) depot_put(h->home, c, previous);
}

void refill_overflow(struct heap *h, uint32_t c, void *p) {
  ASSERT(lock_is_mine(&h->home->lock) && h->is_owned);
  struct bin *b = &h->bin[c];
  if (load_relaxed(&h->cls[c].loaded) == NULL) { /* the first free of a class in an adopted heap */
    window_open(h, c);
    struct magazine *m = flush_magazine_get_small(h->home, c, h->cls[c].window);
    if (m == NULL) {
      flush_slots(h->home, c, &p, 1);
      return;
    }
    window_load(h, c, m, 0);
    window_note_first(h);
  } else if (HAK_UNLIKELY(!bin_is_full(b))) {
    /* As in refill_make_room. */
  } else if (depot_is_unwanted(h->home)) {
    window_shrink(h, c);                          /* frees alone, in all threads of the home */
    if (b->hi != NULL && bin_is_full(b)) b->hi++; /* the magazine has held more */
    depot_note_unwanted(h->home);
  } else if (window_is_whole(h, c)) {
    shed_full(h, c);
  } else if (!widen(h, c)) {
    shed_older_half(h, c, NULL);
  }
  if (HAK_UNLIKELY(b->hi == NULL)) {
    flush_slots(h->home, c, &p, 1);
    return;
  }
  bin_push(b, load_relaxed(&b->sp), p);
  window_note_overflow(h, c);
}
