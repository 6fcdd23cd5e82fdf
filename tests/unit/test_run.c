/* test_run.c — runs: size, alignment, map entries, resizing in place, and who may free one. */
#include "unit_region.h"

#include "run.h"

enum { RUNS = 40, ROUNDS = 6000, RACES = 3000 };

static const uint32_t RUN_ENTRY = HEAP_ID_RUN << MAP_ID_SHIFT | MAP_CLASS_OTHER * MAP_CLASS_SCALE;
static const uint32_t REST_ENTRY =
    HEAP_ID_RUN_REST << MAP_ID_SHIFT | MAP_CLASS_OTHER * MAP_CLASS_SCALE;

static char *alloc(size_t bytes, size_t align, bool *is_zero) {
  char *p;
  LOCKED(0, p = run_alloc(bytes, align, 0, is_zero));
  return p;
}
static uint32_t chunk_of(const void *p) { return (uint32_t)chunk_index(p); }
static size_t chunks_for(size_t bytes) { return (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES; }

static void map_says(char *p, size_t count) {
  NEED(map_load(chunk_of(p)) == RUN_ENTRY && run_bytes(chunk_of(p)) == count * CHUNK_BYTES);
  for (size_t i = 1; i < count; i++) NEED(map_load(chunk_of(p) + i) == REST_ENTRY);
}

static struct {
  char *p;
  size_t count;
} model[RUNS];

/* One stamp a chunk, so that large runs are cheap. */
static void run_stamp(unsigned slot) {
  for (size_t i = 0; i < model[slot].count; i++) stamp(model[slot].p + i * CHUNK_BYTES, 64, slot);
}
static void run_check(unsigned slot, size_t count) {
  for (size_t i = 0; i < count; i++) NEED(has_stamp(model[slot].p + i * CHUNK_BYTES, 64, slot));
}

static void resize(unsigned slot, size_t bytes) {
  size_t before = model[slot].count, after = chunks_for(bytes);
  uint32_t chunk = chunk_of(model[slot].p);
  bool has_room = after <= before || (chunk % SUPERSLAB_CHUNKS + after <= SUPERSLAB_CHUNKS);
  bool is_done;
  LOCKED(0, is_done = run_resize(chunk, bytes));
  NEED(!is_done || has_room);
  NEED(is_done || after > before); /* shrinking works always */
  if (is_done) model[slot].count = after;
  for (size_t i = after; is_done && i < before; i++)
    NEED(map_entry_id(map_load(chunk + i)) == HEAP_ID_FREED);
  map_says(model[slot].p, model[slot].count);
  run_check(slot, size_min(before, model[slot].count));
  run_stamp(slot);
}

static void as_the_model_says(void) {
  layers_init(512 * MIB);
  uint64_t seed = 11;
  size_t total = 0, allocs = 0, grown = 0, refused = 0;
  for (int round = 0; round < ROUNDS; round++) {
    unsigned slot = (unsigned)(random_next(&seed) % RUNS);
    size_t most = round % 10 == 0 ? 6 * MIB : MIB;
    size_t bytes = (size_t)(random_next(&seed) % most) + 1;
    total -= model[slot].count;
    if (model[slot].p == NULL) {
      size_t align = (size_t)1 << random_next(&seed) % 22;
      bool is_zero = false;
      char *p = alloc(bytes, align, &is_zero);
      NEED(p != NULL && (uintptr_t)p % align == 0 && (uintptr_t)p % CHUNK_BYTES == 0);
      NEED(!is_zero || is_all_zero(p, bytes));
      model[slot].p = p;
      model[slot].count = chunks_for(bytes);
      run_stamp(slot);
      map_says(p, model[slot].count);
      NEED(run_alloc_count() == ++allocs);
    } else if (random_next(&seed) % 2 == 0) {
      size_t before = model[slot].count;
      resize(slot, bytes);
      grown += model[slot].count > before;
      refused += model[slot].count < chunks_for(bytes);
    } else {
      run_check(slot, model[slot].count);
      uint32_t chunk = chunk_of(model[slot].p);
      if (model[slot].count > 1) NEED(!run_free(chunk + 1));
      NEED(run_free(chunk) && !run_free(chunk));
      for (size_t i = 0; i < model[slot].count; i++)
        NEED(map_entry_id(map_load(chunk + i)) == HEAP_ID_FREED);
      model[slot].p = NULL;
      model[slot].count = 0;
    }
    total += model[slot].count;
    NEED(run_total_bytes() == total * CHUNK_BYTES);
    NEED(superslab_claimed_bytes() == total * CHUNK_BYTES);
  }
  NEED(grown > 20 && refused > 20);
}
static void runs_follow_a_model(void **state) {
  (void)state;
  run_child(as_the_model_says);
}

static void neighbours(void) {
  layers_init(64 * MIB);
  bool is_zero;
  char *a = alloc(4 * CHUNK_BYTES, 1, &is_zero), *b = alloc(1, 1, &is_zero);
  uint32_t chunk = chunk_of(a);
  bool is_done;
  NEED(b == a + 4 * CHUNK_BYTES);
  LOCKED(0, is_done = run_resize(chunk, 5 * CHUNK_BYTES));
  NEED(!is_done && run_bytes(chunk) == 4 * CHUNK_BYTES); /* its neighbour lives */
  NEED(run_free(chunk_of(b)));
  LOCKED(0, is_done = run_resize(chunk, SUPERSLAB_BYTES));
  NEED(is_done && run_bytes(chunk) == SUPERSLAB_BYTES);
  LOCKED(0, is_done = run_resize(chunk, 0));
  NEED(!is_done);
  LOCKED(0, is_done = run_resize(chunk, SIZE_MAX));
  NEED(!is_done && run_bytes(chunk) == SUPERSLAB_BYTES);
  for (uint32_t i = 1; i <= 5; i++) NEED(run_count_growth(chunk) == i);
  NEED(run_free(chunk));
  char *again = alloc(1, 1, &is_zero);
  NEED(again == a && run_count_growth(chunk) == 1);
  NEED(alloc(65 * MIB, 1, &is_zero) == NULL && alloc(SIZE_MAX / 2, 1, &is_zero) == NULL);
  char *big = alloc(60 * MIB + 1, SUPERSLAB_BYTES, &is_zero);
  NEED(big != NULL && is_zero && is_all_zero(big, 60 * MIB + 1));
  NEED(run_bytes(chunk_of(big)) == 60 * MIB + CHUNK_BYTES);
  map_says(big, 60 * MIB / CHUNK_BYTES + 1);
}
static void growth_stops_at_neighbours(void **state) {
  (void)state;
  run_child(neighbours);
}

/* What a run does not need of its last superslab stays as it was. */
static void rests(void) {
  layers_init(64 * MIB);
  enum { CHUNKS = SUPERSLAB_CHUNKS + 2, BEHIND = 16 };
  bool is_zero = false;
  char *p = alloc(CHUNKS * CHUNK_BYTES - 100, 1, &is_zero);
  NEED(p != NULL && is_zero && superslab_dirty_bytes() == 0);
  NEED(superslab_claimed_bytes() == CHUNKS * CHUNK_BYTES);
  char *q = alloc(BEHIND * CHUNK_BYTES, 1, &is_zero);
  NEED(q == p + CHUNKS * CHUNK_BYTES && is_zero && is_all_zero(q, BEHIND * CHUNK_BYTES));
  stamp(p, CHUNKS * CHUNK_BYTES, 1);
  NEED(run_free(chunk_of(p)) && run_free(chunk_of(q)));
  NEED(superslab_dirty_bytes() == (CHUNKS + BEHIND) * CHUNK_BYTES);
  NEED(alloc(CHUNKS * CHUNK_BYTES, 1, &is_zero) == p && !is_zero);
  NEED(superslab_dirty_bytes() == BEHIND * CHUNK_BYTES);
  NEED(run_free(chunk_of(p)) && superslab_claimed_bytes() == 0);
  NEED(superslab_dirty_bytes() == (CHUNKS + BEHIND) * CHUNK_BYTES);
}
static void what_no_run_needs_is_not_dirty(void **state) {
  (void)state;
  run_child(rests);
}

static char *raced;
static pthread_barrier_t barrier;
static _Atomic(uint32_t) freed_count;

static void *frees_the_same(void *unused) {
  (void)unused;
  for (uint32_t i = 1; i <= RACES; i++) {
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
      bool is_zero;
      raced = alloc(3 * CHUNK_BYTES, 1, &is_zero);
      NEED(raced != NULL);
    }
    (void)pthread_barrier_wait(&barrier);
    if (run_free(chunk_of(raced))) add_relaxed(&freed_count, 1u);
    (void)pthread_barrier_wait(&barrier);
    NEED(load_relaxed(&freed_count) == i && run_total_bytes() == 0);
    (void)pthread_barrier_wait(&barrier);
  }
  return NULL;
}
static void free_by_two(void) {
  layers_init(64 * MIB);
  NEED(pthread_barrier_init(&barrier, NULL, 2) == 0);
  threads_run(2, frees_the_same);
  NEED(superslab_claimed_bytes() == 0);
}
static void of_two_frees_one_is_told(void **state) {
  (void)state;
  run_child(free_by_two);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(runs_follow_a_model),
      cmocka_unit_test(growth_stops_at_neighbours),
      cmocka_unit_test(what_no_run_needs_is_not_dirty),
      cmocka_unit_test(of_two_frees_one_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
