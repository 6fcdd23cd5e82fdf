/* test_refill.c — windows, second magazines, depot: what a bin does when it runs empty or full. */
#include "unit_entry.h"

#include "flush.h"
#include "meta.h"
#include "refill.h"
#include "size_class.h"

enum { MANY = 20000 };

static void *objects[MANY];
static void allocate(size_t count, size_t n) {
  for (size_t i = 0; i < count; i++) NEED((objects[i] = hak_malloc(n)) != NULL);
}
static void free_last_first(size_t count) {
  for (size_t i = count; i > 0; i--) hak_free(objects[i - 1]);
}
static size_t out_of_slabs(void) { return load_relaxed(&heap_current->objects_out); }

/* What must hold of a bin at any time. */
static void bin_is_sane(struct heap *h, uint32_t c) {
  struct bin *b = &h->bin[c];
  struct magazine *loaded = load_relaxed(&h->cls[c].loaded);
  void **sp = load_relaxed(&b->sp);
  if (loaded == NULL) {
    NEED(sp == NULL && b->hi == NULL && b->top == NULL);
    return;
  }
  void **lo = loaded->slot;
  NEED(lo - 1 <= sp && sp <= b->hi && b->hi < lo + size_classes[c].magazine_capacity);
  NEED(sp >= lo ? b->top != NULL : b->top == NULL && *sp == NULL);
  heap_bin_spill(h, c);
  NEED(h->cls[c].window >= 1 && h->cls[c].window <= size_classes[c].magazine_capacity);
  NEED(loaded->entry == heap_entry(h, c));
  NEED(magazine_room(loaded) >= h->cls[c].window && b->hi < lo + magazine_room(loaded));
  for (void **slot = lo; slot <= sp; slot++) {
    NEED(object_entry(*slot) == heap_entry(h, c) && size_class_is_slot(&size_classes[c], *slot));
    NEED(!object_is_in_bitmap(*slot));
  }
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  NEED(previous == NULL || size_classes[c].has_previous);
  NEED(previous == NULL || magazine_room(previous) >= size_classes[c].magazine_capacity);
}

/* A load that only grows, or only shrinks, needs no larger window; one that swings does. */
static void windows(void) {
  struct heap *h = heap_own();
  for (uint32_t c = 1; c < CLASS_COUNT; c += 6) {
    size_t n = size_classes[c].size;
    if (size_class_of(n) != c) continue;
    struct heap_class *k = &h->cls[c];
    uint32_t capacity = size_classes[c].magazine_capacity;
    allocate(3, n);
    uint32_t first = k->window;
    NEED(first >= 1 && first <= capacity);
    NEED(load_relaxed(&k->loaded)->kind ==
         magazine_kind_for(first)); /* no larger than it need be */
    allocate(500, n);
    NEED(k->window == first);
    bin_is_sane(h, c);
    free_last_first(500);
    NEED(k->window <= size_min(2 * first, capacity)); /* one underflow: doubled at most once */
    bin_is_sane(h, c);
    for (int round = 0; round < 12; round++) {
      uint32_t before = k->window;
      allocate(500, n);
      NEED(k->window == before);
      bin_is_sane(h, c);
      free_last_first(500);
      NEED(k->window >= before && k->window <= size_min(2 * before, capacity));
      bin_is_sane(h, c);
    }
    NEED(k->window == capacity);
  }
  (void)hak_malloc_trim(0); /* everything starts small again */
  for (uint32_t c = 0; c < CLASS_COUNT; c++) NEED(h->cls[c].window == 0 && h->bin[c].hi == NULL);
}
/* The empty magazines that a full one replaces come back: none is lost. */
static void magazines_come_back(void) {
  struct heap *h = heap_own();
  size_t before = 0;
  for (int round = 0; round < 300; round++) {
    allocate(1200, 80); /* more than bin and second magazine hold: the depot's turn */
    free_last_first(1200);
    if (round == 20) before = meta_bytes();
    bin_is_sane(h, size_class_of(80));
  }
  NEED(meta_bytes() == before && h->cls[size_class_of(80)].depot_count != 0);
}
static void no_magazine_is_lost(void **state) {
  (void)state;
  run_child(magazines_come_back);
}

static void a_window_grows_where_a_load_swings(void **state) {
  (void)state;
  run_child(windows);
}

/* Where threads share a home, one that only frees fills magazines for one that only allocates. */
static void shared_windows(void) {
  enum { BYTES = 48 };
  struct heap *h = heap_own();
  struct heap_class *k = &h->cls[size_class_of(BYTES)];
  allocate(4000, BYTES);
  store_relaxed(&h->home->thread_count, 2u);
  free_last_first(4000);
  NEED(k->window == size_classes[size_class_of(BYTES)].magazine_capacity && k->depot_count != 0);
  store_relaxed(&h->home->thread_count, 1u);
}
static void a_window_grows_in_a_shared_home(void **state) {
  (void)state;
  run_child(shared_windows);
}

/* A class that only grows is refilled by more and more, up to 8 windows; a free that finds the bin
 * full ends that. What is taken at once lies on pages that are there, or on one more. */
static void streaks(void) {
  struct heap *h = heap_own();
  uint32_t c = size_class_of(32);
  allocate(MANY, 32);
  free_last_first(MANY); /* many free objects on resident pages */
  struct heap_class *k = &h->cls[c];
  (void)hak_malloc_trim(0);
  NEED(k->streak == 0 && k->window == 0);
  size_t most = 0, refills = 0;
  for (size_t i = 0, before = out_of_slabs(); i < 4000; i++, before = out_of_slabs()) {
    objects[i] = hak_malloc(32);
    NEED(objects[i] != NULL && k->window <= 8);
    bin_is_sane(h, c);
    most = size_max(most, out_of_slabs() - before);
    refills += out_of_slabs() != before;
  }
  NEED(most == 8u * k->window && refills < 4000 / most + 40);
  NEED(magazine_room(load_relaxed(&k->loaded)) >= most);
  while (k->streak != 0) { /* ends: the bin has at most `most` places */
    NEED(refills-- != 0);
    hak_free(objects[refills]);
    objects[refills] = NULL;
  }
  bin_is_sane(h, c);
  for (size_t i = 0; i < 4000; i++) hak_free(objects[i]);
}
static void a_streak_of_refills_takes_more_at_once(void **state) {
  (void)state;
  run_child(streaks);
}

static void random_use(void) {
  uint64_t seed = 9;
  struct heap *h = heap_own();
  static size_t sizes[MANY];
  for (size_t i = 0; i < 400000; i++) {
    /* Phases of growth and of decline. */
    size_t slot = random_next(&seed) % MANY;
    bool is_growing = random_next(&seed) % 8 < (i / 40000 % 2 == 0 ? 6u : 2u);
    if (objects[slot] != NULL && !is_growing) {
      NEED(has_stamp(objects[slot], size_min(sizes[slot], 64), (unsigned)slot));
      hak_free(objects[slot]);
      objects[slot] = NULL;
    } else if (objects[slot] == NULL && is_growing) {
      sizes[slot] = random_next(&seed) % (i % 50 == 0 ? CLASS_SIZE_MAX : 600);
      NEED((objects[slot] = hak_malloc(sizes[slot])) != NULL);
      stamp(objects[slot], size_min(sizes[slot], 64), (unsigned)slot);
    }
    if (i % 20000 != 0) continue;
    for (uint32_t c = 0; c < CLASS_COUNT; c++) bin_is_sane(h, c);
    struct heap *locked = entry_enter();
    NEED(locked == h && heap_is_valid(h));
    entry_leave(h);
  }
}
static void bins_stay_sane(void **state) {
  (void)state;
  run_child(random_use);
}

/* Once warm, a loop over 1,000 objects goes through bin, second magazine and depot only. */
static void bulk(void) {
  static const size_t sizes[] = {16, 64, 100, 200};
  struct heap *h = heap_own();
  for (size_t s = 0; s < HAK_COUNT_OF(sizes); s++) {
    (void)hak_malloc_trim(0);
    for (int round = 0; round < 20; round++) {
      allocate(1000, sizes[s]);
      free_last_first(1000);
    }
    size_t before = out_of_slabs();
    uint32_t c = object_class(objects[0]);
    NEED(h->cls[c].depot_count != 0 && load_relaxed(&h->cls[c].previous) != NULL);
    for (int round = 0; round < 20; round++) {
      allocate(1000, sizes[s]);
      free_last_first(1000);
      bin_is_sane(h, c);
    }
    if (out_of_slabs() != before)
      fprintf(stderr, "size %zu: %zu of %zu\n", sizes[s], out_of_slabs() - before, before);
    NEED(out_of_slabs() == before);
  }
}
static void a_bulk_loop_stays_above_the_slabs(void **state) {
  (void)state;
  run_child(bulk);
}

/* A class without a resident free object takes one of a class a little larger that has a surplus,
 * never one whose surplus is small, and never for an aligned request. */
static void borrowing(void) {
  struct heap *h = heap_own();
  enum { WIDER_SIZE = 320, SIZE = 256 };
  uint32_t wider = size_class_of(WIDER_SIZE), c = size_class_of(SIZE);
  NEED(size_classes[c].size == SIZE && size_classes[wider].size == WIDER_SIZE && wider > c);
  for (int round = 0; round < 4; round++) { /* the window grows until all stay cached */
    allocate(40, WIDER_SIZE);
    free_last_first(40);
  }
  NEED(h->cls[c].taken_count == 0);
  uint32_t borrowed = 0;
  while (h->cls[c].taken_count == 0) {
    void *p = hak_malloc(SIZE);
    NEED(p != NULL && borrowed < 64 && hak_malloc_usable_size(p) >= SIZE);
    if (object_class(p) == wider) borrowed++;
    objects[borrowed] = p;
  }
  NEED(borrowed >= 8 && h->cls[c].lender == wider);
  void *aligned = hak_aligned_alloc(SIZE, SIZE);
  NEED(aligned != NULL && object_class(aligned) == c);
}

/* BORROW=0: each class takes its own, whatever surplus there is. */
static void not_borrowing(void) {
  enum { WIDER_SIZE = 320, SIZE = 256 };
  (void)heap_own();
  NEED(hak_option_set("BORROW", "0") == 0);
  for (int round = 0; round < 4; round++) allocate(40, WIDER_SIZE), free_last_first(40);
  for (int i = 0; i < 64; i++) NEED(object_class(hak_malloc(SIZE)) == size_class_of(SIZE));
}
static void borrowing_can_be_turned_off(void **state) {
  (void)state;
  run_child(not_borrowing);
}

/* Every class's requests lead to its own bin, but for those of a class on loan. */
static void requests_are_sane(struct heap *h) {
  for (size_t n = 1; n <= TINY_MAX; n++) {
    uint32_t c = size_class_of(n);
    uint32_t to = h->cls[c].is_borrowing ? h->cls[c].lender : c;
    NEED(h->request[size_class_request(n)] == to * MAP_CLASS_SCALE);
    NEED(size_classes[to].size <= size_classes[c].size + size_classes[c].size / 4);
  }
}

/* While the lender's bin lasts, malloc does not come back to the slow path. A loan ends when that
 * is empty, when the borrower's own bin is full, and when classes are split. */
static void loans(void) {
  struct heap *h = heap_own();
  enum { WIDER_SIZE = 320, SIZE = 256, LENT = 12 };
  uint32_t wider = size_class_of(WIDER_SIZE), c = size_class_of(SIZE);
  void *own = hak_aligned_alloc(SIZE, SIZE); /* the aligned never borrow */
  NEED(own != NULL && object_class(own) == c);
  while (heap_bin_count(h, c) != 0) NEED(hak_malloc(SIZE) != NULL);
  for (int round = 0; round < 4; round++) allocate(40, WIDER_SIZE), free_last_first(40);
  while (object_class(objects[0] = hak_malloc(SIZE)) != wider) continue;
  NEED(h->cls[c].is_borrowing && h->cls[c].lender == wider);
  requests_are_sane(h);
  uint32_t stock = heap_bin_count(h, wider);
  NEED(stock > LENT);
  for (size_t i = 1; i <= LENT; i++) {
    objects[i] = hak_malloc(SIZE);
    NEED(object_class(objects[i]) == wider && heap_bin_count(h, wider) == stock - i);
  }
  hak_free(own); /* its own bin is not asked meanwhile */
  NEED(object_class(hak_malloc(SIZE)) == wider);
  while (heap_bin_count(h, wider) != 0) NEED(hak_malloc(SIZE) != NULL);
  NEED(hak_malloc(SIZE) == own && !h->cls[c].is_borrowing);
  requests_are_sane(h);

  heap_requests_direct(h, c, wider);
  requests_are_sane(h);
  NEED(size_class_split(wider) && h->split_count != load_relaxed(&size_class_split_count));
  void *any = refill_unlocked(h, 3, false); /* any slow call notices */
  NEED(any == NULL || object_class(any) == 3);
  NEED(!h->cls[c].is_borrowing && h->split_count == load_relaxed(&size_class_split_count));
  requests_are_sane(h);

  enum { OWN = 200 };
  for (size_t i = 0; i < OWN; i++) NEED((objects[i] = hak_aligned_alloc(SIZE, SIZE)) != NULL);
  heap_requests_direct(h, c, wider);
  free_last_first(OWN);
  NEED(!h->cls[c].is_borrowing);
  requests_are_sane(h);
}
static void a_loan_ends(void **state) {
  (void)state;
  run_child(loans);
}
static void a_larger_class_lends_its_surplus(void **state) {
  (void)state;
  run_child(borrowing);
}

/* malloc and free in turns, at the edge of empty and at the edge of full, take no lock: the
 * second magazine absorbs them. Seen by what comes out of slabs. */
static void edges(void) {
  struct heap *h = heap_own();
  for (int round = 0; round < 12; round++) allocate(2000, 48), free_last_first(2000);
  for (size_t held = 1; held < 600; held++) {
    allocate(held, 48);
    size_t before = out_of_slabs(), depot = h->depot_bytes;
    for (int i = 0; i < 50; i++) { /* one up, two down, one up */
      void *p = hak_malloc(48);
      hak_free(p);
      hak_free(objects[held - 1]);
      NEED((objects[held - 1] = hak_malloc(48)) != NULL);
    }
    NEED(out_of_slabs() == before);
    size_t magazine = (size_t)size_classes[object_class(objects[0])].magazine_capacity * 48;
    NEED(h->depot_bytes + magazine >= depot && h->depot_bytes <= depot + magazine);
    free_last_first(held);
  }
}
static void no_thrashing_at_the_edges(void **state) {
  (void)state;
  run_child(edges);
}

static void by_hand(void) {
  struct heap *own = heap_own(), *h = entry_enter();
  bool is_due;
  NEED(h == own && refill_unlocked(h, 7, true) == NULL);
  void *p = refill_slow(h, 7, true, &is_due);
  NEED(p != NULL && object_entry(p) == heap_entry(h, 7));
  bin_is_sane(h, 7);
  uint32_t cached = heap_bin_count(h, 7);
  void *one = refill_take_one(h, 7); /* past the bin */
  NEED(one != NULL && one != p && heap_bin_count(h, 7) == cached);
  while (bin_is_full(&h->bin[7])) NEED(refill_make_room(h, 7, one)), one = refill_take_one(h, 7);
  size_t taken = h->cls[7].taken_count;
  for (int i = 0; i < 1000; i++) { /* overflow never fails, and takes p each time */
    void *more = refill_take_one(h, 7);
    NEED(more != NULL);
    taken = h->cls[7].taken_count;
    struct bin *b = &h->bin[7];
    if (!bin_is_full(b)) { /* as the hot path would */
      bin_push(b, load_relaxed(&b->sp), more);
    } else if (!refill_make_room(h, 7, more)) {
      refill_overflow(h, 7, more);
    }
    NEED(b->top == more && h->cls[7].taken_count <= taken);
    bin_is_sane(h, 7);
  }
  NEED(heap_is_valid(h) && h->fault.kind == FAULT_NONE);
  flush_owner_magazines(h);
  NEED(h->cls[7].taken_count == 2); /* p and one */
  entry_leave(h);
}
static void each_step_by_hand(void **state) {
  (void)state;
  run_child(by_hand);
}

/* Sampling: due once in SAMPLE_INTERVAL_BYTES of objects on their way into bins. */
static void sampling(void) {
  struct heap *h = heap_own();
  for (int i = 0; i < 1000; i++) NEED(hak_malloc(5000) != NULL);
  size_t intervals = (size_t)1000 * 5120 / SAMPLE_INTERVAL_BYTES;
  size_t due = load_relaxed(&h->samples_due);
  NEED(due + 1 >= intervals / 2 && due <= intervals + 1);
}
static void sampling_falls_due_by_bytes(void **state) {
  (void)state;
  run_child(sampling);
}

/* A handler freed while malloc waited for the lock: the second magazine is not empty any more. */
static void freed_while_waiting(void) {
  struct heap *h = heap_own();
  uint32_t c = size_class_of(48);
  for (int round = 0; round < 12; round++) allocate(2000, 48), free_last_first(2000);
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  NEED(previous != NULL && h->cls[c].depot_count != 0);
  while (heap_bin_count(h, c) != 0) NEED(hak_malloc(48) != NULL);
  uint32_t count = load_relaxed(&previous->count), depot_count = h->cls[c].depot_count;
  NEED(count != 0);
  bool is_due = false;
  NEED(entry_enter() == h);
  NEED(refill_slow(h, c, true, &is_due) != NULL);
  NEED(h->cls[c].depot_count == depot_count);
  previous = load_relaxed(&h->cls[c].previous);
  NEED(heap_bin_count(h, c) + load_relaxed(&previous->count) == count - 1);
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++)
    NEED(h->spare[i] == NULL || load_relaxed(&h->spare[i]->count) == 0);
  entry_leave(h);
}
static void the_second_magazine_comes_before_the_depot(void **state) {
  (void)state;
  run_child(freed_while_waiting);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_window_grows_where_a_load_swings),
      cmocka_unit_test(a_window_grows_in_a_shared_home),
      cmocka_unit_test(no_magazine_is_lost),
      cmocka_unit_test(a_streak_of_refills_takes_more_at_once),
      cmocka_unit_test(bins_stay_sane),
      cmocka_unit_test(a_bulk_loop_stays_above_the_slabs),
      cmocka_unit_test(a_larger_class_lends_its_surplus),
      cmocka_unit_test(borrowing_can_be_turned_off),
      cmocka_unit_test(a_loan_ends),
      cmocka_unit_test(the_second_magazine_comes_before_the_depot),
      cmocka_unit_test(no_thrashing_at_the_edges),
      cmocka_unit_test(each_step_by_hand),
      cmocka_unit_test(sampling_falls_due_by_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
