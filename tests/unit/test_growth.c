/* test_growth.c — at a new peak a heap gives up what it keeps at hand; below it, it does not.
 */
#include "unit_heap.h"

#include "base_size.h"
#include "growth.h"
#include "purge.h"
#include "superslab.h"

enum { COUNT = 8000, BYTES = 200 };

static size_t cached_count(struct heap *h) {
  size_t count = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    struct magazine *previous = load_relaxed(&h->cls[c].previous);
    count += heap_bin_count(h, c) + (previous == NULL ? 0 : load_relaxed(&previous->count));
  }
  return count;
}

static void fill_caches(void) {
  static void *objects[COUNT];
  for (int round = 0; round < 12; round++) {
    allocate_all(objects, COUNT, BYTES);
    free_all(objects, COUNT);
  }
}

/* The same amount twice: the second time it is no peak. */
static void grows(void) {
  fill_caches();
  struct heap *h = heap_current;
  for (int round = 0; round < 2; round++) {
    bool is_first = round == 0;
    NEED(!growth_is_due() && h->depot_bytes != 0 && cached_count(h) != 0);
    NEED(entry_enter() == h);
    struct chunk_run run = superslab_claim(8 * SUPERSLAB_CHUNKS, 1, 0);
    NEED(run.first != CHUNK_NONE && growth_is_due() == is_first);
    superslab_release(run.first, run.count);
    entry_leave(h);
    NEED(!growth_is_due() && (h->depot_bytes == 0) == is_first);
    NEED((cached_count(h) == 0) == is_first && heap_is_valid(h));
    fill_caches();
  }
}
static void a_new_peak_empties_the_caches(void **state) {
  (void)state;
  run_child(grows);
}

static void grow_to(uint32_t superslabs) {
  struct heap *h = heap_current;
  NEED(entry_enter() == h);
  struct chunk_run run = superslab_claim(superslabs * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && growth_is_due());
  superslab_release(run.first, run.count);
  entry_leave(h);
}
/* Free chunks that were so through all the growth since the last peak, and lie below it. */
static void grows_beside_free_chunks(void) {
  fill_caches();
  struct heap *h = heap_current;
  NEED(entry_enter() == h);
  struct chunk_run run = superslab_claim(9, 1, 0);
  NEED(run.first != CHUNK_NONE);
  superslab_release(run.first, 8); /* the ninth is between them and what grows */
  entry_leave(h);
  grow_to(5);
  NEED(superslab_dirty_bytes() >= 8 * CHUNK_BYTES && purge_events().run_bytes == 0);
  grow_to(7);
  NEED(purge_events().run_bytes >= 8 * CHUNK_BYTES);
}
static void a_new_peak_gives_back_what_the_last_did_not_need(void **state) {
  (void)state;
  run_child(grows_beside_free_chunks);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_new_peak_empties_the_caches),
      cmocka_unit_test(a_new_peak_gives_back_what_the_last_did_not_need),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
