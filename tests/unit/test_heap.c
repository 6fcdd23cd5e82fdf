/* test_heap.c — ids for ever, heaps that outlive their threads, and those of no one thread.
 */
#include "unit_heap.h"

enum { SMALL_BYTES = 48, SURVIVORS = 3000, AT_ONCE = 4 };

static void *survivors[SURVIVORS];
static struct heap *seen[AT_ONCE];
static _Atomic(uint32_t) step;

static void ids_name_heaps(void) {
  NEED(heap_current == &heap_none && heap_id(&heap_none) == HEAP_ID_NONE);
  NEED(heap_of_id(HEAP_ID_BOOTING) == &heap_booting && heap_of_id(HEAP_ID_EXIT) == &heap_exit);
  static const uint32_t nobody[] = {HEAP_ID_UNUSED, HEAP_ID_NONE,  HEAP_ID_RUN, HEAP_ID_FREED,
                                    HEAP_ID_BUSY,   HEAP_ID_FIRST, UINT32_MAX};
  for (size_t i = 0; i < HAK_COUNT_OF(nobody); i++) NEED(heap_of_id(nobody[i]) == NULL);
  NEED(heap_id_end() == HEAP_ID_FIRST);
  hak_free(hak_malloc(1));
  NEED(heap_of_id(HEAP_ID_FIRST) == heap_current && heap_id(heap_current) == HEAP_ID_FIRST);
  NEED(heap_id_end() == HEAP_ID_FIRST + 1 && heap_of_id(heap_id_end()) == NULL);
  NEED(!heap_current->is_shared && !heap_is_ownerless(heap_current));
}

static void *leave_survivors(void *unused) {
  (void)unused;
  allocate_all(survivors, SURVIVORS, SMALL_BYTES);
  seen[0] = heap_current;
  hak_free(hak_malloc(500)); /* something in a bin, too */
  return NULL;
}

static void *free_survivors(void *unused) {
  (void)unused;
  hak_free(hak_malloc(1));
  NEED(heap_current == seen[0] && !heap_is_ownerless(seen[0]));
  free_all(survivors, SURVIVORS); /* its own now: nothing is mailed */
  for (size_t i = 0; i < OUTBOX_SLOTS; i++) NEED(heap_current->outbox[i].entry == 0);
  return NULL;
}

static void the_next_thread_adopts_whole(void) {
  hak_free(hak_malloc(1));
  thread_run(leave_survivors, NULL);
  uint32_t c = object_class(survivors[0]), end = heap_id_end();
  struct heap *h = seen[0];
  NEED(h != heap_current && heap_is_ownerless(h) && load_relaxed(&h->is_orphan));
  for (uint32_t i = 0; i < CLASS_COUNT; i++) NEED(bin_count(&h->bin[i]) == 0);
  NEED(h->depot_bytes == 0 && h->cls[c].taken_count == SURVIVORS && heap_is_valid(h));
  NEED(map_entry_id(object_entry(survivors[0])) == heap_id(h) && live_objects(c) == SURVIVORS);
  thread_run(free_survivors, NULL);
  NEED(heap_id_end() == end && live_objects(c) == 0 && slab_class_bytes(c) == 0);
}

static pthread_barrier_t all_hold;

/* All threads hold a heap before the first of them ends. */
static void *hold_a_heap(void *number) {
  hak_free(hak_malloc(1));
  seen[(uintptr_t)number] = heap_current;
  pthread_barrier_wait(&all_hold);
  return NULL;
}

static void several_orphans_are_all_adopted(void) {
  NEED(pthread_barrier_init(&all_hold, NULL, AT_ONCE) == 0);
  threads_run(AT_ONCE, hold_a_heap);
  uint32_t end = heap_id_end();
  struct heap *first[AT_ONCE];
  memcpy(first, seen, sizeof first);
  threads_run(AT_ONCE, hold_a_heap);
  NEED(end == HEAP_ID_FIRST + AT_ONCE && heap_id_end() == end);
  for (size_t i = 0; i < AT_ONCE; i++) {
    size_t again = 0;
    for (size_t k = 0; k < AT_ONCE; k++) again += seen[k] == first[i];
    NEED(again == 1);
  }
}

static void *allocate_without_a_heap(void *unused) {
  (void)unused;
  heap_make_exit_current();
  allocate_all(survivors, SURVIVORS, SMALL_BYTES);
  for (size_t i = 0; i < SURVIVORS; i++)
    NEED(map_entry_id(object_entry(survivors[i])) == HEAP_ID_EXIT);
  free_all(survivors, SURVIVORS / 2);
  NEED(is_in_bitmap(survivors[0]) && !is_in_bitmap(survivors[SURVIVORS / 2]));
  NEED(heap_current == &heap_exit);
  return NULL;
}

static void the_exit_heap_serves_without_bins(void) {
  hak_free(hak_malloc(1));
  thread_run(allocate_without_a_heap, NULL);
  uint32_t c = object_class(survivors[SURVIVORS - 1]);
  NEED(live_objects(c) == SURVIVORS - SURVIVORS / 2);
  free_all(survivors + SURVIVORS / 2, SURVIVORS - SURVIVORS / 2); /* straight to its bitmaps */
  NEED(live_objects(c) == 0 && heap_exit.cls[c].taken_count == 0);
}

static void *lose_in_fork(void *unused) {
  leave_survivors(unused);
  step_set(&step, 1);
  step_wait(&step, 2);
  return NULL;
}

static void *adopt_after_fork(void *unused) {
  (void)unused;
  hak_free(hak_malloc(1));
  NEED(heap_current == seen[0] && !heap_is_ownerless(heap_current));
  free_all(survivors, SURVIVORS);
  return NULL;
}

static void a_fork_leaves_heaps_behind(void) {
  hak_free(hak_malloc(1));
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, lose_in_fork, NULL) == 0);
  step_wait(&step, 1);
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    uint32_t end = heap_id_end();
    NEED(heap_is_ownerless(seen[0]) && !heap_is_ownerless(heap_current));
    thread_run(adopt_after_fork, NULL);
    NEED(heap_id_end() == end);
    _exit(0);
  }
  child_wait(pid);
  NEED(!heap_is_ownerless(seen[0]));
  step_set(&step, 2);
  NEED(pthread_join(thread, NULL) == 0);
}

static void two_locks_or_none(void) {
  thread_run(leave_survivors, NULL);
  hak_free(hak_malloc(1));
  heap_make_exit_current();
  NEED(heap_enter_with(&heap_exit, &heap_booting));
  NEED(lock_is_mine(&heap_exit.lock) && lock_is_mine(&heap_booting.lock));
  NEED(!heap_enter_with(&heap_exit, &heap_booting)); /* self-entry */
  heap_leave_with(&heap_exit, &heap_booting);
  NEED(!lock_is_mine(&heap_exit.lock) && !lock_is_mine(&heap_booting.lock));
  NEED(heap_enter_with(&heap_exit, &heap_exit));
  heap_leave_with(&heap_exit, &heap_exit);
  NEED(!lock_is_mine(&heap_exit.lock));
}

static void *free_twice_and_end(void *unused) {
  (void)unused;
  allocate_all(survivors, 4, SMALL_BYTES);
  free_all(survivors, 4);
  hak_free(survivors[0]); /* too deep in the bin for free itself to see */
  return NULL;
}

static int end_with_a_fault(void *unused) {
  thread_run(free_twice_and_end, unused);
  return 0;
}

static void abandoning_finds_what_free_did_not(void **state) {
  (void)state;
  char err[512];
  size_t rest;
  int status = death_run(end_with_a_fault, NULL, err, sizeof err, &rest);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_memory_equal(err, "hakmem: double free: pointer 0x", 31);
}

#define IN_CHILD(name, fn)                                                                         \
  static void name(void **state) {                                                                 \
    (void)state;                                                                                   \
    run_child(fn);                                                                                 \
  }
IN_CHILD(each_id_names_one_heap, ids_name_heaps)
IN_CHILD(an_orphan_is_adopted_whole, the_next_thread_adopts_whole)
IN_CHILD(orphans_come_before_new_heaps, several_orphans_are_all_adopted)
IN_CHILD(the_exit_heap_works, the_exit_heap_serves_without_bins)
IN_CHILD(heaps_lost_in_fork_are_adopted, a_fork_leaves_heaps_behind)
IN_CHILD(a_second_heap_is_locked_with_the_first, two_locks_or_none)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_id_names_one_heap),
      cmocka_unit_test(an_orphan_is_adopted_whole),
      cmocka_unit_test(orphans_come_before_new_heaps),
      cmocka_unit_test(the_exit_heap_works),
      cmocka_unit_test(heaps_lost_in_fork_are_adopted),
      cmocka_unit_test(a_second_heap_is_locked_with_the_first),
      cmocka_unit_test(abandoning_finds_what_free_did_not),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
