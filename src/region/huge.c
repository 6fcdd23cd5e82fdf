/* huge.c — see huge.h. Owns: the bytes, the kernel's mode as it was at the start.
 */
#include "huge.h"

#include "base_atomic.h"
#include "base_ms.h"
#include "base_size.h"
#include "limit.h"
#include "meta.h"
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
  DENSE_SHARE = 8,      /* of a group, or superslab, that may be untouched. Arbitrary */
  SPARE_SHARE = 256,    /* of what is in use, that may be untouched too: docs/decisions/0029 */
  WARM_SHARE = 64,      /* of what may stay warm, likewise */
  FAST_MS = 16, /* some coarse ticks for a group: 500 MB a second, a load that fills memory */
};
/* Each home begins superslabs of its own: two are a 16th of it. */
static const size_t AUTO_MIN_BYTES = 64 * MIB;
static const size_t FAST_MIN_BYTES = 16 * MIB;
/* Metadata is on huge pages, too, then: one is a 128th of it. */
static const size_t META_MIN_BYTES = 256 * MIB;
static const size_t GROWING_MIN_BYTES = 16 * MIB;

/* What becomes of a superslab: PLAIN until advised; BROKEN once a part of it was given back. */
enum { PLAIN, WHOLE, BROKEN };
static _Atomic(uint8_t) *state_bytes; /* the pointer is constant after init */
static enum os_thp_mode mode;         /* constant after init */
/* Under the region's lock: of the group that the heap grows into. */
static uint64_t group_ms;
static bool group_is_huge;

void huge_init(void *bytes) {
  state_bytes = bytes;
  mode = os_thp_mode();
}

static void *address_of(size_t superslab) { return chunk_address(superslab * SUPERSLAB_CHUNKS); }

/* Nearly all pages of the group before are resident: what the heap claims it uses. A heap that
 * grows by many classes at once leaves as much untouched at any size: what a large one can spare,
 * and who lets much stay warm. Of huge pages all are resident: who has them once goes on. Any errno
 * of mincore: not known, no.
 */
static bool is_dense(size_t superslab, size_t in_use) {
  ASSERT(superslab % GROUP_SUPERSLABS == 0);
  if (superslab < GROUP_SUPERSLABS) return false;
  size_t before = superslab - GROUP_SUPERSLABS, resident = 0;
  if (huge_is_whole(before)) return true;
  for (size_t i = before; i < superslab; i++)
    resident += os_resident_pages(address_of(i), SUPERSLAB_BYTES);
  size_t pages = GROUP_SUPERSLABS * SUPERSLAB_BYTES / os_page_bytes();
  ASSERT(resident <= pages);
  size_t warm = (size_t)rt_option(RT_OPTION_WARM_POOL_BYTES) / WARM_SHARE;
  size_t spare = size_max(in_use / SPARE_SHARE, warm) / os_page_bytes();
  spare = size_min(spare, pages / DENSE_SHARE);
  return resident >= pages - spare;
}

/* For so many bytes, of which a fault makes 2 MiB resident where a chunk is counted. */
static bool is_allowed(size_t bytes) {
  uint64_t option = rt_option(RT_OPTION_THP);
  if (mode == OS_THP_NEVER || state_bytes == NULL || option == RT_THP_NEVER) return false;
  return option == RT_THP_ALWAYS || limit_is_far(bytes);
}

/* Of the group that begins there, which the heap is about to grow into. */
static bool is_wanted(size_t superslab, bool is_fast) {
  if (!is_allowed(GROUP_SUPERSLABS * SUPERSLAB_BYTES)) return false;
  if (rt_option(RT_OPTION_THP) == RT_THP_ALWAYS) return true;
  size_t in_use = superslab_claimed_bytes(), below = superslab * SUPERSLAB_BYTES;
  bool is_large = in_use >= AUTO_MIN_BYTES ||
                  (is_fast && below >= FAST_MIN_BYTES && in_use >= FAST_MIN_BYTES / 2);
  return is_large && is_dense(superslab, in_use);
}

bool huge_is_for_growing(size_t bytes) {
  uint64_t option = rt_option(RT_OPTION_THP);
  if (mode == OS_THP_NEVER || state_bytes == NULL || option == RT_THP_NEVER) return false;
  return bytes >= (option == RT_THP_ALWAYS ? 2 * SUPERSLAB_BYTES : GROWING_MIN_BYTES);
}

void huge_note_commit(size_t first, size_t count) {
  ASSERT(count != 0);
  if (mode == OS_THP_ALWAYS) os_no_huge(address_of(first), count * SUPERSLAB_BYTES);
}

void huge_note_growth(size_t superslab) {
  ASSERT(superslab * SUPERSLAB_BYTES < region_bytes());
  if (state_bytes == NULL) return;
  if (superslab % GROUP_SUPERSLABS == 0) {
    uint64_t now_ms = os_coarse_ms();
    group_is_huge = is_wanted(superslab, ms_since(group_ms, now_ms) <= FAST_MS);
    group_ms = now_ms;
    ASSERT(!group_is_huge || mode != OS_THP_NEVER);
    meta_set_huge(group_is_huge && superslab_claimed_bytes() >= META_MIN_BYTES);
  }
  group_is_huge = group_is_huge && is_allowed(SUPERSLAB_BYTES); /* a look may have come since */
  if (group_is_huge && os_huge(address_of(superslab), SUPERSLAB_BYTES))
    store_relaxed(&state_bytes[superslab], (uint8_t)WHOLE);
}

bool huge_is_whole(size_t superslab) {
  return state_bytes != NULL && load_relaxed(&state_bytes[superslab]) == WHOLE;
}

struct group {
  size_t first, count; /* superslabs, of those announced */
};

static struct group group_of(size_t superslab) {
  size_t first = superslab / GROUP_SUPERSLABS * GROUP_SUPERSLABS;
  size_t end = superslab_chunk_end() / SUPERSLAB_CHUNKS;
  ASSERT(superslab < end);
  return (struct group){first, size_min(GROUP_SUPERSLABS, end - first)};
}

void huge_break(size_t superslab) {
  if (HAK_LIKELY(!huge_is_whole(superslab))) return;
  struct group g = group_of(superslab);
  ASSERT(g.count != 0 && superslab - g.first < g.count);
  os_no_huge(address_of(g.first), g.count * SUPERSLAB_BYTES);
  for (size_t i = g.first; i < g.first + g.count; i++)
    if (huge_is_whole(i)) store_relaxed(&state_bytes[i], (uint8_t)BROKEN);
}

void huge_note_run(const void *p, size_t bytes) {
  ASSERT(bytes != 0 && bytes <= region_bytes());
  size_t chunk_count = (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
  size_t last_chunk = chunk_index(p) + chunk_count - 1;
  size_t superslab = last_chunk / SUPERSLAB_CHUNKS;
  if (HAK_LIKELY(!huge_is_whole(superslab)) || rt_option(RT_OPTION_THP) == RT_THP_ALWAYS) return;
  size_t fit = size_max(SUPERSLAB_CHUNKS / chunk_count, 1); /* more than one: in one superslab */
  size_t taken = size_round_up(chunk_count * CHUNK_BYTES, SUPERSLAB_BYTES);
  size_t used = fit * size_round_up(bytes, os_page_bytes());
  ASSERT(used <= taken);
  if (taken - used < SUPERSLAB_BYTES / DENSE_SHARE) return;
  size_t mine = size_min(chunk_count, last_chunk % SUPERSLAB_CHUNKS + 1); /* of the last one */
  size_t untouched = (size_t)__builtin_popcount(word_zero(superslab_word(superslab)));
  if (untouched + mine == SUPERSLAB_CHUNKS) huge_break(superslab);
}

void huge_note_purge(size_t superslab) {
  if (superslab_claimed_bytes() < META_MIN_BYTES) meta_set_huge(false);
  if (state_bytes == NULL || huge_is_whole(superslab)) return;
  struct group g = group_of(superslab);
  if (!is_allowed(g.count * SUPERSLAB_BYTES)) return;
  ASSERT(g.count != 0 && g.count <= GROUP_SUPERSLABS);
  for (size_t i = g.first; i < g.first + g.count; i++) {
    if (word_zero(superslab_word(i)) != ALL_FREE) return;
    /* What a small heap grew into, or one that used little of it, is likely to be so again. */
    bool is_plain = load_relaxed(&state_bytes[i]) == PLAIN;
    if (is_plain && rt_option(RT_OPTION_THP) != RT_THP_ALWAYS) return;
  }
  if (!os_huge(address_of(g.first), g.count * SUPERSLAB_BYTES)) return;
  for (size_t i = g.first; i < g.first + g.count; i++)
    store_relaxed(&state_bytes[i], (uint8_t)WHOLE);
}
