/* os_mem.h — memory from the kernel: the whole contract that the layers above rely on.
 * Owns: mapping, committing, purging, naming. Does not own: which part of the region is in use
 * (region/). No function here allocates, locks, prints or changes errno.
 * All addresses and sizes are multiples of os_page_bytes(), else the call is refused.
 */
#ifndef OS_MEM_H
#define OS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* Read the machine's facts once (page size, ...). Idempotent; called before anything else here. */
void os_mem_init(void);
/* Page size in bytes: 4, 16 or 64 KiB, found at run time. */
size_t os_page_bytes(void);
/* RAM in bytes; a conservative 1 GiB where the kernel does not say. */
uint64_t os_ram_bytes(void);
/* Processors that this process may run on, at least 1. */
HAK_MUST_USE uint32_t os_cpu_count(void);
/* RLIMIT_AS in bytes; UINT64_MAX when unlimited or unknown. */
uint64_t os_address_limit_bytes(void);
/* Who gets transparent huge pages: nobody (also when it cannot be read), who asks, all. */
enum os_thp_mode { OS_THP_NEVER, OS_THP_MADVISE, OS_THP_ALWAYS };
HAK_MUST_USE enum os_thp_mode os_thp_mode(void);

/* Address space without memory (PROT_NONE, no swap reserved), aligned to `align` (a power of two
 * >= the page size). NULL on any errno: the caller asks for less. Given back by os_unmap. */
HAK_MUST_USE void *os_reserve(size_t size, size_t align);
/* Make a part of a reservation readable and writable. False on any errno (ENOMEM under overcommit
 * limits): the caller does without. Contents: zero where never committed before. */
HAK_MUST_USE bool os_commit(void *p, size_t size);
/* Make a part of a reservation readable: zeros, without memory behind them. False on any errno. */
HAK_MUST_USE bool os_make_readable(void *p, size_t size);
/* Fresh zeroed memory anywhere; NULL on any errno. */
HAK_MUST_USE void *os_map(size_t size);
/* Fresh zeroed memory aligned to `align` (a power of two > page size); NULL on any errno. */
HAK_MUST_USE void *os_map_aligned(size_t size, size_t align);
/* Fresh zeroed memory exactly at p, never over another mapping (MAP_FIXED_NOREPLACE, and the
 * address checked on kernels that ignore the flag). False on any errno. */
HAK_MUST_USE bool os_map_at(void *p, size_t size);
/* Give address space back. False on any errno (ENOMEM when the kernel may not split a mapping):
 * the pages are then purged instead where possible, and the address space is leaked. */
HAK_MUST_USE bool os_unmap(void *p, size_t size);
/* Give the pages back, keep the address space; they read as zero afterwards. True only when the
 * kernel said yes for the whole range: only then may anyone call the range zero. */
HAK_MUST_USE bool os_purge(void *p, size_t size);
/* Give every page of the range memory now; one that reads as zero goes on doing so. False when
 * there was none for some of them (or a filter): they may have got it or not. */
HAK_MUST_USE bool os_populate(void *p, size_t size);
/* Let the kernel take the pages when it wants them (MADV_FREE, since Linux 4.5): until then they
 * keep their contents, and whoever writes to one keeps it. False on any errno. */
HAK_MUST_USE bool os_purge_lazily(void *p, size_t size);
/* Pages of the range that are resident; 0 on any errno, and of more than 512 pages. */
HAK_MUST_USE size_t os_resident_pages(void *p, size_t size);
/* Grow or shrink a mapping, moving it where needed (mremap MAYMOVE). NULL on any errno: the old
 * mapping is then untouched. */
HAK_MUST_USE void *os_remap(void *p, size_t old_size, size_t new_size);
/* The same, and it begins at a multiple of `align` then where address space allows. */
HAK_MUST_USE void *os_remap_aligned(void *p, size_t old_size, size_t new_size, size_t align);
/* Advice only; every errno is survived by doing without. */
void os_name(void *p, size_t size, const char *name);
void os_no_huge(void *p, size_t size);
/* Ask for huge pages where whole ones fit. False on any errno: there are none. */
HAK_MUST_USE bool os_huge(void *p, size_t size);
/* Ask that the (page-aligned) range read as zero in the child of any fork, handlers or not
 * (MADV_WIPEONFORK). False when the kernel cannot. */
HAK_MUST_USE bool os_wipe_on_fork(void *p, size_t size);

#endif
