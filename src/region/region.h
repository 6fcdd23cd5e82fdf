/* region.h — the address window that superslabs are taken from, and its growth.
 *
 * Reserved: one PROT_NONE reservation, a power of two >= 4 x RAM between 32 GiB and 16 TiB, halved
 * when refused; committed in steps together with the slab map and the slab records.
 * Window (finite RLIMIT_AS): nothing is reserved; superslabs are mapped on demand at addresses of
 * a window chosen once; map and records are sized by the limit.
 *
 * Does not own: which chunks are in use (superslab.c). Lock: region (rank 7) for growth.
 */
#ifndef REGION_H
#define REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"
#include "slab_map.h"

/* Choose and reserve. False when the machine gives not even one superslab: every request that
 * needs the region then fails, and the process runs on own mappings. Called once, while booting. */
HAK_MUST_USE bool region_init(uint64_t wanted_bytes);

/* Make at least one more superslab usable and announce it (superslab_announce). False when the
 * region is used up or the kernel has no memory. The caller holds an outermost lock. */
HAK_MUST_USE bool region_grow(void);

/* True when address space is limited so tightly that rounding to chunks and half-used slabs would
 * cost a program more than system calls do. Constant after init. */
bool region_is_scarce(void);
/* True when superslabs are mapped on demand, under a limit of address space. Constant after init.
 */
HAK_MUST_USE bool region_is_window(void);
/* Address space that may hold objects, in bytes (reserved or window). Constant after init. */
size_t region_bytes(void);
/* Bytes of the region that are readable and writable. */
size_t region_committed_bytes(void);
/* Bytes of address space or memory that the slab map, records and words occupy (committed). */
size_t region_meta_bytes(void);

/* A slab record's storage: RECORD_BYTES a chunk, zero until first used. See slab/slab.h. */
enum { RECORD_BYTES = 64 };
HAK_INLINE void *region_record(size_t chunk) { return region_records + chunk * RECORD_BYTES; }

#endif
