/* large.c — open addressing with linear probing over page numbers; deletion shifts back, so there
 * are no tombstones (Knuth, The Art of Computer Programming 3, 6.4, algorithm R).
 * Invariant: every key is reachable from its home slot without crossing an empty one; at most
 * half of the slots are used. A child of a bare fork may find one key twice after an interrupted
 * shift: the copy that a search comes to first is whole, and take_out takes both.
 */
#include "large.h"

#include <stdint.h>

#include "base_atomic.h"
#include "base_size.h"
#include "limit.h"
#include "meta.h"
#include "os_check.h"
#include "os_mem.h"
#include "rt_lock.h"

enum {
  SLOTS_FIRST = 64, /* arbitrary: one KiB of metadata with the first large object */
  REMOVED_COUNT = 64,
  PAGE_SHIFT_MIN = 12,
};

static struct rt_lock large_lock = LOCK_INIT(LOCK_RANK_LARGE);
/* One table is in use; growth fills the other, then changes over with one store. */
struct table {
  struct large *slots;
  size_t count; /* a power of two, or 0 before the first object */
};
static struct table tables[2];                          /* under large_lock */
static _Atomic(struct table *) table_used = &tables[0]; /* under large_lock */
static size_t used_count;                               /* under large_lock; moving objects count */
static const void *removed[REMOVED_COUNT];              /* under large_lock; a ring */
static size_t removed_next;                             /* under large_lock */
static _Atomic(size_t) mapped_bytes;                    /* written under large_lock, as all below */
static _Atomic(size_t) mapped_peak;
static _Atomic(size_t) mapped_count;
static _Atomic(size_t) inserted_count;

static size_t home_of(const struct table *t, const void *p) {
  uint64_t page = (uint64_t)(uintptr_t)p >> PAGE_SHIFT_MIN;
  return (size_t)((page * 0x9E3779B97F4A7C15u) >> 20) & (t->count - 1); /* Fibonacci hashing */
}

static size_t slot_of(const struct table *t, const void *p) {
  ASSERT(used_count < t->count);
  size_t i = home_of(t, p);
  while (t->slots[i].address != NULL && t->slots[i].address != p) i = (i + 1) & (t->count - 1);
  return i;
}

/* The address last: docs/decisions/0005. */
static void slot_store(struct large *slot, struct large object) {
  slot->bytes = object.bytes;
  signal_fence();
  slot->address = object.address;
  signal_fence();
}

static void *table_alloc(size_t count) {
  size_t bytes = count * sizeof(struct large);
  return bytes < os_page_bytes() ? meta_alloc(bytes)
                                 : os_map(size_round_up(bytes, os_page_bytes()));
}

static bool grow(void) {
  struct table *old = load_relaxed(&table_used);
  struct table *fresh = old == &tables[0] ? &tables[1] : &tables[0];
  size_t count = old->count == 0 ? SLOTS_FIRST : 2 * old->count;
  struct large *slots = table_alloc(count);
  if (slots == NULL) return false;
  *fresh = (struct table){slots, count};
  for (size_t i = 0; i < old->count; i++) {
    if (old->slots[i].address != NULL) slots[slot_of(fresh, old->slots[i].address)] = old->slots[i];
  }
  store_release(&table_used, fresh); /* a bare fork's child finds the one or the other, whole */
  size_t old_bytes = old->count * sizeof(struct large);
  /* A small one came from meta and stays there: it is under a page, once. */
  if (old_bytes >= os_page_bytes() &&
      !os_unmap(old->slots, size_round_up(old_bytes, os_page_bytes())))
    return true; /* its address space is lost, the table stands */
  return true;
}

static bool table_is_valid(void) {
  const struct table *t = load_relaxed(&table_used);
  return t->count == 0 || (size_is_pow2(t->count) && used_count <= t->count / 2);
}

/* counted_bytes of it count already. */
static void add(struct large object, size_t counted_bytes, size_t fresh_bytes) {
  struct table *t = load_relaxed(&table_used);
  size_t i = slot_of(t, object.address);
  ASSERT(t->slots[i].address == NULL);
  slot_store(&t->slots[i], object);
  bump_relaxed(&mapped_count, (size_t)1);
  bump_relaxed(&mapped_bytes, object.bytes - counted_bytes);
  limit_note_growth(fresh_bytes);
  if (load_relaxed(&mapped_bytes) > load_relaxed(&mapped_peak))
    store_relaxed(&mapped_peak, load_relaxed(&mapped_bytes));
}

bool large_insert(struct large object, size_t fresh_bytes) {
  ASSERT(object.address != NULL && object.bytes != 0);
  lock_nested(&large_lock);
  ASSERT(table_is_valid());
  bool has_room = used_count + 1 <= load_relaxed(&table_used)->count / 2 || grow();
  if (has_room) {
    used_count++;
    signal_fence();
    add(object, 0, fresh_bytes);
    bump_relaxed(&inserted_count, (size_t)1);
  }
  lock_leave(&large_lock);
  return has_room;
}

struct large large_find(const void *p) {
  struct large found = {NULL, 0};
  lock_nested(&large_lock);
  const struct table *t = load_relaxed(&table_used);
  if (t->count != 0) found = t->slots[slot_of(t, p)];
  lock_leave(&large_lock);
  return found;
}

static void remove_at(const struct table *t, size_t hole) {
  struct large *slots = t->slots;
  for (size_t i = (hole + 1) & (t->count - 1); slots[i].address != NULL;
       i = (i + 1) & (t->count - 1)) {
    size_t from_home = (i - home_of(t, slots[i].address)) & (t->count - 1);
    size_t from_hole = (i - hole) & (t->count - 1);
    if (from_home < from_hole) continue; /* its home lies after the hole: it may stay */
    slot_store(&slots[hole], slots[i]);
    hole = i;
  }
  slot_store(&slots[hole], (struct large){NULL, 0});
}

/* Its bytes count still. */
static struct large take_out(const void *p) {
  const struct table *t = load_relaxed(&table_used);
  ASSERT(t->count == 0 || size_is_pow2(t->count));
  struct large found = {NULL, 0};
  if (t->count == 0) return found;
  size_t i = slot_of(t, p);
  found = t->slots[i];
  if (found.address == NULL) return found;
  do { /* once, but in the child of a bare fork amid a shift */
    remove_at(t, i);
    i = slot_of(t, p);
  } while (t->slots[i].address != NULL);
  removed[removed_next++ % REMOVED_COUNT] = p;
  bump_relaxed(&mapped_count, (size_t)-1);
  return found;
}

/* Of what is forgotten, counted_bytes count still, and one place in the hash or none is given up.
 */
static struct large forget(const void *p, size_t counted_bytes, size_t places) {
  lock_nested(&large_lock);
  struct large found = take_out(p);
  if (found.address != NULL) {
    used_count -= places;
    bump_relaxed(&mapped_bytes, counted_bytes - found.bytes);
  }
  ASSERT(table_is_valid());
  lock_leave(&large_lock);
  return found;
}

struct large large_remove(const void *p) {
  return forget(p, 0, 1);
}

struct large large_begin_move(const void *p, size_t counted_bytes) {
  return forget(p, counted_bytes, 0);
}

void large_end_move(struct large object, size_t counted_bytes, size_t fresh_bytes) {
  lock_nested(&large_lock);
  ASSERT(used_count > load_relaxed(&mapped_count));
  add(object, counted_bytes, fresh_bytes);
  ASSERT(table_is_valid());
  lock_leave(&large_lock);
}

bool large_is_interior(const void *p) {
  bool is_inside = false;
  lock_nested(&large_lock);
  const struct table *t = load_relaxed(&table_used);
  for (size_t i = 0; i < t->count && !is_inside; i++) {
    uintptr_t offset = (uintptr_t)p - (uintptr_t)t->slots[i].address;
    is_inside = t->slots[i].address != NULL && offset != 0 && offset < t->slots[i].bytes;
  }
  lock_leave(&large_lock);
  return is_inside;
}

bool large_was_removed(const void *p) {
  bool is_known = false;
  lock_nested(&large_lock);
  for (size_t i = 0; i < REMOVED_COUNT; i++) is_known = is_known || (p != NULL && removed[i] == p);
  lock_leave(&large_lock);
  return is_known;
}

size_t large_bytes(void) { return load_relaxed(&mapped_bytes); }
size_t large_count(void) { return load_relaxed(&mapped_count); }
size_t large_peak_bytes(void) { return load_relaxed(&mapped_peak); }
size_t large_inserted_count(void) { return load_relaxed(&inserted_count); }
