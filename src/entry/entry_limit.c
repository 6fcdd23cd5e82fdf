/* entry_limit.c — near a limit: less is kept, what is free goes back, the program is told. And
 * options that change while it runs.
 */
#include "entry_limit.h"

#include <errno.h>

#include "base_size.h"
#include "entry.h"
#include "entry_background.h"
#include "entry_fork.h"
#include "entry_thread.h"
#include "idle.h"
#include "large_cache.h"
#include "limit.h"
#include "meta.h"
#include "os_proc.h"
#include "purge.h"
#include "rt_lock.h"
#include "rt_options.h"
#include "superslab.h"

enum {
  CALL_PERCENT = 90,  /* of the nearest limit, where the program names no bytes of its own */
  AGAIN_PERCENT = 80, /* below it, the program is called anew. Arbitrary, as the next */
  ASK_AGAIN_MS = 100, /* after a call for a refusal that did not help */
};

/* Who wants to be told. Constant once published; never given back, since another thread may be
 * about to call. */
struct watcher {
  size_t soft_bytes; /* 0: CALL_PERCENT */
  entry_limit_call *call;
  void *context;
};
static _Atomic(struct watcher *) watcher;
/* 1 + fork_generation of the thread that is inside the callback, 0: none. That of another
 * generation does not exist here, or has forked in it without handlers. */
static _Atomic(uint32_t) calling;
static _Atomic(uintptr_t) caller; /* that thread, and 0 before it and after */
static _Atomic(bool) is_told;     /* since it was last well below */
static _Atomic(uint64_t) ask_again_ms;

/* May be in a handler amid a hot path: bins are left to the next slow path, and so is starting a
 * thread, unless that is what was asked for. */
int entry_option_set(const char *name, const char *value) {
  entry_init();
  if (entry_thread_is_amid()) return EBUSY; /* must not wait: a fork may wait for us */
  struct heap *h = heap_current;
  heap_busy_begin(); /* nor must a handler that comes in between, for a fork waits for this */
  int error = rt_option_change(name, value);
  heap_busy_end_any(h);
  if (error != 0) return error;
  add_relaxed(&trim_epoch, 1u);
  limit_look_soon();
  entry_background_settle();
  if (rt_option_find(name) == RT_OPTION_BACKGROUND) entry_background_poll();
  return 0;
}

int entry_limit_callback(size_t soft_bytes, entry_limit_call *call, void *context) {
  entry_fork_tell();
  struct heap *h = entry_enter();
  if (h == NULL) return EBUSY;
  struct watcher *w = call != NULL ? meta_alloc(sizeof *w) : NULL;
  if (w != NULL) *w = (struct watcher){soft_bytes, call, context};
  if (w != NULL || call == NULL) {
    store_relaxed(&is_told, false);
    store_release(&watcher, w); /* pairs with the acquire of who calls */
    limit_watch(w != NULL ? soft_bytes : 0);
  }
  entry_leave_bins(h);
  return w == NULL && call != NULL ? ENOMEM : 0;
}

bool entry_limit_tick(uint64_t now_ms) {
  bool is_looked = limit_tick(now_ms);
  enum rt_pressure before = rt_options_pressure(), now = limit_pressure();
  if (HAK_LIKELY(now == before)) return is_looked;
  if (!rt_options_tighten(now)) return is_looked; /* another tick will */
  /* Each thread gives up what it has, as after any change; free chunks go a slice at a time. */
  add_relaxed(&trim_epoch, 1u);
  return true;
}

/* What the program is told of; limit_bytes is 0: of nothing. */
static struct limit_room room_of(const struct watcher *w) {
  return w->soft_bytes != 0 ? (struct limit_room){w->soft_bytes, limit_held_bytes()}
                            : limit_nearest();
}

/* False: a thread is inside the callback. */
static bool call_begin(void) {
  uint32_t mine = load_relaxed(&fork_generation) + 1, seen = load_relaxed(&calling);
  if (seen == mine || !cas_acq_rel(&calling, &seen, mine)) return false;
  store_relaxed(&caller, os_thread_self());
  return true;
}

/* One call sees what the one before has written. */
static void call_end(void) {
  store_relaxed(&caller, (uintptr_t)0);
  store_release(&calling, 0u);
}

void entry_limit_fork_child(void) {
  bool is_inside = load_relaxed(&caller) == os_thread_self();
  store_relaxed(&calling, is_inside ? load_relaxed(&fork_generation) + 1 : 0u);
}

static void call(const struct watcher *w) {
  struct limit_room room = room_of(w);
  int saved_errno = errno; /* free leaves it as it is */
  w->call(room.used_bytes, room.limit_bytes, w->context);
  errno = saved_errno;
}

static void tell(const struct watcher *w) {
  struct limit_room room = room_of(w);
  size_t percent = room.limit_bytes / 100;
  size_t call_at = w->soft_bytes != 0 ? w->soft_bytes : percent * CALL_PERCENT;
  if (room.limit_bytes == 0 || room.used_bytes < percent * AGAIN_PERCENT)
    store_relaxed(&is_told, false);
  if (room.limit_bytes == 0 || room.used_bytes < call_at) return;
  if (load_relaxed(&is_told) || !call_begin()) return; /* amid a call: later */
  store_relaxed(&is_told, true);
  call(w);
  call_end();
}

void entry_limit_settle(void) {
  const struct watcher *w = load_acquire(&watcher); /* pairs with its publication */
  if (w != NULL) tell(w);
}

/* As entry_purge_chunks. */
static void look(void) {
  struct heap *h = heap_current;
  heap_busy_begin();
  limit_look(os_coarse_ms());
  heap_busy_end_any(h);
}

static bool refuses(size_t bytes, bool is_written) {
  return is_written ? limit_refuses_written(bytes) : limit_refuses(bytes);
}

/* With all that is free, and all that is kept for it, there could be room for so much. */
static bool may_fit(size_t bytes) {
  struct limit_room room = limit_nearest();
  size_t left = room.limit_bytes - size_min(room.used_bytes, room.limit_bytes);
  return bytes <= left + limit_held_bytes() + superslab_dirty_bytes() + large_cache_bytes();
}

bool entry_reclaim(size_t bytes, bool is_written) {
  if (entry_thread_is_amid()) return false; /* what it waits for may wait for us */
  if (limit_is_deadly() && refuses(bytes, is_written)) {
    look(); /* it may not any more: a look is cheaper */
    if (!refuses(bytes, is_written)) return true;
  }
  if (!may_fit(bytes)) return false;
  (void)entry_purge();
  if (limit_is_deadly()) look();
  return true;
}

/* Between call_begin and call_end. True: it was called. */
static bool ask(const struct watcher *w, size_t bytes) {
  if (!limit_is_deadly()) look(); /* else entry_reclaim has */
  struct limit_room nearest = limit_nearest();
  if (nearest.limit_bytes == 0 || bytes > nearest.limit_bytes) return false;
  call(w);
  return true;
}

bool entry_limit_ask(size_t bytes, bool is_written) {
  const struct watcher *w = load_acquire(&watcher); /* pairs with its publication */
  if (w == NULL || entry_thread_is_amid()) return false;
  if (os_coarse_ms() < load_relaxed(&ask_again_ms) || !call_begin()) return false;
  size_t held_before = limit_held_bytes();
  bool is_asked = ask(w, bytes);
  call_end();
  if (!is_asked) return false;
  bool may_help = entry_reclaim(bytes, is_written);
  bool has_helped =
      limit_held_bytes() < held_before || (limit_is_deadly() && !refuses(bytes, is_written));
  store_relaxed(&ask_again_ms, has_helped ? 0 : os_coarse_ms() + ASK_AGAIN_MS);
  return may_help;
}
