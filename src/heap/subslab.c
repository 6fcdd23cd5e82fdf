/* subslab.c — see subslab.h. No state of its own.
 */
#include "subslab.h"

#include "flush.h"
#include "mail.h"
#include "os_check.h"
#include "os_mem.h"
#include "purge.h"
#include "superslab.h"

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

/* Out of the slab, or back into it. */
static void move_run(struct heap *home, struct slab *s, const struct page_run *run, bool is_back) {
  ASSERT(lock_is_mine(&home->lock) && run->object_count != 0);
  const uint32_t n = run->object_count, end = run->first_object + n, c = s->class_index;
  for (uint32_t i = run->first_object; i < end; i = (i / 64 + 1) * 64) {
    uint64_t mask = word_mask(i, end), bits = load_relaxed(&s->bits[i / 64]);
    ASSERT((bits & mask) == (is_back ? 0 : mask));
    store_relaxed(&s->bits[i / 64], bits ^ mask);
  }
  uint32_t before = s->free_count, now = is_back ? before + n : before - n;
  s->free_count = (uint16_t)now;
  size_t bytes = (size_t)n * size_classes[c].size;
  home->cls[c].taken_count = is_back ? home->cls[c].taken_count - n : home->cls[c].taken_count + n;
  home->taken_bytes = is_back ? home->taken_bytes - bytes : home->taken_bytes + bytes;
  if (!is_back && now == 0) flush_unlink_slab(home, s);
  if (!is_back) return;
  slab_lower_hint(s, run->first_object / 64);
  bool is_empty = now == size_classes[c].slab_objects;
  if (before == 0 || is_empty) flush_slab_gained(home, s, before, now);
  ASSERT(is_empty || slab_is_valid(s));
}

/* The home that owns the slab at `chunk`, locked; NULL when none does that has a lock to take. The
 * caller holds the purge lock. */
static struct heap *owner_lock(size_t chunk) {
  for (;;) { /* ends: each further round follows a change of owner by another thread */
    uint32_t entry = map_load(chunk);
    if (map_entry_id(entry) < HEAP_ID_FIRST) return NULL;
    struct heap *home = heap_of_id(map_entry_id(entry));
    if (NEVER(home == NULL)) return NULL;
    lock_under_purge(&home->lock);
    if (map_load(chunk) == entry) return home;
    lock_leave(&home->lock);
  }
}

/* One run of the slab at `chunk`, from *page on; *page is then behind it. Bytes, or 0: there is no
 * more, or the kernel refuses. The caller holds the purge lock. */
static size_t purge_pages(size_t chunk, const struct heap *only, uint32_t *page, bool *is_refused) {
  struct heap *home = owner_lock(chunk);
  if (home == NULL) return 0;
  struct slab *s = region_record(chunk);
  struct page_run run;
  bool is_wanted = only == NULL || home == only;
  bool has_run = is_wanted && slab_of_chunk(&size_classes[s->class_index], chunk) == s &&
                 home->empty_slab != s && (*page != 0 || !slab_is_unchanged(s)) &&
                 find_run(s, *page, &run);
  if (is_wanted && *page == 0) slab_note_unchanged(s);
  home->subslab_free_bytes = load_relaxed(&home->slab_bytes) - home->taken_bytes;
  if (has_run) move_run(home, s, &run, false);
  lock_leave(&home->lock);
  if (!has_run) return 0;
  ASSERT((run.first_page + run.page_count) * os_page_bytes() <= s->chunk_count * CHUNK_BYTES);
  size_t page_bytes = os_page_bytes(), bytes = run.page_count * page_bytes;
  char *first = (char *)chunk_address(chunk) + run.first_page * page_bytes;
  *is_refused = !os_purge(first, bytes);
  home = owner_lock(chunk);
  CHECK(home != NULL); /* it cannot have been released: objects of it were out */
  move_run(home, s, &run, true);
  lock_leave(&home->lock);
  *page = run.first_page + run.page_count;
  return *is_refused ? 0 : bytes;
}

/* All runs of the slab that begins at `chunk`. */
static size_t purge_slab(struct heap *own, const struct heap *only, size_t chunk,
                         bool *is_refused) {
  uint32_t entry = map_load(chunk), id = map_entry_id(entry), page = 0;
  if (id < HEAP_ID_FIRST || (only != NULL && id != heap_id(only))) return 0;
  if (slab_of_chunk(&size_classes[map_entry_class(entry)], chunk) != region_record(chunk)) return 0;
  if (!purge_begin()) {
    *is_refused = true;
    return 0;
  }
  size_t purged = 0, bytes;
  while ((bytes = purge_pages(chunk, only, &page, is_refused)) != 0) purged += bytes;
  purge_end(purged, *is_refused);
  struct heap *home = heap_of_id(id);
  if (NEVER(home == NULL)) return purged;
  mail_redrain(home, false, &own->to_free); /* a sender may have found its lock taken, and left */
  return purged;
}

size_t subslab_purge(struct heap *own, struct heap *home) {
  size_t purged = 0, end = superslab_chunk_end();
  bool is_refused = false;
  for (size_t chunk = 0; chunk < end && !is_refused; chunk++)
    purged += purge_slab(own, home, chunk, &is_refused);
  return purged;
}
