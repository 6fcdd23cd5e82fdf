/* growth.c — see growth.h. Owns: the next moment.
 */
#include "growth.h"

#include "base_size.h"
#include "depot.h"
#include "flush.h"
#include "os_check.h"
#include "purge.h"
#include "rt_options.h"
#include "superslab.h"

/* Measured: docs/decisions/0031. */
static const size_t FIRST_BYTES = 8 * MIB; /* smaller processes are left alone */
static const size_t STEP_BYTES = 1 * MIB;
enum {
  STEP_SHARE = 32,
  FREE_SHARE = 32, /* of what slabs hold, that must be free for a purge inside them */
};

static _Atomic(size_t) next_bytes;

bool growth_is_due(void) {
  size_t peak = superslab_peak_bytes();
  return HAK_UNLIKELY(peak >= FIRST_BYTES && peak >= load_relaxed(&next_bytes));
}

bool growth_flush(struct heap *h) {
  struct heap *home = h->home;
  ASSERT(lock_is_mine(&home->lock) && h->is_owned);
  size_t peak = superslab_peak_bytes();
  store_relaxed(&next_bytes, peak + size_max(peak / STEP_SHARE, STEP_BYTES));
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    depot_flush_class(home, c);
    flush_owner_class(h, c);
  }
  flush_empty_slab(home);
  ASSERT(home->depot_bytes == 0 && home->empty_slab == NULL);
  size_t held = load_relaxed(&home->slab_bytes), free_bytes = held - home->taken_bytes;
  ASSERT(home->taken_bytes <= held);
  return free_bytes > held / FREE_SHARE && rt_option(RT_OPTION_SS_RELEASE) != RELEASE_OFF;
}
