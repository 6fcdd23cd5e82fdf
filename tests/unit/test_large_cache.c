/* test_large_cache.c — freed mappings that wait: how many bytes, how long, and for whom.
 */
#include "unit_region.h"

#include <stdlib.h>

#include "large_cache.h"
#include "limit.h"

/* The cache looks at addresses, never behind them. */
static struct large object(size_t number, size_t bytes) {
  return (struct large){(void *)(uintptr_t)((number + 1) << 32), bytes};
}
static size_t number_of(struct large object) {
  return object.address == NULL ? SIZE_MAX : ((uintptr_t)object.address >> 32) - 1;
}

/* Puts; the numbers of those that go are the digits of the result, 1 more each. */
static size_t put(size_t number, size_t bytes, uint64_t now_ms) {
  struct large_evicted out;
  LOCKED(0, large_cache_put(object(number, bytes), now_ms, &out));
  size_t gone = 0;
  for (size_t i = 0; out.object[i].address != NULL; i++)
    gone = gone * 10 + number_of(out.object[i]) + 1;
  return gone;
}
static size_t take(size_t bytes, uint64_t now_ms) {
  struct large taken;
  LOCKED(0, taken = large_cache_take(bytes, 1, now_ms));
  return number_of(taken);
}
static size_t expire(uint64_t now_ms, bool all) {
  struct large_evicted out;
  size_t count = 0;
  LOCKED(0, large_cache_expire(now_ms, all, &out));
  while (out.object[count].address != NULL) count++;
  return count;
}

/* A process that had a GiB once: nothing is in the way of a new peak. */
static void begin(uint64_t region_bytes) {
  layers_init(region_bytes);
  large_cache_note_held(GIB);
}

static void keeps_so_much(void) {
  begin(64 * MIB); /* 16 MiB may wait */
  NEED(large_cache_bytes() == 0 && take(MIB, 0) == SIZE_MAX);
  NEED(put(0, 17 * MIB, 1) == 1 && large_cache_count() == 0);
  NEED(put(1, 8 * MIB, 2) == 0 && put(2, 6 * MIB, 3) == 0 && put(3, 2 * MIB, 4) == 0);
  NEED(large_cache_bytes() == 16 * MIB && large_cache_count() == 3);
  NEED(put(4, 5 * MIB, 5) == 2 && large_cache_bytes() == 13 * MIB); /* the oldest goes */
  NEED(put(5, 16 * MIB, 6) == 345 && large_cache_count() == 1);
  NEED(take(16 * MIB, 7) == 5 && large_cache_bytes() == 0);
  for (size_t i = 0; i < LARGE_CACHE_PLACES; i++) NEED(put(i, 4096, 10 + i) == 0);
  NEED(put(0, 4096, 30) == 1); /* no more places */
  NEED(expire(31, true) == LARGE_CACHE_PLACES && large_cache_bytes() == 0);
}
static void so_much_is_kept_the_latest(void **state) {
  (void)state;
  run_child(keeps_so_much);
}

static void fits_best(void) {
  begin(64 * MIB);
  NEED(put(0, 6 * MIB, 1) == 0 && put(1, 4 * MIB, 2) == 0 && put(2, 5 * MIB, 3) == 0);
  NEED(take(7 * MIB, 4) == SIZE_MAX && take(2 * MIB - 1, 4) == SIZE_MAX);
  NEED(take(4 * MIB + 1, 4) == 2 && take(3 * MIB, 4) == 1 && take(3 * MIB, 4) == 0);
  NEED(take(3 * MIB, 4) == SIZE_MAX);
  struct large taken, odd = {(char *)object(0, 0).address + 4096, MIB};
  struct large_evicted out;
  LOCKED(0, large_cache_put(odd, 5, &out));
  LOCKED(0, taken = large_cache_take(MIB, 8192, 5));
  NEED(taken.address == NULL);
  LOCKED(0, taken = large_cache_take(MIB, 4096, 5));
  NEED(taken.address == odd.address && taken.bytes == MIB);
}
static void who_asks_gets_what_fits_best(void **state) {
  (void)state;
  run_child(fits_best);
}

static void ages(void) {
  begin(64 * MIB);
  NEED(put(0, MIB, 1000) == 0 && put(1, MIB, 1400) == 0);
  NEED(!large_cache_is_due(1499) && large_cache_is_due(1500));
  NEED(expire(999, false) == 0); /* by who has read the clock before */
  NEED(expire(1499, false) == 0 && expire(1500, false) == 1);
  NEED(!large_cache_is_due(1899) && large_cache_is_due(1900) && take(MIB, 1899) == 1);
  NEED(!large_cache_is_due(10000));
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "100"));
  NEED(put(0, MIB, 2000) == 0 && !large_cache_is_due(2099) && large_cache_is_due(2100));
  NEED(rt_option_set(RT_OPTION_PURGE_DELAY_MS, "0") && !large_cache_is_due(2499));
  NEED(large_cache_is_due(2500) && rt_options_tighten(RT_PRESSURE_CLOSE));
  NEED(large_cache_is_due(2000) && expire(2000, false) == 1); /* near a limit nothing waits */
  NEED(put(0, MIB, 2000) == 1);
}
static void half_a_second_or_less(void **state) {
  (void)state;
  run_child(ages);
}

static void regrets(void) {
  begin(64 * MIB);
  NEED(put(0, 20 * MIB, 1000) == 1);
  NEED(take(20 * MIB, 2001) == SIZE_MAX && put(0, 20 * MIB, 2002) == 1); /* a second is late */
  NEED(take(21 * MIB, 2003) == SIZE_MAX && put(0, 20 * MIB, 2004) == 1); /* another's size */
  NEED(take(18 * MIB, 2005) == SIZE_MAX);
  NEED(put(0, 20 * MIB, 2006) == 0 && take(20 * MIB, 2007) == 0);
  NEED(put(0, 20 * MIB, 12004) == 0 && take(20 * MIB, 12004) == 0);
  NEED(put(0, 20 * MIB, 12005) == 1); /* ten seconds later */
  NEED(take(20 * MIB, 12006) == SIZE_MAX && put(0, 20 * MIB, 12006) == 0);
  /* What was kept then, too. */
  NEED(expire(12007, true) == 1 && put(0, 20 * MIB, 30000) == 1 && put(1, 10 * MIB, 30001) == 0);
  NEED(take(20 * MIB, 30002) == SIZE_MAX && put(0, 20 * MIB, 30003) == 0);
  NEED(large_cache_bytes() == 30 * MIB && expire(30004, true) == 2);
  NEED(put(0, 65 * MIB, 12008) == 1);
  NEED(take(65 * MIB, 12009) == SIZE_MAX && put(0, 65 * MIB, 12010) == 1); /* too much */
}
static void a_loop_gets_what_it_needs(void **state) {
  (void)state;
  run_child(regrets);
}

static void lives(void) {
  begin(512 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0") && put(0, MIB, 1) == 1);
  struct chunk_run run = claim_chunks(0, 200 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && put(0, 20 * MIB, 2) == 0 && put(1, MIB, 3) == 1);
}
static void a_large_program_may_keep_a_twentieth(void **state) {
  (void)state;
  run_child(lives);
}

static void makes_room(void) {
  layers_init(64 * MIB);
  NEED(put(0, MIB, 1) == 0 && large_cache_is_in_the_way()); /* the process had nothing yet */
  NEED(large_cache_is_due(1) && expire(1, false) == 1 && !large_cache_is_in_the_way());
  struct chunk_run run = claim_chunks(0, 5 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(put(0, 4 * MIB, 2) == 0 && large_cache_is_in_the_way());
  superslab_release(run.first, run.count);
  NEED(limit_tick(1) && !limit_is_due()); /* the first look of all */
  NEED(!large_cache_is_in_the_way() && !large_cache_is_due(3) && expire(3, false) == 0);
  struct chunk_run some = claim_chunks(0, 3 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(some.first != CHUNK_NONE && !large_cache_is_in_the_way() && !limit_is_due());
  some = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(some.first != CHUNK_NONE && large_cache_is_in_the_way() && limit_is_due());
  NEED(!limit_tick(1) && !limit_is_due()); /* it was not for a look */
  NEED(expire(4, false) == 1 && !large_cache_is_in_the_way());
}
static void a_new_peak_has_nothing_waiting(void **state) {
  (void)state;
  run_child(makes_room);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(so_much_is_kept_the_latest),
      cmocka_unit_test(who_asks_gets_what_fits_best),
      cmocka_unit_test(half_a_second_or_less),
      cmocka_unit_test(a_loop_gets_what_it_needs),
      cmocka_unit_test(a_new_peak_has_nothing_waiting),
      cmocka_unit_test(a_large_program_may_keep_a_twentieth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
