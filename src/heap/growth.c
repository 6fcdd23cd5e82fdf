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
static const size_t STEP_BYTES = 1 * MIB;
enum {
  FIRST_BYTES = 8388608, /* smaller processes are left alone */
  STEP_SHARE = 32,
  FREE_SHARE = 32, /* of what slabs hold, that must be free for a purge inside them */
};

_Atomic(size_t) growth_next_bytes = FIRST_BYTES;

static size_t step_bytes(size_t peak) { return size_max(peak / STEP_SHARE, STEP_BYTES); }

/* A handler that comes in between does without: fork waits for this purge, so it must not wait for
 * the fork. */
HAK_COLD void growth_purge(struct heap *h) {
  heap_busy_begin();
  purge_note_peak(step_bytes(superslab_peak_bytes()));
  heap_busy_end(h);
}

bool growth_flush(struct heap *h) {
  struct heap *home = h->home;
  ASSERT(lock_is_mine(&home->lock) && h->is_owned);
  size_t peak = superslab_peak_bytes();
  store_relaxed(&growth_next_bytes, peak + step_bytes(peak));
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
