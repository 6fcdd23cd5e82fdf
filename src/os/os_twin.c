/* os_twin.c — the fault-injecting twin of os_sys.c, built into libhakmem-twin.so only, for tests.
 * Owns: counting, failing chosen calls with ENOMEM, pretending a larger page. Environment:
 *   HAKMEM_TWIN_FAIL_NTH=N   fail the Nth call   HAKMEM_TWIN_FAIL_FROM=N   and all from the Nth on
 *   HAKMEM_TWIN_FAIL_CALL=mmap|munmap|madvise|mprotect|mremap|prctl|thp|read   count only that one
 *   HAKMEM_TWIN_PAGE=16384|65536   report that page, refuse unaligned calls with EINVAL
 *   HAKMEM_TWIN_THP=always|madvise|never   the mode of huge pages that is read
 *   HAKMEM_TWIN_ROOT=dir   the tree in which /proc and /sys lie, of what os_limit.c reads
 *   HAKMEM_TWIN_COUNT=file   append `calls=C injected=I` at exit
 * Settings are read at the first call that finds an environment; a fork's child counts on.
 * Atomics: written by whichever thread is first, all with the same values.
 */
#define _GNU_SOURCE 1
#include "os_sys.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "base_atomic.h"
#include "base_format.h"
#include "base_size.h"
#include "os_check.h"
#include "os_proc.h"
#include "os_syscall.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define THP_PATH "/sys/kernel/mm/transparent_hugepage/enabled"

enum { PATH_BYTES = 4096 };

enum twin_call {
  CALL_ANY,
  CALL_MMAP,
  CALL_MUNMAP,
  CALL_MADVISE,
  CALL_MPROTECT,
  CALL_MREMAP,
  CALL_PRCTL,
  CALL_THP,
  CALL_READ,
  CALL_COUNT
};
static const char *const call_names[CALL_COUNT] = {
    "", "mmap", "munmap", "madvise", "mprotect", "mremap", "prctl", "thp", "read"};

static _Atomic(bool) settings_are_read;
static _Atomic(uint64_t) fail_nth;  /* 0: none */
static _Atomic(uint64_t) fail_from; /* 0: none */
static _Atomic(unsigned) fail_call; /* enum twin_call */
static _Atomic(uint64_t) call_count;
static _Atomic(uint64_t) injected_count;
static _Atomic(size_t) page_reported; /* 0: not asked yet; then it never changes */

static const char *setting(const char *name) {
  char **environment = os_environ();
  if (environment == NULL || os_is_secure()) return NULL;
  for (; *environment != NULL; environment++) {
    const char *entry = *environment;
    size_t i = 0;
    while (name[i] != '\0' && entry[i] == name[i]) i++;
    if (name[i] == '\0' && entry[i] == '=') return entry + i + 1;
  }
  return NULL;
}

/* A test that misspells its settings must fail, not pass without a fault. */
static uint64_t setting_number(const char *name) {
  const char *text = setting(name);
  if (text == NULL) return 0;
  uint64_t value = 0;
  CHECK(*text != '\0');
  for (; *text != '\0'; text++) {
    CHECK(*text >= '0' && *text <= '9');
    CHECK(!__builtin_mul_overflow(value, (uint64_t)10, &value));
    CHECK(!__builtin_add_overflow(value, (uint64_t)(*text - '0'), &value));
  }
  return value;
}

static unsigned setting_call(void) {
  const char *text = setting("HAKMEM_TWIN_FAIL_CALL");
  if (text == NULL) return CALL_ANY;
  unsigned call = CALL_MMAP;
  while (call < CALL_COUNT && !text_equal(text, call_names[call])) call++;
  CHECK(call < CALL_COUNT);
  return call;
}

static void settings_read(void) {
  if (load_acquire(&settings_are_read) || os_environ() == NULL) return;
  store_relaxed(&fail_nth, setting_number("HAKMEM_TWIN_FAIL_NTH"));
  store_relaxed(&fail_from, setting_number("HAKMEM_TWIN_FAIL_FROM"));
  store_relaxed(&fail_call, setting_call());
  store_release(&settings_are_read, true); /* pairs with the acquire above */
}

/* Counts this call; true when it must fail. */
static bool fault_is_due(enum twin_call call) {
  settings_read();
  unsigned only = load_relaxed(&fail_call);
  if (only != CALL_ANY && only != call) return false;
  uint64_t n = add_relaxed(&call_count, 1) + 1;
  uint64_t from = load_relaxed(&fail_from);
  if (n != load_relaxed(&fail_nth) && (from == 0 || n < from)) return false;
  add_relaxed(&injected_count, 1);
  return true;
}

static size_t kernel_page_bytes(void) { return getauxval(AT_PAGESZ); }

/* Before there is an environment the kernel's page is reported, and stays: a page that changes
 * under a running allocator would be no machine's behaviour. */
size_t os_sys_page_bytes(void) {
  size_t page = load_relaxed(&page_reported);
  if (page != 0) return page;
  size_t wanted = setting_number("HAKMEM_TWIN_PAGE");
  size_t mine = wanted != 0 ? wanted : kernel_page_bytes();
  CHECK(size_is_pow2(mine) && mine >= kernel_page_bytes());
  return cas_acq_rel(&page_reported, &page, mine) ? mine : page;
}

static bool is_unaligned(const void *p, size_t size) {
  return (((uintptr_t)p | size) & (os_sys_page_bytes() - 1)) != 0;
}

static long kernel_mmap(void *p, size_t size, int prot, int flags) {
  return os_syscall6(SYS_mmap, (long)p, (long)size, prot, flags, -1, 0);
}

static void kernel_munmap(uintptr_t p, size_t size) {
  if (size != 0) CHECK(os_syscall3(SYS_munmap, (long)p, (long)size, 0) == 0);
}

/* The kernel aligns to its own page, so map more and cut to the pretended one. */
static long aligned_mmap(size_t size, int prot, int flags) {
  size_t page = os_sys_page_bytes(), whole;
  if (!size_add(size, page, &whole)) return -ENOMEM;
  long at = kernel_mmap(NULL, whole, prot, flags);
  if (at < 0) return at;
  uintptr_t start = (uintptr_t)at, first = size_round_up(start, page);
  kernel_munmap(start, first - start);
  kernel_munmap(first + size, start + whole - (first + size));
  return (long)first;
}

long os_sys_mmap(void *p, size_t size, int prot, int flags) {
  if (fault_is_due(CALL_MMAP)) return -ENOMEM;
  if (is_unaligned(p, size)) return -EINVAL;
  if (p == NULL && os_sys_page_bytes() > kernel_page_bytes())
    return aligned_mmap(size, prot, flags);
  return kernel_mmap(p, size, prot, flags);
}

long os_sys_munmap(void *p, size_t size) {
  if (fault_is_due(CALL_MUNMAP)) return -ENOMEM;
  if (is_unaligned(p, size)) return -EINVAL;
  return os_syscall3(SYS_munmap, (long)p, (long)size, 0);
}

long os_sys_mprotect(void *p, size_t size, int prot) {
  if (fault_is_due(CALL_MPROTECT)) return -ENOMEM;
  if (is_unaligned(p, size)) return -EINVAL;
  return os_syscall3(SYS_mprotect, (long)p, (long)size, prot);
}

long os_sys_madvise(void *p, size_t size, int advice) {
  if (fault_is_due(CALL_MADVISE)) return -ENOMEM;
  if (is_unaligned(p, size)) return -EINVAL;
  return os_syscall3(SYS_madvise, (long)p, (long)size, advice);
}

static long kernel_mremap(void *p, size_t old_size, size_t new_size, int flags, long target) {
  return os_syscall6(SYS_mremap, (long)p, (long)old_size, (long)new_size, flags, target, 0);
}

long os_sys_mremap(void *p, size_t old_size, size_t new_size, int flags) {
  if (fault_is_due(CALL_MREMAP)) return -ENOMEM;
  if (is_unaligned(p, old_size) || is_unaligned(p, new_size)) return -EINVAL;
  if (os_sys_page_bytes() == kernel_page_bytes())
    return kernel_mremap(p, old_size, new_size, flags, 0);
  long result = kernel_mremap(p, old_size, new_size, 0, 0);
  if (result >= 0 || (flags & MREMAP_MAYMOVE) == 0) return result;
  long target = aligned_mmap(new_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (target < 0) return target;
  result = kernel_mremap(p, old_size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, target);
  if (result < 0) kernel_munmap((uintptr_t)target, new_size);
  return result;
}

long os_sys_mremap_to(void *p, size_t old_size, size_t new_size, void *target) {
  if (fault_is_due(CALL_MREMAP)) return -ENOMEM;
  if (is_unaligned(p, old_size) || is_unaligned(target, new_size)) return -EINVAL;
  return kernel_mremap(p, old_size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, (long)target);
}

long os_sys_prctl_name(void *p, size_t size, const char *name) {
  if (fault_is_due(CALL_PRCTL)) return -ENOMEM;
  if (is_unaligned(p, size)) return -EINVAL;
  return os_syscall6(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, (long)p, (long)size, (long)name,
                     0);
}

long os_sys_thp_modes(char *out, size_t capacity) {
  if (fault_is_due(CALL_THP)) return -ENOMEM;
  const char *mode = setting("HAKMEM_TWIN_THP");
  if (mode == NULL) return os_read_file(THP_PATH, out, capacity);
  struct format_buf f;
  format_init(&f, out, capacity);
  format_text(&f, "[");
  format_text(&f, mode);
  format_text(&f, "]");
  return (long)f.length;
}

long os_sys_read_file(const char *path, char *out, size_t capacity) {
  if (fault_is_due(CALL_READ)) return -ENOMEM;
  const char *root = setting("HAKMEM_TWIN_ROOT");
  char whole[PATH_BYTES];
  struct format_buf f;
  format_init(&f, whole, sizeof whole);
  if (root != NULL) format_text(&f, root);
  format_text(&f, path);
  CHECK(f.length + 1 < sizeof whole);
  return os_read_file(whole, out, capacity);
}

__attribute__((destructor)) static void counts_write(void) {
  const char *path = setting("HAKMEM_TWIN_COUNT");
  if (path == NULL) return;
  char line[64]; /* "calls=", "injected=" and two numbers of at most 20 digits */
  struct format_buf f;
  format_init(&f, line, sizeof line);
  format_text(&f, "calls=");
  format_u64(&f, load_relaxed(&call_count));
  format_text(&f, " injected=");
  format_u64(&f, load_relaxed(&injected_count));
  format_text(&f, "\n");
  int err = os_append_file(path, line, f.length);
  if (err != 0) os_call_failed("HAKMEM_TWIN_COUNT", err);
}
