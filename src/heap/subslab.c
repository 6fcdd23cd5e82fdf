/* subslab.c — see subslab.h. No state of its own.
 */
#include "subslab.h"

#include "flush.h"
#include "huge.h"
#include "mail.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "purge.h"
#include "superslab.h"

enum {
  SLICE_RUNS = 64,   /* system calls of a microsecond or two */
  SLICE_SLABS = 512, /* looked at: a tenth of a microsecond each */
};

/* Neighbouring pages of a slab, and all objects that reach into them. */
struct page_run {
  uint32_t first_page, page_count;
  uint32_t first_object, object_count;
};

/* Objects first to end - 1 of the word that `first` is in. */
static uint64_t word_mask(uint32_t first, uint32_t end) {
  uint32_t low = first % 64, count = end - first < 64 - low ? end - first : 64 - low;
  return UINT64_MAX >> (64 - count) << low;
}

static bool are_all_free(const struct slab *s, uint32_t first, uint32_t end) {
  for (; first < end; first = (first / 64 + 1) * 64) {
    uint64_t mask = word_mask(first, end);
    if ((load_relaxed(&s->bits[first / 64]) & mask) != mask) return false;
  }
  return true;
}

/* First object that reaches beyond this offset from the slab's start. */
static uint32_t object_beyond(const struct size_class *k, size_t offset) {
  return offset <= k->slack ? 0 : (uint32_t)(offset - k->slack) / k->size;
}

/* First object that starts at this offset or beyond. */
static uint32_t object_from(const struct size_class *k, size_t offset) {
  uint32_t i = offset <= k->slack ? 0 : (uint32_t)(offset - k->slack + k->size - 1) / k->size;
  return i < k->slab_objects ? i : k->slab_objects;
}

/* The first run from `page` on that is free and was ever in use. */
static bool find_run(const struct slab *s, uint32_t page, struct page_run *run) {
  ASSERT(slab_is_valid(s));
  const struct size_class *k = &size_classes[s->class_index];
  const size_t page_bytes = os_page_bytes();
  size_t used_bytes = k->slack + (size_t)s->carved_count * k->size; /* never touched beyond */
  if (huge_is_whole(slab_chunk(s) / SUPERSLAB_CHUNKS))              /* but resident all the same */
    used_bytes = (size_t)k->slab_chunks * CHUNK_BYTES;
  uint32_t page_end = (uint32_t)((used_bytes + page_bytes - 1) / page_bytes);
  uint32_t page_first = (uint32_t)(k->slack / page_bytes); /* before it nothing but slack */
  if (page < page_first) page = page_first;
  run->page_count = 0;
  for (; page < page_end; page++) {
    uint32_t first = object_beyond(k, page * page_bytes);
    uint32_t end = object_from(k, (page + 1) * page_bytes);
    if (!are_all_free(s, first, end)) {
      if (run->page_count != 0) return true;
      continue;
    }
    if (run->page_count++ == 0) {
      run->first_page = page;
      run->first_object = first;
    }
    run->object_count = end - run->first_object;
  }
  return run->page_count != 0;
}

static void count_free(struct heap *home, struct slab *s, uint32_t n, bool is_back) {
  struct heap_class *k = &home->cls[s->class_index];
  size_t bytes = (size_t)n * size_classes[s->class_index].size;
  s->free_count = (uint16_t)(is_back ? s->free_count + n : s->free_count - n);
  k->taken_count = is_back ? k->taken_count - n : k->taken_count + n;
  home->taken_bytes = is_back ? home->taken_bytes - bytes : home->taken_bytes + bytes;
}

static void take_run(struct heap *home, struct slab *s, const struct page_run *run) {
  ASSERT(lock_is_mine(&home->lock) && run->object_count != 0);
  const uint32_t end = run->first_object + run->object_count;
  ASSERT(end <= size_classes[s->class_index].slab_objects);
  for (uint32_t i = run->first_object; i < end; i = (i / 64 + 1) * 64) {
    uint64_t bits = load_relaxed(&s->bits[i / 64]);
    ASSERT((bits & word_mask(i, end)) == word_mask(i, end));
    store_relaxed(&s->bits[i / 64], bits & ~word_mask(i, end));
  }
  count_free(home, s, run->object_count, false);
  if (s->free_count == 0) flush_unlink_slab(home, s);
}

/* An object of the run that was free, and has been freed once more meanwhile, has its bit already.
 */
static HAK_COLD void note_freed_twice(struct heap *home, const struct slab *s, uint32_t object) {
  const struct size_class *k = &size_classes[s->class_index];
  char *p = (char *)chunk_address(slab_chunk(s)) + k->slack + (size_t)object * k->size;
  if (home->fault.kind == FAULT_NONE) home->fault = (struct heap_fault){FAULT_DOUBLE_FREE, p};
}

static void give_back_run(struct heap *home, struct slab *s, const struct page_run *run) {
  ASSERT(lock_is_mine(&home->lock) && run->object_count != 0);
  const uint32_t end = run->first_object + run->object_count, before = s->free_count;
  uint32_t n = 0;
  for (uint32_t i = run->first_object; i < end; i = (i / 64 + 1) * 64) {
    uint64_t mask = word_mask(i, end), bits = load_relaxed(&s->bits[i / 64]), twice = bits & mask;
    if (HAK_UNLIKELY(twice != 0))
      note_freed_twice(home, s, i / 64 * 64 + (uint32_t)__builtin_ctzll(twice));
    store_relaxed(&s->bits[i / 64], bits | mask);
    n += (uint32_t)__builtin_popcountll(mask & ~bits);
  }
  count_free(home, s, n, true);
  slab_lower_hint(s, run->first_object / 64);
  bool is_empty = s->free_count == size_classes[s->class_index].slab_objects;
  if ((before == 0 && n != 0) || is_empty) flush_slab_gained(home, s, before, s->free_count);
}

/* The home that owns the slab at `chunk`, locked; NULL when none does that has a lock to take. The
 * caller holds the purge lock. */
static struct heap *owner_lock(size_t chunk) {
  for (;;) { /* ends: each further round follows a change of owner by another thread */
    uint32_t entry = map_load_acquire(chunk);
    if (map_entry_id(entry) < HEAP_ID_FIRST) return NULL;
    struct heap *home = heap_of_id(map_entry_id(entry));
    if (NEVER(home == NULL)) return NULL;
    lock_under_purge(&home->lock);
    if (map_load(chunk) == entry) return home;
    lock_leave(&home->lock);
  }
}

static bool begins_slab(size_t chunk, uint32_t entry) {
  return slab_of_chunk(&size_classes[map_entry_class(entry)], chunk) == region_record(chunk);
}

struct walk {
  struct heap *own;          /* the calling thread's */
  const struct heap *only;   /* NULL: all homes */
  struct heap *locked[2];    /* whose lock was taken for the last run; NULL: none */
  int runs_left, slabs_left; /* of the slice; may fall below 0: a slab is purged whole */
  uint64_t end_us;           /* of the slice */
  bool is_refused;           /* by the kernel, or by another thread's purge */
};

/* One run of the slab at `chunk`, from *page on; *page is then behind it. Bytes, or 0: there is no
 * more, or the kernel refuses. The caller holds the purge lock. */
static size_t purge_pages(struct walk *walk, size_t chunk, uint32_t *page) {
  struct heap *home = walk->locked[0] = owner_lock(chunk);
  if (home == NULL) return 0;
  struct slab *s = region_record(chunk);
  struct page_run run = {0, 0, 0, 0};
  /* The map's class: of a chunk inside a longer slab, the record says what was there before. */
  bool is_wanted =
      (walk->only == NULL || home == walk->only) && begins_slab(chunk, map_load(chunk));
  bool has_run = is_wanted && home->empty_slab != s && (*page != 0 || !slab_is_unchanged(s)) &&
                 find_run(s, *page, &run);
  if (is_wanted && *page == 0) slab_note_unchanged(s);
  home->subslab_free_bytes = load_relaxed(&home->slab_bytes) - home->taken_bytes;
  if (has_run) take_run(home, s, &run);
  lock_leave(&home->lock);
  if (!has_run) return 0;
  ASSERT((run.first_page + run.page_count) * os_page_bytes() <= s->chunk_count * CHUNK_BYTES);
  size_t page_bytes = os_page_bytes(), bytes = run.page_count * page_bytes;
  huge_break(chunk / SUPERSLAB_CHUNKS);
  walk->is_refused = !os_purge((char *)chunk_address(chunk) + run.first_page * page_bytes, bytes);
  home = walk->locked[1] = owner_lock(chunk);
  CHECK(home != NULL); /* it cannot have been released: objects of it were out */
  give_back_run(home, s, &run);
  if (walk->is_refused) slab_note_changed(s); /* there is something left to do */
  lock_leave(&home->lock);
  *page = run.first_page + run.page_count;
  return walk->is_refused ? 0 : bytes;
}

/* All runs of the slab that begins at `chunk`, if one does. */
static size_t purge_slab(struct walk *walk, size_t chunk) {
  ASSERT(walk->own->is_owned && (walk->only == NULL || heap_is_home(walk->only)));
  uint32_t entry = map_load(chunk), id = map_entry_id(entry), page = 0;
  if (id < HEAP_ID_FIRST || (walk->only != NULL && id != heap_id(walk->only))) return 0;
  if (!begins_slab(chunk, entry)) return 0;
  size_t purged = 0;
  walk->slabs_left--;
  for (;;) { /* each round goes on behind the last run, and waits: the slab is noted by now */
    if (!purge_begin(page != 0 || walk->only == NULL)) { /* who asks for all gets it */
      walk->is_refused = true;
      return purged;
    }
    walk->locked[0] = walk->locked[1] = NULL;
    size_t bytes = purge_pages(walk, chunk, &page);
    purge_end(bytes, walk->is_refused);
    for (size_t i = 0; i < 2; i++) { /* a sender may have found the lock taken, and left */
      if (walk->locked[i] != NULL) mail_redrain(walk->locked[i], false, &walk->own->to_free);
    }
    if (bytes == 0) return purged;
    purged += bytes;
    walk->runs_left = os_clock_us() < walk->end_us ? walk->runs_left - 1 : 0;
  }
}

static bool goes_on(const struct walk *walk) {
  if (walk->is_refused) return false;
  return walk->only == NULL || (walk->runs_left > 0 && walk->slabs_left > 0);
}

size_t subslab_purge(struct heap *own, struct heap *home) {
  struct walk walk = {.own = own,
                      .only = home,
                      .runs_left = SLICE_RUNS,
                      .slabs_left = SLICE_SLABS,
                      .end_us = os_clock_us() + PURGE_SLICE_US};
  size_t purged = 0, end = superslab_chunk_end();
  size_t chunk = home != NULL ? load_relaxed(&home->subslab_next) : 0;
  for (; chunk < end && goes_on(&walk); chunk++) purged += purge_slab(&walk, chunk);
  bool is_done = walk.is_refused || chunk >= end;
  if (home != NULL) store_relaxed(&home->subslab_next, is_done ? 0 : (uint32_t)chunk);
  return purged;
}
