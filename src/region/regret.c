/* regret.c — see regret.h.
 */
#include "regret.h"

#include "base_atomic.h"
#include "base_ms.h"
#include "base_size.h"
#include "os_check.h"

enum {
  SOON_MS = 1000,  /* arbitrary, as the next: what comes back later was rightly purged */
  KEEP_MS = 10000, /* a loop that goes on renews it */
  /* A quarter above what would have been empty at once without the purges: a load that swings
   * reaches its extremes seldom. */
  SPARE_SHARE = 4,
  /* A swing comes back; a program that frees all it has, and goes on with a little, claims little:
   * so many times of what came back may stay, no more. Arbitrary. */
  BACK_TIMES = 2,
};

static _Atomic(uint64_t) purged_ms;  /* last purge */
static _Atomic(size_t) purged_bytes; /* purged lately, and not claimed since */
static _Atomic(size_t) back_bytes;   /* purged lately, and claimed since */
static _Atomic(size_t) stood_bytes; /* most that would have been empty at once without the purges */
static _Atomic(size_t) keep_bytes;  /* valid until keep_end_ms */
static _Atomic(uint64_t) keep_end_ms;

void regret_note_purge(size_t bytes, size_t empty_bytes, uint64_t now_ms) {
  ASSERT(bytes != 0);
  bool is_lately = ms_since(load_relaxed(&purged_ms), now_ms) <= SOON_MS;
  size_t gone = (is_lately ? load_relaxed(&purged_bytes) : 0) + bytes;
  size_t stood = is_lately ? load_relaxed(&stood_bytes) : 0;
  if (!is_lately) store_relaxed(&back_bytes, (size_t)0);
  store_relaxed(&purged_bytes, gone);
  store_relaxed(&stood_bytes, size_max(stood, gone + empty_bytes));
  store_relaxed(&purged_ms, now_ms);
}

bool regret_is_open(void) { return load_relaxed(&purged_bytes) != 0; }

void regret_note_claim(size_t bytes, size_t peak_bytes, uint64_t now_ms) {
  ASSERT(bytes != 0);
  size_t gone = load_relaxed(&purged_bytes);
  if (ms_since(load_relaxed(&purged_ms), now_ms) > SOON_MS) {
    store_relaxed(&purged_bytes, (size_t)0);
    return;
  }
  size_t back = load_relaxed(&back_bytes) + bytes, left = gone - size_min(gone, bytes);
  store_relaxed(&purged_bytes, left);
  store_relaxed(&back_bytes, back);
  size_t stood = load_relaxed(&stood_bytes);
  size_t wanted = size_min(stood + stood / SPARE_SHARE, size_min(back * BACK_TIMES, peak_bytes));
  store_relaxed(&keep_bytes, size_max(wanted, regret_keep_bytes(now_ms)));
  store_relaxed(&keep_end_ms, now_ms + KEEP_MS);
}

size_t regret_keep_bytes(uint64_t now_ms) {
  return now_ms <= load_relaxed(&keep_end_ms) ? load_relaxed(&keep_bytes) : 0;
}
