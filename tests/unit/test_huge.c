/* test_huge.c — which superslabs are advised to have huge pages, as the kernel keeps it in
 * /proc/self/smaps; on the twin, which says what the system's mode is.
 */
#include "unit_region.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "huge.h"
#include "limit.h"
#include "meta.h"
#include "os_proc.h"
#include "purge.h"
#include "rt_lock.h"
#include "run.h"

enum advice { ADVICE_NONE = '-', ADVICE_HUGE = 'h', ADVICE_NO_HUGE = 'n' };

/* Of the mapping that superslab i lies in. */
static enum advice advice_at(size_t i) {
  unsigned long wanted = (unsigned long)(uintptr_t)chunk_address(i * SUPERSLAB_CHUNKS), from, to;
  FILE *file = fopen("/proc/self/smaps", "r");
  char line[512];
  bool is_it = false;
  enum advice found = ADVICE_NONE;
  NEED(file != NULL);
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2) is_it = from <= wanted && wanted < to;
    if (!is_it || strncmp(line, "VmFlags:", 8) != 0) continue;
    if (strstr(line, " hg") != NULL) found = ADVICE_HUGE;
    if (strstr(line, " nh") != NULL) found = ADVICE_NO_HUGE;
  }
  fclose(file);
  return found;
}

static bool has_advice(size_t first, size_t count, enum advice advice) {
  for (size_t i = first; i < first + count; i++)
    if (advice_at(i) != advice || huge_is_whole(i) != (advice == ADVICE_HUGE)) return false;
  return true;
}

static bool kernel_has_none(void) {
  void *p = mmap(NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED || madvise(p, 4 * MIB, MADV_HUGEPAGE) != 0;
}

/* The environment of a machine in that mode; slowly: growth takes longer than the fast kind. */
static void begin(const char *mode) {
  if (kernel_has_none()) child_skip("the kernel has no huge pages");
  NEED(setenv("HAKMEM_TWIN_THP", mode, 1) == 0);
  layers_init(512 * MIB);
}
/* Superslabs, of which each page is written to, or one. */
static void grow(size_t first, size_t end, bool is_dense) {
  for (size_t i = first; i < end; i++) {
    struct chunk_run run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, i);
    NEED(run.first == i * SUPERSLAB_CHUNKS);
    size_t step = is_dense ? os_page_bytes() : SUPERSLAB_BYTES;
    for (size_t at = 0; at < SUPERSLAB_BYTES; at += step) chunk_bytes(run.first)[at] = 1;
  }
}
static size_t grow_slowly(size_t first, size_t end) {
  for (size_t i = first; i < end; i++) {
    if (i % 4 == 0)
      usleep(30000); /* that growth is slow is what is tested: no waiting for anyone */
    grow(i, i + 1, true);
  }
  return end;
}

static void automatic(void) {
  begin("madvise");
  grow_slowly(0, 40);
  NEED(has_advice(0, 32, ADVICE_NONE)); /* 64 MiB */
  NEED(has_advice(32, 8, ADVICE_HUGE));
}
static void from_64_mib_on_a_heap_grows_by_huge_pages(void **state) {
  (void)state;
  run_child(automatic);
}

enum { GREW_SLOWLY = 3, TRIES = 50 };
static void fast(void) {
  begin("madvise");
  grow(0, 24, true);
  NEED(has_advice(0, 8, ADVICE_NONE));
  size_t huge = 0;
  for (size_t i = 8; i < 24; i++) huge += advice_at(i) == ADVICE_HUGE;
  if (huge == 0) _exit(GREW_SLOWLY); /* the machine was at something else */
}
static void who_grows_fast_has_them_from_16_mib_on(void **state) {
  (void)state;
  int status = -1;
  for (int i = 0; i < TRIES && status != 0; i++) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      child_start();
      fast();
      _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    skip_if_child_did(status);
    assert_true(WIFEXITED(status) && (status == 0 || WEXITSTATUS(status) == GREW_SLOWLY));
  }
  assert_int_equal(status, 0);
}

/* One fault of theirs would be 2 MiB of what others in the group count on. */
static void near_limit(void) {
  begin("madvise");
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "100M"));
  limit_look_soon();
  NEED(limit_tick(os_coarse_ms()));
  size_t end = grow_slowly(0, 32);
  limit_look(os_coarse_ms()); /* 36 MiB are left: a quarter of that is a group */
  end = grow_slowly(end, 36);
  limit_look(os_coarse_ms());
  grow_slowly(end, 40);
  NEED(has_advice(32, 4, ADVICE_HUGE) && has_advice(36, 4, ADVICE_NONE));
}
static void where_a_limit_is_near_there_are_none(void **state) {
  (void)state;
  run_child(near_limit);
}

/* What a look finds while the heap grows into a group. */
static void near_amid_a_group(void) {
  begin("madvise");
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "78M"));
  grow_slowly(0, 34);
  limit_look(os_coarse_ms()); /* some 9 MiB are left: a quarter of that is a superslab */
  grow(34, 35, true);
  limit_look(os_coarse_ms());
  grow(35, 36, true);
  NEED(has_advice(32, 3, ADVICE_HUGE) && has_advice(35, 1, ADVICE_NONE));
}
/* A group that is empty stays as it is while the limit is near, and is mended once it is not. */
static void near_when_empty(void) {
  begin("madvise");
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  grow_slowly(0, 36);
  superslab_release(33 * SUPERSLAB_CHUNKS, 4);
  NEED(purge_chunks(false) == 4 * CHUNK_BYTES && has_advice(32, 4, ADVICE_NO_HUGE));
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "80M"));
  limit_look(os_coarse_ms());
  superslab_release(32 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  superslab_release(33 * SUPERSLAB_CHUNKS + 4, SUPERSLAB_CHUNKS - 4);
  superslab_release(34 * SUPERSLAB_CHUNKS, 2 * SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) != 0 && has_advice(32, 4, ADVICE_NO_HUGE));
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "off"));
  limit_look(os_coarse_ms());
  grow(32, 33, true);
  superslab_release(32 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == SUPERSLAB_BYTES && has_advice(32, 4, ADVICE_HUGE));
}
static void a_limit_that_is_near_by_then_ends_them(void **state) {
  (void)state;
  run_child(near_amid_a_group);
  run_child(near_when_empty);
}

/* What is claimed and not used would be resident on huge pages. */
static void sparse(void) {
  begin("madvise");
  grow(0, 48, false);
  NEED(has_advice(0, 48, ADVICE_NONE));
  grow(48, 56, true);
  NEED(has_advice(48, 4, ADVICE_NONE) && has_advice(52, 4, ADVICE_HUGE));
}
static void a_heap_that_uses_little_of_what_it_claims_has_none(void **state) {
  (void)state;
  run_child(sparse);
}

/* Superslabs that leave `untouched` pages each: what many classes leave that grow at once. */
static void grow_leaving(size_t first, size_t end, size_t untouched) {
  for (size_t i = first; i < end; i++) {
    if (i % 4 == 0) usleep(30000); /* slowly */
    struct chunk_run run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, i);
    for (size_t at = untouched * os_page_bytes(); at < SUPERSLAB_BYTES; at += os_page_bytes())
      chunk_bytes(run.first)[at] = 1;
  }
}
static void spared(void) {
  begin("madvise");
  if (os_page_bytes() != 4096) child_skip("its numbers are for pages of 4 KiB");
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "16M"));
  /* 384 KiB of a group: a 20th, which is less than an eighth, and a 256th of 96 MiB in use. */
  grow_leaving(0, 52, 24);
  NEED(has_advice(0, 48, ADVICE_NONE) && has_advice(48, 4, ADVICE_HUGE));
  grow_leaving(52, 60, 200); /* once it has them, whatever is untouched */
  NEED(has_advice(52, 8, ADVICE_HUGE));
}
static void spared_warm(void) {
  begin("madvise");
  if (os_page_bytes() != 4096) child_skip("its numbers are for pages of 4 KiB");
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "64M")); /* 1 MiB of a group */
  grow_leaving(0, 36, 65);
  NEED(has_advice(0, 36, ADVICE_NONE));
  grow_leaving(36, 44, 64);
  NEED(has_advice(36, 4, ADVICE_NONE) && has_advice(40, 4, ADVICE_HUGE));
}
static void spared_eighth(void) {
  begin("madvise");
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES,
                     "1G")); /* twice a group: an eighth of it all the same */
  grow(0, 32, false);
  grow_leaving(32, 40, 0);
  NEED(has_advice(0, 36, ADVICE_NONE) && has_advice(36, 4, ADVICE_HUGE));
}
static void what_a_group_leaves_untouched_is_little_of_the_heap(void **state) {
  (void)state;
  run_child(spared);
  run_child(spared_warm);
  run_child(spared_eighth);
}

/* Bytes that the next block of metadata takes from the kernel. */
static size_t meta_block_bytes(void) {
  static struct rt_lock umbrella = LOCK_INIT(LOCK_RANK_HEAP);
  size_t before = meta_bytes();
  NEED(lock_enter(&umbrella));
  while (meta_bytes() == before) NEED(meta_alloc(1024) != NULL);
  lock_leave(&umbrella);
  return meta_bytes() - before;
}
static void metadata(void) {
  begin("madvise");
  grow(0, 124, true);
  NEED(meta_block_bytes() < 2 * MIB);
  grow(124, 136, true); /* 256 MiB are in use */
  NEED(meta_block_bytes() == 2 * MIB);
  NEED(rt_option_set(RT_OPTION_THP, "never"));
  NEED(meta_block_bytes() < 2 * MIB);
  NEED(rt_option_set(RT_OPTION_THP, "auto"));
  NEED(meta_block_bytes() == 2 * MIB);
  superslab_release(0, 16 * SUPERSLAB_CHUNKS); /* no longer */
  NEED(purge_chunks(true) == 16 * SUPERSLAB_BYTES && meta_block_bytes() < 2 * MIB);
}
static void metadata_of_a_large_heap_has_them(void **state) {
  (void)state;
  run_child(metadata);
}

static void asked_always(void) {
  begin("madvise");
  NEED(rt_option_set(RT_OPTION_THP, "always"));
  grow_slowly(0, 4);
  NEED(has_advice(0, 4, ADVICE_HUGE));
  NEED(rt_option_set(RT_OPTION_THP, "never"));
  grow_slowly(4, 8);
  NEED(has_advice(4, 4, ADVICE_NONE));
}
static void always_and_never_are_what_they_say(void **state) {
  (void)state;
  run_child(asked_always);
}

static void given_unasked(void) {
  begin("always");
  grow_slowly(0, 40);
  NEED(has_advice(0, 32, ADVICE_NO_HUGE) && has_advice(32, 8, ADVICE_HUGE));
}
static void what_the_system_gives_unasked_is_declined_by_the_small(void **state) {
  (void)state;
  run_child(given_unasked);
}

static void given_to_nobody(void) {
  begin("never");
  NEED(rt_option_set(RT_OPTION_THP, "always"));
  grow_slowly(0, 36);
  NEED(has_advice(0, 36, ADVICE_NONE));
}
static void where_there_are_none_nobody_asks(void **state) {
  (void)state;
  run_child(given_to_nobody);
}

static void broken(void) {
  begin("madvise");
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  grow_slowly(0, 48);
  NEED(has_advice(32, 16, ADVICE_HUGE));
  superslab_release(33 * SUPERSLAB_CHUNKS + 5, 10); /* most of it is in use */
  superslab_release(41 * SUPERSLAB_CHUNKS, 20);     /* most of it is free: it goes first */
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "640K"));
  NEED(purge_is_due() && purge_chunks(false) == 20 * CHUNK_BYTES && !purge_is_due());
  NEED(has_advice(32, 8, ADVICE_HUGE) && has_advice(44, 4, ADVICE_HUGE));
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  NEED(purge_is_due() && purge_chunks(false) == 10 * CHUNK_BYTES); /* its group is broken with it */
  NEED(has_advice(32, 4, ADVICE_NO_HUGE));
  NEED(has_advice(40, 4, ADVICE_NO_HUGE) && has_advice(36, 4, ADVICE_HUGE));
  chunks_are_zero((struct chunk_run){41 * SUPERSLAB_CHUNKS, 20, false});
  /* A superslab that goes whole stays whole; a group that has gone is mended. */
  superslab_release(36 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  NEED(purge_chunks(false) == SUPERSLAB_BYTES && has_advice(36, 4, ADVICE_HUGE));
  superslab_release(40 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  superslab_release(41 * SUPERSLAB_CHUNKS + 20, 12);
  superslab_release(42 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) != 0 && has_advice(40, 4, ADVICE_NO_HUGE));
  superslab_release(43 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == SUPERSLAB_BYTES && has_advice(40, 4, ADVICE_HUGE));
}
static void one_in_use_is_broken_for_need_and_mended_once_empty(void **state) {
  (void)state;
  run_child(broken);
}

/* A peak does not break a huge page for the lesser part of it. */
static void spared_at_a_peak(void) {
  begin("madvise");
  grow_slowly(0, 36);
  superslab_release(33 * SUPERSLAB_CHUNKS, 10);
  superslab_release(4 * SUPERSLAB_CHUNKS, 10);
  purge_note_peak(SIZE_MAX);
  purge_note_peak(SIZE_MAX);
  NEED(superslab_dirty_bytes() == 10 * CHUNK_BYTES && has_advice(32, 4, ADVICE_HUGE));
  superslab_release(33 * SUPERSLAB_CHUNKS + 10, 10); /* the greater part */
  purge_note_peak(SIZE_MAX);
  purge_note_peak(SIZE_MAX);
  NEED(superslab_dirty_bytes() == 0 && has_advice(32, 4, ADVICE_NO_HUGE));
}
static void a_new_peak_breaks_them_for_the_greater_part_alone(void **state) {
  (void)state;
  run_child(spared_at_a_peak);
}

static void sparse_ones_stay_small(void) {
  begin("madvise");
  grow(0, 40, false);
  superslab_release(0, 40 * SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == 40 * SUPERSLAB_BYTES && has_advice(0, 40, ADVICE_NONE));
  grow(0, 40, true); /* what lies there now may be dense: nobody looks */
  NEED(has_advice(0, 40, ADVICE_NONE));
}
static void what_was_sparse_is_not_advised_when_it_is_empty(void **state) {
  (void)state;
  run_child(sparse_ones_stay_small);
}

/* The first run of superslab 32, which is empty, as 33 to 39 are, and lies on huge pages. */
static void run_begins(size_t bytes, const char *thp, enum advice of_group) {
  static struct rt_lock umbrella = LOCK_INIT(LOCK_RANK_HEAP);
  begin("madvise");
  grow_slowly(0, 40);
  superslab_release(32 * SUPERSLAB_CHUNKS, 8 * SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == 8 * SUPERSLAB_BYTES && has_advice(32, 8, ADVICE_HUGE));
  NEED(rt_option_set(RT_OPTION_THP, thp) && lock_enter(&umbrella));
  bool is_zero = false;
  char *p = run_alloc(bytes, 1, 32, &is_zero);
  lock_leave(&umbrella);
  NEED(p == chunk_address(32 * SUPERSLAB_CHUNKS) && is_zero);
  huge_note_run(p, bytes);
  NEED(has_advice(32, 4, of_group) && has_advice(36, 4, ADVICE_HUGE));
  if (of_group == ADVICE_HUGE) return;
  NEED(run_free((uint32_t)(32 * SUPERSLAB_CHUNKS)) && purge_chunks(true) != 0);
  NEED(has_advice(32, 8, ADVICE_HUGE)); /* mended */
}
static void not_the_first(void) {
  static struct rt_lock umbrella = LOCK_INIT(LOCK_RANK_HEAP);
  begin("madvise");
  grow_slowly(0, 36);
  superslab_release(32 * SUPERSLAB_CHUNKS, SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == SUPERSLAB_BYTES && has_advice(32, 4, ADVICE_HUGE));
  NEED(claim_chunks(0, 1, 1, 32).first == 32 * SUPERSLAB_CHUNKS);
  NEED(lock_enter(&umbrella));
  bool is_zero = false;
  char *p = run_alloc(33000, 1, 32, &is_zero);
  lock_leave(&umbrella);
  NEED(p == chunk_address(32 * SUPERSLAB_CHUNKS + 1) && is_zero);
  huge_note_run(p, 33000);
  NEED(has_advice(32, 4, ADVICE_HUGE));
}
static void half_used(void) { run_begins(33000, "auto", ADVICE_NO_HUGE); }
static void one_in_two(void) { run_begins(17 * CHUNK_BYTES, "auto", ADVICE_NO_HUGE); }
static void one_and_a_half(void) { run_begins(48 * CHUNK_BYTES, "auto", ADVICE_NO_HUGE); }
static void well_used(void) { run_begins(3 * CHUNK_BYTES, "auto", ADVICE_HUGE); }
static void asked_for(void) { run_begins(33000, "always", ADVICE_HUGE); }
static void runs_that_would_leave_much_of_them_unused_break_them(void **state) {
  (void)state;
  run_child(half_used);
  run_child(one_in_two);
  run_child(one_and_a_half);
  run_child(well_used);
  run_child(asked_for);
  run_child(not_the_first);
}

static void small_ones_stay_small(void) {
  begin("madvise");
  grow_slowly(0, 36);
  superslab_release(0, 4 * SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == 4 * SUPERSLAB_BYTES && has_advice(0, 4, ADVICE_NONE));
  NEED(rt_option_set(RT_OPTION_THP, "always"));
  superslab_release(4 * SUPERSLAB_CHUNKS, 4 * SUPERSLAB_CHUNKS);
  NEED(purge_chunks(true) == 4 * SUPERSLAB_BYTES && has_advice(4, 4, ADVICE_HUGE));
  huge_break(4);
  NEED(has_advice(4, 4, ADVICE_NO_HUGE));
}
static void what_a_small_heap_grows_into_is_not_mended(void **state) {
  (void)state;
  run_child(small_ones_stay_small);
}

/* Blocks that grow: by size, mode and option. */
static void growing(void) {
  begin("madvise");
  NEED(!huge_is_for_growing(16 * MIB - 1) && huge_is_for_growing(16 * MIB));
  NEED(rt_option_set(RT_OPTION_THP, "always") && huge_is_for_growing(4 * MIB));
  NEED(!huge_is_for_growing(4 * MIB - 1));
  NEED(rt_option_set(RT_OPTION_THP, "never") && !huge_is_for_growing(SIZE_MAX));
}
static void large_blocks_that_grow_have_them(void **state) {
  (void)state;
  run_child(growing);
}

/* Under a limit of address space there are none. */
static void in_a_window(void) {
  NEED(setenv("HAKMEM_TWIN_THP", "always", 1) == 0);
  layers_init(0);
  NEED(rt_option_set(RT_OPTION_THP, "always"));
  struct chunk_run run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && !huge_is_whole(0) && !huge_is_for_growing(SIZE_MAX));
  huge_break(0);
  superslab_release(run.first, run.count);
  NEED(purge_chunks(true) == SUPERSLAB_BYTES && !huge_is_whole(0));
}
static void a_window_has_none(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* they need more address space */
  run_program("window", "HAKMEM_TWIN_THP=always", 256 * MIB);
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "window") == 0) {
    in_a_window();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(from_64_mib_on_a_heap_grows_by_huge_pages),
      cmocka_unit_test(who_grows_fast_has_them_from_16_mib_on),
      cmocka_unit_test(where_a_limit_is_near_there_are_none),
      cmocka_unit_test(a_limit_that_is_near_by_then_ends_them),
      cmocka_unit_test(a_heap_that_uses_little_of_what_it_claims_has_none),
      cmocka_unit_test(what_a_group_leaves_untouched_is_little_of_the_heap),
      cmocka_unit_test(metadata_of_a_large_heap_has_them),
      cmocka_unit_test(always_and_never_are_what_they_say),
      cmocka_unit_test(what_the_system_gives_unasked_is_declined_by_the_small),
      cmocka_unit_test(where_there_are_none_nobody_asks),
      cmocka_unit_test(one_in_use_is_broken_for_need_and_mended_once_empty),
      cmocka_unit_test(what_was_sparse_is_not_advised_when_it_is_empty),
      cmocka_unit_test(a_new_peak_breaks_them_for_the_greater_part_alone),
      cmocka_unit_test(runs_that_would_leave_much_of_them_unused_break_them),
      cmocka_unit_test(what_a_small_heap_grows_into_is_not_mended),
      cmocka_unit_test(large_blocks_that_grow_have_them),
      cmocka_unit_test(a_window_has_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
