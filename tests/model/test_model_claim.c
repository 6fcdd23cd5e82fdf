/* test_model_claim.c — chunks belong to one at a time: claims, releases and purges in any order,
 * and what the slab map says of an object that has come from another thread.
 */
#include "model.h"
#include "model_atomic.h"

#include <stdio.h>

#include "heap.h"
#include "home.h"
#include "limit.h"
#include "refill.h"
#include "size_class.h"
#include "rt_options.h"
#include "slab.h"
#include "purge.h"
#include "superslab.h"

enum { CHUNKS = 4 * SUPERSLAB_CHUNKS, CLASS = 3 };

/* What lies in a chunk; a purge makes it zero. Plain: whoever uses a chunk must be alone. */
static unsigned content[CHUNKS];
static struct chunk_run full, last;
static size_t end_chunk;

static void purged(void *p, size_t size) {
  size_t from = chunk_index(p);
  for (size_t i = from; i < from + size / CHUNK_BYTES; i++) content[i] = 0;
}

static void use(struct chunk_run run, unsigned mark) {
  MODEL_NEED(run.first != CHUNK_NONE);
  for (uint32_t i = run.first; i < run.first + run.count; i++) {
    MODEL_NEED(!run.is_zero || content[i] == 0);
    content[i] = mark;
  }
}
static void leave(struct chunk_run run, unsigned mark) {
  for (uint32_t i = run.first; i < run.first + run.count; i++) MODEL_NEED(content[i] == mark);
  superslab_release(run.first, run.count);
}

static struct chunk_run claim(uint32_t count, unsigned mark) {
  struct chunk_run run = superslab_claim(count, 1, 0);
  use(run, mark);
  return run;
}

static void umbrella(void (*fn)(void)) {
  static _Thread_local struct rt_lock lock;
  lock = (struct rt_lock)LOCK_INIT(LOCK_RANK_HEAP); /* each thread's own, as in its slow paths */
  MODEL_NEED(lock_enter(&lock));
  fn();
  lock_leave(&lock);
}

/* The first superslab is full but for one chunk, which `last` has. */
static void begin_full(void) {
  model_allocator_init();
  model_watch_purges(purged);
  MODEL_NEED(lock_enter(&heap_none.lock));
  do full = claim(1, 9);
  while (full.first % SUPERSLAB_CHUNKS != SUPERSLAB_CHUNKS - 2);
  last = claim(1, 8);
  lock_leave(&heap_none.lock);
  end_chunk = superslab_chunk_end();
}

static void one(void) {
  struct chunk_run run = claim(1, 1);
  leave(run, 1);
}
static void two(void) {
  struct chunk_run run = claim(2, 2);
  leave(run, 2);
}
static void keeps(void) { (void)claim(1, 3); }
static void gives_last(void) { leave(last, 8); }

static void claims_one(void) { umbrella(one); }
static void claims_two(void) { umbrella(two); }
static void claims_and_keeps(void) { umbrella(keeps); }
static void releases_last(void) { umbrella(gives_last); }
static void purges(void) { (void)purge_chunks(true); }

/* What was released can be claimed: the search has not passed it by for ever. */
static void last_can_be_claimed(void) {
  MODEL_NEED(lock_enter(&heap_none.lock));
  struct chunk_run run = superslab_claim(1, 1, SIZE_MAX);
  lock_leave(&heap_none.lock);
  MODEL_NEED(run.first != CHUNK_NONE && run.first <= last.first);
}

/* One superslab, empty and with pages, beside those in use. */
static struct chunk_run whole;
static void begin_empty(void) {
  begin_full();
  MODEL_NEED(lock_enter(&heap_none.lock));
  whole = superslab_claim(SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS, SIZE_MAX);
  use(whole, 7);
  leave(whole, 7);
  lock_leave(&heap_none.lock);
  MODEL_NEED(superslab_empty_bytes() == SUPERSLAB_BYTES);
}
static void counters_are_right(void) {
  size_t before = superslab_empty_bytes();
  superslab_recount();
  MODEL_NEED(superslab_empty_bytes() == before);
  MODEL_NEED(superslab_claimed_bytes() <= superslab_peak_bytes());
}

/* An object goes from thread to thread as programs do it: the pointer is stored with release order.
 */
static _Atomic(void *) handed;
static struct heap *maker;
static void makes(void) {
  MODEL_NEED(lock_enter(&heap_none.lock));
  struct heap *h = home_acquire();
  lock_leave(&heap_none.lock);
  maker = h;
  MODEL_NEED(lock_enter(&h->lock));
  void *p = refill_take_one(h, CLASS); /* of a fresh slab */
  lock_leave(&h->lock);
  MODEL_NEED(p != NULL);
  store_release(&handed, p);
}
static void looks(void) {
  void *p = load_acquire(&handed);
  if (p == NULL) return;
  uint32_t entry = map_load(chunk_index(p));
  MODEL_NEED(map_entry_is_slab(entry) && map_entry_class(entry) == CLASS);
  struct heap *owner = heap_of_id(map_entry_id(entry));
  MODEL_NEED(owner == maker && heap_entry(owner, CLASS) == entry);
}
static void begin_fresh(void) {
  model_allocator_init();
  store_relaxed(&handed, NULL);
}
static void nothing_more(void) { MODEL_NEED(heap_is_valid(maker)); }

/* A heap is found by its number while another thread makes it. */
static void begin_forked(void) {
  model_allocator_init();
  store_relaxed(&fork_generation, 1u); /* not what memory is before anything is stored there */
}
static void makes_a_heap(void) {
  MODEL_NEED(lock_enter(&heap_none.lock));
  maker = home_acquire();
  lock_leave(&heap_none.lock);
}
static void finds_heaps(void) {
  for (uint32_t id = HEAP_ID_FIRST; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    if (h == NULL) continue;
    MODEL_NEED(h->home == h && heap_id(h) == id && load_relaxed(&h->generation) == 1);
  }
}
/* The heap of threads that have none any more: made by the first that needs it. */
static void allocates_at_exit(void) {
  struct heap *h = heap_exit_get();
  MODEL_NEED(h != NULL && h->home == h && lock_enter(&h->lock));
  MODEL_NEED(refill_take_one(h, CLASS) != NULL);
  lock_leave(&h->lock);
}
static void finds_exit(void) {
  struct heap *h = heap_of_id(HEAP_ID_EXIT);
  MODEL_NEED(h == NULL || (h->home == h && heap_id(h) == HEAP_ID_EXIT));
}
static void exit_has_two(void) {
  MODEL_NEED(heap_is_valid(&heap_exit) && heap_exit.cls[CLASS].taken_count == 2);
}
static void exit_has_one(void) {
  MODEL_NEED(heap_is_valid(&heap_exit) && heap_exit.cls[CLASS].taken_count == 1);
}

/* A class is split in two, while another thread copies the table. Who has counted the change knows
 * all of it. */
enum { WIDE = 256, HALF_WAY = 232 };
static struct heap *copier;
static void begin_copier(void) {
  model_allocator_init();
  makes_a_heap();
  copier = maker;
}
static void splits(void) { MODEL_NEED(size_class_split(size_class_of(WIDE))); }
static void copies(void) {
  heap_requests_reset(copier);
  uint32_t c = copier->request[size_class_request(HALF_WAY)] / MAP_CLASS_SCALE;
  if (copier->split_count != 0) MODEL_NEED(size_classes[c].size < WIDE);
  MODEL_NEED(size_classes[c].size >= HALF_WAY);
}
static void is_split(void) { MODEL_NEED(size_classes[size_class_of(HALF_WAY)].size < WIDE); }

/* Two runs grow at once, where a limit has room for one. */
static size_t most_bytes;
static void begin_limited(void) {
  char text[32];
  model_allocator_init();
  MODEL_NEED(lock_enter(&heap_none.lock));
  last = superslab_claim(SUPERSLAB_CHUNKS - 2, SUPERSLAB_CHUNKS, 0);
  lock_leave(&heap_none.lock);
  most_bytes = limit_held_bytes() + CHUNK_BYTES;
  snprintf(text, sizeof text, "%zu", most_bytes);
  MODEL_NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, text));
}
static void grows_by(uint32_t chunk) {
  bool is_zero;
  (void)!superslab_claim_at(last.first + last.count + chunk, 1, &is_zero); /* refused, perhaps */
}
static void grows(void) { grows_by(0); }
static void grows_too(void) { grows_by(1); }
static void limit_holds(void) {
  MODEL_NEED(limit_held_bytes() <= most_bytes);
  MODEL_NEED(superslab_dirty_bytes() == 0); /* nobody has written to what was refused */
}

static const struct model_scenario scenarios[] = {
    {"claim_claim", begin_full, {claims_and_keeps, claims_and_keeps}, counters_are_right},
    {"claim_release", begin_full, {claims_one, releases_last}, last_can_be_claimed},
    {"claim_claim_release",
     begin_full,
     {claims_one, claims_two, releases_last},
     last_can_be_claimed},
    {"purge_claim", begin_empty, {purges, claims_two}, counters_are_right},
    {"purge_purge", begin_empty, {purges, purges}, counters_are_right},
    {"purge_release_claim", begin_empty, {purges, releases_last, claims_two}, counters_are_right},
    {"grow_grow", begin_limited, {grows, grows_too}, limit_holds},
    {"hand_over", begin_fresh, {makes, looks}, nothing_more},
    {"publish", begin_forked, {makes_a_heap, finds_heaps}, nothing_more},
    {"exit_exit", begin_fresh, {allocates_at_exit, allocates_at_exit}, exit_has_two},
    {"split_copy", begin_copier, {splits, copies}, is_split},
    {"exit_find", begin_fresh, {allocates_at_exit, finds_exit}, exit_has_one},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 50000}, (struct model_bounds){3, 2, 1000000});
}
