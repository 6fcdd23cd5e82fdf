/* test_api_cxx.c — the operators under their C names, with this file as the C++ library: it has the
 * new-handler, and can throw only by ending the process. Exceptions proper: tests/api/cxx_test.cc.
 */
#include "unit_death.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "api_cxx.h"
#include "hakmem.h"

enum { THROWN_STATUS = 42, HANDLER_ROUNDS = 3 };

typedef void (*handler)(void);
static handler current_handler;
static int handler_calls;

handler fake_get_new_handler(void) __asm__("_ZSt15get_new_handlerv");
handler fake_get_new_handler(void) { return current_handler; }

void fake_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv");
void fake_throw_bad_alloc(void) { _exit(handler_calls == HANDLER_ROUNDS ? THROWN_STATUS : 1); }

static void gives_up(void) {
  if (++handler_calls == HANDLER_ROUNDS) current_handler = NULL;
}

static void blocks_are_aligned_and_freed_by_each_form(void **state) {
  (void)state;
  for (size_t n = 0; n < 4000000; n = 2 * n + 1) {
    void *p = api_cxx_new(n);
    void *q = api_cxx_new_nothrow(n, NULL);
    assert_true(hak_malloc_usable_size(p) >= n);
    memset(p, 1, n);
    memset(q, 2, n);
    api_cxx_delete_sized(p, n);
    api_cxx_delete(q);
    for (size_t align = 16; align <= 65536; align *= 8) {
      p = api_cxx_new_aligned(n, align);
      q = api_cxx_new_aligned_nothrow(n, align, NULL);
      assert_int_equal((uintptr_t)p % align, 0);
      assert_int_equal((uintptr_t)q % align, 0);
      memset(p, 1, n);
      memset(q, 2, n);
      api_cxx_delete_sized_aligned(p, n, align);
      api_cxx_delete_sized_aligned(q, n, align);
    }
  }
  api_cxx_delete(NULL);
  api_cxx_delete_sized(NULL, 10);
  api_cxx_delete_sized_aligned(NULL, 10, 64);
}

static void nothrow_asks_the_handler_until_there_is_none(void **state) {
  (void)state;
  current_handler = NULL;
  assert_null(api_cxx_new_nothrow(SIZE_MAX, NULL));
  assert_null(api_cxx_new_aligned_nothrow(SIZE_MAX - 10, 64, NULL));
  handler_calls = 0;
  current_handler = gives_up;
  assert_null(api_cxx_new_nothrow(SIZE_MAX, NULL));
  assert_int_equal(handler_calls, HANDLER_ROUNDS);
  handler_calls = 0;
  current_handler = gives_up;
  assert_null(api_cxx_new_aligned_nothrow(SIZE_MAX / 2, 4096, NULL));
  assert_int_equal(handler_calls, HANDLER_ROUNDS);
}

static int new_impossible(void *argument) {
  size_t align = *(const size_t *)argument;
  handler_calls = 0;
  current_handler = gives_up;
  void *p = align == 0 ? api_cxx_new(SIZE_MAX) : api_cxx_new_aligned(SIZE_MAX, align);
  return p == NULL;
}

static void the_throwing_forms_throw_after_the_handler(void **state) {
  (void)state;
  for (size_t align = 0; align <= 64; align += 64) {
    char err[256];
    size_t rest;
    int status = death_run(new_impossible, &align, err, sizeof err, &rest);
    assert_string_equal(err, "");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), THROWN_STATUS);
  }
}

static int delete_with_wrong_size(void *argument) {
  api_cxx_delete_sized(argument, 5000);
  return 0;
}

static void a_wrong_size_is_said(void **state) {
  (void)state;
  void *p = api_cxx_new(100);
  char err[512];
  size_t rest;
  int status = death_run(delete_with_wrong_size, p, err, sizeof err, &rest);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_non_null(strstr(err, "hakmem: size mismatch: pointer 0x"));
  api_cxx_delete(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_aligned_and_freed_by_each_form),
      cmocka_unit_test(nothrow_asks_the_handler_until_there_is_none),
      cmocka_unit_test(the_throwing_forms_throw_after_the_handler),
      cmocka_unit_test(a_wrong_size_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
