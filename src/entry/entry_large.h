/* entry_large.h — requests above CLASS_SIZE_MAX, or with an alignment that no class has.
 *
 *   up to 4 MiB, alignment to 2 MiB   a run of chunks in the region
 *   else                              a mapping of its own
 *   where the one is refused          the other
 */
#ifndef ENTRY_LARGE_H
#define ENTRY_LARGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"
#include "heap.h"

/* n bytes at a multiple of `align` (a power of two). NULL with ENOMEM. Zeroed if asked for,
 * without touching pages that are zero already. */
HAK_MUST_USE void *entry_large_alloc(size_t n, size_t align, bool zero);
/* n bytes with a mapping of their own, or NULL; errno is left alone. */
HAK_MUST_USE void *entry_large_try_mapping(size_t n);
/* n bytes, not aligned, for a block that grows: the caller will write to them, so that they count
 * whole against a limit (limit.h). */
HAK_MUST_USE void *entry_large_alloc_grown(size_t n);

/* p is the first byte of chunk i, or should be: the map says RUN. */
void entry_large_free_run(void *p, size_t i);
/* p lies outside the region. */
void entry_large_free_mapping(void *p);

/* All freed mappings that wait to be used again go back to the kernel. Bytes. The caller holds no
 * lock. */
size_t entry_large_purge(void);
/* Those that have waited too long. The caller holds no lock. */
void entry_large_expire(uint64_t now_ms);
/* The same in a tick of the calling thread's heap h, which holds no lock: it waits for none. */
void entry_large_tick(struct heap *h, uint64_t now_ms);

/* True when p is the start of an object with a mapping of its own. */
bool entry_large_is_mapping(const void *p);

enum entry_large_move { LARGE_MOVED, LARGE_STAYS, LARGE_MUST_COPY };
/* Try to give the run at chunk i, or the mapping of old_bytes at p, room for n bytes without
 * copying. *out: where it is now. LARGE_STAYS: refused for lack of memory, the object is intact. */
enum entry_large_move entry_large_resize_run(void *p, size_t i, size_t n, void **out);
enum entry_large_move entry_large_resize_mapping(void *p, size_t old_bytes, size_t n, void **out);

#endif
