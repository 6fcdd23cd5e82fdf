/* test_model_entry.c — malloc and free as programs call them: threads that hand objects to one
 * another, end, trim and tick; and a walk by one thread through all that the allocator does.
 */
#include "model.h"
#include "model_atomic.h"

#include "entry.h"
#include "entry_hot.h"
#include "home.h"
#include "idle.h"
#include "superslab.h"
#include "view_stats.h"

enum {
  SMALL_BYTES = 48,
  BIN_FIRST = 8, /* objects of that size in the bin of a new thread */
  LIVE = 64,
  WALK = 600
};

static _Atomic(void *) handed;
static void *kept;
static bool is_kept_freed; /* or about to be */

static size_t live_count(void) {
  struct view_totals t;
  view_stats_collect(&t);
  MODEL_NEED(t.is_exact);
  size_t count = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) count += t.cls[c].live_count;
  return count;
}

static void begin(void) {
  model_allocator_init();
  store_relaxed(&handed, NULL);
  is_kept_freed = false;
  kept = entry_malloc(SMALL_BYTES); /* of thread 0, whose heap sleeps from now on */
  MODEL_NEED(kept != NULL);
}

/* The same in one home: all threads use its lock, depot, slabs and inbox. */
static void begin_shared(void) {
  model_allocator_init();
  home_set_count(1);
  store_relaxed(&handed, NULL);
  is_kept_freed = false;
  kept = entry_malloc(SMALL_BYTES);
  MODEL_NEED(kept != NULL);
}

static void hands_on(void) {
  void *p = entry_malloc(SMALL_BYTES);
  MODEL_NEED(p != NULL && (p != kept || is_kept_freed));
  p = swap_acq_rel(&handed, p);
  if (p != NULL) entry_free(p);
}
static void frees_kept(void) {
  is_kept_freed = true; /* from here on another may be given it */
  entry_free(kept);
}
static void trims(void) { (void)entry_purge(); }
static void says_idle(void) {
  entry_free(entry_malloc(SMALL_BYTES));
  entry_thread_idle();
}
static void ticks(void) {
  entry_free(entry_malloc(SMALL_BYTES));
  MODEL_NEED(idle_tick(heap_current, 1000000).kind == FAULT_NONE);
  MODEL_NEED(idle_tick(heap_current, 2000000).kind == FAULT_NONE);
}
/* Kept, handed on, and what may move during the walk: a bin whose thread takes it all from a slab,
 * or ends and puts it back, between the look at the slabs and that at the bin. */
static void counts(void) { MODEL_NEED(live_count() <= 2 + BIN_FIRST); }

static void one_is_live(void) { MODEL_NEED(live_count() == 1 + (load_relaxed(&handed) != NULL)); }
static void handed_is_live(void) { MODEL_NEED(live_count() == (load_relaxed(&handed) != NULL)); }

/* Two threads whose first calls are the process's first: both find everything made, once. */
static void begin_unprepared(void) {}
static void comes_first(void) {
  entry_init();
  MODEL_NEED(region_chunk_count != 0 && size_classes[0].size == CLASS_SIZE_MIN);
  MODEL_NEED(!entry_is_booting());
}
static void all_is_made(void) {
  void *p = entry_malloc(SMALL_BYTES);
  MODEL_NEED(p != NULL && live_count() == 1);
}

/* One thread: every operation, against a list of what is live. */
static struct {
  unsigned char *p;
  size_t n;
} live[LIVE];
static uint64_t seed;
static uint64_t next_random(void) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return seed >> 33;
}
static void must_hold(size_t i) {
  if (live[i].p == NULL) return;
  MODEL_NEED(live[i].p[0] == (unsigned char)i && live[i].p[live[i].n - 1] == (unsigned char)i);
}
static void mark(size_t i) { live[i].p[0] = live[i].p[live[i].n - 1] = (unsigned char)i; }
static size_t size_at_random(void) {
  uint64_t kind = next_random() % 8;
  return 1 + next_random() % (kind < 5 ? 1024 : kind < 7 ? 32768 : 200000);
}
static void step(size_t i) {
  must_hold(i);
  size_t n = size_at_random();
  if (live[i].p == NULL) {
    bool is_zeroed = next_random() % 4 == 0;
    live[i].p = is_zeroed                ? entry_calloc(n, 1)
                : next_random() % 4 == 0 ? entry_aligned((size_t)16 << next_random() % 8, n)
                                         : entry_malloc(n);
    MODEL_NEED(live[i].p != NULL && entry_usable_size(live[i].p) >= n);
    if (is_zeroed) MODEL_NEED(live[i].p[0] == 0 && live[i].p[n - 1] == 0);
    live[i].n = n;
    mark(i);
  } else if (next_random() % 3 == 0) {
    live[i].p = entry_realloc(live[i].p, n);
    MODEL_NEED(live[i].p != NULL && live[i].p[0] == (unsigned char)i);
    live[i].n = n;
    mark(i);
  } else {
    entry_free(live[i].p);
    live[i].p = NULL;
  }
}
static void walks(void) {
  size_t before = live_count();
  for (unsigned round = 0; round < WALK; round++) {
    step(next_random() % LIVE);
    if (round % 200 == 199) (void)entry_purge();
  }
  for (size_t i = 0; i < LIVE; i++) {
    must_hold(i);
    entry_free(live[i].p);
    live[i].p = NULL;
  }
  MODEL_NEED(live_count() == before);
  (void)entry_purge();
  MODEL_NEED(superslab_empty_bytes() == 0 && superslab_dirty_bytes() < SUPERSLAB_BYTES);
}

static const struct model_scenario scenarios[] = {
    {"walk", begin, {walks}, one_is_live},
    {"first_first", begin_unprepared, {comes_first, comes_first}, all_is_made},
    {"hand_hand", begin, {hands_on, hands_on}, one_is_live},
    {"hand_free", begin, {hands_on, frees_kept}, handed_is_live},
    {"hand_trim", begin, {hands_on, trims}, one_is_live},
    {"hand_idle", begin, {hands_on, says_idle}, one_is_live},
    {"hand_tick", begin, {hands_on, ticks}, one_is_live},
    {"hand_count", begin, {hands_on, counts}, one_is_live},
    {"hand_hand_free", begin, {hands_on, hands_on, frees_kept}, handed_is_live},
    {"shared_hand", begin_shared, {hands_on, hands_on}, one_is_live},
    {"shared_free", begin_shared, {hands_on, frees_kept}, handed_is_live},
    {"shared_idle", begin_shared, {hands_on, says_idle}, one_is_live},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 6000}, (struct model_bounds){3, 2, 200000});
}
