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

/* The flags that the kernel keeps of the mapping that p lies in. */
static bool has_flag(const void *p, const char *flag) {
  FILE *file = fopen("/proc/self/smaps", "r");
  char line[512];
  unsigned long from, to;
  bool is_it = false, has_it = false;
  NEED(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
      is_it = from <= (uintptr_t)p && (uintptr_t)p < to;
    if (is_it && strncmp(line, "VmFlags:", 8) == 0) has_it = strstr(line, flag) != NULL;
  }
  fclose(file);
  return has_it;
}

static bool has_no_huge_pages(void) {
  char *p = os_map_aligned(2 * MIB, 2 * MIB);
  return p == NULL || !os_huge(p, 2 * MIB);
}

static void huge_blocks(void) {
  size_t before = meta_bytes();
  meta_set_huge(true);
  char *first = NULL, *p = NULL;
  while (meta_bytes() == before) NEED((first = locked_alloc(0, 4096)) != NULL);
  NEED(meta_bytes() - before == 2 * MIB && (uintptr_t)first % (2 * MIB) == 0);
  NEED(has_no_huge_pages() || has_flag(first, " hg"));
  for (size_t at = 4096; at < 2 * MIB; at += 4096) {
    NEED((p = locked_alloc(0, 4096)) == first + at && is_all_zero(p, 4096));
    stamp(p, 4096, (unsigned)at);
  }
  NEED(meta_bytes() - before == 2 * MIB);
  meta_set_huge(false);
  NEED((p = locked_alloc(0, 4096)) != NULL && meta_bytes() - before < 3 * MIB);
  NEED(has_stamp(first + MIB, 4096, (unsigned)MIB));
}
static void blocks_are_huge_pages_if_wanted(void **state) {
  (void)state;
  run_child(huge_blocks);
}

/* Where 2 MiB are not to be had, small blocks are. */
static void little_room(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  size_t pages = 0;
  NEED(file != NULL && fscanf(file, "%zu", &pages) == 1);
  fclose(file);
  struct rlimit little = {pages * os_page_bytes() + MIB, RLIM_INFINITY};
  NEED(setrlimit(RLIMIT_AS, &little) == 0);
  meta_set_huge(true);
  size_t before = meta_bytes();
  while (meta_bytes() == before) NEED(locked_alloc(0, 4096) != NULL);
  NEED(meta_bytes() - before < 2 * MIB);
}
static void where_huge_ones_do_not_fit_they_are_small(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(little_room);
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
      cmocka_unit_test(blocks_are_huge_pages_if_wanted),
      cmocka_unit_test(where_huge_ones_do_not_fit_they_are_small),
      cmocka_unit_test(no_memory_is_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
