/* run.c — see run.h.
 */
#include "run.h"

#include "base_atomic.h"
#include "base_size.h"
#include "os_check.h"
#include "region.h"
#include "slab_map.h"
#include "superslab.h"

struct run {
  uint32_t chunk_count;  /* written by the run's owner only */
  uint32_t growth_count; /* growing reallocs so far */
};
_Static_assert(sizeof(struct run) <= RECORD_BYTES, "one record a chunk");

static _Atomic(size_t) alloc_count;
static _Atomic(size_t) total_bytes;

static struct run *run_of(uint32_t chunk) { return region_record(chunk); }

static bool run_is_valid(uint32_t chunk) {
  const struct run *r = run_of(chunk);
  if (r->chunk_count == 0 || chunk + r->chunk_count > region_chunk_count) return false;
  return r->chunk_count == 1 || map_load(chunk + 1) == map_entry(HEAP_ID_RUN_REST, MAP_CLASS_OTHER);
}

static void map_run(uint32_t chunk, uint32_t count) {
  map_store(chunk + 1, count - 1, map_entry(HEAP_ID_RUN_REST, MAP_CLASS_OTHER));
  map_store(chunk, 1, map_entry(HEAP_ID_RUN, MAP_CLASS_OTHER));
}

void *run_alloc(size_t bytes, size_t align, size_t preferred, bool *is_zero) {
  ASSERT(bytes != 0 && size_is_pow2(align) && align <= SUPERSLAB_BYTES);
  if (bytes > region_bytes()) return NULL;
  uint32_t count = (uint32_t)((bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
  uint32_t step = align <= CHUNK_BYTES ? 1 : (uint32_t)(align / CHUNK_BYTES);
  struct chunk_run chunks = superslab_claim(count, step, preferred);
  if (chunks.first == CHUNK_NONE) return NULL;
  *is_zero = chunks.is_zero;
  struct run *r = run_of(chunks.first);
  r->chunk_count = count;
  r->growth_count = 0;
  map_run(chunks.first, count);
  ASSERT(run_is_valid(chunks.first));
  add_relaxed(&alloc_count, (size_t)1);
  add_relaxed(&total_bytes, (size_t)count * CHUNK_BYTES);
  return chunk_address(chunks.first);
}

bool run_free(uint32_t chunk) {
  ASSERT(chunk < region_chunk_count);
  uint32_t count = run_of(chunk)->chunk_count;
  uint32_t expected = map_entry(HEAP_ID_RUN, MAP_CLASS_OTHER);
  uint32_t freed = map_entry(HEAP_ID_FREED, MAP_CLASS_OTHER);
  if (!cas_acq_rel(&region_map[chunk], &expected, freed)) return false;
  ASSERT(count != 0);
  map_store(chunk + 1, count - 1, freed);
  sub_relaxed(&total_bytes, (size_t)count * CHUNK_BYTES);
  superslab_release(chunk, count);
  return true;
}

size_t run_bytes(uint32_t chunk) {
  ASSERT(run_is_valid(chunk));
  return (size_t)run_of(chunk)->chunk_count * CHUNK_BYTES;
}

bool run_resize(uint32_t chunk, size_t bytes) {
  ASSERT(run_is_valid(chunk));
  struct run *r = run_of(chunk);
  if (bytes == 0 || bytes > region_bytes()) return false;
  uint32_t count = (uint32_t)((bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
  if (count > r->chunk_count) {
    uint32_t more = count - r->chunk_count;
    bool is_zero;
    if (chunk % SUPERSLAB_CHUNKS + count > SUPERSLAB_CHUNKS) return false;
    if (!superslab_claim_at(chunk + r->chunk_count, more, &is_zero)) return false;
    map_store(chunk + r->chunk_count, more, map_entry(HEAP_ID_RUN_REST, MAP_CLASS_OTHER));
    add_relaxed(&total_bytes, (size_t)more * CHUNK_BYTES);
    r->chunk_count = count;
  } else if (count < r->chunk_count) {
    uint32_t less = r->chunk_count - count;
    r->chunk_count = count;
    map_store(chunk + count, less, map_entry(HEAP_ID_FREED, MAP_CLASS_OTHER));
    sub_relaxed(&total_bytes, (size_t)less * CHUNK_BYTES);
    superslab_release(chunk + count, less);
  }
  ASSERT(run_is_valid(chunk));
  return true;
}

uint32_t run_count_growth(uint32_t chunk) {
  ASSERT(run_is_valid(chunk));
  return ++run_of(chunk)->growth_count;
}

size_t run_alloc_count(void) { return load_relaxed(&alloc_count); }
size_t run_total_bytes(void) { return load_relaxed(&total_bytes); }
