/* test_purge.c — free chunks go back to the kernel: which, how many, when, and in what way.
 */
#include "unit_region.h"

#include <sys/mman.h>

#include "purge.h"
#include "superslab_word.h"
#include "unit_clock.h"

/* As slow paths do it, one after the other. */
static size_t purge_while_due(void) {
  size_t purged = 0, slice;
  while (purge_is_due() && (slice = purge_chunks(false)) != 0) {
    NEED(slice <= 8 * MIB); /* a pause of a millisecond, no more */
    purged += slice;
  }
  return purged;
}

static size_t resident_chunks(struct chunk_run run) {
  size_t count = 0;
  for (uint32_t i = 0; i < run.count; i++) {
    unsigned char state;
    NEED(mincore(chunk_bytes(run.first + i), os_page_bytes(), &state) == 0);
    count += state & 1;
  }
  return count;
}

static void words(void) {
  for (int i = 0; i < 3; i++) {
    enum chunk_state state = (enum chunk_state)i;
    uint64_t word = word_of(0xF0u, state);
    NEED(word_free(word) == 0xF0u);
    NEED(word_zero(word) == (state == CHUNK_ZERO ? 0xF0u : 0));
    NEED(word_dirty(word) == (state == CHUNK_DIRTY ? 0xF0u : 0));
    NEED(word_is_empty_resident(word_of(ALL_FREE, state)) == (state == CHUNK_DIRTY));
  }
  NEED(!word_is_empty_resident(word_of(ALL_FREE >> 1, CHUNK_DIRTY)));
  NEED(word_is_empty_resident(word_of(1, CHUNK_DIRTY) | word_of(ALL_FREE << 1, CHUNK_ZERO)));
}
static void a_word_tells_four_states_apart(void **state) {
  (void)state;
  run_child(words);
}

/* Where the program has locked its memory the kernel refuses: that is not tried again and again. */
static void refused(void) {
  layers_init(64 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  struct chunk_run run = claim_chunks(0, 2 * SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  if (mlock(chunk_bytes(run.first), run.count * (size_t)CHUNK_BYTES) != 0)
    child_skip("mlock is refused");
  superslab_release(run.first, run.count);
  NEED(purge_is_due() && purge_chunks(false) == 0);
  NEED(!purge_is_due() && superslab_dirty_bytes() == 2 * SUPERSLAB_BYTES);
  NEED(purge_chunks(true) == 0); /* for who asks it is */
  NEED(munlock(chunk_bytes(run.first), run.count * (size_t)CHUNK_BYTES) == 0);
  NEED(purge_chunks(true) == 2 * SUPERSLAB_BYTES && superslab_dirty_bytes() == 0);
}
static void what_the_kernel_refuses_is_not_asked_at_once_again(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* their mlock does nothing */
  run_child(refused);
}

static void purging(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "20M"));
  struct chunk_run run = claim_chunks(0, 40 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(superslab_peak_bytes() == 40 * SUPERSLAB_BYTES && !purge_is_due());
  chunks_stamp(run, 9);
  superslab_release(run.first, 10 * SUPERSLAB_CHUNKS);
  NEED(superslab_empty_bytes() == 10 * SUPERSLAB_BYTES);
  NEED(!purge_is_due()); /* that much may stay */
  NEED(purge_chunks(false) == 0);
  superslab_release(10 * SUPERSLAB_CHUNKS, 30 * SUPERSLAB_CHUNKS);
  NEED(purge_is_due());
  NEED(purge_while_due() == 30 * SUPERSLAB_BYTES); /* from the highest address down */
  NEED(superslab_empty_bytes() == 10 * SUPERSLAB_BYTES && !purge_is_due());
  struct chunk_run again[40]; /* all claimed within the second in which a purge is regretted */
  for (uint32_t i = 0; i < 40; i++) {
    again[i] = claim_chunks(0, SUPERSLAB_CHUNKS, 1, SIZE_MAX);
    NEED(again[i].first == i * SUPERSLAB_CHUNKS && again[i].is_zero == (i >= 10));
  }
  for (uint32_t i = 10; i < 40; i++) chunks_are_zero(again[i]);
  NEED(superslab_claimed_bytes() == 40 * SUPERSLAB_BYTES);
  superslab_release(0, 40 * SUPERSLAB_CHUNKS);
  NEED(!purge_is_due()); /* what was purged came back at once: now all may stay */
  NEED(purge_chunks(false) == 0 && superslab_empty_bytes() == 40 * SUPERSLAB_BYTES);
  NEED(purge_chunks(true) == 40 * SUPERSLAB_BYTES); /* but for who asks */
}
static void a_purge_leaves_what_is_to_stay_warm(void **state) {
  (void)state;
  run_child(purging);
}

static void purging_by_warm_bytes(void) {
  layers_init(256 * MIB);
  struct chunk_run run = claim_chunks(0, 40 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "30M"));
  NEED(purge_while_due() == 25 * SUPERSLAB_BYTES);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "1G"));
  NEED(!purge_is_due() && purge_chunks(false) == 0);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0")); /* whatever the peak was */
  NEED(purge_is_due() && purge_while_due() == 15 * SUPERSLAB_BYTES);
  NEED(superslab_empty_bytes() == 0);
}
static void warm_bytes_stay_and_no_more(void **state) {
  (void)state;
  run_child(purging_by_warm_bytes);
}

static void swinging(bool asks_itself) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  struct chunk_run low = claim_chunks(0, 40 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(low.first == 0);
  size_t purged = 0;
  for (int i = 0; i < 10; i++) {
    superslab_release(20 * SUPERSLAB_CHUNKS, 20 * SUPERSLAB_CHUNKS);
    if (asks_itself) purged += purge_chunks(true);
    purged += purge_while_due();
    for (int k = 0; k < 20; k++)
      NEED(claim_chunks(0, SUPERSLAB_CHUNKS, 1, SIZE_MAX).first != CHUNK_NONE);
  }
  NEED(superslab_claimed_bytes() == 40 * SUPERSLAB_BYTES);
  NEED(purged == (asks_itself ? 200 : 20) * SUPERSLAB_BYTES);
}
static void swinging_by_itself(void) { swinging(false); }
static void swinging_with_trim(void) { swinging(true); }
static void a_load_that_swings_is_purged_once(void **state) {
  (void)state;
  run_child(swinging_by_itself);
  run_child(swinging_with_trim);
}

/* SS_RELEASE=free: not dirty any more, and not zero; all the same to claims, and to who asks. */
static void lazily(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  NEED(rt_option_set(RT_OPTION_SS_RELEASE, "free"));
  struct chunk_run run = claim_chunks(0, 8 * SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  superslab_release(run.first, run.count);
  NEED(purge_while_due() == 8 * SUPERSLAB_BYTES && !purge_is_due());
  NEED(superslab_dirty_bytes() == 0 && superslab_empty_bytes() == 0);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first == 0 && !run.is_zero);
  chunks_stamp(run, 9);
  superslab_release(run.first, run.count);
  NEED(purge_while_due() == SUPERSLAB_BYTES);
  size_t left = 8 * SUPERSLAB_BYTES;
  NEED(purge_chunks(true) == left); /* for who asks, they go */
  NEED(purge_chunks(true) == 0);
  run = claim_chunks(0, 8 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.is_zero);
  chunks_are_zero(run);
}
static void lazy_chunks_are_free_and_not_zero(void **state) {
  (void)state;
  run_child(lazily);
}

static void never(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  NEED(rt_option_set(RT_OPTION_SS_RELEASE, "off"));
  struct chunk_run run = claim_chunks(0, 8 * SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  superslab_release(run.first, run.count);
  NEED(!purge_is_due());
  for (uint64_t ms = 1; ms < 20000; ms += 500) purge_tick(ms);
  NEED(resident_chunks(run) == run.count);
  NEED(purge_chunks(true) == 8 * SUPERSLAB_BYTES && resident_chunks(run) == 0);
}
static void off_releases_when_asked_only(void **state) {
  (void)state;
  run_child(never);
}

/* What has been dirty for the whole of PURGE_DELAY_MS goes, however little; what was needed in
 * between stays. The clock is the test's: it begins at 1. */
static void delayed(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "1000"));
  struct chunk_run run = claim_chunks(0, 4 * SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  purge_tick(1000);
  superslab_release(run.first, run.count);
  NEED(!purge_is_due());
  purge_tick(1500);
  NEED(superslab_dirty_bytes() == 4 * SUPERSLAB_BYTES);
  purge_tick(2000); /* at some moment since 1000 nothing was dirty */
  NEED(superslab_dirty_bytes() == 4 * SUPERSLAB_BYTES);
  purge_tick(1999); /* of a thread that has read the clock before */
  NEED(superslab_dirty_bytes() == 4 * SUPERSLAB_BYTES);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  purge_tick(2999);
  NEED(superslab_dirty_bytes() == 4 * SUPERSLAB_BYTES);
  purge_tick(3000); /* one was needed, three were not */
  NEED(superslab_dirty_bytes() == SUPERSLAB_BYTES);
  purge_tick(3500);
  NEED(superslab_dirty_bytes() == SUPERSLAB_BYTES);
  purge_tick(4000);
  NEED(superslab_dirty_bytes() == 0);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  superslab_release(run.first, run.count);
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "0"));
  for (uint64_t ms = 4500; ms < 20000; ms += 500) purge_tick(ms);
  NEED(superslab_dirty_bytes() == SUPERSLAB_BYTES);
}
static void what_nobody_needs_goes_after_the_delay(void **state) {
  (void)state;
  run_child(delayed);
}

/* At a new peak goes what has been dirty since the one before; what was needed in between stays. */
static void peaks(void) {
  layers_init(256 * MIB);
  struct chunk_run run = claim_chunks(0, 6 * SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  superslab_release(run.first, run.count);
  purge_note_peak(SIZE_MAX);
  NEED(superslab_dirty_bytes() == 6 * SUPERSLAB_BYTES); /* nothing was dirty all the time */
  run = claim_chunks(0, 2 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  NEED(rt_option_set(RT_OPTION_SS_RELEASE, "off"));
  purge_note_peak(SIZE_MAX);
  NEED(superslab_dirty_bytes() == 6 * SUPERSLAB_BYTES);
  NEED(rt_option_set(RT_OPTION_SS_RELEASE, "dontneed"));
  run = claim_chunks(0, 2 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  purge_note_peak(3 * SUPERSLAB_BYTES); /* four were not needed */
  NEED(superslab_dirty_bytes() == 3 * SUPERSLAB_BYTES);
  run = claim_chunks(0, 2 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  purge_note_peak(SIZE_MAX);
  NEED(superslab_dirty_bytes() == 2 * SUPERSLAB_BYTES);
}
static void what_did_not_serve_a_new_peak_goes_at_the_next(void **state) {
  (void)state;
  run_child(peaks);
}

/* More than a slice goes on at the next ticks, without another delay. */
static void much(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "1G"));
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "1000"));
  purge_tick(1000);
  struct chunk_run run = claim_chunks(0, 20 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  purge_tick(2000);
  NEED(superslab_dirty_bytes() == 20 * SUPERSLAB_BYTES);
  for (uint64_t i = 0; i < 5; i++) {
    purge_tick(3000 + 2 * i);
    NEED(superslab_dirty_bytes() == (16 - 4 * i) * SUPERSLAB_BYTES);
  }
}
/* Where the kernel takes its time, a slice is half as much. */
static void slow(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  struct chunk_run run = claim_chunks(0, 20 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  clock_step_us = PURGE_SLICE_US / 3 + 1; /* with the third superslab the time is over */
  NEED(purge_is_due() && purge_chunks(false) == 6 * MIB);
  clock_step_us = PURGE_SLICE_US;
  NEED(purge_is_due() && purge_chunks(false) == 4 * MIB);
  clock_step_us = 0;
  NEED(purge_is_due() && purge_chunks(false) == 8 * MIB);
  clock_step_us = PURGE_SLICE_US;
  NEED(purge_chunks(true) == 22 * MIB); /* who asks for all gets it */
}
static void a_slice_ends_in_time(void **state) {
  (void)state;
  run_child(slow);
}

static void a_delayed_purge_goes_on_until_it_is_done(void **state) {
  (void)state;
  run_child(much);
}

/* For who comes by often the delay is one from the last claim that mattered. */
static void quiet(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "1G"));
  struct purge_quiet q = {0, 0, 0};
  uint64_t due_ms;
  NEED(!purge_quiet(&q, 1000, &due_ms) && due_ms == UINT64_MAX);
  struct chunk_run run = claim_chunks(0, 20 * SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(0, 10 * SUPERSLAB_CHUNKS);
  NEED(!purge_quiet(&q, 1500, &due_ms) && due_ms == 2500 && q.dirty_bytes == 10 * SUPERSLAB_BYTES);
  superslab_release(10 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS); /* a little more */
  NEED(!purge_quiet(&q, 2499, &due_ms) && due_ms == 2500);
  NEED(purge_quiet(&q, 2500, &due_ms) && superslab_dirty_bytes() == 7 * SUPERSLAB_BYTES);
  NEED(purge_quiet(&q, 2501, &due_ms) && superslab_dirty_bytes() == 3 * SUPERSLAB_BYTES);
  NEED(!purge_quiet(&q, 2502, &due_ms) && superslab_dirty_bytes() == SUPERSLAB_BYTES);
  NEED(due_ms == 3502);                                           /* what came later */
  superslab_release(11 * SUPERSLAB_CHUNKS, 9 * SUPERSLAB_CHUNKS); /* much */
  NEED(!purge_quiet(&q, 3400, &due_ms) && due_ms == 4400);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 5); /* from zero memory: that is no need for this */
  NEED(run.is_zero && !purge_quiet(&q, 3500, &due_ms) && due_ms == 4400);
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 12);
  NEED(run.first == 12 * SUPERSLAB_CHUNKS && !run.is_zero);
  NEED(!purge_quiet(&q, 4400, &due_ms) && due_ms == 5400);
  NEED(superslab_dirty_bytes() == 9 * SUPERSLAB_BYTES);
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "0"));
  NEED(!purge_quiet(&q, 9000, &due_ms) && due_ms == UINT64_MAX);
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "100"));
  NEED(rt_option_set(RT_OPTION_SS_RELEASE, "off"));
  NEED(!purge_quiet(&q, 19000, &due_ms) && superslab_dirty_bytes() == 9 * SUPERSLAB_BYTES);
}
static void a_quiet_process_waits_for_one_delay(void **state) {
  (void)state;
  run_child(quiet);
}

/* Who has the right to purge keeps others from it. */
static void *tries(void *unused) {
  (void)unused;
  NEED(!purge_begin(false) && !purge_is_mine());
  return NULL;
}
static void one_at_a_time(void) {
  layers_init(256 * MIB);
  struct chunk_run run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  superslab_release(run.first, run.count);
  NEED(purge_begin(false) && purge_is_mine());
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, tries, NULL) == 0 && pthread_join(thread, NULL) == 0);
  size_t before = purge_events().slab_bytes;
  purge_end(4096, false);
  NEED(purge_events().slab_bytes == before + 4096 && purge_events().run_count == 0);
  NEED(purge_chunks(true) == SUPERSLAB_BYTES && purge_wait() == 1);
}
static void one_thread_purges_at_a_time(void **state) {
  (void)state;
  run_child(one_at_a_time);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_word_tells_four_states_apart),
      cmocka_unit_test(what_the_kernel_refuses_is_not_asked_at_once_again),
      cmocka_unit_test(a_purge_leaves_what_is_to_stay_warm),
      cmocka_unit_test(warm_bytes_stay_and_no_more),
      cmocka_unit_test(a_load_that_swings_is_purged_once),
      cmocka_unit_test(lazy_chunks_are_free_and_not_zero),
      cmocka_unit_test(off_releases_when_asked_only),
      cmocka_unit_test(what_nobody_needs_goes_after_the_delay),
      cmocka_unit_test(what_did_not_serve_a_new_peak_goes_at_the_next),
      cmocka_unit_test(a_slice_ends_in_time),
      cmocka_unit_test(a_delayed_purge_goes_on_until_it_is_done),
      cmocka_unit_test(a_quiet_process_waits_for_one_delay),
      cmocka_unit_test(one_thread_purges_at_a_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
