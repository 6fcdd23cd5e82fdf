/* test_mail.c — objects freed by other threads get back to their owner, or, once that is gone, to
 * its slabs; and none is lost on the way.
 */
#include "unit_heap.h"

#include "mail.h"

enum { SMALL_BYTES = 48, MANY = 4096, RACERS = 3 };

static void *objects[MANY];
static _Atomic(uint32_t) step;

static size_t inbox_objects(struct heap *h) {
  size_t count = 0;
  for (struct magazine *m = load_acquire(&h->inbox); m != NULL; m = m->next) {
    NEED((m->entry & ~(uint32_t)MAP_CLASS_MASK) == h->key);
    count += load_relaxed(&m->count);
  }
  return count;
}

/* One short of a magazine stays with the sender; the next ones make it leave. */
static void *fill_the_outbox(void *owner_of_objects) {
  struct heap *owner = owner_of_objects;
  uint32_t entry = object_entry(objects[0]);
  uint32_t capacity = size_classes[map_entry_class(entry)].magazine_capacity;
  hak_free(hak_malloc(1));
  NEED(!mail_try_collect(heap_current, entry, objects[0])); /* no magazine there yet */
  free_all(objects, capacity);
  struct outbox_slot *slot = mail_slot(heap_current, entry);
  NEED(slot->entry == entry && load_relaxed(&slot->objects->count) == capacity);
  NEED(!mail_is_waiting(owner));
  hak_free(objects[capacity]);
  NEED(inbox_objects(owner) == capacity && load_relaxed(&slot->objects->count) == 1);
  hak_free(objects[capacity + 1]);
  return NULL; /* the thread's end sends the rest */
}

static void magazines_reach_the_owner(void) {
  allocate_all(objects, MANY, SMALL_BYTES);
  struct heap *h = heap_current;
  uint32_t c = object_class(objects[0]), capacity = size_classes[c].magazine_capacity;
  thread_run(fill_the_outbox, h);
  NEED(inbox_objects(h) == capacity + 2 && live_objects(c) == MANY - capacity - 2);
  uint32_t taken = h->cls[c].taken_count;
  NEED(enter() == h);
  mail_drain(h);
  /* The full magazine is worth keeping, the one of two objects is not. */
  NEED(!mail_is_waiting(h) && h->cls[c].depot_count == 1 && h->cls[c].taken_count == taken - 2);
  NEED(!is_in_bitmap(objects[0]) && is_in_bitmap(objects[capacity]));
  NEED(heap_is_valid(h) && h->fault.kind == FAULT_NONE);
  entry_leave(h);
  free_all(objects + capacity + 2, MANY - capacity - 2);
  NEED(live_objects(c) == 0);
}

static void *free_all_objects(void *unused) {
  (void)unused;
  free_all(objects, MANY);
  return NULL;
}

/* Without anyone asking for it: the owner's next slow malloc empties the inbox. */
static void the_owner_reuses_its_mail(void) {
  allocate_all(objects, MANY, SMALL_BYTES);
  struct heap *h = heap_current;
  uint32_t c = object_class(objects[0]);
  thread_run(free_all_objects, NULL);
  NEED(inbox_objects(h) == MANY && live_objects(c) == 0);
  size_t bytes = slab_class_bytes(c);
  allocate_all(objects, MANY, SMALL_BYTES);
  NEED(!mail_is_waiting(h) && slab_class_bytes(c) == bytes && live_objects(c) == MANY);
  free_all(objects, MANY);
}

static void *allocate_and_end(void *heap) {
  allocate_all(objects, MANY, SMALL_BYTES);
  *(struct heap **)heap = heap_current;
  return NULL;
}

static void senders_empty_an_orphans_inbox(void) {
  hak_free(hak_malloc(1));
  struct heap *orphan = NULL;
  thread_run(allocate_and_end, &orphan);
  uint32_t c = object_class(objects[0]);
  NEED(heap_is_ownerless(orphan) && orphan->cls[c].taken_count == MANY);
  free_all(objects, MANY);
  struct heap *h = enter();
  mail_send_all(h);
  for (size_t i = 0; i < OUTBOX_SLOTS; i++) NEED(h->outbox[i].entry == 0);
  entry_leave(h);
  NEED(!mail_is_waiting(orphan) && orphan->cls[c].taken_count == 0 && heap_is_valid(orphan));
  NEED(live_objects(c) == 0 && slab_class_bytes(c) <= CHUNK_BYTES);
}

/* The owner ends while others free its objects: whoever comes last sweeps. */
static void *free_a_share(void *number) {
  step_wait(&step, 1);
  for (size_t i = (size_t)(uintptr_t)number; i < MANY; i += RACERS) hak_free(objects[i]);
  return NULL;
}

static void *allocate_and_end_in_the_race(void *heap) {
  allocate_and_end(heap);
  step_set(&step, 1);
  return NULL;
}

static void nothing_is_lost_when_the_owner_ends(void) {
  for (int round = 0; round < 50; round++) {
    store_relaxed(&step, 0u);
    struct heap *owner = NULL;
    pthread_t owner_thread, racers[RACERS];
    for (uintptr_t i = 0; i < RACERS; i++)
      NEED(pthread_create(&racers[i], NULL, free_a_share, (void *)i) == 0);
    NEED(pthread_create(&owner_thread, NULL, allocate_and_end_in_the_race, &owner) == 0);
    NEED(pthread_join(owner_thread, NULL) == 0);
    for (size_t i = 0; i < RACERS; i++) NEED(pthread_join(racers[i], NULL) == 0);
    uint32_t c = map_entry_class(object_entry(objects[0]));
    NEED(!mail_is_waiting(owner) && owner->cls[c].taken_count == 0 && live_objects(c) == 0);
  }
}

#define IN_CHILD(name, fn)                                                                         \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    run_child(fn);                                                                                 \
  }
IN_CHILD(mail_travels_by_the_magazine, magazines_reach_the_owner)
IN_CHILD(mail_is_used_before_new_memory, the_owner_reuses_its_mail)
IN_CHILD(orphans_need_no_reader, senders_empty_an_orphans_inbox)
IN_CHILD(an_ending_owner_loses_nothing, nothing_is_lost_when_the_owner_ends)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mail_travels_by_the_magazine),
      cmocka_unit_test(mail_is_used_before_new_memory),
      cmocka_unit_test(orphans_need_no_reader),
      cmocka_unit_test(an_ending_owner_loses_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
