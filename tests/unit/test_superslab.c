/* test_superslab.c — claims and releases against a model of who has which chunk; zeroes.
 * test_purge.c has the purges by themselves.
 */
#include "unit_region.h"

#include "purge.h"

enum { MODEL_CHUNKS = 24 * SUPERSLAB_CHUNKS, RUNS = 64, ROUNDS = 20000, THREADS = 3 };

static unsigned owner[MODEL_CHUNKS]; /* 0: free */
static struct chunk_run runs[RUNS];

static bool model_is_free(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; i++)
    if (i >= MODEL_CHUNKS || owner[i] != 0) return false;
  return true;
}

/* The lowest place in the model, within superslabs. */
static uint32_t model_lowest(uint32_t count, uint32_t step) {
  if (count > SUPERSLAB_CHUNKS) step = SUPERSLAB_CHUNKS;
  for (uint32_t at = 0; at < MODEL_CHUNKS; at += step) {
    if (count <= SUPERSLAB_CHUNKS && at % SUPERSLAB_CHUNKS + count > SUPERSLAB_CHUNKS) continue;
    uint32_t need =
        count > SUPERSLAB_CHUNKS ? (uint32_t)size_round_up(count, SUPERSLAB_CHUNKS) : count;
    if (model_is_free(at, need)) return at;
  }
  return CHUNK_NONE;
}

static void claim_into(unsigned slot, uint64_t *seed) {
  uint32_t count = (uint32_t)(random_next(seed) % (random_next(seed) % 8 == 0 ? 100 : 8)) + 1;
  uint32_t step = 1u << random_next(seed) % 6;
  bool is_preferring = random_next(seed) % 2 == 0;
  size_t preferred = is_preferring ? random_next(seed) % 30 : SIZE_MAX;
  uint32_t lowest = model_lowest(count, step);
  struct chunk_run run = claim_chunks(0, count, step, preferred);
  if (run.first == CHUNK_NONE) { /* exactly when there is none */
    NEED(lowest == CHUNK_NONE && superslab_announced_bytes() == region_bytes());
    return;
  }
  NEED(model_is_free(run.first, run.count));
  if (count > SUPERSLAB_CHUNKS) {
    NEED(run.first == lowest && run.count == count);
  } else {
    NEED(run.count == count && run.first % step == 0);
    NEED(run.first / SUPERSLAB_CHUNKS == (run.first + count - 1) / SUPERSLAB_CHUNKS);
    NEED(run.first == lowest || run.first / SUPERSLAB_CHUNKS == preferred);
  }
  if (run.is_zero) chunks_are_zero(run);
  for (uint32_t i = 0; i < run.count; i++) owner[run.first + i] = slot + 1;
  runs[slot] = run;
  chunks_stamp(run, slot + 1);
}

static void release(unsigned slot) {
  chunks_check(runs[slot], slot + 1);
  for (uint32_t i = 0; i < runs[slot].count; i++) owner[runs[slot].first + i] = 0;
  superslab_release(runs[slot].first, runs[slot].count);
  runs[slot].count = 0;
}

static size_t model_bytes(void) {
  size_t bytes = 0;
  for (size_t i = 0; i < MODEL_CHUNKS; i++) bytes += owner[i] != 0 ? CHUNK_BYTES : 0;
  return bytes;
}

static void as_the_model_says(void) {
  layers_init(32 * SUPERSLAB_BYTES);
  struct chunk_run high = claim_chunks(0, 32 * SUPERSLAB_CHUNKS, 1, 0); /* all, grown one by one */
  NEED(high.first == 0 && superslab_claimed_bytes() == region_bytes());
  superslab_release(0, MODEL_CHUNKS); /* the model's part: the lower one */
  uint64_t seed = 42;
  size_t peak = superslab_peak_bytes();
  NEED(peak == region_bytes());
  for (int i = 0; i < ROUNDS; i++) {
    unsigned slot = (unsigned)(random_next(&seed) % RUNS);
    if (runs[slot].count != 0) {
      release(slot);
    } else {
      claim_into(slot, &seed);
    }
    NEED(superslab_claimed_bytes() - 8 * SUPERSLAB_BYTES == model_bytes());
    if (i % 1000 == 0) NEED(purge_chunks(true) <= region_bytes());
  }
  NEED(superslab_peak_bytes() == peak);
}
static void claims_and_releases_follow_a_model(void **state) {
  (void)state;
  run_child(as_the_model_says);
}

static void exactly_these_chunks(void) {
  layers_init(64 * MIB);
  bool is_zero;
  NEED(!superslab_claim_at(0, 1, &is_zero)); /* not announced */
  struct chunk_run run = claim_chunks(0, 4, 4, SIZE_MAX);
  NEED(run.first == 0 && run.is_zero);
  NEED(superslab_claim_at(6, 26, &is_zero) && is_zero);
  NEED(!superslab_claim_at(4, 3, &is_zero) && !superslab_claim_at(3, 2, &is_zero));
  NEED(superslab_claim_at(4, 2, &is_zero) && is_zero);
  NEED(superslab_claimed_bytes() == SUPERSLAB_BYTES);
  superslab_release(0, SUPERSLAB_CHUNKS);
  NEED(claim_chunks(0, 1, 1, SIZE_MAX).first == 0 && claim_chunks(0, 2, 2, 5).first == 2);
  NEED(!superslab_claim_at(31, 2, &is_zero) && !superslab_claim_at(1, 0, &is_zero));
  NEED(!superslab_claim_at(SUPERSLAB_CHUNKS, 1, &is_zero));
  NEED(!superslab_claim_at((uint32_t)region_chunk_count, 1, &is_zero));
}
static void a_claim_of_certain_chunks(void **state) {
  (void)state;
  run_child(exactly_these_chunks);
}

/* Zero is only said of what was never claimed, or purged since. */
static void zero_or_not(void) {
  layers_init(64 * MIB);
  bool is_zero;
  struct chunk_run run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.is_zero && superslab_empty_bytes() == 0);
  chunks_stamp(run, 7);
  superslab_release(0, 8);
  NEED(superslab_claim_at(0, 8, &is_zero) && !is_zero);
  superslab_release(0, 7);
  superslab_release(10, 21);
  NEED(superslab_dirty_bytes() == 28 * (size_t)CHUNK_BYTES && superslab_empty_bytes() == 0);
  NEED(purge_chunks(true) == 28 * (size_t)CHUNK_BYTES); /* round those that are in use */
  NEED(superslab_dirty_bytes() == 0 && purge_events().run_count == 2);
  NEED(purge_events().run_bytes == 28 * (size_t)CHUNK_BYTES);
  NEED(purge_wait() == 2 && !purge_is_mine());
  NEED(superslab_claim_at(0, 7, &is_zero) && is_zero);
  for (size_t i = 0; i < 7; i++) NEED(is_all_zero(chunk_bytes(i), CHUNK_BYTES));
  NEED(superslab_claim_at(10, 21, &is_zero) && is_zero);
  chunks_stamp(run, 7);
  superslab_release(0, 32);
  NEED(superslab_empty_bytes() == SUPERSLAB_BYTES);
  NEED(purge_chunks(true) == SUPERSLAB_BYTES && superslab_empty_bytes() == 0);
  NEED(purge_chunks(true) == 0);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first == 0 && run.is_zero);
  chunks_are_zero(run);
  superslab_release(0, 16);
  superslab_release(20, 12);
  superslab_release(16, 4);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first == 0 && !run.is_zero);
}
static void zero_is_said_of_untouched_or_purged(void **state) {
  (void)state;
  run_child(zero_or_not);
}

static _Atomic(bool) must_stop;

static void *claims_and_releases(void *number) {
  uint64_t seed = (uintptr_t)number + 1;
  struct chunk_run mine[16] = {{0, 0, false}};
  for (unsigned i = 0; i < ROUNDS; i++) {
    unsigned slot = (unsigned)(random_next(&seed) % 16);
    unsigned mark = (unsigned)(uintptr_t)number * 16 + slot + 1;
    if (mine[slot].count != 0) {
      chunks_check(mine[slot], mark);
      chunks_stamp(mine[slot], 0xDEAD);
      superslab_release(mine[slot].first, mine[slot].count);
      mine[slot].count = 0;
      continue;
    }
    uint32_t count = random_next(&seed) % 16 == 0 ? 40 : (uint32_t)(random_next(&seed) % 12) + 1;
    struct chunk_run run = claim_chunks((uintptr_t)number, count, 1, random_next(&seed) % 8);
    if (run.first == CHUNK_NONE) continue;
    if (run.is_zero)
      for (uint32_t c = 0; c < run.count; c++)
        NEED(*(unsigned *)(void *)chunk_bytes(run.first + c) == 0);
    chunks_stamp(run, mark);
    mine[slot] = run;
  }
  for (unsigned slot = 0; slot < 16; slot++)
    if (mine[slot].count != 0) superslab_release(mine[slot].first, mine[slot].count);
  return NULL;
}

static void *purges(void *unused) {
  (void)unused;
  while (!load_relaxed(&must_stop)) NEED(purge_chunks(true) % CHUNK_BYTES == 0);
  return NULL;
}

static void together(void) {
  layers_init(64 * MIB);
  pthread_t purger;
  NEED(pthread_create(&purger, NULL, purges, NULL) == 0);
  threads_run(THREADS, claims_and_releases);
  store_relaxed(&must_stop, true);
  NEED(pthread_join(purger, NULL) == 0);
  NEED(superslab_claimed_bytes() == 0);
  (void)purge_chunks(true);
  NEED(superslab_empty_bytes() == 0);
  struct chunk_run all = claim_chunks(0, (uint32_t)region_chunk_count, 1, 0);
  NEED(all.first == 0 && all.is_zero); /* nothing was lost on the way */
  for (uint32_t i = 0; i < all.count; i++) NEED(is_all_zero(chunk_bytes(i), CHUNK_BYTES));
}
static void threads_never_share_a_chunk(void **state) {
  (void)state;
  run_child(together);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(claims_and_releases_follow_a_model),
      cmocka_unit_test(a_claim_of_certain_chunks),
      cmocka_unit_test(zero_is_said_of_untouched_or_purged),
      cmocka_unit_test(threads_never_share_a_chunk),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
