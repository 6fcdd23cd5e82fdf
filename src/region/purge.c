/* purge.c — see purge.h. Owns: when, and the counters.
 */
#include "purge.h"

#include "base_atomic.h"
#include "base_bits.h"
#include "base_ms.h"
#include "base_size.h"
#include "huge.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "prewarm.h"
#include "region.h"
#include "regret.h"
#include "rt_lock.h"
#include "rt_options.h"
#include "superslab.h"
#include "superslab_word.h"

enum {
  REFUSED_MS = 1000,                     /* arbitrary */
  WHOLE_FREE_MIN = SUPERSLAB_CHUNKS / 2, /* chunks, for which a huge page is broken */
  /* The time begins anew when so much of what is dirty has become so since. Arbitrary; frees that
   * go on and on can do that a few dozen times. */
  OUTGROWN_SHARE = 8,
  /* Of one automatic purge: as much as one free can leave in any case, the rest if there is time
   * (PURGE_SLICE_US): 0026. */
  SLICE_LEAST_BYTES = 4 * MIB,
  SLICE_BYTES = 8 * MIB,
};

static struct rt_lock purge_lock = LOCK_INIT(LOCK_RANK_PURGE);
static _Atomic(size_t) run_count, run_bytes, slab_bytes; /* ever */
/* The kernel refuses to purge what the program has locked in memory: no purge is due until then. */
static _Atomic(uint64_t) refused_until_ms;
/* Fewest dirty chunks since delay_start_ms: so many nobody has needed. */
static _Atomic(size_t) dirty_least;
static _Atomic(uint64_t) delay_start_ms;
static _Atomic(size_t) dirty_least_grown; /* the same since purge_note_peak */
/* Down to which the next ticks go on, a slice each; SIZE_MAX: done. */
static _Atomic(size_t) delay_keep_bytes = SIZE_MAX;

static void recover(struct rt_lock *unused) {
  (void)unused;
  superslab_recount();
}

void purge_init(void) {
  purge_lock.recover = recover;
  lock_register(&purge_lock);
}

/* What purged memory that came back lets stay, or what was touched ahead, where there is room. */
static size_t wanted_bytes(uint64_t now_ms) {
  if (rt_options_pressure() >= RT_PRESSURE_CLOSE) return 0;
  return size_max(regret_keep_bytes(now_ms), prewarm_keep_bytes());
}

static bool is_over(size_t keep_bytes) { return superslab_dirty_bytes() > keep_bytes; }

bool purge_is_due_now(void) {
  if (!is_over(rt_option(RT_OPTION_WARM_POOL_BYTES))) return false; /* below 0 */
  uint64_t now_ms = os_coarse_ms();
  return rt_option(RT_OPTION_SS_RELEASE) != RELEASE_OFF &&
         now_ms >= load_relaxed(&refused_until_ms) && is_over(wanted_bytes(now_ms));
}

struct purge {
  size_t keep_bytes;
  bool all;            /* lazy ones too, whatever is to be kept, however long it takes */
  enum chunk_state to; /* what purged chunks are */
  bool is_refused;     /* by the kernel: the next one would be too */
  size_t bytes;        /* purged, and of these: that were dirty */
  size_t dirty_bytes;
  size_t slice_bytes; /* less once it is late */
  unsigned left_out;  /* of the last rounds */
  uint64_t end_us;
};

static bool goes_on(const struct purge *p) {
  return !p->is_refused && (p->all || (p->dirty_bytes < p->slice_bytes && is_over(p->keep_bytes)));
}

/* The chunks of `mask`, neighbours, if they are free now. */
static void purge_run(struct purge *p, size_t index, uint32_t mask) {
  ASSERT(mask != 0 && lock_is_mine(&purge_lock));
  ASSERT(p->slice_bytes == SLICE_BYTES || p->slice_bytes == SLICE_LEAST_BYTES);
  uint64_t word = superslab_word(index);
  if (!superslab_take(index, mask, &word)) return;
  size_t bytes = (size_t)__builtin_popcount(mask) * CHUNK_BYTES;
  if (mask != ALL_FREE) huge_break(index);
  void *first = chunk_address(index * SUPERSLAB_CHUNKS + (size_t)__builtin_ctz(mask));
  p->is_refused = !(p->to == CHUNK_LAZY ? os_purge_lazily(first, bytes) : os_purge(first, bytes));
  superslab_give(index, mask, p->is_refused ? CHUNK_DIRTY : p->to);
  if (p->is_refused) return;
  if (mask == ALL_FREE) huge_note_purge(index);
  p->bytes += bytes;
  p->dirty_bytes += (size_t)__builtin_popcount(word_dirty(word) & mask) * CHUNK_BYTES;
  if (os_clock_us() >= p->end_us) p->slice_bytes = SLICE_LEAST_BYTES;
  add_relaxed(&run_count, (size_t)1);
  add_relaxed(&run_bytes, bytes);
}

/* Superslabs in the order in which they are purged: empty, one call each; of little use, or on
 * small pages; at last those whose huge page has to be broken for the lesser part of it. */
enum purge_round { ROUND_EMPTY, ROUND_EASY, ROUND_REST, ROUND_COUNT };

static bool is_in_round(enum purge_round round, size_t index, uint64_t word) {
  if (round == ROUND_EMPTY) return word_is_empty_resident(word);
  return round == ROUND_REST || !huge_is_whole(index) ||
         __builtin_popcount(word_free(word)) >= WHOLE_FREE_MIN;
}

/* From the highest address down: those below are the likelier to be claimed again. */
static void purge_from_top(struct purge *p, enum purge_round round) {
  ASSERT(lock_is_mine(&purge_lock));
  for (size_t i = superslab_chunk_end() / SUPERSLAB_CHUNKS; i > 0 && goes_on(p); i--) {
    uint64_t word = superslab_word(i - 1);
    if (!is_in_round(round, i - 1, word)) continue;
    uint32_t left = round == ROUND_EMPTY ? ALL_FREE
                    : p->all             ? word_free(word) & ~word_zero(word)
                                         : word_dirty(word);
    while (left != 0 && goes_on(p)) { /* each round: one run less */
      uint32_t top = 31u - (uint32_t)__builtin_clz(left), low = top;
      while (low > 0 && (left >> (low - 1) & 1) != 0) low--;
      uint32_t mask = bits32_run(low, top - low + 1);
      left &= ~mask;
      purge_run(p, i - 1, mask);
    }
  }
}

static void purge(struct purge *p) {
  ASSERT(p->to != CHUNK_DIRTY && p->bytes == 0);
  if (!purge_begin(p->all)) return;
  p->slice_bytes = SLICE_BYTES;
  p->end_us = os_clock_us() + PURGE_SLICE_US;
  for (unsigned round = ROUND_EMPTY; round + p->left_out < ROUND_COUNT; round++)
    purge_from_top(p, (enum purge_round)round);
  purge_end(0, p->is_refused);
}

static enum chunk_state automatic_state(void) {
  return rt_option(RT_OPTION_SS_RELEASE) == RELEASE_FREE ? CHUNK_LAZY : CHUNK_ZERO;
}

size_t purge_chunks(bool all) {
  uint64_t now_ms = os_coarse_ms();
  struct purge p = {.all = all, .to = all ? CHUNK_ZERO : automatic_state()};
  if (!all) p.keep_bytes = size_max(rt_option(RT_OPTION_WARM_POOL_BYTES), wanted_bytes(now_ms));
  if (all) prewarm_forget();
  purge(&p);
  /* What the program asked to purge is no mistake of ours; what is lazy costs nothing to need. */
  if (p.bytes != 0 && !all && p.to == CHUNK_ZERO && !region_is_scarce())
    regret_note_purge(p.bytes, superslab_dirty_bytes(), now_ms);
  return p.bytes;
}

void purge_note_dirty(size_t count) {
  /* Racing threads may forget one another's: then a little too much is purged. */
  if (count < load_relaxed(&dirty_least)) store_relaxed(&dirty_least, count);
  if (count < load_relaxed(&dirty_least_grown)) store_relaxed(&dirty_least_grown, count);
}

/* What is above p's keep_bytes and is not wanted, a slice of it. True: there is more. */
static bool purge_down(struct purge *p, uint64_t now_ms) {
  p->to = automatic_state();
  p->keep_bytes = size_max(p->keep_bytes, wanted_bytes(now_ms));
  purge(p);
  if (p->bytes != 0 && p->to == CHUNK_ZERO && !region_is_scarce())
    regret_note_purge(p->bytes, superslab_dirty_bytes(), now_ms);
  return p->bytes != 0 && is_over(p->keep_bytes);
}

static void purge_unneeded(size_t keep_bytes, uint64_t now_ms) {
  struct purge p = {.keep_bytes = keep_bytes};
  if (!purge_down(&p, now_ms)) store_relaxed(&delay_keep_bytes, SIZE_MAX);
}

static bool may_purge(uint64_t now_ms) {
  return rt_option(RT_OPTION_SS_RELEASE) != RELEASE_OFF &&
         now_ms >= load_relaxed(&refused_until_ms);
}

void purge_tick(uint64_t now_ms) {
  uint64_t delay_ms = rt_option(RT_OPTION_PURGE_DELAY_MS), start = load_relaxed(&delay_start_ms);
  bool may = may_purge(now_ms);
  size_t keep_bytes = load_relaxed(&delay_keep_bytes);
  if (may && keep_bytes != SIZE_MAX) purge_unneeded(keep_bytes, now_ms);
  if (delay_ms == 0 || ms_since(start, now_ms) < delay_ms) return;
  if (!cas_acq_rel(&delay_start_ms, &start, now_ms)) return; /* another thread's tick */
  size_t dirty_bytes = superslab_dirty_bytes();
  size_t unused_bytes = size_min(load_relaxed(&dirty_least) * CHUNK_BYTES, dirty_bytes);
  ASSERT(unused_bytes <= dirty_bytes);
  if (start != 0 && unused_bytes != 0 && may) {
    store_relaxed(&delay_keep_bytes, dirty_bytes - unused_bytes);
    purge_unneeded(dirty_bytes - unused_bytes, now_ms);
  }
  store_relaxed(&dirty_least, superslab_dirty_bytes() / CHUNK_BYTES);
}

bool purge_quiet(struct purge_quiet *q, uint64_t now_ms, uint64_t *due_ms) {
  uint64_t delay_ms = rt_option(RT_OPTION_PURGE_DELAY_MS);
  size_t warm_count = superslab_events().warm_count, dirty_bytes = superslab_dirty_bytes();
  bool is_quiet = q->since_ms != 0 && warm_count == q->warm_count, has_more = false;
  bool is_over_delay = is_quiet && delay_ms != 0 && ms_since(q->since_ms, now_ms) >= delay_ms;
  size_t unneeded_bytes = size_min(q->dirty_bytes, dirty_bytes);
  if (is_over_delay && unneeded_bytes != 0 && may_purge(now_ms)) {
    struct purge p = {.keep_bytes = dirty_bytes - unneeded_bytes};
    has_more = purge_down(&p, now_ms);
    ASSERT(p.dirty_bytes <= SLICE_BYTES + SUPERSLAB_BYTES);
    q->dirty_bytes = unneeded_bytes - size_min(p.dirty_bytes, unneeded_bytes);
  }
  bool is_outgrown = !is_over_delay && dirty_bytes - dirty_bytes / OUTGROWN_SHARE > q->dirty_bytes;
  if (!is_quiet || is_outgrown || (is_over_delay && !has_more))
    *q = (struct purge_quiet){now_ms, warm_count, superslab_dirty_bytes()};
  *due_ms = q->dirty_bytes != 0 && delay_ms != 0 ? q->since_ms + delay_ms : UINT64_MAX;
  return has_more;
}

HAK_COLD void purge_note_peak(size_t most_bytes) {
  ASSERT(most_bytes != 0);
  size_t dirty_bytes = superslab_dirty_bytes();
  size_t unneeded_bytes = load_relaxed(&dirty_least_grown) * CHUNK_BYTES;
  unneeded_bytes = size_min(size_min(unneeded_bytes, most_bytes), dirty_bytes);
  ASSERT(unneeded_bytes <= dirty_bytes);
  uint64_t now_ms = os_coarse_ms();
  if (unneeded_bytes != 0 && may_purge(now_ms)) {
    struct purge p = {.keep_bytes = dirty_bytes - unneeded_bytes, .left_out = 1};
    (void)purge_down(&p, now_ms); /* what is more than a slice waits for the next peak */
  }
  store_relaxed(&dirty_least_grown, superslab_dirty_bytes() / CHUNK_BYTES);
}

bool purge_begin(bool waits) {
  return waits ? lock_enter(&purge_lock) : lock_try_enter(&purge_lock);
}

void purge_end(size_t bytes, bool is_refused) {
  ASSERT(lock_is_mine(&purge_lock));
  if (is_refused) store_relaxed(&refused_until_ms, os_coarse_ms() + REFUSED_MS);
  ASSERT(bytes % os_page_bytes() == 0);
  if (bytes != 0) add_relaxed(&slab_bytes, bytes);
  lock_leave(&purge_lock);
}

size_t purge_wait(void) {
  if (!purge_is_mine()) lock_wait(&purge_lock); /* else a handler amid our own */
  return load_relaxed(&run_count);
}

bool purge_is_mine(void) { return lock_is_mine(&purge_lock); }

struct purge_events purge_events(void) {
  return (struct purge_events){
      .run_count = load_relaxed(&run_count),
      .run_bytes = load_relaxed(&run_bytes),
      .slab_bytes = load_relaxed(&slab_bytes),
  };
}
