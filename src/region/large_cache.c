/* large_cache.c — see large_cache.h. Owns: the places, how much may be kept.
 * In the child of a bare fork amid a change a mapping may be lost; none is there twice: the address
 * is stored last, and cleared first.
 */
#include "large_cache.h"

#include "base_atomic.h"
#include "base_ms.h"
#include "base_size.h"
#include "limit.h"
#include "os_check.h"
#include "region.h"
#include "rt_lock.h"
#include "rt_options.h"
#include "superslab.h"

enum {
  AGE_MS = 500, /* arbitrary, as all below */
  LIVE_SHARE = 20,
  UNUSED_SHARE = 2,
  UNUSED_DEAR_SHARE = 16,
  SOON_MS = 1000, /* who maps within that what was unmapped regrets it */
  REGRET_MS = 10000,
};
static const size_t REGRET_MAX = 64 * MIB;

static struct rt_lock cache_lock = LOCK_INIT(LOCK_RANK_LARGE);
/* All under cache_lock. */
static struct place {
  struct large object;
  uint64_t since_ms;
} places[LARGE_CACHE_PLACES];
static size_t gone_bytes; /* of the last that was not kept, for SOON_MS from gone_ms on */
static uint64_t gone_ms;
static size_t regretted_bytes; /* that much may be kept until regret_end_ms */
static uint64_t regret_end_ms;
/* Written under the lock. */
static _Atomic(size_t) kept_bytes, kept_count;
static _Atomic(size_t) held_peak;   /* racing threads may lose one another's, for a moment */
static _Atomic(uint64_t) oldest_ms; /* of what is kept; no later than that */

size_t large_cache_bytes(void) { return load_relaxed(&kept_bytes); }
size_t large_cache_count(void) { return load_relaxed(&kept_count); }

static size_t most_bytes(uint64_t now_ms) {
  if (rt_options_pressure() >= RT_PRESSURE_CLOSE) return 0;
  size_t live = superslab_claimed_bytes() + large_bytes();
  size_t most = size_max(rt_option(RT_OPTION_WARM_POOL_BYTES), live / LIVE_SHARE);
  return now_ms < regret_end_ms ? size_max(most, regretted_bytes) : most;
}

static uint64_t age_most_ms(void) {
  uint64_t delay_ms = rt_option(RT_OPTION_PURGE_DELAY_MS);
  return delay_ms == 0 || delay_ms > AGE_MS ? AGE_MS : delay_ms;
}

static struct large clear(struct place *place) {
  struct large object = place->object;
  ASSERT(object.address != NULL && object.bytes != 0);
  place->object.address = NULL;
  signal_fence();
  return object;
}

static void evict(struct large object, uint64_t now_ms, struct large_evicted *out) {
  size_t i = 0;
  while (out->object[i].address != NULL) i++;
  CHECK(i < HAK_COUNT_OF(out->object));
  out->object[i] = object;
  gone_bytes = object.bytes;
  gone_ms = now_ms;
}

/* NULL: none is kept. */
static struct place *oldest(void) {
  ASSERT(lock_is_mine(&cache_lock));
  struct place *found = NULL;
  for (size_t i = 0; i < LARGE_CACHE_PLACES; i++) {
    if (places[i].object.address == NULL) continue;
    if (found == NULL || places[i].since_ms < found->since_ms) found = &places[i];
  }
  return found;
}

static size_t sum_bytes(void) {
  size_t sum = 0;
  for (size_t i = 0; i < LARGE_CACHE_PLACES; i++)
    if (places[i].object.address != NULL) sum += places[i].object.bytes;
  return sum;
}

/* The figures, from the places: a child of a bare fork amid a change has them right then. */
static void recount(void) {
  const struct place *place = oldest();
  size_t count = 0;
  for (size_t i = 0; i < LARGE_CACHE_PLACES; i++) count += places[i].object.address != NULL;
  ASSERT((place == NULL) == (count == 0));
  store_relaxed(&kept_bytes, sum_bytes());
  store_relaxed(&kept_count, count);
  store_relaxed(&oldest_ms, place != NULL ? place->since_ms : UINT64_MAX);
}

static struct place *free_place(void) {
  ASSERT(lock_is_mine(&cache_lock));
  size_t i = 0;
  while (i < LARGE_CACHE_PLACES && places[i].object.address != NULL) i++;
  return i < LARGE_CACHE_PLACES ? &places[i] : NULL;
}

void large_cache_put(struct large object, uint64_t now_ms, struct large_evicted *out) {
  ASSERT(object.address != NULL && object.bytes != 0);
  *out = (struct large_evicted){0};
  lock_nested(&cache_lock);
  size_t most = most_bytes(now_ms);
  bool is_kept = object.bytes <= most;
  size_t rest = is_kept ? most - object.bytes : most;
  while (sum_bytes() > rest || (is_kept && free_place() == NULL))
    evict(clear(oldest()), now_ms, out); /* ends: one less each round */
  if (is_kept) {
    struct place *place = free_place();
    place->since_ms = now_ms;
    place->object.bytes = object.bytes;
    signal_fence();
    place->object.address = object.address;
  } else {
    evict(object, now_ms, out);
  }
  recount();
  ASSERT(!is_kept || sum_bytes() <= most);
  lock_leave(&cache_lock);
}

/* Where addresses are short, or counted, what is left unused is dear. */
static bool is_near(size_t have, size_t bytes) {
  bool is_dear = region_is_window() || limit_counts_own();
  return have >= bytes && have - bytes <= have / (is_dear ? UNUSED_DEAR_SHARE : UNUSED_SHARE);
}

static bool fits(struct large object, size_t bytes, size_t align) {
  return object.address != NULL && is_near(object.bytes, bytes) &&
         ((uintptr_t)object.address & (align - 1)) == 0;
}

/* What went a moment ago is wanted again: so much is kept for a while. */
static void note_regret(size_t bytes, uint64_t now_ms) {
  if (!is_near(gone_bytes, bytes) || ms_since(gone_ms, now_ms) > SOON_MS) return;
  regretted_bytes = size_min(load_relaxed(&kept_bytes) + gone_bytes, REGRET_MAX);
  regret_end_ms = now_ms + REGRET_MS;
  gone_bytes = 0;
}

struct large large_cache_take(size_t bytes, size_t align, uint64_t now_ms) {
  ASSERT(bytes != 0 && size_is_pow2(align));
  struct place *best = NULL;
  struct large taken = {NULL, 0};
  lock_nested(&cache_lock);
  for (size_t i = 0; i < LARGE_CACHE_PLACES; i++) {
    if (!fits(places[i].object, bytes, align)) continue;
    if (best == NULL || places[i].object.bytes < best->object.bytes) best = &places[i];
  }
  if (best != NULL) {
    taken = clear(best);
    ASSERT(taken.bytes >= bytes);
    recount();
  } else {
    note_regret(bytes, now_ms);
  }
  lock_leave(&cache_lock);
  return taken;
}

void large_cache_note_held(size_t bytes) {
  if (bytes > load_relaxed(&held_peak)) store_relaxed(&held_peak, bytes);
}

bool large_cache_is_in_the_way(void) {
  size_t kept = load_relaxed(&kept_bytes);
  if (HAK_LIKELY(kept == 0)) return false;
  return superslab_claimed_bytes() + large_bytes() + kept > load_relaxed(&held_peak);
}

bool large_cache_is_due(uint64_t now_ms) {
  if (HAK_LIKELY(load_relaxed(&kept_count) == 0)) return false;
  return large_cache_is_in_the_way() || now_ms >= load_relaxed(&oldest_ms) + age_most_ms() ||
         rt_options_pressure() >= RT_PRESSURE_CLOSE;
}

void large_cache_expire(uint64_t now_ms, bool all, struct large_evicted *out) {
  *out = (struct large_evicted){0};
  lock_nested(&cache_lock);
  uint64_t age_ms = age_most_ms();
  ASSERT(age_ms != 0 && age_ms <= AGE_MS);
  bool is_close = rt_options_pressure() >= RT_PRESSURE_CLOSE || large_cache_is_in_the_way();
  for (size_t i = 0; i < LARGE_CACHE_PLACES; i++) {
    if (places[i].object.address == NULL) continue;
    if (all || is_close || ms_since(places[i].since_ms, now_ms) >= age_ms)
      evict(clear(&places[i]), now_ms, out);
  }
  if (all) gone_bytes = 0; /* what the program asks to give back is no mistake of ours */
  recount();
  lock_leave(&cache_lock);
}
