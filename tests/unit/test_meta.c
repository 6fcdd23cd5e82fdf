/* test_meta.c — blocks are aligned, zero, and nobody else's, whatever size and thread. */
#include "unit_child.h"

#include "meta.h"
#include "rt_lock.h"

enum { THREADS = 3, BLOCKS = 600 };

static struct rt_lock umbrellas[THREADS] = {LOCK_INIT(LOCK_RANK_HEAP), LOCK_INIT(LOCK_RANK_HEAP),
                                            LOCK_INIT(LOCK_RANK_HEAP)};

static void *locked_alloc(size_t thread, size_t size) {
  NEED(lock_enter(&umbrellas[thread]));
  void *p = meta_alloc(size);
  lock_leave(&umbrellas[thread]);
  return p;
}

static void *takes_blocks(void *number) {
  uint64_t seed = (uintptr_t)number + 1;
  struct {
    char *p;
    size_t size;
  } blocks[BLOCKS];
  for (unsigned i = 0; i < BLOCKS; i++) {
    size_t size = (size_t)(random_next(&seed) % (i % 20 == 0 ? 300000 : 3000)) + 1;
    char *p = locked_alloc((uintptr_t)number, size);
    NEED(p != NULL && (uintptr_t)p % HAK_CACHE_LINE_BYTES == 0 && is_all_zero(p, size));
    stamp(p, size, (unsigned)(uintptr_t)number * BLOCKS + i);
    blocks[i].p = p;
    blocks[i].size = size;
  }
  for (unsigned i = 0; i < BLOCKS; i++)
    NEED(has_stamp(blocks[i].p, blocks[i].size, (unsigned)(uintptr_t)number * BLOCKS + i));
  return NULL;
}

static void blocks_are_nobody_elses(void **state) {
  (void)state;
  threads_run(THREADS, takes_blocks);
}

static void bytes_are_those_taken_from_the_kernel(void **state) {
  (void)state;
  size_t before = meta_bytes();
  assert_int_equal(before % os_page_bytes(), 0);
  for (size_t size = MIB; size < 4 * MIB; size += MIB / 3) { /* too large to share a block */
    before = meta_bytes();
    assert_non_null(locked_alloc(0, size));
    assert_true(meta_bytes() - before >= size && meta_bytes() - before < size + MIB);
  }
  assert_int_equal(meta_bytes() % os_page_bytes(), 0);
  /* Small ones share a block. */
  before = meta_bytes();
  for (int i = 0; i < 100; i++) assert_non_null(locked_alloc(0, 64));
  assert_true(meta_bytes() - before <= 256 * KIB);
}

static void without_memory(void) {
  size_t before = meta_bytes();
  struct rlimit none = {0, 0};
  NEED(setrlimit(RLIMIT_AS, &none) == 0);
  NEED(locked_alloc(0, MIB) == NULL && meta_bytes() == before);
  size_t count = 0;
  while (locked_alloc(0, 1024) != NULL) count++; /* what is left of the open block */
  NEED(count <= 256 && meta_bytes() == before);
  NEED(locked_alloc(0, 1024) == NULL);
  struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_AS, &all) == 0) NEED(locked_alloc(0, 1024) != NULL); /* privileged */
}
static void no_memory_is_null(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(without_memory);
}

int main(void) {
  os_mem_init();
  for (int i = 0; i < THREADS; i++) lock_register(&umbrellas[i]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_nobody_elses),
      cmocka_unit_test(bytes_are_those_taken_from_the_kernel),
      cmocka_unit_test(no_memory_is_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
