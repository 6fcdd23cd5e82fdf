/* ops.c — see ops.h. Owns: the counters.
 */
#include "ops.h"

#include "base_atomic.h"
#include "heap.h"
#include "os_check.h"
#include "slab_map.h"

enum { SHARD_COUNT = 64 }; /* arbitrary; a power of two */

struct ops_shard {
  _Atomic(size_t) out[OPS_KIND_COUNT];
  _Atomic(size_t) back[OPS_KIND_COUNT];
  _Atomic(size_t) stay;
} HAK_CACHE_ALIGNED;

static struct ops_shard shards[SHARD_COUNT] HAK_LARGE_BSS;

static struct ops_shard *shard_of_thread(void) {
  ASSERT(heap_current != NULL);
  return &shards[heap_id(heap_current) % SHARD_COUNT];
}

uint32_t ops_kind_of(const void *p) {
  if (p == NULL) return OPS_NONE;
  size_t i = chunk_index(p);
  if (i >= region_chunk_count) return OPS_OUTSIDE;
  uint32_t entry = map_load(i);
  ASSERT(!map_entry_is_slab(entry) || map_entry_class(entry) < CLASS_COUNT);
  return map_entry_is_slab(entry) ? map_entry_class(entry) : OPS_RUN;
}

void ops_count_out(const void *p) {
  uint32_t kind = ops_kind_of(p);
  if (kind != OPS_NONE) add_relaxed(&shard_of_thread()->out[kind], (size_t)1);
}

void ops_count_back(const void *p) {
  uint32_t kind = ops_kind_of(p);
  if (kind != OPS_NONE) add_relaxed(&shard_of_thread()->back[kind], (size_t)1);
}

/* realloc of NULL is malloc, to 0 bytes free; where it fails the object stays. A run that became a
 * mapping counts as moved. */
void ops_count_resize(uint32_t old, const void *p, bool is_same) {
  uint32_t kind = ops_kind_of(p);
  ASSERT(old <= OPS_NONE && (!is_same || p != NULL));
  struct ops_shard *shard = shard_of_thread();
  if (is_same && kind == old) {
    add_relaxed(&shard->stay, (size_t)1);
    return;
  }
  if (old != OPS_NONE) add_relaxed(&shard->back[old], (size_t)1);
  if (kind != OPS_NONE) add_relaxed(&shard->out[kind], (size_t)1);
}

void ops_collect(struct ops_totals *out) {
  *out = (struct ops_totals){0};
  for (size_t i = 0; i < SHARD_COUNT; i++) {
    for (size_t kind = 0; kind < OPS_KIND_COUNT; kind++) {
      out->out_count[kind] += load_relaxed(&shards[i].out[kind]);
      out->back_count[kind] += load_relaxed(&shards[i].back[kind]);
    }
    out->stay_count += load_relaxed(&shards[i].stay);
  }
}
