/* os_sys.h — raw memory system calls, the seam where the fault-injecting twin plugs in.
 * Owns: one function a call, result or -errno, never touching errno. os_sys.c is the kernel;
 * os_twin.c (HAK_OS_TWIN=1) counts, fails chosen calls and pretends other page sizes.
 */
#ifndef OS_SYS_H
#define OS_SYS_H

#include <stddef.h>

#include "base_attr.h"

HAK_MUST_USE long os_sys_mmap(void *p, size_t size, int prot, int flags);
long os_sys_munmap(void *p, size_t size);
HAK_MUST_USE long os_sys_mprotect(void *p, size_t size, int prot);
long os_sys_madvise(void *p, size_t size, int advice);
HAK_MUST_USE long os_sys_mremap(void *p, size_t old_size, size_t new_size, int flags);
/* To `target`, over what is mapped there (MAYMOVE | FIXED). */
HAK_MUST_USE long os_sys_mremap_to(void *p, size_t old_size, size_t new_size, void *target);
long os_sys_prctl_name(void *p, size_t size, const char *name);
/* Read the modes of transparent huge pages as the kernel lists them, the chosen one in brackets,
 * NUL-terminated. Bytes read. */
HAK_MUST_USE long os_sys_thp_modes(char *out, size_t capacity);
/* os_read_file of what the kernel says of itself, under /proc and /sys; the twin has a tree of its
 * own where a test wants one. */
HAK_MUST_USE long os_sys_read_file(const char *path, char *out, size_t capacity);
/* The page size that the kernel (or the twin) reports. */
size_t os_sys_page_bytes(void);

#endif
