/* test_os_sys.c — the raw calls do what the kernel's do, answer -errno, and keep errno. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os_sys.h"

enum { ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS };
enum { ERRNO_BEFORE = 77 };

static int errno_is_set(void **state) {
  (void)state;
  errno = ERRNO_BEFORE;
  return 0;
}

static int errno_is_kept(void **state) {
  (void)state;
  return errno == ERRNO_BEFORE ? 0 : -1;
}

static void page_is_the_kernels(void **state) {
  (void)state;
  assert_int_equal(os_sys_page_bytes(), sysconf(_SC_PAGESIZE));
}

static void a_mapping_lives_and_dies(void **state) {
  (void)state;
  size_t page = os_sys_page_bytes();
  long at = os_sys_mmap(NULL, 4 * page, PROT_NONE, ANONYMOUS);
  assert_true(at > 0 && (size_t)at % page == 0);
  char *p = (char *)at;
  assert_int_equal(os_sys_mprotect(p, 4 * page, PROT_READ | PROT_WRITE), 0);
  memset(p, 'x', 4 * page);
  assert_int_equal(os_sys_madvise(p + page, page, MADV_DONTNEED), 0);
  assert_int_equal(p[page - 1], 'x');
  assert_int_equal(p[page], 0);
  assert_int_equal(p[2 * page], 'x');
  at = os_sys_mremap(p, 4 * page, 64 * page, MREMAP_MAYMOVE);
  assert_true(at > 0);
  p = (char *)at;
  assert_int_equal(p[2 * page], 'x');
  assert_int_equal(p[63 * page], 0);
  assert_int_equal(os_sys_munmap(p, 64 * page), 0);
  assert_int_equal(os_sys_mprotect(p, page, PROT_READ), -ENOMEM); /* nothing is mapped there */
}

static void errors_are_negative_results(void **state) {
  (void)state;
  size_t page = os_sys_page_bytes();
  char *p = (char *)os_sys_mmap(NULL, page, PROT_READ, ANONYMOUS);
  assert_true((intptr_t)p > 0);
  assert_int_equal(os_sys_mmap(NULL, 0, PROT_READ, ANONYMOUS), -EINVAL);
  assert_int_equal(os_sys_mmap(NULL, (size_t)1 << 62, PROT_READ, ANONYMOUS), -ENOMEM);
  assert_int_equal(os_sys_munmap(p + 1, page), -EINVAL);
  assert_int_equal(os_sys_mprotect(p + 1, page, PROT_READ), -EINVAL);
  assert_int_equal(os_sys_madvise(p, page, 12345), -EINVAL);
  assert_int_equal(os_sys_mremap(p + 1, page, page, 0), -EINVAL);
  assert_int_equal(os_sys_prctl_name(p + 1, page, "hakmem"), -EINVAL);
  assert_int_equal(os_sys_munmap(p, page), 0);
}

/* -ENOENT where the kernel has no huge pages. */
static void the_modes_of_huge_pages_are_text(void **state) {
  (void)state;
  char modes[64] = "####";
  long length = os_sys_thp_modes(modes, sizeof modes);
  assert_true(length == -ENOENT || (length > 0 && strchr(modes, '[') != NULL));
  assert_true(length == -ENOENT || modes[length] == '\0');
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, errno_is_set, errno_is_kept)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_mapping_lives_and_dies),
      TEST(errors_are_negative_results),
      TEST(the_modes_of_huge_pages_are_text),
      cmocka_unit_test(page_is_the_kernels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
