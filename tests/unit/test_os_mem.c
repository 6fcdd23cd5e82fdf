/* test_os_mem.c — reserve, commit, map, purge, remap: contents, alignment, refusals. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base_size.h"
#include "os_mem.h"

enum { ERRNO_BEFORE = 77 };
static size_t page;

static int errno_is_set(void **state) {
  (void)state;
  errno = ERRNO_BEFORE;
  return 0;
}

static int errno_is_kept(void **state) {
  (void)state;
  return errno == ERRNO_BEFORE ? 0 : -1;
}

/* mincore knows only what is mapped: ENOMEM for the rest. errno is kept for the check above. */
static bool is_mapped(const void *p) {
  unsigned char resident;
  int kept = errno;
  bool mapped = mincore((void *)(uintptr_t)p, page, &resident) == 0;
  errno = kept;
  return mapped;
}

static bool is_zero(const char *p, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (p[i] != 0) return false;
  return true;
}

static void reservations_are_aligned_and_cut(void **state) {
  (void)state;
  for (size_t align = page; align <= 64 * MIB; align *= 2) {
    char *p = os_reserve(2 * page, align);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % align, 0);
    assert_true(is_mapped(p) && is_mapped(p + page));
    assert_true(os_unmap(p, 2 * page));
    assert_false(is_mapped(p));
    assert_false(is_mapped(p + page));
  }
}

static void a_reservation_costs_no_memory(void **state) {
  (void)state;
  size_t size = 64 * GIB;
  char *p = os_reserve(size, 2 * MIB);
  assert_non_null(p);
  assert_true(os_commit(p + GIB, 2 * page));
  assert_true(is_zero(p + GIB, 2 * page));
  memset(p + GIB, 'x', 2 * page);
  assert_true(os_unmap(p, size));
}

/* Address space and mapping are exact: nothing is left over of the excess that was mapped. */
static size_t mapping_count(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  assert_non_null(maps);
  size_t lines = 0;
  for (int c; (c = fgetc(maps)) != EOF;) lines += c == '\n';
  fclose(maps);
  return lines;
}

static void the_excess_is_unmapped(void **state) {
  (void)state;
  mapping_count(); /* stdio's own memory */
  size_t before = mapping_count();
  char *p[8];
  for (size_t i = 0; i < 8; i++) {
    p[i] = os_map_aligned(2 * MIB, 8 * MIB);
    assert_non_null(p[i]);
    assert_int_equal((uintptr_t)p[i] % (8 * MIB), 0);
  }
  for (size_t i = 0; i < 8; i++) assert_true(os_unmap(p[i], 2 * MIB));
  assert_int_equal(mapping_count(), before);
}

static void fresh_memory_is_zero_and_writable(void **state) {
  (void)state;
  char *p = os_map(16 * page);
  assert_non_null(p);
  assert_true(is_zero(p, 16 * page));
  memset(p, 'x', 16 * page);
  assert_true(os_unmap(p, 16 * page));
}

static size_t resident_count(char *p, size_t count_all) {
  unsigned char states[16];
  size_t count = 0;
  assert_true(count_all <= sizeof states);
  assert_int_equal(mincore(p, count_all * page, states), 0);
  for (size_t i = 0; i < count_all; i++) count += states[i] & 1;
  return count;
}

static void populated_pages_have_memory(void **state) {
  (void)state;
  char *p = os_map(8 * page);
  assert_non_null(p);
  os_no_huge(p, 8 * page);
  assert_int_equal(resident_count(p, 8), 0);
  assert_true(os_populate(p + page, 3 * page));
  assert_int_equal(resident_count(p, 8), 3);
  for (size_t i = 0; i < 4 * page; i++) assert_int_equal(p[i], 0);
  p[page] = 7; /* what is there stays */
  assert_true(os_populate(p, 2 * page));
  assert_int_equal(p[page], 7);
  assert_true(os_unmap(p, 8 * page));
  assert_false(os_populate(p, 8 * page)); /* nothing is mapped there */
  assert_false(os_populate(p + 1, page));
  assert_false(os_populate(p, 0));
}

/* On a kernel that does not know the advice, the least of which a filter can pretend to be. */
static int populate_without_the_advice(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 23, 0, 1), /* MADV_POPULATE_WRITE */
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 77;
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 77;
  char *p = os_map(8 * page);
  os_no_huge(p, 8 * page);
  if (p == NULL || madvise(p, page, 23) == 0 || errno != EINVAL) return 2;
  if (!os_populate(p + page, 3 * page)) return 3;
  return resident_count(p, 8) == 3 && p[page] == 0 ? 0 : 4;
}
static void old_kernels_populate_too(void **state) {
  (void)state;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(populate_without_the_advice());
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (status == 77 << 8) skip(); /* no filters here */
  assert_int_equal(status, 0);
}

static void purged_pages_read_as_zero(void **state) {
  (void)state;
  char *p = os_map(4 * page);
  assert_non_null(p);
  memset(p, 'x', 4 * page);
  assert_true(os_purge(p + page, 2 * page));
  assert_int_equal(p[page - 1], 'x');
  assert_true(is_zero(p + page, 2 * page));
  assert_int_equal(p[3 * page], 'x');
  assert_true(os_unmap(p, 4 * page));
  assert_false(os_purge(p, 4 * page)); /* the kernel says no: nothing is mapped there */
}

static void a_taken_address_is_left_alone(void **state) {
  (void)state;
  char *p = os_map(4 * page);
  assert_non_null(p);
  memset(p, 'x', 4 * page);
  assert_false(os_map_at(p + page, page));
  assert_false(os_map_at(p, 4 * page));
  assert_int_equal(p[page], 'x');
  assert_true(os_unmap(p, 4 * page));
  assert_true(os_map_at(p + page, 2 * page));
  assert_true(is_zero(p + page, 2 * page));
  memset(p + page, 'y', 2 * page);
  assert_true(os_unmap(p + page, 2 * page));
}

static void remap_keeps_the_contents(void **state) {
  (void)state;
  char *p = os_map(2 * page);
  assert_non_null(p);
  memset(p, 'x', 2 * page);
  p = os_remap(p, 2 * page, 1024 * page);
  assert_non_null(p);
  assert_int_equal(p[2 * page - 1], 'x');
  assert_true(is_zero(p + 2 * page, 1022 * page));
  char *q = os_remap(p, 1024 * page, page);
  assert_non_null(q);
  assert_int_equal(q[page - 1], 'x');
  assert_false(is_mapped(q + page));
  assert_null(os_remap(q, page, (size_t)1 << 62)); /* fails, and leaves the old one */
  assert_int_equal(q[0], 'x');
  assert_true(os_unmap(q, page));
}

static void unaligned_and_empty_ranges_are_refused(void **state) {
  (void)state;
  char *p = os_map(2 * page);
  assert_non_null(p);
  p[0] = 'x';
  char *const at[] = {p + 1, p, p};
  const size_t size[] = {page, page - 1, 0};
  for (size_t i = 0; i < 3; i++) {
    assert_false(os_commit(at[i], size[i]));
    assert_false(os_purge(at[i], size[i]));
    assert_false(os_unmap(at[i], size[i]));
    assert_false(os_wipe_on_fork(at[i], size[i]));
    assert_false(os_map_at(at[i], size[i]));
    assert_null(os_remap(at[i], size[i], 2 * page));
    os_name(at[i], size[i], "hakmem");
    os_no_huge(at[i], size[i]);
  }
  assert_null(os_remap(p, 2 * page, 0));
  assert_false(os_map_at(NULL, page));
  assert_null(os_map(0));
  assert_null(os_map(page + 1));
  assert_null(os_reserve(page, page / 2));
  assert_null(os_reserve(page, 3 * page));
  assert_null(os_map_aligned(SIZE_MAX - page + 1, 2 * MIB));
  assert_int_equal(p[0], 'x');
  assert_true(os_unmap(p, 2 * page));
}

static void advice_never_fails_loudly(void **state) {
  (void)state;
  char *p = os_map_aligned(2 * MIB, 2 * MIB);
  assert_non_null(p);
  os_name(p, 2 * MIB, "hakmem test");
  os_no_huge(p, 2 * MIB);
  memset(p, 'x', 2 * MIB);
  assert_true(os_unmap(p, 2 * MIB));
  os_name(p, 2 * MIB, "hakmem test");
  os_no_huge(p, 2 * MIB);
}

static void a_wiped_range_is_zero_in_the_child(void **state) {
  (void)state;
  char *p = os_map(2 * page);
  assert_non_null(p);
  memset(p, 'x', 2 * page);
  bool can_wipe = os_wipe_on_fork(p, page);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit((is_zero(p, page) == can_wipe ? 0 : 1) | (p[page] == 'x' ? 0 : 2));
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_int_equal(p[0], 'x');
  assert_true(os_unmap(p, 2 * page));
}

static int with_an_address_limit(void) {
  struct rlimit limit = {256 * MIB, 256 * MIB};
  if (os_address_limit_bytes() == 256 * MIB) return 1;
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
  if (os_address_limit_bytes() != 256 * MIB) return 3;
  if (os_reserve(512 * MIB, 2 * MIB) != NULL || os_map(512 * MIB) != NULL) return 4;
  return 0;
}

static void the_address_limit_is_seen_and_survived(void **state) {
  (void)state;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(with_an_address_limit());
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static void the_machine_is_as_libc_says(void **state) {
  (void)state;
  assert_int_equal(os_page_bytes(), sysconf(_SC_PAGESIZE));
  assert_int_equal(os_ram_bytes() / page, sysconf(_SC_PHYS_PAGES));
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
  assert_int_equal(os_address_limit_bytes(),
                   limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur);
}

static void the_huge_page_mode_is_as_sysfs_says(void **state) {
  (void)state;
  char modes[64] = "";
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
  if (file != NULL) {
    assert_non_null(fgets(modes, sizeof modes, file));
    fclose(file);
  }
  assert_int_equal(os_thp_mode() == OS_THP_ALWAYS, strstr(modes, "[always]") != NULL);
  assert_int_equal(os_thp_mode() == OS_THP_MADVISE, strstr(modes, "[madvise]") != NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, errno_is_set, errno_is_kept)

/* Grown in place or not, contents come along and the start is aligned. */
static void growing_can_keep_an_alignment(void **state) {
  (void)state;
  char *p = os_map(MIB);
  assert_non_null(p);
  memset(p, 3, MIB);
  for (size_t size = MIB; size < 64 * MIB; size *= 2) {
    p = os_remap_aligned(p, size, 2 * size, 2 * MIB);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % (2 * MIB), 0);
    assert_true(p[0] == 3 && memcmp(p, p + 1, MIB - 1) == 0);
    p[2 * size - 1] = 1;
  }
  assert_true(os_unmap(p, 64 * MIB));
  assert_null(os_remap_aligned(p, MIB + 1, 2 * MIB, 2 * MIB));
  assert_null(os_remap_aligned(p, MIB, 2 * MIB + 1, 2 * MIB));
}

static void residency_is_counted_in_pages(void **state) {
  (void)state;
  char *p = os_map(2 * MIB);
  assert_non_null(p);
  os_no_huge(p, 2 * MIB);
  assert_int_equal(os_resident_pages(p, 2 * MIB), 0);
  for (size_t i = 0; i < 7; i++) p[i * 3 * page] = 1;
  assert_int_equal(os_resident_pages(p, 2 * MIB), 7);
  assert_int_equal(os_resident_pages(p, page), 1);
  assert_int_equal(os_resident_pages(p + 1, page), 0);
  assert_int_equal(os_resident_pages(p, 4 * MIB), 0); /* more than it counts */
  assert_true(os_unmap(p, 2 * MIB));
}

int main(void) {
  os_mem_init();
  os_mem_init();
  page = os_page_bytes();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(growing_can_keep_an_alignment),
      cmocka_unit_test(residency_is_counted_in_pages),
      TEST(reservations_are_aligned_and_cut),
      TEST(a_reservation_costs_no_memory),
      TEST(fresh_memory_is_zero_and_writable),
      TEST(populated_pages_have_memory),
      TEST(old_kernels_populate_too),
      TEST(purged_pages_read_as_zero),
      TEST(a_taken_address_is_left_alone),
      TEST(remap_keeps_the_contents),
      TEST(unaligned_and_empty_ranges_are_refused),
      TEST(advice_never_fails_loudly),
      TEST(a_wiped_range_is_zero_in_the_child),
      cmocka_unit_test(the_excess_is_unmapped),
      cmocka_unit_test(the_address_limit_is_seen_and_survived),
      cmocka_unit_test(the_machine_is_as_libc_says),
      cmocka_unit_test(the_huge_page_mode_is_as_sysfs_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
