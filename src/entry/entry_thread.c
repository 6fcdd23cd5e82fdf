/* entry_thread.c — see entry_thread.h.
 *
 * A thread starts on the `none` heap and gets one of its own with its first slow path. At its end
 * the key's destructor puts itself off for one round, so that other destructors still find a heap;
 * then the heap goes to the orphans, and whatever the thread still does is served by the `exit`
 * heap. Where no key is left, a thread uses the `exit` heap from its start.
 */
#include "entry_thread.h"

#include "entry.h"
#include "entry_background.h"
#include "entry_limit.h"
#include "entry_report.h"
#include "home.h"
#include "limit.h"
#include "os_check.h"
#include "os_thread.h"
#include "purge.h"
#include "superslab.h"

static bool has_key; /* constant after init */

/* Whether the destructor has put itself off is kept in the value itself: the heap's address, whose
 * low bits are zero (cache-line aligned), plus this. Once only: a heap whose first call came from
 * another destructor may see no more than two rounds, and would be lost after them. */
enum { PUT_OFF = 1 };

static void thread_ends(void *value) {
  uintptr_t put_off = (uintptr_t)value & PUT_OFF;
  struct heap *h = (struct heap *)(void *)((char *)value - put_off);
  if (heap_current != h) return; /* a key set before a bare fork, or given up already */
  if (put_off == 0 && os_thread_key_set((char *)value + PUT_OFF)) return;
  heap_busy_begin();
  struct magazine *strays;
  struct heap_fault fault = home_abandon(h, &strays);
  heap_make_exit_current();
  entry_report_fault(fault);
  if (HAK_UNLIKELY(strays != NULL)) entry_free_strays(strays);
}

void entry_thread_init(void) { has_key = os_thread_key_create(thread_ends); }

bool entry_thread_is_amid(void) {
  struct heap *h = heap_current;
  return h == &heap_busy || lock_is_mine(&h->home->lock) || lock_is_mine(&heap_none.lock) ||
         lock_is_mine(&heap_booting.lock) || lock_is_mine(&heap_exit.lock) || purge_is_mine() ||
         limit_is_mine();
}

void entry_thread_fork_prepare(void) { lock_fork_prepare(entry_thread_is_amid()); }
void entry_thread_fork_parent(void) { lock_fork_parent(entry_thread_is_amid()); }
void entry_thread_fork_child(void) {
  bool is_amid = entry_thread_is_amid();
  lock_fork_child(is_amid);
  entry_limit_fork_child();
  struct heap *h = heap_current;
  if (!is_amid && h->is_owned) home_survive_fork(h); /* else as after a bare fork: entry_enter */
  if (!is_amid) entry_background_fork_child();
  entry_report_fork_child();
}

static HAK_COLD struct heap *attach(void) {
  entry_init();
  if (entry_is_booting()) return heap_booting_get();
  if (!has_key) return heap_make_exit_current();
  if (!lock_enter(&heap_none.lock))
    return &heap_none; /* a handler that interrupted this very path */
  /* To a handler that comes in now this is a slow path: it neither attaches another heap, nor waits
   * for a fork that waits for heap_none's lock. */
  heap_busy_begin();
  struct heap *h = home_acquire();
  lock_leave(&heap_none.lock);
  heap_busy_end_any(h != NULL ? h : &heap_none);
  if (h == NULL) return heap_exit_get(); /* no memory now: the next slow path tries again */
  if (!os_thread_key_set(h)) {           /* may allocate: the heap works already */
    heap_busy_begin();
    struct magazine *strays;
    struct heap_fault fault = home_abandon(h, &strays);
    struct heap *exit_heap = heap_make_exit_current();
    entry_report_fault(fault);
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
