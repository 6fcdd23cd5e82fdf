/* os_sys.c — the memory system calls of the kernel, as they are.
 * Owns: nothing but the numbers. Errors are results here: os_mem.c says which are survived.
 */
#define _GNU_SOURCE 1
#include "os_sys.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "os_check.h"
#include "os_proc.h"
#include "os_syscall.h"

/* Since Linux 5.17; missing from older headers. */
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

long os_sys_mmap(void *p, size_t size, int prot, int flags) {
  return os_syscall6(SYS_mmap, (long)p, (long)size, prot, flags, -1, 0);
}

long os_sys_munmap(void *p, size_t size) { return os_syscall3(SYS_munmap, (long)p, (long)size, 0); }

long os_sys_mprotect(void *p, size_t size, int prot) {
  return os_syscall3(SYS_mprotect, (long)p, (long)size, prot);
}

long os_sys_madvise(void *p, size_t size, int advice) {
  return os_syscall3(SYS_madvise, (long)p, (long)size, advice);
}

long os_sys_mremap(void *p, size_t old_size, size_t new_size, int flags) {
  return os_syscall6(SYS_mremap, (long)p, (long)old_size, (long)new_size, flags, 0, 0);
}

long os_sys_mremap_to(void *p, size_t old_size, size_t new_size, void *target) {
  return os_syscall6(SYS_mremap, (long)p, (long)old_size, (long)new_size,
                     MREMAP_MAYMOVE | MREMAP_FIXED, (long)target, 0);
}

long os_sys_prctl_name(void *p, size_t size, const char *name) {
  return os_syscall6(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, (long)p, (long)size, (long)name,
                     0);
}

long os_sys_thp_modes(char *out, size_t capacity) {
  return os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", out, capacity);
}

long os_sys_read_file(const char *path, char *out, size_t capacity) {
  return os_read_file(path, out, capacity);
}

/* Where the kernel can have others, AT_PAGESZ is there: libc itself does not start without it. */
size_t os_sys_page_bytes(void) {
#if defined(__x86_64__)
  return 4096; /* that of the processor; asking libc maps 64 KiB of its code */
#else
  size_t page = getauxval(AT_PAGESZ);
  CHECK(page != 0);
  return page;
#endif
}
