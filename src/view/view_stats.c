/* view_stats.c — see view_stats.h. For each class
 *
 *   live = taken out of bitmaps - (loaded + second + depot + inbox, of the owner)
 *                               - (outbox, of every other heap)
 *
 * Depot and counts are read under their home's lock, which also keeps the inbox from being emptied.
 * Bins, second magazines and outboxes belong to running threads: relaxed, checked loads.
 */
#include "view_stats.h"

#include "base_size.h"
#include "heap.h"
#include "large.h"
#include "meta.h"
#include "os_check.h"
#include "region.h"
#include "run.h"
#include "slab.h"
#include "superslab.h"

enum { BIN_LOOKS = 4 }; /* arbitrary: a bin is rarely reloaded twice in so few instructions */

static size_t magazine_count(struct magazine *m) { return m == NULL ? 0 : load_relaxed(&m->count); }

/* The owner may be reloading the bin: sp then belongs to the magazine before or after. */
static size_t loaded_count(struct heap *h, uint32_t c) {
  for (int look = 0; look < BIN_LOOKS; look++) {
    struct magazine *m = load_relaxed(&h->cls[c].loaded);
    void **sp = load_relaxed(&h->bin[c].sp);
    if (m == NULL) return 0;
    size_t count = ((uintptr_t)(sp + 1) - (uintptr_t)m->slot) / sizeof *sp;
    if (count <= size_classes[c].magazine_capacity && load_relaxed(&h->cls[c].loaded) == m)
      return count;
  }
  return 0;
}

/* The caller holds h's lock. */
static void add_taken(struct view_totals *t, const struct heap *h) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) t->cls[c].live_count += h->cls[c].taken_count;
}

/* Objects on their way to their owner. Each of a mix is of its own class; a mix that is posted and
 * filled again meanwhile gives objects that have just been counted elsewhere, or not at all. */
static void add_mail(struct view_totals *t, uint32_t entry, struct magazine *m) {
  uint32_t c = map_entry_class(entry);
  size_t count = magazine_count(m);
  if (c != MAP_CLASS_OTHER) {
    t->cls[c].cached_count += count;
    return;
  }
  for (uint32_t i = 0; i < count && i < OUTBOX_MIX_OBJECTS; i++) {
    size_t chunk = chunk_index(mix_object(m, i));
    uint32_t object = chunk < region_chunk_count ? map_load(chunk) : 0;
    if (map_entry_is_slab(object)) t->cls[map_entry_class(object)].cached_count++;
  }
}

static void add_depot_and_inbox(struct view_totals *t, struct heap *h) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    for (struct magazine *m = h->cls[c].depot_newest; m != NULL; m = m->next)
      t->cls[c].cached_count += magazine_count(m);
  }
  for (struct magazine *m = h->strays; m != NULL; m = m->next)
    add_mail(t, map_entry(heap_id(h), MAP_CLASS_OTHER), m);
  /* Pairs with inbox_push: a magazine's contents are there before it is. */
  for (struct magazine *m = load_acquire(&h->inbox); m != NULL; m = m->next)
    add_mail(t, m->entry, m);
}

static void add_owner_side(struct view_totals *t, struct heap *h) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    t->cls[c].cached_count +=
        loaded_count(h, c) + magazine_count(load_relaxed(&h->cls[c].previous));
  }
  for (uint32_t i = 0; i < OUTBOX_SLOTS_ALL; i++) {
    uint32_t entry = load_relaxed(&h->outbox[i].entry);
    if (entry != 0) add_mail(t, entry, load_relaxed(&h->outbox[i].objects));
  }
}

/* A fork left these behind: what bins and outbox hold was cut off in the midst of a change. */
static bool is_left_behind(struct heap *h) {
  return h != heap_current && h->is_owned &&
         load_relaxed(&h->generation) != load_relaxed(&fork_generation);
}

/* What threads share. False on self-entry. */
static bool add_home(struct view_totals *t, struct heap *home) {
  struct heap *own = heap_current;
  if (!heap_enter_with(own, home)) return false;
  ASSERT(heap_is_valid(home));
  add_taken(t, home);
  add_depot_and_inbox(t, home);
  heap_leave_with(own, home);
  return true;
}

static bool add_heap(struct view_totals *t, struct heap *h) {
  t->heap_count++;
  if (heap_is_home(h) && !add_home(t, h)) return false;
  if (!is_left_behind(h)) add_owner_side(t, h);
  return true;
}

static size_t slab_objects_of(uint32_t c) {
  const struct size_class *k = &size_classes[c];
  return slab_class_bytes(c) / ((size_t)k->slab_chunks * CHUNK_BYTES) * k->slab_objects;
}

/* From sums of all heaps to figures that hold together, however far apart they were read: what was
 * counted as cached cannot exceed what was taken, nor that what the slabs hold. */
static void settle_class(struct view_totals *t, uint32_t c) {
  struct view_class *k = &t->cls[c];
  size_t taken = k->live_count;
  k->cached_count = size_min(k->cached_count, taken);
  k->live_count = taken - k->cached_count;
  size_t objects = slab_objects_of(c);
  k->free_count = objects > taken ? objects - taken : 0;
  t->used_bytes += k->live_count * size_classes[c].size;
  t->cached_bytes += k->cached_count * size_classes[c].size;
  t->cached_count += k->cached_count;
  t->free_block_count += k->free_count;
}

static void collect_sizes(struct view_totals *t) {
  size_t claimed = superslab_claimed_bytes();
  t->arena_bytes = size_max(superslab_announced_bytes(), t->used_bytes + t->cached_bytes);
  t->free_bytes = t->arena_bytes - t->used_bytes;
  if (t->arena_bytes > claimed) t->free_block_count += (t->arena_bytes - claimed) / CHUNK_BYTES;
  t->empty_bytes = size_min(superslab_empty_bytes(), t->free_bytes - t->cached_bytes);
  t->peak_bytes = superslab_peak_bytes();
  t->large_bytes = large_bytes();
  t->large_count = large_count();
  t->large_peak_bytes = size_max(large_peak_bytes(), t->large_bytes);
  t->meta_bytes = meta_bytes() + region_meta_bytes();
}

static bool collect_heaps(struct view_totals *t) {
  if (heap_current == &heap_busy) return false; /* a handler inside a slow path */
  uint32_t end = heap_id_end();
  for (uint32_t id = HEAP_ID_BOOTING; id < end; id++) {
    struct heap *h = heap_of_id(id);
    if (h != NULL && !add_heap(t, h)) return false;
  }
  return true;
}

/* Slabs without a free object are on no list, and used up. */
static void add_untouched(size_t bytes[CLASS_COUNT], struct heap *h) {
  struct heap *own = heap_current;
  if (!heap_enter_with(own, h)) return;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    for (const struct slab *s = h->cls[c].slabs; s != NULL; s = s->next) {
      ASSERT(s->carved_count <= size_classes[c].slab_objects);
      bytes[c] += (size_t)(size_classes[c].slab_objects - s->carved_count) * size_classes[c].size;
    }
  }
  heap_leave_with(own, h);
}

void view_stats_untouched(size_t bytes[CLASS_COUNT]) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) bytes[c] = 0;
  if (heap_current == &heap_busy) return;
  for (uint32_t id = HEAP_ID_BOOTING; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    if (h != NULL && heap_is_home(h)) add_untouched(bytes, h);
  }
}

void view_stats_collect(struct view_totals *out) {
  *out = (struct view_totals){.is_exact = true};
  if (collect_heaps(out)) {
    for (uint32_t c = 0; c < size_class_count(); c++) settle_class(out, c);
    out->run_bytes = run_total_bytes();
    out->used_bytes += out->run_bytes;
  } else {
    *out = (struct view_totals){.is_exact = false};
    out->run_bytes = run_total_bytes();
    out->used_bytes = superslab_claimed_bytes();
  }
  collect_sizes(out);
}
