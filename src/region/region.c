/* region.c — see region.h for the two ways of getting address space.
 *
 *   reserved:  [ superslab 0 | 1 | ... committed ... | ... PROT_NONE ... ]
 *   tables:    slab map 4 B, slab record 64 B a chunk; words 8 B, huge pages 1 B a superslab:
 *              reserved whole, committed in step with the region (rounded up to pages)
 *
 * Invariants: the slab map is readable whole and written only where committed; a superslab is
 * announced only once its map entries, records and word are committed.
 */
#include "region.h"

#include "base_size.h"
#include "huge.h"
#include "limit.h"
#include "os_check.h"
#include "os_limit.h"
#include "os_mem.h"
#include "purge.h"
#include "rt_lock.h"
#include "superslab.h"

uintptr_t region_base;
size_t region_chunk_count;
_Atomic(uint32_t) *region_map;
char *region_records;

static const size_t RESERVE_MAX = 16384 * GIB; /* above, the tables would outgrow their use */
static const size_t RESERVE_MIN = 32 * GIB;
static const size_t SCARCE_BYTES = 2 * GIB;     /* measured: see docs/decisions/0008 */
static const size_t COMMIT_STEP_MIN = 32 * MIB; /* 512 chunks: 2 KiB of map */
static const size_t COMMIT_STEP_MAX = 1024 * MIB;
enum {
  COMMIT_SHARE = 8, /* grow by an eighth of what is committed: few calls, few pages of tables */
  WINDOW_TRIES = 2, /* foreign mappings that may lie in the window before we call it full */
};

struct table {
  char *start;
  size_t bytes_per_superslab;
  size_t committed; /* bytes, a multiple of the page size; under region_lock */
};

static struct rt_lock region_lock = LOCK_INIT(LOCK_RANK_REGION);
enum { TABLE_MAP, TABLE_RECORDS, TABLE_WORDS, TABLE_HUGE, TABLE_COUNT };
static struct table tables[TABLE_COUNT];
static size_t superslab_limit;       /* constant after init */
static bool is_window;               /* constant after init */
static size_t superslabs_committed;  /* reserved mode; under region_lock */
static size_t superslabs_announced;  /* under region_lock */
static _Atomic(size_t) memory_bytes; /* of the region: readable and writable */
static _Atomic(size_t) tables_bytes;

bool region_is_window(void) { return is_window; }
bool region_is_scarce(void) { return is_window && region_bytes() < SCARCE_BYTES; }
size_t region_bytes(void) { return superslab_limit * SUPERSLAB_BYTES; }
size_t region_committed_bytes(void) { return load_relaxed(&memory_bytes); }
size_t region_meta_bytes(void) { return load_relaxed(&tables_bytes); }

static size_t table_bytes(const struct table *t, size_t superslabs) {
  return size_round_up(t->bytes_per_superslab * superslabs, os_page_bytes());
}

/* Make the tables reach `superslabs`. Growing is monotonic: a half-done attempt is continued by
 * the next one. */
static bool tables_commit(size_t superslabs) {
  for (size_t i = 0; i < HAK_COUNT_OF(tables); i++) {
    struct table *t = &tables[i];
    size_t need = table_bytes(t, superslabs);
    if (need <= t->committed) continue;
    if (!is_window && !os_commit(t->start + t->committed, need - t->committed)) return false;
    bump_relaxed(&tables_bytes, need - t->committed);
    t->committed = need;
  }
  return true;
}

static void tables_release(void) {
  for (size_t i = 0; i < HAK_COUNT_OF(tables); i++) {
    struct table *t = &tables[i];
    if (t->start == NULL) continue;
    /* Address space that cannot be given back is lost once, at start. */
    if (!os_unmap(t->start, table_bytes(t, superslab_limit))) continue;
    t->start = NULL;
  }
}

static bool tables_map(void) {
  tables[TABLE_MAP].bytes_per_superslab = SUPERSLAB_CHUNKS * sizeof(uint32_t);
  tables[TABLE_RECORDS].bytes_per_superslab = SUPERSLAB_CHUNKS * RECORD_BYTES;
  tables[TABLE_WORDS].bytes_per_superslab = SUPERSLAB_WORD_BYTES;
  tables[TABLE_HUGE].bytes_per_superslab = 1;
  bool is_mapped = true;
  size_t count = is_window ? TABLE_HUGE : TABLE_COUNT; /* a window has no huge pages */
  for (size_t i = 0; i < count && is_mapped; i++) {
    size_t size = table_bytes(&tables[i], superslab_limit);
    tables[i].committed = 0;
    tables[i].start = is_window ? os_map(size) : os_reserve(size, os_page_bytes());
    is_mapped = tables[i].start != NULL;
    if (is_mapped) os_name(tables[i].start, size, "hakmem:meta");
  }
  /* The slab map is readable from the start: a wild pointer finds an unused chunk there. */
  size_t map_size = table_bytes(&tables[TABLE_MAP], superslab_limit);
  if (is_mapped && !is_window) is_mapped = os_make_readable(tables[TABLE_MAP].start, map_size);
  if (!is_mapped) {
    tables_release();
    return false;
  }
  region_map = (_Atomic(uint32_t) *)(void *)tables[TABLE_MAP].start;
  region_records = tables[TABLE_RECORDS].start;
  purge_init();
  superslab_init((void *)tables[TABLE_WORDS].start);
  huge_init(is_window ? NULL : tables[TABLE_HUGE].start);
  return true;
}

static bool reserve_init(uint64_t wanted) {
  uint64_t target = wanted != 0 ? wanted : 4 * os_ram_bytes();
  if (wanted == 0 && target < RESERVE_MIN) target = RESERVE_MIN;
  if (target > RESERVE_MAX) target = RESERVE_MAX;
  size_t size = size_pow2_up(size_max((size_t)target, SUPERSLAB_BYTES));
  for (; size >= SUPERSLAB_BYTES; size /= 2) { /* at most 24 rounds */
    void *base = os_reserve(size, SUPERSLAB_BYTES);
    if (base == NULL) continue;
    superslab_limit = size / SUPERSLAB_BYTES;
    if (tables_map()) {
      region_base = (uintptr_t)base;
      os_name(base, size, "hakmem:heap");
      return true;
    }
    if (!os_unmap(base, size)) return false;
  }
  return false;
}

/* The window lies half-way between zero and where the kernel maps things: far from programs,
 * stacks and libraries, and as random as the kernel's own choice. */
static bool window_init(uint64_t limit_bytes) {
  void *probe = os_map(os_page_bytes());
  if (probe == NULL) return false;
  uintptr_t middle = size_round_down((uintptr_t)probe / 2, SUPERSLAB_BYTES);
  if (!os_unmap(probe, os_page_bytes())) return false;
  struct os_room room;
  if (os_address_room(&room) && room.used_bytes < limit_bytes) limit_bytes -= room.used_bytes;
  uint64_t bytes = limit_bytes < RESERVE_MAX ? limit_bytes : RESERVE_MAX;
  superslab_limit = size_round_up((size_t)bytes, SUPERSLAB_BYTES) / SUPERSLAB_BYTES + WINDOW_TRIES;
  is_window = true;
  for (; superslab_limit > 0; superslab_limit /= 2) { /* at most 24 rounds */
    if (!tables_map()) continue;
    region_base = middle;
    return true;
  }
  return false;
}

bool region_init(uint64_t wanted_bytes) {
  limit_init();
  uint64_t limit = os_address_limit_bytes();
  bool is_ready = limit == UINT64_MAX ? reserve_init(wanted_bytes) : window_init(limit);
  if (!is_ready) superslab_limit = 0;
  region_chunk_count = superslab_limit * SUPERSLAB_CHUNKS;
  return is_ready;
}

static void announce(size_t index, uint32_t usable_chunks) {
  ASSERT(index < superslab_limit);
  superslabs_announced = index + 1;
  huge_note_growth(index);
  superslab_announce(index, usable_chunks);
}

static bool reserve_grow(void) {
  ASSERT(superslabs_announced <= superslabs_committed && superslabs_committed <= superslab_limit);
  if (superslabs_announced == superslabs_committed) {
    size_t step = superslabs_committed * (SUPERSLAB_BYTES / COMMIT_SHARE);
    step = size_min(size_max(step, COMMIT_STEP_MIN), COMMIT_STEP_MAX) / SUPERSLAB_BYTES;
    step = size_min(step, superslab_limit - superslabs_committed);
    for (; step > 0; step /= 2) { /* at most 10 rounds */
      char *from = (char *)region_base + superslabs_committed * SUPERSLAB_BYTES;
      if (!tables_commit(superslabs_committed + step)) continue;
      if (!os_commit(from, step * SUPERSLAB_BYTES)) continue;
      huge_note_commit(superslabs_committed, step);
      superslabs_committed += step;
      bump_relaxed(&memory_bytes, step * SUPERSLAB_BYTES);
      break;
    }
    if (step == 0) return false;
  }
  announce(superslabs_announced, SUPERSLAB_CHUNKS);
  return true;
}

/* Near the limit a whole superslab no longer fits: take what does, halving down to a chunk. */
static bool window_grow(void) {
  ASSERT(is_window && superslabs_announced <= superslab_limit);
  uint32_t chunks = SUPERSLAB_CHUNKS;
  for (int tries = 0; tries < WINDOW_TRIES; tries++) {
    size_t index = superslabs_announced;
    if (index >= superslab_limit || !tables_commit(index + 1)) return false;
    char *at = (char *)region_base + index * SUPERSLAB_BYTES;
    for (chunks = SUPERSLAB_CHUNKS; chunks > 0; chunks /= 2) {
      if (os_map_at(at, (size_t)chunks * CHUNK_BYTES)) break;
    }
    if (chunks > 0) {
      size_t size = (size_t)chunks * CHUNK_BYTES;
      os_name(at, size, "hakmem:heap");
      bump_relaxed(&memory_bytes, size);
      huge_note_commit(index, 1);
      announce(index, chunks);
      return true;
    }
    /* Either no memory is left, or something else lives here: only the kernel can tell. */
    void *probe = os_map(CHUNK_BYTES);
    if (probe == NULL || !os_unmap(probe, CHUNK_BYTES)) return false;
    announce(index, 0);
  }
  return false;
}

bool region_grow(void) {
  if (superslab_limit == 0) return false;
  lock_nested(&region_lock);
  bool is_grown = false;
  if (superslabs_announced < superslab_limit) is_grown = is_window ? window_grow() : reserve_grow();
  lock_leave(&region_lock);
  return is_grown;
}
