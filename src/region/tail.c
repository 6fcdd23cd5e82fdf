/* tail.c — see tail.h. Measured: docs/decisions/0031.
 */
#include "tail.h"

#include "base_atomic.h"
#include "base_size.h"
#include "huge.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "prewarm.h"
#include "purge.h"
#include "rt_options.h"
#include "slab_map.h"
#include "superslab.h"

static const size_t PEAK_MIN = 8 * MIB; /* smaller processes are left alone */
enum {
  NEAR_SHARE = 8,    /* of the peak, as near as that to it */
  BUDGET_SHARE = 32, /* of the peak, to go back until it is as much higher: a load that has reached
                        its own stops calling the kernel soon */
};

static _Atomic(size_t) budget_peak; /* the peak that the next is of */
static _Atomic(size_t) spent_bytes;

static bool is_near(size_t peak) {
  return peak >= PEAK_MIN && superslab_claimed_bytes() >= peak - peak / NEAR_SHARE;
}

/* How much has gone back since the peak was a share lower. */
static size_t spent_at(size_t peak) {
  size_t before = load_relaxed(&budget_peak);
  if (peak - size_min(before, peak) >= peak / BUDGET_SHARE) {
    store_relaxed(&budget_peak, peak);
    store_relaxed(&spent_bytes, (size_t)0);
  }
  return load_relaxed(&spent_bytes);
}

void tail_trim(char *p, size_t bytes) {
  ASSERT(bytes != 0 && (uintptr_t)p % CHUNK_BYTES == 0);
  size_t used = size_round_up(bytes, os_page_bytes()), peak = superslab_peak_bytes();
  size_t rest = size_round_up(bytes, CHUNK_BYTES) - used;
  if (rest == 0 || !is_near(peak) || rt_option(RT_OPTION_SS_RELEASE) == RELEASE_OFF) return;
  if (prewarm_keep_bytes() != 0) return; /* what was touched ahead is to stay */
  if (huge_is_whole(chunk_index(p + used - 1) / SUPERSLAB_CHUNKS)) return;
  if (spent_at(peak) >= peak / BUDGET_SHARE) return;
  add_relaxed(&spent_bytes, rest);
  /* Where the kernel refuses, the pages stay, as they did before; that is spent, too. */
  if (!os_purge(p + used, rest)) return;
}
