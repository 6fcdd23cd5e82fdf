/* test_tail.c — the pages behind a run's block, as mincore sees them.
 */
#include "unit_region.h"

#include "huge.h"
#include "prewarm.h"
#include "run.h"
#include "tail.h"

enum {
  CHUNKS = 160, /* 10 MiB: more than processes that are left alone */
  BLOCK_BYTES = 40 * KIB,
};
static size_t block_pages, chunk_pages;

static void *run_of(size_t bytes) {
  void *p;
  bool is_zero;
  LOCKED(0, p = run_alloc(bytes, 1, 0, &is_zero));
  NEED(p != NULL);
  return p;
}
static void run_end(void *p) { LOCKED(0, NEED(run_free((uint32_t)chunk_index(p)))); }

/* Runs of whole chunks, `count` of them, each page written to. */
static void begin(void **runs, size_t count) {
  layers_init(64 * MIB);
  block_pages = BLOCK_BYTES / os_page_bytes();
  chunk_pages = CHUNK_BYTES / os_page_bytes();
  for (size_t i = 0; i < count; i++) {
    runs[i] = run_of(CHUNK_BYTES);
    memset(runs[i], 1, CHUNK_BYTES);
  }
}
/* Another block where runs[i] was. */
static size_t pages_of_next(void **runs, size_t i) {
  run_end(runs[i]);
  void *p = run_of(BLOCK_BYTES);
  NEED(p == runs[i]); /* the lowest that is free */
  tail_trim(p, BLOCK_BYTES);
  return os_resident_pages(p, CHUNK_BYTES);
}

static void at_peak(void) {
  static void *runs[CHUNKS];
  begin(runs, CHUNKS);
  NEED(pages_of_next(runs, 3) == block_pages);
  NEED(((char *)runs[3])[BLOCK_BYTES - 1] == 1); /* what is used was not touched */
  /* As near as an eighth of it. */
  for (size_t i = CHUNKS - 1; i > CHUNKS - CHUNKS / 8; i--) run_end(runs[i]);
  NEED(pages_of_next(runs, 4) == block_pages);
  run_end(runs[CHUNKS - CHUNKS / 8]);
  run_end(runs[CHUNKS - CHUNKS / 8 - 1]);
  NEED(pages_of_next(runs, 5) == chunk_pages); /* no longer near */
}
static void near_the_peak_the_pages_behind_a_block_go_back(void **state) {
  (void)state;
  run_child(at_peak);
}

/* A chunk's rest is 24 KiB; of 10 MiB a 32nd is 320. */
enum { WITHIN_BUDGET = 14, HIGHER = 6 /* chunks: a 32nd of what is then the peak */ };
static void budget(void) {
  static void *runs[CHUNKS];
  begin(runs, CHUNKS);
  for (size_t i = 0; i < WITHIN_BUDGET; i++) NEED(pages_of_next(runs, i) == block_pages);
  NEED(pages_of_next(runs, WITHIN_BUDGET) == chunk_pages);
  for (int i = 0; i < HIGHER; i++) {
    NEED(pages_of_next(runs, WITHIN_BUDGET) == chunk_pages);
    runs[WITHIN_BUDGET] = run_of(CHUNK_BYTES);
    memset(runs[WITHIN_BUDGET], 1, CHUNK_BYTES);
  }
  NEED(pages_of_next(runs, WITHIN_BUDGET + 1) == block_pages);
}
static void a_share_of_the_peak_goes_back_until_there_is_a_new_one(void **state) {
  (void)state;
  run_child(budget);
}

static void small_process(void) {
  static void *runs[CHUNKS / 2];
  begin(runs, CHUNKS / 2);
  NEED(pages_of_next(runs, 3) == chunk_pages);
}
static void off(void) {
  static void *runs[CHUNKS];
  NEED(setenv("HAKMEM_SS_RELEASE", "off", 1) == 0);
  begin(runs, CHUNKS);
  NEED(pages_of_next(runs, 3) == chunk_pages);
}
static void huge(void) {
  static void *runs[CHUNKS];
  NEED(setenv("HAKMEM_THP", "always", 1) == 0);
  begin(runs, CHUNKS);
  if (!huge_is_whole(0)) return; /* the system has none */
  NEED(pages_of_next(runs, 3) == chunk_pages);
}
static void prewarmed(void) {
  static void *runs[CHUNKS];
  begin(runs, CHUNKS);
  NEED(prewarm(16 * MIB) == 16 * MIB && prewarm_keep_bytes() != 0);
  NEED(pages_of_next(runs, 3) == chunk_pages);
}
static void whole_chunk(void) {
  static void *runs[CHUNKS];
  begin(runs, CHUNKS);
  tail_trim(runs[3], CHUNK_BYTES);
  NEED(os_resident_pages(runs[3], CHUNK_BYTES) == chunk_pages);
  NEED(((char *)runs[4])[0] == 1); /* nor its neighbour's */
}
static void what_is_small_released_by_nobody_whole_or_huge_stays(void **state) {
  (void)state;
  run_child(small_process);
  run_child(off);
  run_child(whole_chunk);
  run_child(huge);
  run_child(prewarmed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(near_the_peak_the_pages_behind_a_block_go_back),
      cmocka_unit_test(a_share_of_the_peak_goes_back_until_there_is_a_new_one),
      cmocka_unit_test(what_is_small_released_by_nobody_whole_or_huge_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
