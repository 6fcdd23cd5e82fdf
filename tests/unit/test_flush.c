/* test_flush.c — objects reach the bitmaps of their slabs, and what is wrong is noted, once, and
 * left alone.
 */
#include "unit_heap.h"

#include "meta.h"

enum { SMALL_BYTES = 48, FEW = 8, MANY = 5000 };

static void *objects[MANY];
static uint64_t random_state = 1;

static void empty_slabs_go_back_but_one(void) {
  allocate_all(objects, MANY, SMALL_BYTES);
  uint32_t c = object_class(objects[0]);
  struct heap *h = enter();
  NEED(load_relaxed(&h->cls[c].is_dry)); /* the last refill took a fresh slab */
  flush_owner_magazines(h);
  size_t full_bytes = slab_class_bytes(c);
  NEED(full_bytes >= 3 * (size_t)CHUNK_BYTES && h->cls[c].taken_count == MANY);
  NEED(h->cls[c].slabs != NULL); /* the newest one has room */
  /* One free object puts a full slab on the list; its last one makes it the one kept. */
  store_relaxed(&h->cls[c].is_dry, true);
  flush_slots(h, c, objects, 1);
  NEED(!load_relaxed(&h->cls[c].is_dry));
  NEED(h->cls[c].slabs == slab_of_chunk(&size_classes[c], chunk_index(objects[0])));
  NEED(h->cls[c].slabs->free_count == 1 && object_is_in_bitmap(objects[0]) &&
       !object_is_in_bitmap(objects[1]));
  flush_slots(h, c, objects + 1, MANY - 1);
  NEED(h->cls[c].taken_count == 0 && h->fault.kind == FAULT_NONE);
  NEED(h->empty_slab != NULL &&
       h->empty_slab->free_count == size_classes[h->empty_slab->class_index].slab_objects);
  NEED(slab_class_bytes(c) == CHUNK_BYTES && h->cls[c].slabs == h->empty_slab);
  NEED(heap_is_valid(h));
  flush_empty_slab(h);
  flush_empty_slab(h);
  NEED(h->empty_slab == NULL && h->cls[c].slabs == NULL && slab_class_bytes(c) == 0);
  entry_leave(h);
  allocate_all(objects, MANY, SMALL_BYTES); /* and it starts afresh */
  free_all(objects, MANY);
}

/* All that the owner keeps at hand: bin, second magazine, depot, spare magazines. */
static void nothing_stays_in_magazines(void) {
  for (int round = 0; round < 8; round++) {
    allocate_all(objects, MANY, SMALL_BYTES);
    free_all(objects, MANY);
  }
  void *survivor = hak_malloc(SMALL_BYTES);
  uint32_t c = object_class(survivor);
  struct heap *h = enter();
  NEED(h->cls[c].depot_count != 0 && load_relaxed(&h->cls[c].previous) != NULL);
  NEED(heap_bin_count(h, c) != 0);
  uint16_t window = h->cls[c].window;
  NEED(window == size_classes[c].magazine_capacity);
  flush_owner_magazines(h);
  NEED(h->depot_bytes == 0 && h->cls[c].depot_count == 0 && heap_is_valid(h));
  NEED(load_relaxed(&h->cls[c].previous) == NULL && load_relaxed(&h->cls[c].loaded) == NULL);
  NEED(h->cls[c].taken_count == 1 && h->empty_slab == NULL);
  NEED(h->cls[c].window == window); /* for the next thread; not for one after it that has no use */
  flush_owner_magazines(h);
  NEED(h->cls[c].window == 0);
  h->cls[c].window = window;
  flush_owner_windows(h);
  NEED(h->cls[c].window == 0);
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) NEED(h->spare[i] == NULL);
  NEED(slab_class_bytes(c) == CHUNK_BYTES && !object_is_in_bitmap(survivor));
  entry_leave(h);
  hak_free(survivor);
  NEED(live_objects(c) == 0);
}

/* Bins, second magazines and depots change magazines all the time: none is lost on the way. */
static void the_same_load_needs_no_more_magazines(void) {
  size_t warm_bytes = 0;
  for (int round = 0; round < 24; round++) {
    if (round == 12) warm_bytes = meta_bytes();
    allocate_all(objects, MANY, SMALL_BYTES);
    free_all(objects, MANY);
    if (round % 4 != 3) continue;
    struct heap *h = enter();
    flush_owner_magazines(h);
    flush_owner_windows(h);
    entry_leave(h);
  }
  NEED(meta_bytes() == warm_bytes);
}

/* A thread that needed one refill leaves half its window to the next; one that needed more, all. */
static void a_window_shrinks_where_one_refill_was_enough(void) {
  void *p = hak_malloc(SMALL_BYTES);
  uint32_t c = object_class(p);
  hak_free(p);
  struct heap *h = enter();
  flush_owner_magazines(h);
  uint16_t whole = h->cls[c].window = size_classes[c].magazine_capacity;
  entry_leave(h);
  for (uint32_t refills = 1; refills <= 2; refills++) {
    size_t count = (size_t)(refills - 1) * whole + 1;
    allocate_all(objects, count, SMALL_BYTES);
    h = enter();
    NEED(h->cls[c].streak == refills && h->cls[c].window == whole);
    flush_owner_magazines(h);
    NEED(h->cls[c].streak == 0);
    NEED(h->cls[c].window == (refills == 1 ? (whole + 1) / 2 : whole));
    flush_slots(h, c, objects, (uint32_t)count);
    h->cls[c].window = whole;
    entry_leave(h);
  }
}

static void need_fault(struct heap *h, enum heap_fault_kind kind, void *object, uint32_t taken) {
  NEED(h->fault.kind == kind && h->fault.object == object);
  NEED(h->cls[object_class(objects[0])].taken_count == taken);
  h->fault = (struct heap_fault){FAULT_NONE, NULL};
}

static void bad_objects_are_noted(void) {
  static char stranger[SMALL_BYTES];
  allocate_all(objects, FEW, SMALL_BYTES);
  uint32_t c = object_class(objects[0]);
  void *other_class = hak_malloc(500), *run = hak_malloc(100000), *freed_run = hak_malloc(100000);
  hak_free(freed_run);
  struct heap *h = enter();
  uint32_t taken = h->cls[c].taken_count;

  flush_slots(h, c, (void *[]){objects[0], objects[1], objects[0], objects[2]}, 4);
  taken -= 3; /* those after a bad one still arrive */
  NEED(object_is_in_bitmap(objects[1]) && object_is_in_bitmap(objects[2]));
  need_fault(h, FAULT_DOUBLE_FREE, objects[0], taken);
  flush_slots(h, c, &freed_run, 1);
  need_fault(h, FAULT_DOUBLE_FREE, freed_run, taken);

  void *corrupted[] = {stranger, NULL, (char *)objects[3] + 16, other_class, run};
  for (size_t i = 0; i < HAK_COUNT_OF(corrupted); i++) {
    flush_slots(h, c, &corrupted[i], 1);
    need_fault(h, FAULT_CORRUPTED, corrupted[i], taken);
  }
  /* Only the first is reported. */
  flush_slots(h, c, (void *[]){stranger, objects[0]}, 2);
  need_fault(h, FAULT_CORRUPTED, stranger, taken);
  NEED(!object_is_in_bitmap(objects[3]) && !object_is_in_bitmap(other_class));
  entry_leave(h);
  hak_free(other_class);
  hak_free(run);
}

static size_t highest_chunk(void *const *all, size_t count) {
  size_t highest = 0;
  for (size_t i = 0; i < count; i++) {
    if (chunk_index(all[i]) > highest) highest = chunk_index(all[i]);
  }
  return highest;
}

/* What a bulk load gave back is used again before chunks that nobody has touched. */
static void bulk_again(void) {
  enum { BULK_BYTES = 24576, MANY_CHUNKS = MANY / 4 }; /* more than 20 superslabs */
  allocate_all(objects, MANY_CHUNKS, BULK_BYTES);
  size_t highest = highest_chunk(objects, MANY_CHUNKS);
  for (int round = 0; round < 3; round++) {
    free_all(objects, MANY_CHUNKS);
    allocate_all(objects, MANY_CHUNKS, BULK_BYTES);
    NEED(highest_chunk(objects, MANY_CHUNKS) <= highest);
  }
}
static void a_bulk_load_finds_its_chunks_again(void **state) {
  (void)state;
  run_child(bulk_again);
}

static int by_address(const void *a, const void *b) {
  uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;
  return (x > y) - (x < y);
}

static void swap(void **a, void **b) {
  void *was = *a;
  *a = *b;
  *b = was;
}

/* An order with rows of neighbours up and down, gaps and strays, by address to begin with. */
static void mix(void **order, size_t count) {
  for (size_t from = 0; from < count;) {
    size_t length = 1 + random_next(&random_state) % 150;
    if (length > count - from) length = count - from;
    uint64_t what = random_next(&random_state) % 4;
    for (size_t i = 0; what == 0 && i < length / 2; i++) /* down */
      swap(&order[from + i], &order[from + length - 1 - i]);
    for (size_t i = 0; what == 1 && i < length; i++) /* strays */
      swap(&order[from + i], &order[random_next(&random_state) % count]);
    for (size_t i = 0; what == 2 && i + 1 < length; i += 2)
      swap(&order[from + i], &order[from + i + 1]);
    from += length;
  }
}

/* Each bit is set for its object alone, whatever the order; of an object that is there already the
 * first is noted. Every 40th stays live, so no slab goes back. */
static void any_order_of(size_t n) {
  enum { KEEP_EVERY = 40, BATCH_MAX = 256 };
  static void *order[MANY];
  allocate_all(objects, MANY, n);
  uint32_t c = object_class(objects[0]);
  qsort(objects, MANY, sizeof *objects, by_address);
  size_t count = 0;
  for (size_t i = 0; i < MANY; i++) {
    if (i % KEEP_EVERY != 0 && object_class(objects[i]) == c) order[count++] = objects[i];
  }
  NEED(count > MANY / 2);
  mix(order, count);
  struct heap *h = enter();
  for (size_t from = 0; from < count;) {
    void *slots[BATCH_MAX];
    void *twice = NULL;
    uint32_t k = 0, most = 1 + (uint32_t)(random_next(&random_state) % BATCH_MAX);
    uint32_t taken = h->cls[c].taken_count;
    for (; k < most && from < count; k++) {
      if (twice == NULL && from != 0 && random_next(&random_state) % 200 == 0) {
        twice = slots[k] = order[random_next(&random_state) % from];
      } else {
        slots[k] = order[from++];
      }
    }
    flush_slots(h, c, slots, k);
    NEED(h->cls[c].taken_count == taken - k + (twice != NULL));
    NEED(h->fault.kind == (twice == NULL ? FAULT_NONE : FAULT_DOUBLE_FREE));
    NEED(h->fault.object == twice);
    h->fault = (struct heap_fault){FAULT_NONE, NULL};
  }
  NEED(heap_is_valid(h));
  entry_leave(h);
  for (size_t i = 0; i < count; i++) NEED(object_is_in_bitmap(order[i]));
  for (size_t i = 0; i < MANY; i += KEEP_EVERY) NEED(!object_is_in_bitmap(objects[i]));
}

static void orders(void) {
  static const size_t sizes[] = {16, 48, 64, 1024, 2048, 24576};
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) any_order_of(sizes[i]);
}
static void any_order_sets_the_same_bits(void **state) {
  (void)state;
  run_child(orders);
}

static int double_free_is_told_after_the_lock(void *unused) {
  (void)unused;
  struct heap *h = enter();
  flush_slots(h, object_class(objects[0]), (void *[]){objects[0], objects[0]}, 2);
  entry_leave(h);
  return 0;
}

static void a_fault_ends_the_process(void) {
  allocate_all(objects, 1, SMALL_BYTES);
  char err[512];
  size_t rest;
  int status = death_run(double_free_is_told_after_the_lock, NULL, err, sizeof err, &rest);
  NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  NEED(strncmp(err, "hakmem: double free: pointer 0x", 31) == 0 && rest == 0);
  NEED(strstr(err, "class 48 B") != NULL);
}

static void empty_slabs_are_released(void **state) {
  (void)state;
  run_child(empty_slabs_go_back_but_one);
}
static void the_owner_can_empty_all(void **state) {
  (void)state;
  run_child(nothing_stays_in_magazines);
}
static void no_magazine_is_lost(void **state) {
  (void)state;
  run_child(the_same_load_needs_no_more_magazines);
}
static void one_refill_leaves_half_a_window(void **state) {
  (void)state;
  run_child(a_window_shrinks_where_one_refill_was_enough);
}
static void faults_are_noted_and_skipped(void **state) {
  (void)state;
  run_child(bad_objects_are_noted);
}
static void faults_are_reported_without_the_lock(void **state) {
  (void)state;
  run_child(a_fault_ends_the_process);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_slabs_are_released),
      cmocka_unit_test(the_owner_can_empty_all),
      cmocka_unit_test(no_magazine_is_lost),
      cmocka_unit_test(one_refill_leaves_half_a_window),
      cmocka_unit_test(faults_are_noted_and_skipped),
      cmocka_unit_test(any_order_sets_the_same_bits),
      cmocka_unit_test(a_bulk_load_finds_its_chunks_again),
      cmocka_unit_test(faults_are_reported_without_the_lock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
