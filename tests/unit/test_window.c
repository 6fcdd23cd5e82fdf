/* test_window.c — windows: where they begin, and bins that a thread which only frees gives up. */
#include "unit_heap.h"

#include "depot.h"
#include "growth.h"
#include "window.h"

enum { OBJECTS = 1500, OVERFLOW_RUN = WINDOW_OVERFLOW_RUN };
enum { LOOKS = 8 }; /* as in window.c */

static void opens(void) {
  struct heap *h = heap_own();
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    h->cls[c].window = 0;
    window_open(h, c);
    uint32_t first = h->cls[c].window;
    NEED(first >= 1 && first <= 8 && (first == 1 || first * size_classes[c].size <= 1024));
    h->cls[c].window = 3;
    window_open(h, c);
    NEED(h->cls[c].window == 3 && !window_is_whole(h, c));
    h->cls[c].window = size_classes[c].magazine_capacity;
    NEED(window_is_whole(h, c));
    h->cls[c].window = 0;
  }
}
static void a_window_opens_small_and_once(void **state) {
  (void)state;
  run_child(opens);
}

/* A load under which a bin grows as far as it may. */
static void swing(void *object[OBJECTS]) {
  for (int round = 0; round < 4; round++) {
    for (size_t i = 0; i < OBJECTS; i++) NEED((object[i] = hak_malloc(256)) != NULL);
    for (size_t i = 0; i < OBJECTS; i++) hak_free(object[i]);
  }
}

/* BIN_BYTES bounds every bin, also of those that were larger when it was set. */
static void bounded(void) {
  static void *object[OBJECTS];
  struct heap *h = heap_own();
  swing(object);
  uint32_t c = object_class(object[0]);
  NEED(heap_bin_count(h, c) > 16 && window_max(h, c) == size_classes[c].magazine_capacity);
  NEED(hak_option_set("BIN_BYTES", "4K") == 0);
  NEED(window_max(h, c) == 16);
  swing(object);
  NEED(heap_bin_count(h, c) <= 16 && h->cls[c].window <= 16);
  NEED(hak_option_set("BIN_BYTES", "0") == 0);
  for (uint32_t i = 0; i < CLASS_COUNT; i++) NEED(window_max(h, i) == 1);
  for (size_t i = 0; i < OBJECTS; i++) NEED((object[i] = hak_malloc(256)) != NULL);
  for (size_t i = 0; i < OBJECTS; i++) hak_free(object[i]);
  NEED(heap_bin_count(h, c) <= 1);
}
/* A bin that holds more than its bound, as a received magazine may, shrinks to within it; and one
 * that is wider when the bound is set is filled no further. */
static void bounded_late(void) {
  static void *object[OBJECTS];
  struct heap *h = heap_own();
  swing(object);
  uint32_t c = object_class(object[0]);
  NEED(rt_option_set(RT_OPTION_BIN_BYTES, "4K"));
  NEED(heap_bin_count(h, c) > 16 && h->cls[c].window > 16);
  (void)enter();
  window_shrink(h, c);
  NEED(h->cls[c].window <= 16);
  h->cls[c].window = size_classes[c].magazine_capacity;
  entry_leave(h);
  for (size_t i = 0; i < OBJECTS; i++) NEED((object[i] = hak_malloc(256)) != NULL);
  NEED(h->cls[c].window <= 16 && heap_bin_count(h, c) <= 16);
}
static void bin_bytes_bound_every_bin(void **state) {
  (void)state;
  run_child(bounded);
  run_child(bounded_late);
}

/* The most that bins and outbox of a thread that sleeps may hold, in tenths of a MiB, as
 * docs/tuning.md has it ("What a thread that sleeps keeps"): with fixed classes alone, with all
 * tailored ones at their widest, and with BIN_BYTES=8K. */
enum { SLEEPER_FIXED = 212, SLEEPER_ALL = 372, SLEEPER_8K = 16 };

/* A second magazine is filled only while the window is whole. */
static size_t bin_bytes_max(uint32_t c) {
  const struct size_class *k = &size_classes[c];
  uint32_t most = window_bound(c);
  bool has_two = k->has_previous && most == k->magazine_capacity;
  return (has_two ? 2 : 1) * (size_t)most * k->size;
}
static size_t bins_bytes_max(uint32_t class_end) {
  size_t sum = 0;
  for (uint32_t c = 0; c < class_end; c++) sum += bin_bytes_max(c);
  return sum;
}
static bool is_rounded_up(size_t bytes, size_t tenths) {
  return bytes * 10 <= tenths * MIB && bytes * 10 > (tenths - 1) * MIB;
}
static void adds_up(void) {
  (void)heap_own();
  size_t widest = 0; /* a tailored class is cut from a medium one, and has magazines like that */
  for (uint32_t c = CLASS_TINY_COUNT; c < CLASS_FIXED_COUNT; c++)
    widest = size_max(widest, bin_bytes_max(c));
  for (uint32_t c = CLASS_FIXED_COUNT; c < CLASS_COUNT; c++) NEED(bin_bytes_max(c) == widest);
  NEED(is_rounded_up(bins_bytes_max(CLASS_FIXED_COUNT) + OUTBOX_BYTES, SLEEPER_FIXED));
  NEED(is_rounded_up(bins_bytes_max(CLASS_COUNT) + OUTBOX_BYTES, SLEEPER_ALL));
  NEED(hak_option_set("BIN_BYTES", "8K") == 0);
  NEED(is_rounded_up(bins_bytes_max(CLASS_COUNT) + OUTBOX_BYTES, SLEEPER_8K));
}
static void what_a_sleeper_keeps_is_bounded_as_documented(void **state) {
  (void)state;
  run_child(adds_up);
}

static size_t medium_count(struct heap *h) {
  size_t count = 0;
  for (uint32_t c = CLASS_TINY_COUNT; c < CLASS_COUNT; c++) count += heap_bin_count(h, c);
  return count;
}

/* Of objects that were freed last and are still in bins; the first is the newest. */
static void fill(void *object[OBJECTS]) {
  for (size_t i = 0; i < OBJECTS; i++) NEED((object[i] = hak_malloc(100 + i * 19)) != NULL);
}

static void only_frees(void) {
  static void *object[OBJECTS];
  struct heap *h = heap_own();
  fill(object);
  for (size_t i = 0; i < OBJECTS; i++) hak_free(object[i]);
  NEED(h->overflow_run >= OVERFLOW_RUN);
  size_t kept = medium_count(h);
  NEED(kept < 40); /* and 300 with whole windows */
  h = enter();
  for (int i = 0; i < 400; i++) window_note_overflow(h, 0);
  NEED(medium_count(h) == 0 && heap_is_valid(h));
  for (uint32_t c = CLASS_TINY_COUNT; c < CLASS_COUNT; c++)
    NEED(load_relaxed(&h->cls[c].loaded) == NULL && h->cls[c].window == 0);
  entry_leave(h);
  fill(object); /* it goes on */
  NEED(h->overflow_run == 0);
}
/* Where no class but tiny ones has a magazine, each is looked at once, and then none until one has
 * its first. */
static void looks_once(void) {
  static void *object[OBJECTS];
  struct heap *h = heap_own();
  void *late = hak_malloc(2000);
  fill(object);
  for (size_t i = 0; i < OBJECTS; i++) hak_free(object[i]);
  h = enter();
  for (int i = 0; i < 400; i++) window_note_overflow(h, 0);
  uint32_t victim = h->window_victim;
  window_note_overflow(h, 0);
  NEED(medium_count(h) == 0 && h->window_victim == victim);
  window_note_refill(h);
  NEED(h->overflow_run == 0);
  uint32_t looks = 0;
  for (int i = 0; i < 400; i++) {
    victim = h->window_victim;
    window_note_overflow(h, 0);
    looks += h->window_victim != victim;
  }
  NEED(looks * LOOKS >= CLASS_COUNT - CLASS_TINY_COUNT);
  NEED((looks - 1) * LOOKS < CLASS_COUNT - CLASS_TINY_COUNT);
  entry_leave(h);
  hak_free(late);
  NEED(medium_count(h) == 1);
  h = enter();
  for (uint32_t i = 0; i < looks; i++) window_note_overflow(h, 0);
  NEED(medium_count(h) == 0 && heap_is_valid(h));
  entry_leave(h);
}
static void one_that_has_emptied_them_looks_no_further(void **state) {
  (void)state;
  run_child(looks_once);
}
static void a_thread_that_only_frees_empties_its_bins(void **state) {
  (void)state;
  run_child(only_frees);
}

/* One malloc that finds its bin empty is enough to keep them. */
static void frees_and_allocates(void) {
  static void *object[OBJECTS];
  struct heap *h = heap_own();
  fill(object);
  while (growth_is_due()) entry_leave(entry_enter()); /* not amid what follows */
  for (size_t i = 0; i < OBJECTS; i++) {
    hak_free(object[i]);
    if (i % (OVERFLOW_RUN / 2) != 0) continue;
    window_note_refill(h); /* as refill_slow does */
  }
  NEED(h->overflow_run < OVERFLOW_RUN && medium_count(h) >= 40);
}
static void one_that_allocates_too_keeps_them(void **state) {
  (void)state;
  run_child(frees_and_allocates);
}

/* What a load that swings makes of a window. */
static uint32_t widest(struct heap *h, uint32_t c) {
  static void *object[OBJECTS];
  size_t n = size_classes[c].size;
  for (int round = 0; round < 10; round++) {
    for (size_t i = 0; i < OBJECTS; i++) NEED((object[i] = hak_malloc(n)) != NULL);
    for (size_t i = 0; i < OBJECTS; i++) hak_free(object[i]);
  }
  return h->cls[c].window;
}

static void is_crowded(void) {
  struct heap *h = heap_own();
  uint32_t c = size_class_of(256), whole = size_classes[c].magazine_capacity;
  store_relaxed(&h->home->thread_count, WINDOW_CROWD + 1u);
  NEED(widest(h, c) == whole - whole / 4 && load_relaxed(&h->cls[c].previous) == NULL);
  store_relaxed(&h->home->thread_count, (uint32_t)WINDOW_CROWD);
  NEED(widest(h, c) == whole);
  store_relaxed(&h->home->thread_count, 1u);
  h = enter();
  NEED(heap_is_valid(h));
  entry_leave(h);
}
static void in_a_crowded_home_a_window_stays_smaller(void **state) {
  (void)state;
  run_child(is_crowded);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_window_opens_small_and_once),
      cmocka_unit_test(bin_bytes_bound_every_bin),
      cmocka_unit_test(what_a_sleeper_keeps_is_bounded_as_documented),
      cmocka_unit_test(a_thread_that_only_frees_empties_its_bins),
      cmocka_unit_test(one_that_has_emptied_them_looks_no_further),
      cmocka_unit_test(one_that_allocates_too_keeps_them),
      cmocka_unit_test(in_a_crowded_home_a_window_stays_smaller),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
