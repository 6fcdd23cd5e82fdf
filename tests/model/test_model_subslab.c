/* test_model_subslab.c — pages inside a slab are purged while its owner takes objects and puts them
 * back, while another heap pulls the slab, and while a second thread purges: nobody is given an
 * object of a page that is about to lose its contents, and all bits come back.
 */
#include "model_heap.h"
#include "model_atomic.h"

#include "flush.h"
#include "heap.h"
#include "pull.h"
#include "refill.h"
#include "size_class.h"
#include "subslab.h"
#include "superslab.h"

enum { BYTES = 1024, SLAB_OBJECTS = CHUNK_BYTES / BYTES, TAKEN = 10, KEPT = 5 };

static uint32_t class_index;
static struct heap *owner, *other, *purger;
static struct slab *slab;
static char *slab_start;
/* What lies in an object; a purge makes it zero. Plain: whoever uses an object must be alone. */
static unsigned content[SLAB_OBJECTS];

static size_t index_of(const void *p) { return (size_t)((const char *)p - slab_start) / BYTES; }

static void purged(void *p, size_t size) {
  size_t from = index_of(p);
  MODEL_NEED((const char *)p >= slab_start && from + size / BYTES <= SLAB_OBJECTS);
  for (size_t i = from; i < from + size / BYTES; i++) content[i] = 0;
}

/* A slab of which one object in its second page is in use, and the first ten have been. */
static void begin(void) {
  model_allocator_init();
  model_watch_purges(purged);
  class_index = size_class_of(BYTES);
  owner = heap_take();
  other = heap_take();
  purger = heap_take();
  void *taken[TAKEN];
  enter(owner);
  for (size_t i = 0; i < TAKEN; i++)
    MODEL_NEED((taken[i] = refill_take_one(owner, class_index)) != NULL);
  slab = owner->cls[class_index].slabs;
  slab_start = chunk_address(slab_chunk(slab));
  for (size_t i = 0; i < TAKEN; i++) {
    MODEL_NEED(index_of(taken[i]) == i);
    content[i] = 9;
    if (i != KEPT) flush_slots(owner, class_index, &taken[i], 1);
  }
  /* So that it can be pulled, as if there were more such slabs. */
  store_relaxed(&owner->slab_bytes, load_relaxed(&owner->slab_bytes) + 32 * CHUNK_BYTES);
  store_relaxed(pull_offer_word(class_index, heap_id(owner)), heap_id(owner));
  lock_leave(&owner->lock);
}

/* An object of h's is in use for a while. */
static void uses_one(struct heap *h) {
  enter(h);
  void *p = h->cls[class_index].slabs == NULL ? NULL : refill_take_one(h, class_index);
  lock_leave(&h->lock);
  if (p == NULL) return;
  bool is_here = chunk_index(p) == slab_chunk(slab);
  if (is_here) content[index_of(p)] = 7;
  enter(h);
  if (is_here) MODEL_NEED(content[index_of(p)] == 7);
  uint32_t entry = map_load(chunk_index(p));
  if (entry == heap_entry(h, class_index)) flush_slots(h, class_index, &p, 1);
  lock_leave(&h->lock);
  if (entry != heap_entry(h, class_index)) { /* pulled since */
    struct heap *now = heap_of_id(map_entry_id(entry));
    enter(now);
    flush_slots(now, class_index, &p, 1);
    lock_leave(&now->lock);
  }
}
static void owner_uses_one(void) { uses_one(owner); }
static void other_pulls(void) {
  enter(other);
  struct slab *s = pull_slab(other, class_index);
  MODEL_NEED(s == NULL || s == slab);
  lock_leave(&other->lock);
  if (s != NULL) uses_one(other);
}
static void purges(void) { (void)subslab_purge(purger, NULL); }

/* One object is out, whoever has the slab, and it is as it was. */
static void only_kept_is_out(void) {
  MODEL_NEED(content[KEPT] == 9);
  MODEL_NEED(owner->cls[class_index].taken_count + other->cls[class_index].taken_count == 1);
  MODEL_NEED(slab->free_count == SLAB_OBJECTS - 1 && slab_is_valid(slab));
  MODEL_NEED(heap_is_valid(owner) && heap_is_valid(other));
  MODEL_NEED(owner->fault.kind == FAULT_NONE && other->fault.kind == FAULT_NONE);
}
static void only_kept_has_pages(void) {
  only_kept_is_out();
  for (size_t i = 0; i < TAKEN; i++) MODEL_NEED(i / 4 == KEPT / 4 || content[i] == 0);
}

static const struct model_scenario scenarios[] = {
    {"purge", begin, {purges}, only_kept_has_pages},
    {"purge_use", begin, {purges, owner_uses_one}, only_kept_is_out},
    {"purge_pull", begin, {purges, other_pulls}, only_kept_is_out},
    {"purge_purge", begin, {purges, purges}, only_kept_has_pages},
    {"purge_use_pull", begin, {purges, owner_uses_one, other_pulls}, only_kept_is_out},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 50000}, (struct model_bounds){3, 2, 1000000});
}
