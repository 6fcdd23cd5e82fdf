/* huge.c — see huge.h. Owns: the bytes, the kernel's mode as it was at the start.
 */
#include "huge.h"

#include "base_atomic.h"
#include "base_size.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "region.h"
#include "rt_options.h"
#include "slab_map.h"
#include "superslab.h"
#include "superslab_word.h"

enum {
  GROUP_SUPERSLABS = 4, /* 8 MiB: at most two mappings more for each that is broken */
  DENSE_SHARE = 8,      /* of a group, that may be untouched. Arbitrary */
  FAST_MS = 16, /* some coarse ticks for a group: 500 MB a second, a load that fills memory */
  /* The heap has stopped growing when it has not for some coarse ticks, and for so many times as
   * long as the last step took. Arbitrary. */
  REST_MS = 32,
  REST_TIMES = 4,
  STEP_MAX_MS = 10000,
};
/* What a superslab is, and was. */
enum huge_state { STATE_SMALL, STATE_WHOLE, STATE_BROKEN };
/* Each home begins superslabs of its own: two are a 16th of it. */
static const size_t AUTO_MIN_BYTES = 64 * MIB;
static const size_t FAST_MIN_BYTES = 16 * MIB;
static const size_t GROWING_MIN_BYTES = 16 * MIB;

static _Atomic(uint8_t) *state_bytes; /* enum huge_state; constant after init */
static enum os_thp_mode mode;         /* constant after init */
/* Under the region's lock: of the group that the heap grows into, and of its last superslab. */
static uint64_t group_ms, growth_ms;
static bool group_is_huge;
static _Atomic(uint64_t) rest_ms; /* when the heap will have stopped growing, if it does */

void huge_init(void *bytes) {
  state_bytes = bytes;
  mode = os_thp_mode();
}

static void *address_of(size_t superslab) { return chunk_address(superslab * SUPERSLAB_CHUNKS); }

/* Nearly all pages of the group before are resident: what the heap claims it uses. Of huge pages
 * all are: who has them once goes on. Any errno of mincore: not known, so no. */
static bool is_dense(size_t superslab) {
  ASSERT(superslab % GROUP_SUPERSLABS == 0);
  if (superslab < GROUP_SUPERSLABS) return false;
  size_t before = superslab - GROUP_SUPERSLABS, resident = 0;
  if (huge_is_whole(before)) return true;
  for (size_t i = before; i < superslab; i++)
    resident += os_resident_pages(address_of(i), SUPERSLAB_BYTES);
  size_t pages = GROUP_SUPERSLABS * SUPERSLAB_BYTES / os_page_bytes();
  ASSERT(resident <= pages);
  return resident >= pages - pages / DENSE_SHARE;
}

/* Of the group that begins there, which the heap is about to grow into. */
static bool is_wanted(size_t superslab, bool is_fast) {
  uint64_t option = rt_option(RT_OPTION_THP);
  if (mode == OS_THP_NEVER || state_bytes == NULL || option == HUGE_NEVER) return false;
  if (option == HUGE_ALWAYS) return true;
  size_t in_use = superslab_claimed_bytes(), below = superslab * SUPERSLAB_BYTES;
  bool is_large = in_use >= AUTO_MIN_BYTES ||
                  (is_fast && below >= FAST_MIN_BYTES && in_use >= FAST_MIN_BYTES / 2);
  return is_large && is_dense(superslab);
}

bool huge_is_for_growing(size_t bytes) {
  uint64_t option = rt_option(RT_OPTION_THP);
  if (mode == OS_THP_NEVER || state_bytes == NULL || option == HUGE_NEVER) return false;
  return bytes >= (option == HUGE_ALWAYS ? 2 * SUPERSLAB_BYTES : GROWING_MIN_BYTES);
}

void huge_note_commit(size_t first, size_t count) {
  ASSERT(count != 0);
  if (mode == OS_THP_ALWAYS) os_no_huge(address_of(first), count * SUPERSLAB_BYTES);
}

void huge_note_growth(size_t superslab) {
  ASSERT(superslab * SUPERSLAB_BYTES < region_bytes());
  if (state_bytes == NULL) return;
  uint64_t now_ms = os_coarse_ms();
  if (superslab % GROUP_SUPERSLABS == 0) {
    group_is_huge = is_wanted(superslab, now_ms - group_ms <= FAST_MS);
    group_ms = now_ms;
  } else if (now_ms >= load_relaxed(&rest_ms)) {
    group_is_huge = false; /* a little more, after it had stopped */
  }
  uint64_t step_ms = now_ms - growth_ms < STEP_MAX_MS ? now_ms - growth_ms : STEP_MAX_MS;
  store_relaxed(&rest_ms, now_ms + REST_MS + REST_TIMES * step_ms);
  growth_ms = now_ms;
  if (group_is_huge && os_huge(address_of(superslab), SUPERSLAB_BYTES))
    store_relaxed(&state_bytes[superslab], (uint8_t)STATE_WHOLE);
}

static enum huge_state state_of(size_t superslab) {
  if (state_bytes == NULL) return STATE_SMALL;
  return (enum huge_state)load_relaxed(&state_bytes[superslab]);
}

bool huge_is_whole(size_t superslab) { return state_of(superslab) == STATE_WHOLE; }
bool huge_was_whole(size_t superslab) { return state_of(superslab) != STATE_SMALL; }

bool huge_has_grown(uint64_t now_ms, size_t *superslab) {
  size_t end = superslab_chunk_end() / SUPERSLAB_CHUNKS;
  if (end == 0 || HAK_LIKELY(!huge_is_whole(end - 1))) return false;
  ASSERT(end * SUPERSLAB_BYTES <= region_bytes());
  *superslab = end - 1;
  return now_ms >= load_relaxed(&rest_ms) && rt_option(RT_OPTION_THP) == HUGE_AUTO;
}

struct huge_group huge_group_of(size_t superslab) {
  size_t first = superslab / GROUP_SUPERSLABS * GROUP_SUPERSLABS;
  size_t end = superslab_chunk_end() / SUPERSLAB_CHUNKS;
  ASSERT(superslab < end);
  return (struct huge_group){first, size_min(GROUP_SUPERSLABS, end - first)};
}

void huge_break(size_t superslab) {
  if (HAK_LIKELY(!huge_is_whole(superslab))) return;
  struct huge_group g = huge_group_of(superslab);
  ASSERT(g.count != 0 && superslab - g.first < g.count);
  os_no_huge(address_of(g.first), g.count * SUPERSLAB_BYTES);
  for (size_t i = g.first; i < g.first + g.count; i++)
    if (huge_is_whole(i)) store_relaxed(&state_bytes[i], (uint8_t)STATE_BROKEN);
}

void huge_note_purge(size_t superslab) {
  if (state_bytes == NULL || huge_is_whole(superslab)) return;
  if (mode == OS_THP_NEVER || rt_option(RT_OPTION_THP) == HUGE_NEVER) return;
  struct huge_group g = huge_group_of(superslab);
  ASSERT(g.count != 0 && g.count <= GROUP_SUPERSLABS);
  if (g.first * SUPERSLAB_BYTES < AUTO_MIN_BYTES && rt_option(RT_OPTION_THP) != HUGE_ALWAYS)
    return; /* what a small heap grows into */
  for (size_t i = g.first; i < g.first + g.count; i++)
    if (word_zero(superslab_word(i)) != ALL_FREE) return;
  if (!os_huge(address_of(g.first), g.count * SUPERSLAB_BYTES)) return;
  for (size_t i = g.first; i < g.first + g.count; i++)
    store_relaxed(&state_bytes[i], (uint8_t)STATE_WHOLE);
}
