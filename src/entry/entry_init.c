/* entry_init.c — the first call, the fork handlers, and the umbrella that every slow path holds.
 *
 * First call: until the process is ready the starting thread stays on the `none` heap, and
 * whatever libc allocates on the way comes back to us and is served from the `booting` heap,
 * straight from bitmaps. Handlers and the key are registered last, when that works.
 */
#include "entry.h"

#include "entry_background.h"
#include "entry_fork.h"
#include "entry_large.h"
#include "entry_limit.h"
#include "entry_signal.h"
#include "entry_thread.h"
#include "flush.h"
#include "growth.h"
#include "home.h"
#include "idle.h"
#include "limit.h"
#include "mail.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "os_thread.h"
#include "prewarm.h"
#include "region.h"
#include "rt_conf.h"
#include "rt_options.h"
#include "size_class.h"
#include "subslab.h"
#include "purge.h"
#include "superslab.h"

enum init_state { INIT_NEW, INIT_RUNNING, INIT_DONE };
static _Atomic(uint32_t) init_state;
static _Atomic(uintptr_t) init_thread; /* who runs init_once; 0 before and after */
/* False until an environment was there to read: before libc is up there is none. */
static _Atomic(bool) options_are_read;

static void apply_options(void) {
  bool is_read = rt_conf_init();
  home_set_count((uint32_t)rt_option(RT_OPTION_HEAPS));
  if (is_read) store_relaxed(&options_are_read, true);
}

static void init_once(void) {
  heap_init();
  os_mem_init();
  rt_options_init();
  apply_options();
  size_class_init();
  magazine_init();
  lock_init_process();
  /* Without a region the process still runs on own mappings; each small request then fails. */
  bool has_region = region_init(rt_option(RT_OPTION_REGION_BYTES));
  ASSERT(has_region == (region_chunk_count != 0));
  (void)has_region;
  entry_thread_init();
  entry_background_init();
}

bool entry_is_booting(void) { return load_relaxed(&init_thread) == os_thread_self(); }

void entry_init(void) {
  if (HAK_LIKELY(load_acquire(&init_state) == INIT_DONE)) return; /* pairs with the release below */
  if (entry_is_booting()) return;
  uint32_t seen = INIT_NEW;
  if (cas_acq_rel(&init_state, &seen, (uint32_t)INIT_RUNNING)) {
    store_relaxed(&init_thread, os_thread_self());
    init_once();
    store_relaxed(&init_thread, (uintptr_t)0);
    store_release(&init_state, (uint32_t)INIT_DONE);
    os_futex_wake_all(&init_state);
    return;
  }
  while (load_acquire(&init_state) != INIT_DONE) os_futex_wait(&init_state, INIT_RUNNING);
}

/* Before the constructors of all other libraries (-z initfirst), and of the program it is linked
 * into: fork handlers that they register come after ours, docs/decisions/0009. libc need not be up,
 * but what its environment will be is an argument. */
__attribute__((constructor(101))) static void
entry_init_at_load(int argument_count, char **arguments, char **environment) {
  (void)argument_count;
  (void)arguments;
  os_environ_begin(environment);
  entry_init();
  if (!load_relaxed(&options_are_read)) apply_options();
  os_environ_end();
  entry_fork_init(); /* libc says now whether there is one thread */
  if (HAK_UNLIKELY(rt_option(RT_OPTION_PREWARM) != 0)) prewarm(rt_option(RT_OPTION_PREWARM));
}

struct heap *entry_enter(void) {
  struct heap *h = entry_thread_heap();
  if (h == NULL || !lock_enter(&h->home->lock)) return NULL;
  if (h->is_owned) {
    /* After a bare fork nobody told us that this thread's heap lives on: lock_enter just has. */
    if (HAK_UNLIKELY(load_relaxed(&h->generation) != load_relaxed(&fork_generation)))
      home_survive_fork(h);
    if (HAK_UNLIKELY(h->is_asleep)) home_wake(h);
    heap_busy_begin();
  }
  return h;
}

HAK_COLD void entry_report_fault(struct heap_fault fault) {
  if (fault.kind == FAULT_NONE) return;
  size_t chunk = chunk_index(fault.object);
  size_t class_bytes = 0;
  if (chunk < region_chunk_count) {
    uint32_t c = map_entry_class(map_load(chunk));
    if (c < CLASS_COUNT && map_load(chunk) != 0) class_bytes = size_classes[c].size;
  }
  guard_abort(fault.kind == FAULT_DOUBLE_FREE ? VERDICT_DOUBLE_FREE : VERDICT_CORRUPTED_BIN,
              fault.object, class_bytes);
}

/* Other threads' heaps, when it is time. */
static HAK_NOINLINE void tick(struct heap *h) {
  heap_busy_begin();
  uint64_t now_ms = os_coarse_ms();
  struct heap_fault fault = idle_tick(h, now_ms);
  purge_tick(now_ms);
  entry_large_tick(h, now_ms);
  bool has_news = entry_limit_tick(now_ms);
  entry_background_tick(now_ms);
  heap_busy_end(h);
  entry_report_fault(fault);
  if (HAK_UNLIKELY(has_news)) entry_limit_settle();
}

/* A handler that comes in between does without: fork waits for this purge, so it must not wait for
 * the fork. */
size_t entry_purge_chunks(bool all) {
  struct heap *h = heap_current;
  heap_busy_begin();
  size_t purged = purge_chunks(all);
  heap_busy_end_any(h);
  return purged;
}

size_t entry_purge_slabs(struct heap *h, struct heap *home) {
  heap_busy_begin();
  size_t purged = subslab_purge(h, home);
  heap_busy_end(h);
  return purged;
}

void entry_leave(struct heap *h) {
  struct heap *home = h->home;
  bool is_tick = false, is_subslab_due = false, has_grown = false, has_free_pages = false;
  if (h->is_owned) {
    if (HAK_UNLIKELY(idle_trim_is_due(h))) idle_flush_own(h);
    if (HAK_UNLIKELY(idle_send_is_due(h))) idle_send(h);
    is_tick = idle_count(home) || limit_is_due();
    is_subslab_due = subslab_is_due(home);
    if ((has_grown = growth_is_due())) has_free_pages = growth_flush(h);
    flush_take_strays(home, &h->to_free);
  }
  struct heap_fault fault = home->fault.kind != FAULT_NONE ? home->fault : h->mail_fault;
  lock_leave(&home->lock);
  if (h->is_owned) {
    if (HAK_UNLIKELY(h->is_asleep)) mail_redrain(home, false, &h->to_free);
    heap_busy_end(h);
    if (HAK_UNLIKELY(is_tick)) tick(h);
    /* No two slices in one slow path: this one waits, but has_grown does not come again soon: its
     * two are of what has grown lately, and small. */
    is_subslab_due = is_subslab_due && !is_tick && !purge_is_due();
    if (HAK_UNLIKELY(is_subslab_due || has_free_pages)) entry_purge_slabs(h, home);
    if (HAK_UNLIKELY(has_grown)) growth_purge(h);
  }
  entry_settle(fault);
  if (h->is_owned) entry_settle_strays(h);
}

void entry_leave_bins(struct heap *h) {
  lock_leave(&h->home->lock);
  if (h->is_owned) heap_busy_end(h);
}

void entry_settle_strays_now(struct heap *h) {
  if (h->frees_strays) return;
  if (lock_is_mine(&h->home->lock)) return; /* a handler amid statistics: later */
  h->frees_strays = true;      /* what comes of it is for the next round here: no recursion */
  while (h->to_free != NULL) { /* ends: each further round follows a pull by another thread */
    heap_busy_begin();         /* a handler in between would put others before them */
    struct magazine *strays = h->to_free;
    h->to_free = NULL;
    heap_busy_end(h);
    h->stray_rounds++;
    entry_free_strays(strays);
  }
  h->frees_strays = false;
}

void entry_settle(struct heap_fault fault) {
  if (HAK_UNLIKELY(fault.kind != FAULT_NONE)) entry_report_fault(fault);
  if (HAK_UNLIKELY(entry_signal_has_parked())) entry_signal_free_parked();
  if (HAK_UNLIKELY(purge_is_due())) (void)entry_purge_chunks(false);
}
