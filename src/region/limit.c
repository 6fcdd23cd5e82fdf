/* limit.c — see limit.h. Owns: what the last look found, and when the next one is due.
 * In between, growth is counted, so that nothing passes a limit by much: a look is due when a
 * quarter of the room is used up, or of this process's part of it where others use the rest.
 */
#include "limit.h"

#include "base_ms.h"
#include "base_size.h"
#include "large.h"
#include "large_cache.h"
#include "os_check.h"
#include "os_limit.h"
#include "os_proc.h"
#include "os_thread.h"
#include "region.h"
#include "rt_lock.h"
#include "superslab.h"

enum {
  NEAR_PERCENT = 80,
  CLOSE_PERCENT = 90,
  TIGHT_PERCENT = 95,
  BACK_PERCENT = 3,   /* so much below a step before it is taken back. Arbitrary, as the next */
  STALL_PERCENT = 10, /* of the last ten seconds */
  LOOK_MS = 10000,    /* others in the group grow too */
  LOOK_OFTEN_MS = 500,
  ROOM_SHARE = 4,
  COUNTED_SHARE = 8,
  FRESH_PLACES = 16,
  FRESH_LOOKS = 4, /* places that a thread may have */
  FRESH_MS = 100, /* then it is written to, or never. Arbitrary: a few slices of a busy scheduler */
  FULL_SHARE = 32, /* of the group's limit, left for what is not ours: stacks, tables, the kernel */
  HOLDS_MS = 10,   /* then others may have taken what a look found. Arbitrary: a few time slices */
  TIME_SHARE = 100,  /* of a process that grows, for looks, at most */
  LOOK_US_MAX = 200, /* what takes longer waited for a processor, most of it: some 50 are usual */
  SHARERS_MAX = 64,  /* arbitrary: what looks cost is bounded by GROWTH_MIN in any case */
};
static const size_t FIRST_LOOK_BYTES = 8 * MIB; /* small programs never look */
static const size_t CHILD_LOOK_BYTES = MIB; /* its siblings may have filled the group meanwhile */
static const size_t GROWTH_MIN = 256 * KIB;
static const size_t FULL_MIN = MIB;
static const size_t COUNTED_MIN = 4 * MIB;
static const size_t OTHERS_MAX = MIB; /* of what another may not have written to yet */
static const size_t FULL_MAX = 128 * MIB;

/* Held while files are open, so that no child of fork has one. */
static struct rt_lock look_lock = LOCK_INIT(LOCK_RANK_LIMIT);
_Atomic(bool) limit_tick_due;
static _Atomic(bool) look_due;
static _Atomic(size_t) grown_bytes;       /* since the last look */
static _Atomic(size_t) unwritten_at_look; /* what it began with */
static _Atomic(size_t) deadly_limit;
static _Atomic(uint64_t) stale_ms = UINT64_MAX; /* who has grown wants to look again */
static _Atomic(uint32_t) own_generation;        /* of fork, of the next */
static _Atomic(size_t) inherited_bytes;         /* a child has them from its parent; 0 where none */
/* What a thread was handed last: it may not have written to it yet, so that no file counts it.
 * Places go by the thread's address; where many threads grow at once some lose theirs to another:
 * they are an estimate. */
static struct fresh {
  _Atomic(uintptr_t) thread;
  _Atomic(size_t) bytes;
  _Atomic(uint64_t) at_ms;
} fresh[FRESH_PLACES];
static _Atomic(size_t) look_at_bytes = FIRST_LOOK_BYTES; /* of growth; SIZE_MAX: by time only */
static _Atomic(uint64_t) next_look_ms = UINT64_MAX;      /* none before the first */
static _Atomic(size_t) nearest_limit, nearest_used;      /* 0: none */
static _Atomic(size_t) left_bytes = SIZE_MAX;            /* before who asks for more is killed */
static _Atomic(size_t) watched_bytes;                    /* 0: none */
static _Atomic(size_t) watch_at_bytes;                   /* the same until it is reached, then 0 */
static _Atomic(uint32_t) pressure_found;                 /* enum rt_pressure */

enum { WORD_OFF, WORD_AUTO }; /* of MEMORY_LIMIT; else bytes */

void limit_init(void) { lock_register_once(&look_lock); }

bool limit_is_mine(void) { return lock_is_mine(&look_lock); }

size_t limit_held_bytes(void) {
  return superslab_claimed_bytes() + large_bytes() + region_meta_bytes();
}

/* As good as resident: some of it may never have been written to. */
static size_t own_resident_bytes(void) {
  return limit_held_bytes() + superslab_dirty_bytes() + large_cache_bytes();
}

bool limit_counts_own(void) { return rt_option(RT_OPTION_MEMORY_LIMIT) > WORD_AUTO; }

bool limit_is_exceeded(void) {
  uint64_t option = rt_option(RT_OPTION_MEMORY_LIMIT);
  return HAK_UNLIKELY(option > WORD_AUTO) && limit_held_bytes() > option;
}

bool limit_refuses_written(size_t bytes) {
  uint64_t option = rt_option(RT_OPTION_MEMORY_LIMIT);
  if (option > WORD_AUTO) return bytes > option || limit_held_bytes() > option - bytes;
  size_t left = load_relaxed(&left_bytes), grown = load_relaxed(&grown_bytes);
  if (HAK_LIKELY(option == WORD_OFF || left == SIZE_MAX)) return false;
  return grown > left || bytes > left - grown;
}

bool limit_refuses(size_t bytes) {
  /* A large request may be for addresses more than for memory: where nothing was handed out since
   * the look, so much of it must be left. */
  size_t most = size_max(COUNTED_MIN, load_relaxed(&deadly_limit) / COUNTED_SHARE);
  bool is_fresh = load_relaxed(&grown_bytes) == load_relaxed(&unwritten_at_look);
  bool may_be_sparse = is_fresh && !limit_counts_own();
  return limit_refuses_written(may_be_sparse ? size_min(bytes, most) : bytes);
}

void limit_look_soon(void) {
  store_relaxed(&look_due, true);
  store_relaxed(&limit_tick_due, true);
}

static bool is_over(const struct fresh *f, uint64_t now_ms) {
  return ms_since(load_relaxed(&f->at_ms), now_ms) > FRESH_MS;
}

/* What threads may not have written to yet; the calling one has, if it asks for more. */
static size_t unwritten_bytes(bool asks, uint64_t now_ms) {
  size_t sum = 0;
  for (size_t i = 0; i < FRESH_PLACES; i++) {
    bool is_mine = load_relaxed(&fresh[i].thread) == os_thread_self();
    bool is_written = is_mine ? asks : is_over(&fresh[i], now_ms);
    size_t bytes = load_relaxed(&fresh[i].bytes);
    if (!is_written) sum += is_mine ? bytes : size_min(bytes, OTHERS_MAX);
  }
  return sum;
}

/* Its own place, or else the first that nobody needs any more, or else the first. */
static HAK_COLD struct fresh *fresh_place_near(uint32_t first, uintptr_t thread, uint64_t now_ms) {
  struct fresh *found = NULL;
  for (uint32_t i = 0; i < FRESH_LOOKS; i++) {
    struct fresh *f = &fresh[(first + i) % FRESH_PLACES];
    if (load_relaxed(&f->thread) == thread) return f;
    if (found == NULL && is_over(f, now_ms)) found = f;
  }
  return found != NULL ? found : &fresh[first % FRESH_PLACES];
}

static struct fresh *fresh_place(uintptr_t thread, uint64_t now_ms) {
  ASSERT(thread != 0); /* what a place has that nobody had yet */
  uint32_t first = (uint32_t)((uint64_t)thread * 0x9E3779B97F4A7C15u >> 32);
  uintptr_t there = load_relaxed(&fresh[first % FRESH_PLACES].thread);
  if (HAK_UNLIKELY(there != thread && there != 0)) return fresh_place_near(first, thread, now_ms);
  return &fresh[first % FRESH_PLACES];
}

static void note_fresh(size_t bytes) {
  ASSERT(bytes != 0);
  uintptr_t thread = os_thread_self();
  uint64_t now_ms = os_coarse_ms();
  struct fresh *f = fresh_place(thread, now_ms);
  store_relaxed(&f->thread, thread);
  store_relaxed(&f->bytes, bytes);
  store_relaxed(&f->at_ms, now_ms);
}

bool limit_is_far(size_t bytes) { return load_relaxed(&look_at_bytes) >= bytes; }

bool limit_is_deadly(void) {
  return rt_option(RT_OPTION_MEMORY_LIMIT) > WORD_AUTO || load_relaxed(&left_bytes) != SIZE_MAX;
}

/* What was found may have been taken by others since. */
static HAK_COLD void look_if_stale(void) {
  if (os_coarse_ms() >= load_relaxed(&stale_ms)) limit_look_soon();
}

/* A child goes by what its parent found, and so do all its siblings: it looks for itself. When so
 * much has grown in all, at the latest: returned; before, it was to be `at`. */
static HAK_COLD size_t note_fork(size_t at) {
  store_relaxed(&inherited_bytes, own_resident_bytes());
  at = size_min(at, load_relaxed(&grown_bytes) + CHILD_LOOK_BYTES);
  store_relaxed(&look_at_bytes, at);
  if (limit_is_deadly()) limit_look_soon();
  return at;
}

void limit_note_growth(size_t fresh_bytes) {
  large_cache_note_held(superslab_claimed_bytes() + large_bytes());
  if (HAK_UNLIKELY(large_cache_is_in_the_way())) store_relaxed(&limit_tick_due, true);
  size_t watched = load_relaxed(&watch_at_bytes), at = load_relaxed(&look_at_bytes);
  if (HAK_UNLIKELY(watched != 0) && limit_held_bytes() >= watched) limit_look_soon();
  if (HAK_LIKELY(at == SIZE_MAX) || fresh_bytes == 0) return;
  note_fresh(fresh_bytes);
  uint32_t generation = load_relaxed(&fork_generation), own = load_relaxed(&own_generation);
  if (HAK_UNLIKELY(generation != own) && cas_acq_rel(&own_generation, &own, generation))
    at = note_fork(at); /* one thread: a second would undo what a look has found meanwhile */
  size_t grown = add_relaxed(&grown_bytes, fresh_bytes) + fresh_bytes;
  if (grown >= at) limit_look_soon();
  if (HAK_UNLIKELY(load_relaxed(&stale_ms) != UINT64_MAX) && grown >= GROWTH_MIN) look_if_stale();
}

/* What one look finds. */
struct finding {
  struct os_room nearest; /* limit_bytes 0: none */
  enum rt_pressure pressure;
  size_t growth_bytes;             /* that may be handed out before the next look */
  size_t left_bytes, deadly_limit; /* as above */
};

/* The step that `used` of `limit` is on; one once taken is held a little longer. */
static enum rt_pressure step_of(const struct os_room *room) {
  static const unsigned percent[] = {NEAR_PERCENT, CLOSE_PERCENT, TIGHT_PERCENT};
  enum rt_pressure step = RT_PRESSURE_NONE,
                   before = (enum rt_pressure)load_relaxed(&pressure_found);
  for (unsigned i = 0; i < HAK_COUNT_OF(percent); i++) {
    unsigned least = percent[i] - (before > i ? BACK_PERCENT : 0);
    if (room->used_bytes >= room->limit_bytes / 100 * least) step = (enum rt_pressure)(i + 1);
  }
  ASSERT(step <= RT_PRESSURE_TIGHT);
  return step;
}

static size_t room_left(const struct os_room *room) {
  return room->used_bytes < room->limit_bytes ? room->limit_bytes - room->used_bytes : 0;
}

/* How many share what is left: as many as this process would have to be to use what is used. They
 * may all grow until each of them looks. */
static size_t sharers(const struct os_room *room) {
  size_t own = own_resident_bytes(), inherited = load_relaxed(&inherited_bytes);
  own = size_max(own - size_min(own, inherited), GROWTH_MIN);
  ASSERT(own != 0);
  size_t count = ((size_t)room->used_bytes + own / 2) / own;
  return size_min(size_max(count, 1), SHARERS_MAX);
}

static void take(struct finding *f, const struct os_room *room, enum rt_pressure most,
                 size_t shares) {
  ASSERT(room->limit_bytes != 0 && shares != 0);
  enum rt_pressure step = step_of(room);
  if (step > most) step = most;
  if (step > f->pressure) f->pressure = step;
  if (f->nearest.limit_bytes == 0 || room_left(room) < room_left(&f->nearest)) f->nearest = *room;
  size_t growth = size_max(room_left(room) / (ROOM_SHARE * shares), GROWTH_MIN);
  f->growth_bytes = size_min(f->growth_bytes, growth);
}

static void take_group(struct finding *f) {
  struct os_room room;
  if (!os_group_room(&room) || room.limit_bytes == 0) return;
  size_t count = sharers(&room);
  take(f, &room, RT_PRESSURE_TIGHT, count);
  if (room.deadly_limit_bytes == 0) return;
  size_t spare = size_min(room.deadly_limit_bytes / FULL_SHARE, FULL_MAX);
  spare = size_max(spare, FULL_MIN);
  spare += size_min(spare, (count - 1) * OTHERS_MAX);
  ASSERT(room.deadly_left_bytes <= room.deadly_limit_bytes);
  f->deadly_limit = room.deadly_limit_bytes;
  f->left_bytes = room.deadly_left_bytes - size_min(spare, room.deadly_left_bytes);
}

static void take_stalls(struct finding *f) {
  struct os_stall stall = os_memory_stall();
  enum rt_pressure step = stall.full_percent >= STALL_PERCENT   ? RT_PRESSURE_CLOSE
                          : stall.some_percent >= STALL_PERCENT ? RT_PRESSURE_NEAR
                                                                : RT_PRESSURE_NONE;
  if (step > f->pressure) f->pressure = step;
}

static struct finding find(void) {
  uint64_t option = rt_option(RT_OPTION_MEMORY_LIMIT);
  struct finding f = {.growth_bytes = SIZE_MAX, .left_bytes = SIZE_MAX};
  struct os_room room;
  if (option > WORD_AUTO) {
    room = (struct os_room){option, own_resident_bytes(), 0, UINT64_MAX};
    take(&f, &room, RT_PRESSURE_TIGHT, 1);
  } else if (option == WORD_AUTO) {
    take_group(&f);
    /* One that came later counts what was reserved before, which nothing gives back. */
    bool has_room = region_is_window() && os_address_room(&room) && room.limit_bytes != 0;
    if (has_room) take(&f, &room, RT_PRESSURE_CLOSE, 1);
    take_stalls(&f);
  }
  return f;
}

static void publish(const struct finding *f, uint64_t now_ms, uint64_t took_us) {
  ASSERT(f->pressure <= RT_PRESSURE_TIGHT);
  ASSERT(f->growth_bytes >= GROWTH_MIN);
  ASSERT(f->left_bytes == SIZE_MAX || f->left_bytes < f->deadly_limit);
  store_relaxed(&nearest_used, (size_t)f->nearest.used_bytes);
  store_relaxed(&nearest_limit, (size_t)f->nearest.limit_bytes);
  store_relaxed(&deadly_limit, f->deadly_limit);
  store_relaxed(&left_bytes, f->left_bytes);
  store_relaxed(&pressure_found, (uint32_t)f->pressure);
  store_relaxed(&look_at_bytes, f->growth_bytes);
  if (took_us > LOOK_US_MAX) took_us = LOOK_US_MAX;
  uint64_t holds_ms = HOLDS_MS + took_us * TIME_SHARE / 1000;
  store_relaxed(&stale_ms, f->left_bytes != SIZE_MAX ? now_ms + holds_ms : UINT64_MAX);
  size_t watched = load_relaxed(&watched_bytes);
  bool is_reached = watched != 0 && limit_held_bytes() >= watched;
  store_relaxed(&watch_at_bytes, is_reached ? 0 : watched);
  bool is_often = f->pressure != RT_PRESSURE_NONE || is_reached;
  store_relaxed(&next_look_ms, now_ms + (is_often ? LOOK_OFTEN_MS : LOOK_MS));
}

static void look(uint64_t now_ms, bool asks) {
  ASSERT(limit_is_mine());
  store_relaxed(&look_due, false);
  /* A slow path looks before its caller has written to what it gets. */
  size_t unwritten = unwritten_bytes(asks, now_ms);
  store_relaxed(&unwritten_at_look, unwritten);
  store_relaxed(&grown_bytes, unwritten);
  uint64_t begin_us = os_clock_us();
  struct finding f = find();
  publish(&f, now_ms, os_clock_us() - begin_us);
}

static HAK_COLD bool look_in_tick(uint64_t now_ms, uint64_t due_ms) {
  if (!lock_try_enter(&look_lock)) { /* another looks, or a fork is under way: the next tick */
    if (load_relaxed(&look_due)) store_relaxed(&limit_tick_due, true);
    return false;
  }
  bool is_first = cas_acq_rel(&next_look_ms, &due_ms, now_ms + LOOK_MS); /* else another has */
  if (is_first) look(now_ms, false);
  lock_leave(&look_lock);
  return is_first;
}

bool limit_tick(uint64_t now_ms) {
  uint64_t due_ms = load_relaxed(&next_look_ms);
  store_relaxed(&limit_tick_due, false);
  if (!load_relaxed(&look_due) && now_ms < due_ms) return false;
  return look_in_tick(now_ms, due_ms);
}

void limit_look(uint64_t now_ms) {
  if (!lock_enter(&look_lock)) return; /* a handler amid our own */
  look(now_ms, true);
  lock_leave(&look_lock);
}

enum rt_pressure limit_pressure(void) { return (enum rt_pressure)load_relaxed(&pressure_found); }

struct limit_room limit_nearest(void) {
  return (struct limit_room){load_relaxed(&nearest_limit), load_relaxed(&nearest_used)};
}

void limit_watch(size_t held_bytes) {
  store_relaxed(&watched_bytes, held_bytes);
  limit_look_soon();
}
