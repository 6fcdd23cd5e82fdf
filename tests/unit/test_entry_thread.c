/* test_entry_thread.c — a thread's first and last call, and who has its heap afterwards. */
#include "unit_entry.h"
#include "unit_trap.h"

#include <limits.h>

#include "entry_thread.h"
#include "mail.h"
#include "outbox.h"

enum { THREADS = 12, KEYS_FILLED = 1100 };

static void *tells_its_heap(void *out) {
  NEED(heap_current == &heap_none);
  void *p = hak_malloc(10);
  NEED(p != NULL && heap_current != &heap_none && heap_current->is_owned);
  NEED(object_owner(p) == heap_current && entry_thread_heap() == heap_current);
  hak_free(p);
  *(struct heap **)out = heap_current;
  return NULL;
}

static void one_after_another(void) {
  struct heap *own = heap_own(), *first, *next;
  thread_run(tells_its_heap, &first);
  NEED(first != own && load_relaxed(&first->absence) == HEAP_ORPHAN && heap_is_away(first));
  uint32_t end = heap_id_end();
  for (int i = 0; i < 100; i++) {
    thread_run(tells_its_heap, &next);
    NEED(next == first && heap_id_end() == end);
  }
  NEED(load_relaxed(&own->absence) == HEAP_PRESENT && heap_current == own);
}
static void the_next_thread_adopts_the_heap(void **state) {
  (void)state;
  run_child(one_after_another);
}

static pthread_barrier_t barrier;
static struct heap *heaps[2][THREADS];
static void *has_a_heap_beside_others(void *number) {
  size_t round = (uintptr_t)number / THREADS, i = (uintptr_t)number % THREADS;
  (void)tells_its_heap(&heaps[round][i]);
  (void)pthread_barrier_wait(&barrier);
  return NULL;
}
static void beside_one_another(void) {
  home_set_count(UINT32_MAX); /* each thread its own */
  pthread_t threads[THREADS];
  NEED(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
  for (uintptr_t n = 0; n < 2 * THREADS; n++) {
    NEED(pthread_create(&threads[n % THREADS], NULL, has_a_heap_beside_others, (void *)n) == 0);
    for (size_t i = 0; i < THREADS && n % THREADS == THREADS - 1; i++)
      NEED(pthread_join(threads[i], NULL) == 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    size_t again = 0;
    for (size_t j = 0; j < THREADS; j++) {
      NEED(i == j || heaps[0][i] != heaps[0][j]);
      again += heaps[1][j] == heaps[0][i];
    }
    NEED(again == 1); /* the second round made no heap */
  }
}
static void threads_alive_have_heaps_of_their_own(void **state) {
  (void)state;
  run_child(beside_one_another);
}

/* A thread may get the id of one that ended, whose heap another has by then. */
static pthread_t dead_id;
static void *object_of_dead;
static void *leaves_one_object(void *unused) {
  dead_id = pthread_self();
  object_of_dead = hak_malloc(64);
  return unused;
}
static void *adopts_when_told(void *out) {
  (void)pthread_barrier_wait(&barrier);
  (void)tells_its_heap(out);
  (void)pthread_barrier_wait(&barrier);
  (void)pthread_barrier_wait(&barrier);
  NEED(object_owner(object_of_dead) == heap_current && heap_is_valid(heap_current));
  return NULL;
}
static void *has_a_dead_ones_id(void *heap_of_dead) {
  NEED(pthread_equal(pthread_self(), dead_id) != 0 || UNIT_SANITIZED);
  struct heap *own = entry_thread_heap();
  NEED(own != heap_of_dead && object_owner(object_of_dead) == heap_of_dead);
  uint32_t c = object_class(object_of_dead), before = heap_bin_count(own, c);
  hak_free(object_of_dead);
  NEED(heap_bin_count(own, c) == before && own->outbox_room < OUTBOX_BYTES);
  return NULL;
}
static void the_id_of_a_dead_thread(void) {
  pthread_t thread;
  struct heap *adopted = NULL;
  (void)heap_own();
  NEED(pthread_barrier_init(&barrier, NULL, 2) == 0);
  NEED(pthread_create(&thread, NULL, adopts_when_told, &adopted) == 0); /* no heap yet */
  thread_run(leaves_one_object, NULL);
  (void)pthread_barrier_wait(&barrier);
  (void)pthread_barrier_wait(&barrier);
  NEED(adopted == object_owner(object_of_dead));
  thread_run(has_a_dead_ones_id, adopted);
  (void)pthread_barrier_wait(&barrier);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_thread_with_the_id_of_a_dead_one_is_another(void **state) {
  (void)state;
  run_child(the_id_of_a_dead_thread);
}

static void *objects[3000];
static void *leaves_objects_behind(void *unused) {
  (void)unused;
  for (size_t i = 0; i < HAK_COUNT_OF(objects); i++) {
    objects[i] = hak_malloc(i % 500);
    stamp(objects[i], i % 500, (unsigned)i);
  }
  for (size_t i = 0; i < HAK_COUNT_OF(objects); i += 2) hak_free(objects[i]);
  return NULL;
}

/* Live objects stay, cached ones do not, and both kinds can be used by others. */
static void what_threads_leave(void) {
  struct heap *own = heap_own();
  thread_run(leaves_objects_behind, NULL);
  struct heap *dead = object_owner(objects[1]);
  NEED(dead != own);
  size_t live = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    NEED(heap_bin_count(dead, c) == 0 && load_relaxed(&dead->cls[c].previous) == NULL);
    NEED(dead->cls[c].depot_count == 0);
    live += dead->cls[c].taken_count;
  }
  NEED(live == HAK_COUNT_OF(objects) / 2);
  for (size_t i = 1; i < HAK_COUNT_OF(objects); i += 2) {
    NEED(has_stamp(objects[i], i % 500, (unsigned)i));
    hak_free(objects[i]);
  }
  struct heap *h = entry_enter(); /* what is still in our outbox goes, too */
  NEED(h == own);
  outbox_send_all(h);
  entry_leave(h);
  for (uint32_t c = 0; c < CLASS_COUNT; c++) NEED(dead->cls[c].taken_count == 0);
  NEED(!mail_is_waiting(dead) && heap_is_valid(dead));
}
static void live_objects_outlive_their_thread(void **state) {
  (void)state;
  run_child(what_threads_leave);
}

static pthread_key_t late_key;
static struct heap *heap_of_thread;
static unsigned late_rounds;

/* Another destructor of the thread, run in every round: in the first there is a heap, whichever
 * destructor comes first. TSan takes a thread's state down in the last. */
enum { LATE_ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS - UNIT_TSAN };
static void allocates_late(void *held) {
  hak_free(held);
  void *p = hak_malloc(300);
  NEED(p != NULL);
  stamp(p, 300, late_rounds);
  if (++late_rounds == 1) NEED(heap_current == heap_of_thread && object_owner(p) == heap_of_thread);
  if (late_rounds < LATE_ROUNDS) {
    NEED(pthread_setspecific(late_key, p) == 0);
  } else {
    hak_free(p); /* the heap is given up by now */
  }
}
static void *ends_with_destructors(void *unused) {
  (void)unused;
  NEED(pthread_setspecific(late_key, hak_malloc(300)) == 0);
  heap_of_thread = heap_current;
  return NULL;
}
static void late_destructors(void) {
  struct heap *next;
  NEED(pthread_key_create(&late_key, allocates_late) == 0);
  thread_run(ends_with_destructors, NULL);
  NEED(late_rounds == LATE_ROUNDS && load_relaxed(&heap_of_thread->absence) == HEAP_ORPHAN);
  thread_run(tells_its_heap, &next);
  NEED(next == heap_of_thread);
}
/* The thread's first call comes from another key's destructor, in the first round or the next, when
 * our own destructor may have been passed over. */
static pthread_key_t first_call_key;
static unsigned first_call_round, passed_rounds;
static void frees_at_last(void *held) {
  if (passed_rounds++ < first_call_round) {
    NEED(pthread_setspecific(first_call_key, held) == 0);
    return;
  }
  NEED(heap_current == &heap_none);
  hak_free(held);
  NEED(heap_current->is_owned);
}
static void *leaves_it_to_a_key(void *held) {
  NEED(pthread_setspecific(first_call_key, held) == 0);
  return NULL;
}
static void first_calls_at_the_end(void) {
  (void)heap_own();
  NEED(pthread_key_create(&first_call_key, frees_at_last) == 0);
  uint32_t end = 0;
  for (unsigned i = 0; i < 20; i++) {
    first_call_round = i % (2 - UNIT_TSAN);
    passed_rounds = 0;
    thread_run(leaves_it_to_a_key, hak_malloc(100));
    NEED(passed_rounds == first_call_round + 1);
    if (i == 0) end = heap_id_end();
  }
  NEED(heap_id_end() == end); /* each found the heap of the one before */
}
static void a_first_call_at_a_threads_end_loses_no_heap(void **state) {
  (void)state;
  run_child(first_calls_at_the_end);
}

static void other_destructors_still_find_a_heap(void **state) {
  (void)state;
  run_child(late_destructors);
}

/* What is called after a heap was given up is served all the same, and by nobody's bins. */
static void *after_its_end;
static void *goes_on_after_its_end(void *unused) {
  (void)unused;
  void *early = hak_malloc(64);
  struct heap *h = heap_current;
  heap_make_exit_current();
  struct magazine *strays;
  NEED(home_abandon(h, &strays).kind == FAULT_NONE && strays == NULL);
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n += 97) {
    char *p = hak_malloc(n);
    NEED(p != NULL && object_owner(p) == &heap_exit && heap_current == &heap_exit);
    stamp(p, n, 1);
    p = hak_realloc(p, n + 100);
    NEED(p != NULL && has_stamp(p, n, 1));
    hak_free(p);
    NEED(heap_bin_count(&heap_exit, 0) == 0);
  }
  hak_free(early);
  after_its_end = hak_malloc(64);
  NEED(object_is_in_bitmap(early));
  return NULL;
}
static void after_the_end(void) {
  (void)heap_own();
  thread_run(goes_on_after_its_end, NULL);
  NEED(object_owner(after_its_end) == &heap_exit && heap_is_valid(&heap_exit));
  hak_free(after_its_end);
  NEED(object_is_in_bitmap(after_its_end));
}
static void calls_after_the_end_are_served(void **state) {
  (void)state;
  run_child(after_the_end);
}

/* A handler that interrupts the very end of a thread, while it gives its heap up. */
static void *held_by_thread;
static void allocates_at_the_end(void) {
  void *p = hak_malloc(64);
  NEED(p != NULL);
  hak_free(held_by_thread); /* must not wait for its own thread */
  hak_free(p);
}
static void *is_interrupted_at_its_end(void *unused) {
  (void)unused;
  held_by_thread = hak_malloc(64);
  void *cached = hak_malloc(64);
  hak_free(cached);
  trap_set(region_record(chunk_index(cached)), allocates_at_the_end);
  return NULL; /* the flush to the bitmap runs into the trap */
}
static void interrupted_ends(void) {
  (void)heap_own();
  thread_run(is_interrupted_at_its_end, NULL);
  NEED(trap_has_sprung());
  struct heap *next; /* all is in order afterwards */
  thread_run(tells_its_heap, &next);
  NEED(next != heap_current && lock_enter(&next->lock) && heap_is_valid(next));
  lock_leave(&next->lock);
}
static void a_handler_at_the_very_end_does_not_hang(void **state) {
  (void)state;
  run_child(interrupted_ends);
}

/* With 1,024 keys taken before, hakmem has none: all threads share one heap. */
static void without_keys(void) {
  struct heap *h;
  NEED(hak_malloc(1) != NULL && heap_current == &heap_exit);
  void *p = hak_malloc(5000);
  NEED(object_owner(p) == &heap_exit && entry_thread_heap() == &heap_exit);
  thread_run(leaves_objects_behind, NULL);
  for (size_t i = 1; i < HAK_COUNT_OF(objects); i += 2) {
    NEED(has_stamp(objects[i], i % 500, (unsigned)i));
    hak_free(objects[i]);
  }
  hak_free(p);
  NEED((h = entry_enter()) == &heap_exit && heap_is_valid(h));
  for (uint32_t c = 0; c < CLASS_COUNT; c++) NEED(h->cls[c].taken_count == (c == size_class_of(1)));
  entry_leave(h);
}
static void without_a_key_all_share_a_heap(void **state) {
  (void)state;
  run_program("without_keys", NULL, 0);
}
static void take_all_keys(int argc, char **argv, char **environment) {
  (void)environment;
  if (argc != 2 || strcmp(argv[1], "without_keys") != 0) return;
  pthread_key_t key;
  for (int i = 0; i < KEYS_FILLED && pthread_key_create(&key, NULL) == 0; i++) {
  }
}
/* Before any constructor, hakmem's included. */
__attribute__((section(".preinit_array"),
               used)) static void (*const early)(int, char **, char **) = take_all_keys;

/* A handler inside a slow path forks: in the child the heap is still this thread's. */
static void fork_within(void) {
  hak_free(hak_malloc(1));
  struct heap *h = entry_enter(), *other;
  pid_t pid = fork();
  entry_leave(h);
  if (pid != 0) {
    child_wait(pid);
    return;
  }
  thread_run(tells_its_heap, &other);
  NEED(heap_current == h && other != h);
  _exit(0);
}
static void a_fork_within_a_slow_path_keeps_the_heap(void **state) {
  (void)state;
  run_child(fork_within);
}

static pthread_barrier_t is_inside, is_forked;
static void *stays_inside(void *unused) {
  (void)unused;
  hak_free(hak_malloc(1));
  struct heap *h = entry_enter();
  NEED(h != NULL);
  pthread_barrier_wait(&is_inside);
  pthread_barrier_wait(&is_forked);
  entry_leave(h);
  return NULL;
}

/* The child of a bare fork forks before it does anything else. */
static void fork_after_bare_fork(void) {
  pthread_t thread;
  NEED(pthread_barrier_init(&is_inside, NULL, 2) == 0);
  NEED(pthread_barrier_init(&is_forked, NULL, 2) == 0);
  hak_free(hak_malloc(1));
  NEED(pthread_create(&thread, NULL, stays_inside, NULL) == 0);
  pthread_barrier_wait(&is_inside);
  pid_t pid = _Fork();
  if (pid == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) _exit(0);
    child_wait(grandchild);
    _exit(0);
  }
  child_wait(pid);
  pthread_barrier_wait(&is_forked);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_bare_forks_child_can_fork(void **state) {
  (void)state;
  run_child(fork_after_bare_fork);
}

int main(int argc, char **argv) {
  entry_init();
  if (argc == 2 && strcmp(argv[1], "without_keys") == 0) {
    without_keys();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_next_thread_adopts_the_heap),
      cmocka_unit_test(threads_alive_have_heaps_of_their_own),
      cmocka_unit_test(a_thread_with_the_id_of_a_dead_one_is_another),
      cmocka_unit_test(live_objects_outlive_their_thread),
      cmocka_unit_test(other_destructors_still_find_a_heap),
      cmocka_unit_test(a_first_call_at_a_threads_end_loses_no_heap),
      cmocka_unit_test(calls_after_the_end_are_served),
      cmocka_unit_test(a_handler_at_the_very_end_does_not_hang),
      cmocka_unit_test(without_a_key_all_share_a_heap),
      cmocka_unit_test(a_fork_within_a_slow_path_keeps_the_heap),
      cmocka_unit_test(a_bare_forks_child_can_fork),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
