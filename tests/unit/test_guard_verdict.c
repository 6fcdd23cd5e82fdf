/* test_guard_verdict.c — the exact line of every verdict, and that it is one write and an abort. */
#include "unit_death.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "guard_verdict.h"

struct misuse {
  enum verdict verdict;
  uintptr_t pointer;
  size_t class_bytes;
};

static int misuses(void *argument) {
  struct misuse *m = argument;
  guard_abort(m->verdict, (void *)m->pointer, m->class_bytes);
}

#define FOREIGN                                                                                    \
  "it was not allocated by hakmem; memory of another allocator (a plugin loaded with "             \
  "RTLD_DEEPBIND or dlmopen has its own) must be given back there\n"

static const struct {
  struct misuse misuse;
  const char *line;
} cases[] = {
    {{VERDICT_INVALID_FREE, 0x7f0012345678, 0},
     "hakmem: invalid free: pointer 0x7f0012345678, class none: " FOREIGN},
    {{VERDICT_INVALID_FREE, 0x7f0012345678, 64},
     "hakmem: invalid free: pointer 0x7f0012345678, class 64 B: "
     "no block is allocated there; free only what malloc returned\n"},
    {{VERDICT_INTERIOR, 0x10, 16},
     "hakmem: interior pointer: pointer 0x10, class 16 B: "
     "it points into a block; pass the address that malloc returned\n"},
    {{VERDICT_DOUBLE_FREE, UINTPTR_MAX, 32768},
     "hakmem: double free: pointer 0xffffffffffffffff, class 32768 B: "
     "the block was freed before; look for two owners of it\n"},
    {{VERDICT_INVALID_REALLOC, 0x1000, 0},
     "hakmem: invalid realloc: pointer 0x1000, class none: " FOREIGN},
    {{VERDICT_INVALID_USABLE_SIZE, 0x1000, 0},
     "hakmem: invalid usable_size: pointer 0x1000, class none: " FOREIGN},
    {{VERDICT_FREED_REALLOC, 0x1000, 0},
     "hakmem: invalid realloc: pointer 0x1000, class none: "
     "the block was freed before; look for two owners of it\n"},
    {{VERDICT_FREED_USABLE_SIZE, 0x1000, 64},
     "hakmem: invalid usable_size: pointer 0x1000, class 64 B: "
     "the block was freed before; look for two owners of it\n"},
    {{VERDICT_SIZE_MISMATCH, 0x1000, 48},
     "hakmem: size mismatch: pointer 0x1000, class 48 B: the size given at free is not the "
     "block's; look for a wrong free_sized, or a delete through a type without virtual "
     "destructor\n"},
    {{VERDICT_CORRUPTED_BIN, 0, 1024},
     "hakmem: corrupted bin: pointer 0x0, class 1024 B: hakmem's list of free blocks was "
     "overwritten or given a block twice; look for writes through stale pointers and for double "
     "frees\n"},
};

static void lines_are_exact(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct misuse m = cases[i].misuse;
    expect_abort(misuses, &m, cases[i].line);
  }
}

/* The promise to users: `hakmem: <verdict>: pointer 0x<hex>, class <N> B|none: <what to do>`. */
static void every_verdict_has_words_with_and_without_a_class(void **state) {
  (void)state;
  for (int verdict = VERDICT_NONE + 1; verdict < VERDICT_COUNT; verdict++) {
    for (size_t class_bytes = 0; class_bytes <= SIZE_MAX / 2; class_bytes += SIZE_MAX / 2) {
      struct misuse m = {(enum verdict)verdict, UINTPTR_MAX, class_bytes};
      char err[4096], named[32];
      size_t rest;
      int status = death_run(misuses, &m, err, sizeof err, &rest);
      assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
      assert_int_equal(rest, 0);
      size_t length = strlen(err);
      assert_true(length < 512);
      assert_ptr_equal(strchr(err, '\n'), err + length - 1);
      assert_memory_equal(err, "hakmem: ", 8);
      snprintf(named, sizeof named,
               class_bytes ? ", class %zu B: " : ", class none: ", class_bytes);
      const char *advice = strstr(err, named);
      assert_non_null(strstr(err, ": pointer 0xffffffffffffffff, class "));
      assert_non_null(advice);
      assert_true(strlen(advice + strlen(named)) > 20);
    }
  }
}

static int misuses_without_memory(void *argument) {
  struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_AS, &none) != 0) return 1;
  return misuses(argument);
}

static void the_line_needs_no_memory(void **state) {
  (void)state;
  struct misuse m = cases[0].misuse;
  expect_abort(misuses_without_memory, &m, cases[0].line);
}

static void no_verdict_is_our_own_bug(void **state) {
  (void)state;
  const int wrong[] = {VERDICT_NONE, VERDICT_COUNT};
  for (size_t i = 0; i < 2; i++) {
    struct misuse m = {(enum verdict)wrong[i], 16, 16};
    char err[600];
    size_t rest;
    int status = death_run(misuses, &m, err, sizeof err, &rest);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_memory_equal(err, "hakmem: internal error: ", 24);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_are_exact),
      cmocka_unit_test(every_verdict_has_words_with_and_without_a_class),
      cmocka_unit_test(the_line_needs_no_memory),
      cmocka_unit_test(no_verdict_is_our_own_bug),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
