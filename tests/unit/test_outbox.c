/* test_outbox.c — objects of other heaps are collected by owner and class, few of a class in mixes,
 * and never more than the outbox may hold.
 */
#include "unit_heap.h"

#include "mail.h"
#include "outbox.h"
#include "refill.h"

enum { OBJECTS = 1200 };

static void *objects[OBJECTS];

static size_t size_of_entry(uint32_t entry) { return size_classes[map_entry_class(entry)].size; }

/* A slot is of one owner and one class, and never above its capacity; a mix of one owner. */
static void slot_is_valid(struct heap *own, uint32_t s) {
  struct outbox_slot *slot = &own->outbox[s];
  struct magazine *m = load_relaxed(&slot->objects);
  uint32_t entry = load_relaxed(&slot->entry), count = load_relaxed(&m->count);
  size_t mix_bytes = 0;
  NEED(m->entry == entry && count != 0);
  if (s < OUTBOX_SLOTS) {
    NEED(outbox_slot_of(own, entry) == slot);
    NEED(count <= size_classes[map_entry_class(entry)].magazine_capacity);
    for (uint32_t i = 0; i < count; i++) NEED(object_entry(m->slot[i]) == entry);
  } else {
    NEED(magazine_is_mix(m) && count <= OUTBOX_MIX_OBJECTS);
    for (uint32_t i = 0; i < count; i++) {
      uint32_t object = object_entry(mix_object(m, i));
      NEED(map_entry_id(object) == map_entry_id(entry));
      mix_bytes += size_of_entry(object);
    }
  }
  NEED(slot->mix_bytes == mix_bytes);
}

static void outbox_is_empty(struct heap *own) {
  for (uint32_t s = 0; s < OUTBOX_SLOTS_ALL; s++) {
    struct outbox_slot *slot = &own->outbox[s];
    NEED(load_relaxed(&slot->entry) == 0 && load_relaxed(&slot->objects) == NULL);
    NEED(slot->mix_bytes == 0);
  }
  NEED(own->outbox_room == OUTBOX_BYTES);
}

static void *collects_in_its_outbox(void *unused) {
  struct heap *own = heap_own();
  size_t waiting = 0, mixed = 0;
  for (size_t i = 0; i < 300; i++) hak_free(objects[i]);
  for (uint32_t s = 0; s < OUTBOX_SLOTS_ALL; s++) {
    struct magazine *m = load_relaxed(&own->outbox[s].objects);
    NEED((load_relaxed(&own->outbox[s].entry) != 0) == (m != NULL));
    if (m == NULL) continue;
    slot_is_valid(own, s);
    waiting += load_relaxed(&m->count);
    if (s >= OUTBOX_SLOTS) mixed += load_relaxed(&m->count);
  }
  NEED(waiting > mixed && waiting <= 300 && mixed != 0);
  struct heap *h = enter();
  outbox_send_all(h);
  outbox_is_empty(own);
  for (uint8_t kind = 1; kind <= MAGAZINE_KIND_COUNT; kind++)
    NEED(shelf_take(&own->shelf, kind) == NULL);
  entry_leave(h);
  return unused;
}
static void outbox(void) {
  struct heap *own = heap_own();
  for (size_t i = 0; i < 300; i++) objects[i] = hak_malloc(i * 109 % 1500);
  thread_run(collects_in_its_outbox, NULL);
  size_t mailed = 0, magazines = 0;
  for (struct magazine *m = load_relaxed(&own->inbox); m != NULL; m = m->next) {
    NEED(map_entry_id(m->entry) == heap_id(own));
    mailed += load_relaxed(&m->count);
    magazines++;
  }
  NEED(mailed == 300 && magazines < 20); /* of some 30 classes */
}
static void an_outbox_sorts_by_owner_and_class(void **state) {
  (void)state;
  run_child(outbox);
}

/* Of a heap left behind by a fork nothing is sent: it starts with an empty outbox. */
static void *forgets_its_outbox(void *unused) {
  struct heap *own = heap_own();
  for (size_t i = 0; i < 300; i++) hak_free(objects[i]);
  NEED(own->outbox_room != OUTBOX_BYTES);
  struct heap *h = enter();
  outbox_forget(h);
  outbox_is_empty(own);
  entry_leave(h);
  return unused;
}
static void forgetting(void) {
  struct heap *own = heap_own();
  for (size_t i = 0; i < 300; i++) objects[i] = hak_malloc(i * 109 % 1500);
  thread_run(forgets_its_outbox, NULL);
  for (struct magazine *m = load_relaxed(&own->inbox); m != NULL; m = m->next)
    NEED(load_relaxed(&m->count) != 0);
}
static void an_outbox_can_be_forgotten(void **state) {
  (void)state;
  run_child(forgetting);
}

/* Of one tiny class, of one medium one, and of all. */
static void bytes_are_counted(struct heap *own) {
  size_t bytes = 0;
  for (uint32_t s = 0; s < OUTBOX_SLOTS_ALL; s++) {
    struct magazine *m = load_relaxed(&own->outbox[s].objects);
    if (m == NULL) continue;
    if (s >= OUTBOX_SLOTS)
      bytes += own->outbox[s].mix_bytes;
    else
      bytes += load_relaxed(&m->count) * size_of_entry(m->entry);
  }
  NEED(bytes <= OUTBOX_BYTES && bytes == OUTBOX_BYTES - own->outbox_room);
}
static void *frees_within_the_bound(void *count) {
  struct heap *own = heap_own();
  size_t held_max = 0;
  for (size_t i = 0; i < (uintptr_t)count; i++) {
    hak_free(objects[i]);
    bytes_are_counted(own);
    held_max = size_max(held_max, OUTBOX_BYTES - own->outbox_room);
  }
  NEED(held_max >= size_min(OUTBOX_BYTES - CLASS_SIZE_MAX, 12000)); /* and it is made use of */
  return NULL;
}
static void within_the_bound(void) {
  static const size_t sizes[] = {48, 1000, 5000, 32768, 0};
  enum { COUNT = 1200 };
  struct heap *own = heap_own();
  for (size_t s = 0; s < HAK_COUNT_OF(sizes); s++) {
    for (size_t i = 0; i < COUNT; i++) {
      size_t n = sizes[s] != 0 ? sizes[s] : i * 109 % CLASS_SIZE_MAX;
      NEED((objects[i] = hak_malloc(n)) != NULL);
    }
    thread_run(frees_within_the_bound, (void *)(uintptr_t)COUNT);
    struct heap *h = enter();
    mail_drain_to_bitmaps(h);
    for (size_t i = 0; i < COUNT; i++) NEED(object_is_in_bitmap(objects[i]));
    flush_owner_magazines(h);
    NEED(h == own && taken_of(h) == 0 && h->fault.kind == FAULT_NONE && heap_is_valid(h));
    entry_leave(h);
  }
}
static void an_outbox_stays_within_its_bound(void **state) {
  (void)state;
  run_child(within_the_bound);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_outbox_sorts_by_owner_and_class),
      cmocka_unit_test(an_outbox_can_be_forgotten),
      cmocka_unit_test(an_outbox_stays_within_its_bound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
