/* idle.c — see idle.h. Owns: the trim epoch, whose turn it is to be looked at.
 */
#include "idle.h"

#include "base_ms.h"
#include "depot.h"
#include "flush.h"
#include "mail.h"
#include "os_check.h"
#include "outbox.h"

enum {
  /* Together: 2,000 threads are each looked at four times a second. Arbitrary. */
  TICK_MS = 2,
  TICK_HEAPS = 16,
  IDLE_MS = 500,
};

_Atomic(uint32_t) trim_epoch;

static _Atomic(uint64_t) next_tick_ms; /* who moves it on has the tick */
static _Atomic(uint32_t) tick_id = HEAP_ID_FIRST;

void idle_flush_own(struct heap *h) {
  ASSERT(lock_is_mine(&h->home->lock) && h->is_owned);
  h->trim_seen = load_relaxed(&trim_epoch);
  flush_owner_magazines(h);
  flush_owner_windows(h);
  outbox_send_all(h);
  mail_drain_to_bitmaps(h->home);
  flush_empty_slab(h->home);
}

void idle_send(struct heap *h) {
  ASSERT(lock_is_mine(&h->home->lock) && h->is_owned);
  uint32_t owner_id[OUTBOX_SLOTS_ALL] = {0}, count = 0;
  for (uint32_t i = 0; i < OUTBOX_SLOTS_ALL; i++) {
    uint32_t entry = load_relaxed(&h->outbox[i].entry);
    if (entry == 0 || (count != 0 && owner_id[count - 1] == map_entry_id(entry))) continue;
    owner_id[count++] = map_entry_id(entry);
  }
  outbox_send_all(h);
  for (uint32_t i = 0; i < count; i++) {
    struct heap *owner = heap_of_id(owner_id[i]);
    if (owner != NULL) mail_help(h, owner);
  }
}

/* What does not take the owner thread. The caller holds h's lock. */
static void flush_from_outside(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  for (uint32_t c = 0; c < CLASS_COUNT; c++) depot_flush_class(h, c);
  mail_drain_to_bitmaps(h);
  flush_empty_slab(h);
}

struct heap_fault idle_trim_all(struct heap *h) {
  struct heap_fault fault = {FAULT_NONE, NULL};
  add_relaxed(&trim_epoch, 1u);
  uint32_t end = heap_id_end();
  for (uint32_t id = HEAP_ID_FIRST; id < end; id++) {
    struct heap *other = heap_of_id(id);
    if (other == NULL || other == h->home || !heap_is_home(other)) continue;
    if (!lock_enter(&other->lock)) continue;
    flush_from_outside(other);
    flush_take_strays(other, &h->to_free);
    if (fault.kind == FAULT_NONE) fault = other->fault;
    lock_leave(&other->lock);
    mail_redrain(other, false, &h->to_free);
  }
  return fault;
}

/* True when h's thread has been idle for long, and this has not been seen before. It is seen by
 * ticks and looks at once, at worst: then it is emptied twice. */
static bool has_gone_idle(struct heap *h, uint64_t now_ms) {
  uint32_t now = load_relaxed(&h->slow_count);
  if (now != load_relaxed(&h->idle_slow_count)) {
    store_relaxed(&h->idle_slow_count, now);
    store_relaxed(&h->idle_since_ms, now_ms);
    return false;
  }
  uint64_t since = load_relaxed(&h->idle_since_ms);
  if (since == 0 || ms_since(since, now_ms) < IDLE_MS) return false;
  store_relaxed(&h->idle_since_ms, (uint64_t)0); /* until it has a slow path again */
  return true;
}

/* Look at h: if its thread has just gone idle, empty what can be. Returns what was found wrong. */
static struct heap_fault look_at(struct heap *h, struct magazine **strays, uint64_t now_ms) {
  struct heap_fault fault = {FAULT_NONE, NULL};
  if (heap_is_away(h) || !has_gone_idle(h, now_ms)) return fault;
  if (!lock_try_enter(&h->lock)) return fault;
  ASSERT(heap_is_home(h));
  flush_from_outside(h);
  flush_take_strays(h, strays);
  fault = h->fault;
  lock_leave(&h->lock);
  mail_redrain(h, false, strays);
  return fault;
}

struct heap_fault idle_look(struct magazine **strays, uint64_t now_ms, bool *is_waiting) {
  struct heap_fault fault = {FAULT_NONE, NULL};
  *is_waiting = false;
  uint32_t end = heap_id_end();
  ASSERT(end >= HEAP_ID_FIRST && !lock_is_mine(&heap_none.lock));
  for (uint32_t id = HEAP_ID_FIRST; id < end; id++) {
    struct heap *h = heap_of_id(id);
    if (h == NULL || !heap_is_home(h)) continue;
    struct heap_fault found = look_at(h, strays, now_ms);
    if (fault.kind == FAULT_NONE) fault = found;
    if (!heap_is_away(h) && load_relaxed(&h->idle_since_ms) != 0) *is_waiting = true;
  }
  return fault;
}

struct heap_fault idle_tick(struct heap *own, uint64_t now_ms) {
  struct heap_fault fault = {FAULT_NONE, NULL};
  uint64_t due_ms = load_relaxed(&next_tick_ms);
  if (now_ms < due_ms || !cas_acq_rel(&next_tick_ms, &due_ms, now_ms + TICK_MS)) return fault;
  uint32_t id = load_relaxed(&tick_id), end = heap_id_end();
  for (uint32_t i = 0; i < TICK_HEAPS && i < end - HEAP_ID_FIRST; i++, id++) {
    if (id >= end) id = HEAP_ID_FIRST;
    struct heap *h = heap_of_id(id);
    if (h == NULL || h == own->home || !heap_is_home(h)) continue;
    struct heap_fault found = look_at(h, &own->to_free, now_ms);
    if (fault.kind == FAULT_NONE) fault = found;
  }
  store_relaxed(&tick_id, id);
  return fault;
}
