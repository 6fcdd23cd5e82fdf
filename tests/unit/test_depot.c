/* test_depot.c — last in, first out; never above its bound; the oldest go to the bitmaps.
 */
#include "unit_heap.h"

#include "depot.h"

enum { MANY = 12000, SMALL_BYTES = 48 };

static void *objects[MANY];

/* Magazines of `fill` objects each, the i-th with objects[i * fill] first. */
static void put_all(struct heap *h, uint32_t c, void *const *from, uint32_t count, uint32_t fill) {
  for (uint32_t i = 0; i < count; i++) {
    depot_put(h, c, magazine_with(h, c, from + (size_t)i * fill, fill));
    NEED(heap_is_valid(h));
    NEED(h->depot_bytes <= rt_option(RT_OPTION_DEPOT_BYTES));
  }
}

static void newest_first(void) {
  allocate_all(objects, 6, SMALL_BYTES);
  uint32_t c = object_class(objects[0]);
  struct heap *h = enter();
  NEED(depot_take(h, c) == NULL);
  put_all(h, c, objects, 3, 2);
  NEED(h->cls[c].depot_count == 3 && h->depot_bytes == 6 * (size_t)size_classes[c].size);
  for (int i = 2; i >= 0; i--) {
    struct magazine *m = depot_take(h, c);
    NEED(m != NULL && m->next == NULL && load_relaxed(&m->count) == 2);
    NEED(m->slot[0] == objects[2 * i] && m->slot[1] == objects[2 * i + 1]);
    NEED(heap_is_valid(h) && h->cls[c].depot_count == i);
    flush_magazine(h, m);
    flush_magazine_give(h, m);
  }
  NEED(h->depot_bytes == 0 && depot_take(h, c) == NULL);
  entry_leave(h);
  NEED(live_objects(c) == 0);
}

/* A few at a time fill one magazine, then the next. */
static void few_at_a_time(void) {
  static const size_t sizes[] = {SMALL_BYTES, 20000};
  for (size_t s = 0; s < HAK_COUNT_OF(sizes); s++) {
    allocate_all(objects, 1000, sizes[s]);
    uint32_t c = object_class(objects[0]), most = size_classes[c].magazine_capacity;
    most = (uint32_t)size_min(most, 65536 / size_classes[c].size);
    struct heap *h = enter();
    for (uint32_t i = 0; i + 3 <= 2 * most; i += 3) {
      depot_add(h, c, objects + i, 3);
      NEED(heap_is_valid(h) && h->cls[c].depot_count <= i / (most / 3 * 3) + 1);
      struct magazine *m = h->cls[c].depot_newest;
      uint32_t count = load_relaxed(&m->count);
      NEED(count <= most && m->slot[count - 1] == objects[i + 2] && m->slot[0] != NULL);
    }
    depot_flush_class(h, c);
    NEED(heap_is_valid(h) && h->depot_bytes == 0);
    entry_leave(h);
    for (uint32_t i = 0; i + 3 <= 2 * most; i++) NEED(object_is_in_bitmap(objects[i]));
    free_all(objects + 2 * most / 3 * 3, 1000 - 2 * most / 3 * 3);
  }
}
static void a_few_at_a_time_fill_magazines(void **state) {
  (void)state;
  run_child(few_at_a_time);
}

static void the_oldest_make_room(void) {
  allocate_all(objects, MANY, SMALL_BYTES);
  uint32_t c = object_class(objects[0]);
  uint32_t fill = size_classes[c].magazine_capacity, count = MANY / fill;
  size_t bytes = (size_t)fill * size_classes[c].size;
  uint32_t fitting = (uint32_t)(rt_option(RT_OPTION_DEPOT_BYTES) / bytes);
  NEED(fitting > 2 && fitting < count);
  struct heap *h = enter();
  put_all(h, c, objects, count, fill);
  NEED(h->cls[c].depot_count == fitting);
  for (uint32_t i = 0; i < count; i++)
    NEED(object_is_in_bitmap(objects[i * fill]) == (i < count - fitting));
  struct magazine *m = depot_take(h, c);
  NEED(m->slot[0] == objects[(count - 1) * fill]);
  depot_put(h, c, m);
  depot_flush_class(h, c);
  NEED(h->cls[c].depot_count == 0 && h->depot_bytes == 0 && heap_is_valid(h));
  entry_leave(h);
  free_all(objects + (size_t)count * fill, MANY - (size_t)count * fill);
  NEED(live_objects(c) == 0);
}

/* Three classes of just under half the bound each: none has a majority, so all give something up,
 * and flushing one leaves the others alone. */
static void classes_share_the_bound(void) {
  static const size_t sizes[3] = {32, 64, 96};
  void **next = objects;
  uint32_t c[3], filled[3];
  struct heap *h = NULL;
  for (int i = 0; i < 3; i++) {
    allocate_all(next, 1, sizes[i]);
    c[i] = object_class(next[0]);
    uint32_t fill = size_classes[c[i]].magazine_capacity;
    size_t bytes = (size_t)fill * size_classes[c[i]].size;
    filled[i] = (uint32_t)((rt_option(RT_OPTION_DEPOT_BYTES) / 2 - 1) / bytes);
    NEED(filled[i] > 1);
    NEED(next + (size_t)fill * filled[i] <= objects + MANY);
    allocate_all(next + 1, (size_t)fill * filled[i] - 1, sizes[i]);
    h = enter();
    put_all(h, c[i], next, filled[i], fill);
    entry_leave(h);
    next += (size_t)fill * filled[i];
  }
  for (int i = 0; i < 3; i++)
    NEED(h->cls[c[i]].depot_count > 0 && h->cls[c[i]].depot_count < filled[i]);
  uint16_t kept = h->cls[c[2]].depot_count;
  NEED(enter() == h);
  depot_flush_class(h, c[1]);
  NEED(h->cls[c[1]].depot_count == 0 && h->cls[c[2]].depot_count == kept && heap_is_valid(h));
  entry_leave(h);
}

static void without_bytes_it_keeps_nothing(void) {
  NEED(rt_option(RT_OPTION_DEPOT_BYTES) == 0);
  allocate_all(objects, 2, SMALL_BYTES);
  uint32_t c = object_class(objects[0]);
  struct heap *h = enter();
  put_all(h, c, objects, 1, 2);
  NEED(h->cls[c].depot_count == 0 && depot_take(h, c) == NULL);
  NEED(object_is_in_bitmap(objects[0]) && object_is_in_bitmap(objects[1]));
  entry_leave(h);
}

static void is_last_in_first_out(void **state) {
  (void)state;
  run_child(newest_first);
}
static void evicts_the_oldest_above_its_bound(void **state) {
  (void)state;
  run_child(the_oldest_make_room);
}
static void is_shared_by_the_classes(void **state) {
  (void)state;
  run_child(classes_share_the_bound);
}
static void can_be_switched_off(void **state) {
  (void)state;
  run_program("no_bytes", "HAKMEM_DEPOT_BYTES=0", 0);
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "no_bytes") == 0) {
    without_bytes_it_keeps_nothing();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(is_last_in_first_out),
      cmocka_unit_test(a_few_at_a_time_fill_magazines),
      cmocka_unit_test(evicts_the_oldest_above_its_bound),
      cmocka_unit_test(is_shared_by_the_classes),
      cmocka_unit_test(can_be_switched_off),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
