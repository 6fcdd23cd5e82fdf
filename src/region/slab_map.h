/* slab_map.h — the slab map: who owns a chunk, and of which class its objects are.
 *
 *   bits 31..12  heap id, or one of the reserved ids below
 *   bits 11..5   size class of its objects, or MAP_CLASS_OTHER. A freed slab keeps its class, for
 *                the message should one of its objects be freed again. Entry 0: never allocated.
 *   bits  4..0   zero: what is left of an entry when the heap's key is taken away is the offset of
 *                the class's bin in the heap
 *
 * One relaxed atomic uint32_t a chunk; all that `free` looks up. Written before an object of the
 * chunk is handed out, by whoever claimed the chunk (superslab.h), under that heap's lock.
 */
#ifndef SLAB_MAP_H
#define SLAB_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"

enum {
  CHUNK_SHIFT = 16,
  CHUNK_BYTES = 1 << CHUNK_SHIFT,
  SUPERSLAB_CHUNKS = 32,
  SUPERSLAB_BYTES = SUPERSLAB_CHUNKS * CHUNK_BYTES,

  MAP_ID_SHIFT = 12,
  MAP_CLASS_SCALE = 32, /* bytes of a bin */
  MAP_CLASS_MAX = (1 << MAP_ID_SHIFT) / MAP_CLASS_SCALE - 1,
  MAP_CLASS_OTHER = MAP_CLASS_MAX, /* no bin: large runs, freed chunks */
};

/* Heap ids 0 to 15 are reserved; 0 means that the chunk was never allocated. */
enum reserved_id {
  HEAP_ID_UNUSED = 0,
  HEAP_ID_NONE = 1,    /* key of the heap of threads that have none: never in the map */
  HEAP_ID_BOOTING = 2, /* while the process starts */
  HEAP_ID_EXIT = 3,    /* threads that have given up their heap */
  HEAP_ID_RUN = 4,     /* first chunk of a large object */
  HEAP_ID_RUN_REST = 5,
  HEAP_ID_FREED = 6,   /* was allocated, and is free */
  HEAP_ID_SAMPLED = 7, /* reserved for sampled objects: their free takes the slow path */
  HEAP_ID_FIRST = 16,
};

/* Read by every free; constant after init. Single variables, not a struct: each is then one
 * operand of an instruction, which saves free() the struct's address. */
extern HAK_HIDDEN uintptr_t region_base;     /* 2 MiB-aligned */
extern HAK_HIDDEN size_t region_chunk_count; /* of the reservation or window; 0 before init. All map
                                              * entries below it may be read, used or not */
extern HAK_HIDDEN _Atomic(uint32_t) *region_map;
extern HAK_HIDDEN char *region_records; /* RECORD_BYTES a chunk; only of superslabs announced */

HAK_INLINE uint32_t map_entry(uint32_t heap_id, uint32_t class_index) {
  return heap_id << MAP_ID_SHIFT | class_index * MAP_CLASS_SCALE;
}
HAK_INLINE uint32_t map_entry_id(uint32_t entry) { return entry >> MAP_ID_SHIFT; }
/* The class bits, whatever the id. */
HAK_INLINE uint32_t map_entry_class(uint32_t entry) {
  return entry / MAP_CLASS_SCALE & MAP_CLASS_MAX;
}
/* True when a heap owns the chunk: it is part of a slab, and its class bits name a class. */
HAK_INLINE bool map_entry_is_slab(uint32_t entry) {
  uint32_t id = map_entry_id(entry);
  return id >= HEAP_ID_FIRST || id == HEAP_ID_EXIT || id == HEAP_ID_BOOTING;
}

/* Index of the chunk that holds p; not below region_chunk_count when p is not in the region (NULL
 * included). */
HAK_INLINE size_t chunk_index(const void *p) { return ((uintptr_t)p - region_base) >> CHUNK_SHIFT; }
HAK_INLINE void *chunk_address(size_t index) {
  return (void *)(region_base + (index << CHUNK_SHIFT));
}
HAK_INLINE uint32_t map_load(size_t index) { return load_relaxed(&region_map[index]); }
/* For who goes on to the chunk's owner: it may be new to this thread, whatever led here. Pairs with
 * map_store. */
HAK_INLINE uint32_t map_load_acquire(size_t index) { return load_acquire(&region_map[index]); }
/* What was written of the chunks, and of their owner, before is there once the entry is: to a
 * handler of this thread or a child (docs/decisions/0005), and to map_load_acquire. */
HAK_INLINE void map_store(size_t first, size_t count, uint32_t entry) {
  for (size_t i = first; i < first + count; i++) store_release(&region_map[i], entry);
}

#endif
