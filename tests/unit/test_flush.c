/* test_flush.c — objects on their way to bitmaps: all arrive, slabs follow, and what is wrong is
 * noted, left alone, and said once the lock is given back.
 */
#include "unit_entry.h"

#include "depot.h"
#include "flush.h"
#include "refill.h"

enum { OBJECTS = 3000, CLASS = 20 };

static void *objects[OBJECTS];

static void take_all(struct heap *h, uint32_t c) {
  for (int i = 0; i < OBJECTS; i++) NEED((objects[i] = refill_take_one(h, c)) != NULL);
}
static size_t slabs_linked(struct heap *h, uint32_t c) {
  size_t count = 0;
  struct slab *before = NULL;
  for (struct slab *s = h->cls[c].slabs; s != NULL; before = s, s = s->next, count++)
    NEED(s->prev == before && s->free_count != 0 && slab_is_valid(s));
  return count;
}

/* In any order; slabs are on the list exactly while they have free objects; of those that are all
 * free one stays. */
static void all_come_back(void) {
  static const uint32_t classes[] = {0, 5, CLASS, 63, 70, 90, CLASS_COUNT - 1};
  struct heap *h = entry_enter();
  NEED(h != NULL);
  uint64_t seed = 3;
  for (size_t i = 0; i < HAK_COUNT_OF(classes); i++) {
    uint32_t c = classes[i];
    const struct size_class *k = &size_classes[c];
    take_all(h, c);
    uint32_t taken = h->cls[c].taken_count;
    NEED(taken >= OBJECTS && slabs_linked(h, c) <= 1);
    for (uint32_t o = OBJECTS; o > 1; o--) {
      uint32_t other = (uint32_t)(random_next(&seed) % o);
      void *p = objects[o - 1];
      objects[o - 1] = objects[other];
      objects[other] = p;
    }
    for (uint32_t done = 0; done < OBJECTS;) {
      uint32_t n = (uint32_t)(random_next(&seed) % 100) + 1;
      if (n > OBJECTS - done) n = OBJECTS - done;
      flush_slots(h, c, objects + done, n);
      done += n;
      NEED(h->cls[c].taken_count == taken - done && heap_is_valid(h));
      NEED(object_is_in_bitmap(objects[done - 1]));
      if (done < OBJECTS) NEED(!object_is_in_bitmap(objects[done]));
    }
    for (int o = 0; o < OBJECTS; o++) NEED(object_is_in_bitmap(objects[o]));
    NEED(slabs_linked(h, c) <= 1 + taken / k->slab_objects);
    size_t bytes = slab_class_bytes(c);
    NEED(bytes <= 2u * k->slab_chunks * CHUNK_BYTES); /* one empty, one of the heap's start */
    flush_empty_slab(h);
    NEED(h->empty_slab == NULL && slab_class_bytes(c) < bytes);
    flush_empty_slab(h);
  }
  NEED(h->fault.kind == FAULT_NONE);
  entry_leave(h);
}
static void objects_come_back_in_any_order(void **state) {
  (void)state;
  run_child(all_come_back);
}

static void everything_of_the_owner(void) {
  void *live[100];
  static void *dead[20000];
  for (int i = 0; i < 100; i++) live[i] = hak_malloc((size_t)i * 300);
  for (int round = 0; round < 4; round++) {
    for (size_t i = 0; i < 20000; i++) dead[i] = hak_malloc(i % 10 * 50 + 1);
    for (size_t i = 0; i < 20000; i++) hak_free(dead[i]);
  }
  struct heap *h = entry_enter();
  NEED(h != NULL && h->depot_bytes != 0);
  flush_owner_magazines(h);
  size_t taken = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    NEED(bin_count(&h->bin[c]) == 0 && load_relaxed(&h->cls[c].previous) == NULL);
    NEED(h->cls[c].depot_count == 0);
    taken += h->cls[c].taken_count;
  }
  NEED(taken == 100 && h->depot_bytes == 0 && h->empty_slab == NULL && heap_is_valid(h));
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) NEED(h->spare[i] == NULL);
  for (size_t i = 0; i < 20000; i++) NEED(object_is_in_bitmap(dead[i]));
  for (int i = 0; i < 100; i++) NEED(!object_is_in_bitmap(live[i]));
  entry_leave(h);
  for (int i = 0; i < 100; i++) hak_free(live[i]); /* and all goes on */
  for (size_t i = 0; i < 20000; i++) NEED((dead[i] = hak_malloc(i % 10 * 50 + 1)) != NULL);
}
static void all_of_the_owner_can_go(void **state) {
  (void)state;
  run_child(everything_of_the_owner);
}

static void *allocates_one(void *out) {
  *(void **)out = hak_malloc(size_classes[CLASS].size);
  return NULL;
}

enum misuse { TWICE, IN_BITMAP, STRANGER, OUTSIDE, NOT_A_SLOT, OTHER_CLASS, GIVEN_BACK, MISUSES };

/* Flush good objects with a bad one among them; returns the bad one. The caller holds the lock. */
static void *flush_with(struct heap *h, enum misuse misuse, void *stranger, uint32_t *good) {
  static int outside;
  void *slots[4], *bad = NULL;
  for (int i = 0; i < 4; i++) NEED((slots[i] = refill_take_one(h, CLASS)) != NULL);
  void *freed = slots[3];
  if (misuse == TWICE) bad = slots[0];
  if (misuse == IN_BITMAP) flush_slots(h, CLASS, &freed, 1), bad = freed;
  if (misuse == STRANGER) bad = stranger;
  if (misuse == OUTSIDE) bad = &outside;
  if (misuse == NOT_A_SLOT) bad = (char *)freed + 8;
  if (misuse == OTHER_CLASS) bad = refill_take_one(h, CLASS + 1);
  if (misuse == GIVEN_BACK) { /* its slab has gone back meanwhile */
    bad = refill_take_one(h, 100);
    flush_slots(h, 100, &bad, 1);
    flush_empty_slab(h);
  }
  void *batch[4] = {slots[0], bad, slots[1], slots[2]};
  uint32_t taken = h->cls[CLASS].taken_count;
  flush_slots(h, CLASS, batch, 4);
  *good = taken - h->cls[CLASS].taken_count;
  for (int i = 0; i < 3; i++) NEED(object_is_in_bitmap(slots[i]));
  return bad;
}

static void faults(void) {
  void *stranger;
  thread_run(allocates_one, &stranger);
  for (int misuse = 0; misuse < MISUSES; misuse++) {
    pid_t pid = fork();
    if (pid != 0) {
      child_wait(pid);
      continue;
    }
    child_start();
    struct heap *h = entry_enter();
    NEED(h != NULL && h->fault.kind == FAULT_NONE);
    if (misuse == STRANGER) NEED(object_owner(stranger) != h);
    uint32_t good;
    void *bad = flush_with(h, (enum misuse)misuse, stranger, &good);
    bool is_double = misuse == TWICE || misuse == IN_BITMAP || misuse == GIVEN_BACK;
    NEED(good == 3 && h->fault.object == bad && heap_is_valid(h));
    NEED(h->fault.kind == (is_double ? FAULT_DOUBLE_FREE : FAULT_CORRUPTED));
    if (misuse == STRANGER) NEED(!object_is_in_bitmap(stranger)); /* left alone */
    void *second = (char *)bad + 1;
    flush_slots(h, CLASS, &second, 1);
    NEED(h->fault.object == bad); /* the first is the one to report */
    _exit(0);
  }
}
static void what_is_wrong_is_noted(void **state) {
  (void)state;
  run_child(faults);
}

static int flushes_twice_and_leaves(void *object) {
  struct heap *h = entry_enter();
  if (h == NULL) return 2;
  void *slots[2] = {object, object};
  flush_slots(h, CLASS, slots, 2);
  entry_leave(h);
  return 0;
}
static int flushes_a_part_and_leaves(void *object) {
  struct heap *h = entry_enter();
  if (h == NULL) return 2;
  void *part = (char *)object + 16;
  flush_slots(h, CLASS, &part, 1);
  entry_leave(h);
  return 0;
}

static void what_was_noted_is_said(void **state) {
  (void)state;
  void *p = hak_malloc(size_classes[CLASS].size);
  size_t size = size_classes[object_class(p)].size;
  expect_verdict(flushes_twice_and_leaves, p, "double free", p, size);
  expect_verdict(flushes_a_part_and_leaves, p, "corrupted bin", (char *)p + 16, size);
  hak_free(p);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(objects_come_back_in_any_order), cmocka_unit_test(all_of_the_owner_can_go),
      cmocka_unit_test(what_is_wrong_is_noted),         cmocka_unit_test(what_was_noted_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
