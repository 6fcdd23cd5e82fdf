/* os_mem.c — memory from the kernel, over os_sys.h (see os_mem.h for the contract).
 * Owns: alignment by over-mapping, the fall-backs. Every errno of every call here is survived, as
 * each says: seccomp, RLIMIT_AS, overcommit limits and the limit on mappings are the caller's
 * machine, not a bug. A refused argument is answered like an errno.
 */
#define _GNU_SOURCE 1
#include "os_mem.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "base_atomic.h"
#include "base_format.h"
#include "base_size.h"
#include "os_check.h"
#include "os_sys.h"
#include "os_syscall.h"

/* Missing from the headers of older C libraries. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

enum { PAGE_BYTES_MIN = 4096 };
enum { RESIDENT_PAGES_MAX = 512 }; /* a superslab's at most: half a KiB of stack */
enum { CPU_SET_WORDS = 128 };      /* 8,192 processors: the most a kernel is built for */
#define RAM_BYTES_UNKNOWN ((uint64_t)GIB)

enum { MAP_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS };

/* Constant after os_mem_init; atomic because two threads may both be the first. */
static _Atomic(size_t) page_bytes;

void os_mem_init(void) {
  if (load_relaxed(&page_bytes) != 0) return;
  size_t page = os_sys_page_bytes();
  CHECK(size_is_pow2(page) && page >= PAGE_BYTES_MIN);
  store_relaxed(&page_bytes, page);
}

size_t os_page_bytes(void) {
  size_t page = load_relaxed(&page_bytes);
  ASSERT(page != 0);
  return page;
}

/* sysinfo. Any errno (seccomp): a guess that fits small machines. */
uint64_t os_ram_bytes(void) {
  struct sysinfo info = {0};
  if (os_syscall3(SYS_sysinfo, (long)&info, 0, 0) != 0 || info.totalram == 0)
    return RAM_BYTES_UNKNOWN;
  return (uint64_t)info.totalram * (info.mem_unit != 0 ? info.mem_unit : 1);
}

/* sched_getaffinity. EINVAL (more processors than the set has room for), or any errno of a filter:
 * taken as one. */
uint32_t os_cpu_count(void) {
  uint64_t set[CPU_SET_WORDS] = {0};
  long bytes = os_syscall3(SYS_sched_getaffinity, 0, sizeof set, (long)set);
  uint32_t count = 0;
  for (long i = 0; i < bytes / (long)sizeof *set; i++)
    count += (uint32_t)__builtin_popcountll(set[i]);
  return count != 0 ? count : 1;
}

/* prlimit64. Any errno (seccomp): taken as unlimited; a reservation that is too large then fails
 * and is asked for again, smaller. */
uint64_t os_address_limit_bytes(void) {
  struct {
    uint64_t soft, hard;
  } limit = {UINT64_MAX,
             UINT64_MAX}; /* the kernel's struct rlimit64; its "unlimited" is all ones */
  if (os_syscall6(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit, 0, 0) != 0) return UINT64_MAX;
  return limit.soft;
}

/* Any errno (no /sys, no such kernel option): nobody. The chosen mode stands in brackets. */
enum os_thp_mode os_thp_mode(void) {
  char modes[64];
  if (os_sys_thp_modes(modes, sizeof modes) <= 0) return OS_THP_NEVER;
  const char *chosen = modes;
  while (*chosen != '\0' && *chosen != '[') chosen++;
  if (text_starts_with(chosen, "[always]")) return OS_THP_ALWAYS;
  return text_starts_with(chosen, "[madvise]") ? OS_THP_MADVISE : OS_THP_NEVER;
}

static bool range_is_valid(const void *p, size_t size) {
  return size != 0 && (((uintptr_t)p | size) & (os_page_bytes() - 1)) == 0;
}

static bool has_failed(long result) { return (unsigned long)result > -4096UL; }

/* munmap of what was mapped in excess. Any errno: the address space stays lost; it holds no
 * memory, since nobody has touched it. */
static void excess_unmap(uintptr_t p, size_t size) {
  if (size != 0) (void)os_sys_munmap((void *)p, size); /* errno survived, see above */
}

/* mmap at a multiple of `align`: map `align` - page more, then cut both ends. Any errno: NULL. */
static void *map_aligned(size_t size, size_t align, int prot, int flags) {
  size_t page = os_page_bytes(), whole;
  if (!range_is_valid(NULL, size) || !size_is_pow2(align) || align < page ||
      !size_add(size, align - page, &whole))
    return NULL;
  long at = os_sys_mmap(NULL, whole, prot, MAP_FLAGS | flags);
  if (has_failed(at)) return NULL;
  uintptr_t start = (uintptr_t)at, first = size_round_up(start, align);
  excess_unmap(start, first - start);
  excess_unmap(first + size, start + whole - (first + size));
  return (void *)first;
}

/* mmap. Any errno: NULL, the caller asks for less. */
void *os_reserve(size_t size, size_t align) {
  return map_aligned(size, align, PROT_NONE, MAP_NORESERVE);
}

/* mprotect. Any errno (ENOMEM: overcommit or too many mappings): false, the caller does without. */
bool os_commit(void *p, size_t size) {
  return range_is_valid(p, size) && os_sys_mprotect(p, size, PROT_READ | PROT_WRITE) == 0;
}

/* mprotect. Any errno: false, the caller reserves less. */
bool os_make_readable(void *p, size_t size) {
  return range_is_valid(p, size) && os_sys_mprotect(p, size, PROT_READ) == 0;
}

/* mmap. Any errno: NULL, the caller reports out of memory or does without. */
void *os_map(size_t size) { return map_aligned(size, os_page_bytes(), PROT_READ | PROT_WRITE, 0); }

/* mmap. Any errno: as os_map. */
void *os_map_aligned(size_t size, size_t align) {
  return map_aligned(size, align, PROT_READ | PROT_WRITE, 0);
}

/* mmap. Any errno (EEXIST: taken; EOPNOTSUPP, EINVAL: no such flag): false. Kernels before 4.17
 * take the flag for a hint and may map elsewhere. */
bool os_map_at(void *p, size_t size) {
  if (p == NULL || !range_is_valid(p, size)) return false;
  long at = os_sys_mmap(p, size, PROT_READ | PROT_WRITE, MAP_FLAGS | MAP_FIXED_NOREPLACE);
  if (has_failed(at)) return false;
  if ((void *)at == p) return true;
  excess_unmap((uintptr_t)at, size);
  return false;
}

/* munmap. Any errno (ENOMEM: splitting would exceed the limit on mappings): give the pages back,
 * lose the address space. */
bool os_unmap(void *p, size_t size) {
  if (!range_is_valid(p, size)) return false;
  if (os_sys_munmap(p, size) == 0) return true;
  (void)os_sys_madvise(p, size, MADV_DONTNEED); /* where it fails, the pages are lost too */
  return false;
}

/* madvise(MADV_DONTNEED). Any errno (EINVAL: locked pages): false, the range counts as dirty. */
bool os_purge(void *p, size_t size) {
  return range_is_valid(p, size) && os_sys_madvise(p, size, MADV_DONTNEED) == 0;
}

/* madvise(MADV_POPULATE_WRITE), since Linux 5.14. EINVAL (an old kernel): each page is written to.
 * Any other errno (ENOMEM, EFAULT): false; to write would end the process then. */
bool os_populate(void *p, size_t size) {
  if (!range_is_valid(p, size)) return false;
  long result = os_sys_madvise(p, size, MADV_POPULATE_WRITE);
  if (result != -EINVAL) return result == 0;
  for (size_t i = 0; i < size; i += os_page_bytes()) ((volatile char *)p)[i] = 0;
  return true;
}

/* madvise(MADV_FREE). Any errno (EINVAL: locked pages, or an old kernel): false, as above. */
bool os_purge_lazily(void *p, size_t size) {
  return range_is_valid(p, size) && os_sys_madvise(p, size, MADV_FREE) == 0;
}

/* mincore. Any errno (seccomp): 0, as if nothing were. */
size_t os_resident_pages(void *p, size_t size) {
  unsigned char state[RESIDENT_PAGES_MAX] = {0};
  size_t pages = size / os_page_bytes(), count = 0;
  if (!range_is_valid(p, size) || pages > sizeof state) return 0;
  if (os_syscall3(SYS_mincore, (long)p, (long)size, (long)state) != 0) return 0;
  for (size_t i = 0; i < pages; i++) count += state[i] & 1;
  return count;
}

/* mremap. Any errno: NULL, the caller copies. */
void *os_remap(void *p, size_t old_size, size_t new_size) {
  if (!range_is_valid(p, old_size) || !range_is_valid(p, new_size)) return NULL;
  long at = os_sys_mremap(p, old_size, new_size, MREMAP_MAYMOVE);
  return has_failed(at) ? NULL : (void *)at;
}

/* mremap in place, or over memory mapped for it. Any errno: as os_remap. */
void *os_remap_aligned(void *p, size_t old_size, size_t new_size, size_t align) {
  if (!range_is_valid(p, old_size) || !range_is_valid(p, new_size)) return NULL;
  bool is_aligned = ((uintptr_t)p & (align - 1)) == 0;
  if (is_aligned && !has_failed(os_sys_mremap(p, old_size, new_size, 0))) return p;
  /* Memory, not a reservation: it is accounted for, so that the kernel, which unmaps the target
   * before it looks whether it may, has no reason left to refuse. */
  void *target = os_map_aligned(new_size, align);
  if (target == NULL) return os_remap(p, old_size, new_size);
  if (!has_failed(os_sys_mremap_to(p, old_size, new_size, target))) return target;
  /* It may have failed after that, and the addresses be another thread's by now: ours is only what
   * can be mapped there anew. Else they are lost. */
  if (os_map_at(target, new_size)) excess_unmap((uintptr_t)target, new_size);
  return NULL;
}

/* prctl(PR_SET_VMA_ANON_NAME). Any errno (EINVAL: kernel built without): no name. */
void os_name(void *p, size_t size, const char *name) {
  if (range_is_valid(p, size)) (void)os_sys_prctl_name(p, size, name); /* advice only */
}

/* madvise(MADV_NOHUGEPAGE). Any errno (EINVAL: kernel without huge pages): nothing to turn off. */
void os_no_huge(void *p, size_t size) {
  if (range_is_valid(p, size)) (void)os_sys_madvise(p, size, MADV_NOHUGEPAGE); /* advice only */
}

/* madvise(MADV_HUGEPAGE). Any errno (EINVAL: kernel without huge pages): false, small ones do. */
bool os_huge(void *p, size_t size) {
  return range_is_valid(p, size) && os_sys_madvise(p, size, MADV_HUGEPAGE) == 0;
}

/* madvise(MADV_WIPEONFORK), since Linux 4.14. Any errno: false, the caller relies on its fork
 * handlers. */
bool os_wipe_on_fork(void *p, size_t size) {
  return range_is_valid(p, size) && os_sys_madvise(p, size, MADV_WIPEONFORK) == 0;
}
