/* test_model_pull.c — objects are freed by other threads while another heap pulls their slab: what
 * was on its way to the old owner reaches the new one, once, whatever the order of steps.
 */
#include "model_heap.h"
#include "model_atomic.h"

#include "entry.h"
#include "entry_hot.h"
#include "flush.h"
#include "heap.h"
#include "mail.h"
#include "outbox.h"
#include "pull.h"
#include "refill.h"
#include "size_class.h"

enum { BYTES = 1024, SLAB_OBJECTS = CHUNK_BYTES / BYTES, OBJECTS = 6, HEAPS = 5 };

static uint32_t class_index;
/* Who has the slab at first, two who send its objects, and two who pull it. */
static struct heap *owner, *sender[2], *puller[2];
static struct slab *slab;
static void *object[OBJECTS];
static bool is_freed[OBJECTS];
static unsigned used_count; /* objects that the pullers took, and kept */
static bool has_ended;

static void begin(void) {
  model_allocator_init();
  class_index = size_class_of(BYTES);
  owner = heap_take();
  for (size_t i = 0; i < 2; i++) {
    sender[i] = heap_take();
    puller[i] = heap_take();
  }
  enter(owner);
  for (size_t i = 0; i < OBJECTS; i++)
    MODEL_NEED((object[i] = refill_take_one(owner, class_index)) != NULL);
  slab = owner->cls[class_index].slabs;
  /* So that it can be pulled, as if there were more such slabs. */
  store_relaxed(&owner->slab_bytes, load_relaxed(&owner->slab_bytes) + 32 * CHUNK_BYTES);
  store_relaxed(pull_offer_word(class_index, heap_id(owner)), heap_id(owner));
  lock_leave(&owner->lock);
  for (size_t i = 0; i < 2; i++) { /* a magazine at hand each */
    enter(sender[i]);
    MODEL_NEED(outbox_restock(sender[i], class_index));
    lock_leave(&sender[i]->lock);
  }
}

/* What the map says decides: to the old owner or to the new one, or some to each. */
static void send(struct heap *h, size_t first, size_t end) {
  heap_current = h;
  for (size_t i = first; i < end; i++) {
    entry_free(object[i]);
    is_freed[i] = true;
  }
  MODEL_NEED(entry_enter() == h);
  outbox_send_all(h);
  entry_leave(h);
}
static void sends_first(void) { send(sender[0], 0, 2); }
static void sends_second(void) { send(sender[1], 2, 4); }

/* Mail to the old owner is there, or in an outbox, before anything else begins. */
static void begin_posted(void) {
  begin();
  sends_first();
  heap_current = sender[1];
  entry_free(object[2]);
  is_freed[2] = true;
  heap_current = &heap_none;
}
static void sends_the_rest(void) { send(sender[1], 3, 4); }

/* A thread without a free object: it pulls, and takes one. */
static void pull(struct heap *h) {
  heap_current = h;
  MODEL_NEED(entry_enter() == h);
  struct slab *s = pull_slab(h, class_index);
  MODEL_NEED(s == NULL || s == slab);
  void *p = s == NULL ? NULL : refill_take_one(h, class_index);
  MODEL_NEED((p != NULL) == (s != NULL));
  if (p != NULL) used_count++; /* under both locks by turns, so nobody else is at it */
  entry_leave(h);
}
static void pulls(void) { pull(puller[0]); }
static void pulls_too(void) { pull(puller[1]); }

/* The old owner looks at its mail; what is not its own any more it sends on. */
static void owner_drains(void) {
  heap_current = owner;
  MODEL_NEED(entry_enter() == owner);
  mail_drain_to_bitmaps(owner);
  entry_leave(owner);
}
/* It frees one itself, which is its own, or not. */
static void owner_frees(void) {
  heap_current = owner;
  entry_free(object[4]);
  is_freed[4] = true;
}
static void owner_idles(void) {
  heap_current = owner;
  entry_thread_idle();
}
static void owner_ends(void) {
  heap_current = owner;
  heap_busy_begin(); /* as entry/ does it */
  struct magazine *strays;
  MODEL_NEED(home_abandon(owner, &strays).kind == FAULT_NONE);
  (void)heap_make_exit_current();
  if (strays != NULL) entry_free_strays(strays);
  has_ended = true;
}

/* At rest: all threads idle, twice, since the first round may send on what others then sort. */
static void settle(void) {
  struct heap *all[HEAPS] = {owner, sender[0], sender[1], puller[0], puller[1]};
  if (has_ended) MODEL_NEED(heap_take() == owner);
  for (size_t i = 0; i < 2 * (size_t)HEAPS; i++) {
    heap_current = all[i % HEAPS];
    entry_thread_idle();
  }
  for (size_t i = 0; i < HEAPS; i++) {
    MODEL_NEED(load_relaxed(&all[i]->inbox) == NULL && all[i]->strays == NULL);
    MODEL_NEED(all[i]->to_free == NULL && all[i]->stray_lost_count == 0);
    MODEL_NEED(all[i]->fault.kind == FAULT_NONE && all[i]->mail_fault.kind == FAULT_NONE);
    MODEL_NEED(heap_is_valid(all[i]));
  }
}
static void all_arrived(void) {
  settle();
  uint32_t live = OBJECTS + used_count;
  for (size_t i = 0; i < OBJECTS; i++) live -= is_freed[i];
  struct heap *now = heap_of_id(map_entry_id(map_load(slab_chunk(slab))));
  MODEL_NEED(now == owner || now == puller[0] || now == puller[1]);
  MODEL_NEED((now == owner) == (used_count == 0));
  MODEL_NEED(now->cls[class_index].taken_count == live);
  MODEL_NEED(now == owner || owner->cls[class_index].taken_count == 0);
  MODEL_NEED(slab_is_valid(slab) && slab->free_count == SLAB_OBJECTS - live);
}

static const struct model_scenario scenarios[] = {
    {"send_pull", begin, {sends_first, pulls}, all_arrived},
    {"drain_pull", begin_posted, {owner_drains, pulls}, all_arrived},
    {"free_pull", begin, {owner_frees, pulls}, all_arrived},
    {"idle_pull", begin_posted, {owner_idles, pulls}, all_arrived},
    {"end_pull", begin_posted, {owner_ends, pulls}, all_arrived},
    {"send_drain_pull", begin_posted, {sends_the_rest, owner_drains, pulls}, all_arrived},
    {"send_end_pull", begin_posted, {sends_the_rest, owner_ends, pulls}, all_arrived},
    {"send_pull_pull", begin, {sends_first, pulls, pulls_too}, all_arrived},
    {"send_send_drain_pull", begin, {sends_first, sends_second, owner_drains, pulls}, all_arrived},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 8000}, (struct model_bounds){3, 2, 300000});
}
