/* entry_thread.c — see entry_thread.h.
 *
 * A thread starts on the `none` heap and gets one of its own with its first slow path. At its end
 * the key's destructor puts itself off to the last round, so that other destructors still find a
 * heap; then the heap goes to the orphans, and whatever the thread still does is served by the
 * `exit` heap. Where no key is left, a thread uses the `exit` heap from its start.
 */
#include "entry_thread.h"

#include "entry.h"
#include "entry_report.h"
#include "home.h"
#include "os_check.h"
#include "os_thread.h"

static bool has_key; /* constant after init */

/* How often the destructor has run is kept in the value itself: the heap's address, whose low
 * bits are zero (cache-line aligned), plus the round. */
enum { ROUND_MASK = HAK_CACHE_LINE_BYTES - 1 };

static void thread_ends(void *value) {
  uintptr_t round = (uintptr_t)value & ROUND_MASK;
  struct heap *h = (struct heap *)(void *)((char *)value - round);
  if (heap_current != h) return; /* a key set before a bare fork, or given up already */
  if (round + 1 < os_thread_exit_rounds() && os_thread_key_set((char *)value + 1)) return;
  heap_busy_begin();
  struct magazine *strays;
  struct heap_fault fault = home_abandon(h, &strays);
  heap_make_exit_current();
  entry_report_fault(fault);
  if (HAK_UNLIKELY(strays != NULL)) entry_free_strays(strays);
}

void entry_thread_init(void) {
  has_key = os_thread_exit_rounds() < ROUND_MASK && os_thread_key_create(thread_ends);
}

void entry_thread_fork_child(void) {
  lock_fork_child();
  struct heap *h = heap_current;
  if (h->is_owned) home_survive_fork(h);
  entry_report_fork_child();
}

static HAK_COLD struct heap *attach(void) {
  entry_init();
  if (entry_is_booting()) return heap_booting_get();
  if (!has_key) return heap_make_exit_current();
  if (!lock_enter(&heap_none.lock))
    return &heap_none; /* a handler that interrupted this very path */
  struct heap *h = home_acquire();
  lock_leave(&heap_none.lock);
  if (h == NULL) return heap_exit_get(); /* no memory now: the next slow path tries again */
  heap_current = h;
  if (!os_thread_key_set(h)) { /* may allocate: the heap works already */
    struct heap *exit_heap = heap_make_exit_current();
    struct magazine *strays;
    entry_report_fault(home_abandon(h, &strays));
    if (HAK_UNLIKELY(strays != NULL)) entry_free_strays(strays);
    return exit_heap;
  }
  return heap_current;
}

struct heap *entry_thread_heap(void) {
  struct heap *h = heap_current;
  if (HAK_UNLIKELY(h == &heap_none)) return attach();
  if (HAK_UNLIKELY(h == &heap_busy)) return NULL;
  return h;
}
