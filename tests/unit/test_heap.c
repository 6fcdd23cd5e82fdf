/* test_heap.c — heaps: ids for ever, given up and adopted whole, locked in pairs, after forks. */
#include "unit_entry.h"

#include "flush.h"
#include "mail.h"
#include "meta.h"
#include "refill.h"

enum { ROUNDS = 20000, HEAPS = 600, LEFT = 5 };

static struct heap_fault abandon_noting(struct heap *h) {
  struct magazine *strays;
  struct heap_fault fault = home_abandon(h, &strays);
  NEED(strays == NULL);
  return fault;
}
static void abandon(struct heap *h) { NEED(abandon_noting(h).kind == FAULT_NONE); }

/* More than a leaf of the directory; a heap and its id stay together for ever. */
static void many_heaps(void) {
  static struct heap *heaps[HEAPS];
  home_set_count(UINT32_MAX); /* each thread its own */
  (void)heap_own();
  uint32_t end = heap_id_end();
  for (uint32_t i = 0; i < HEAPS; i++) {
    struct heap *h = heaps[i] = heap_by_hand();
    NEED(heap_id(h) == end + i && heap_id_end() == end + i + 1 && heap_of_id(end + i) == h);
    NEED(h != heap_current && h->is_owned && !heap_is_away(h));
    NEED(lock_enter(&h->lock) && heap_is_valid(h));
    lock_leave(&h->lock);
    for (uint32_t c = 0; c < CLASS_COUNT; c++) NEED(heap_bin_count(h, c) == 0);
  }
  for (int round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < HEAPS; i++) {
      abandon(heaps[i]);
      NEED(load_relaxed(&heaps[i]->absence) == HEAP_ORPHAN &&
           heap_of_id(heap_id(heaps[i])) == heaps[i]);
    }
    static bool is_back[HEAPS];
    memset(is_back, 0, sizeof is_back);
    for (uint32_t i = 0; i < HEAPS; i++) {
      struct heap *h = heap_by_hand();
      uint32_t n = heap_id(h) - end;
      NEED(n < HEAPS && heaps[n] == h && !is_back[n] && !heap_is_away(h));
      is_back[n] = true;
    }
    NEED(heap_id_end() == end + HEAPS);
  }
  NEED(heap_of_id(HEAP_ID_BOOTING) == NULL && heap_of_id(HEAP_ID_EXIT) == NULL);
  NEED(heap_of_id(0) == NULL && heap_of_id(HEAP_ID_RUN) == NULL && heap_of_id(15) == NULL);
  NEED(heap_of_id(heap_id_end()) == NULL && heap_of_id(1u << 24) == NULL);
}
/* The `exit` heap comes into being when it is needed; not amid a slow path of the same thread. */
static void exit_heap_is_made(void) {
  struct heap *own = heap_own();
  NEED(lock_enter(&heap_none.lock));
  NEED(heap_exit_get() == NULL && heap_make_exit_current() == &heap_none);
  NEED(heap_current == &heap_none && heap_of_id(HEAP_ID_EXIT) == NULL);
  lock_leave(&heap_none.lock);
  NEED(heap_make_exit_current() == &heap_exit && heap_current == &heap_exit);
  NEED(heap_exit_get() == &heap_exit && heap_of_id(HEAP_ID_EXIT) == &heap_exit);
  NEED(heap_id(&heap_exit) == HEAP_ID_EXIT && !heap_exit.is_owned);
  heap_current = own;
}
static void exit_heap_is_made_when_needed(void **state) {
  (void)state;
  run_child(exit_heap_is_made);
}

static void heaps_and_ids_are_for_ever(void **state) {
  (void)state;
  run_child(many_heaps);
}

/* With room for a heap, but not for the metadata block of the directory's next leaf. */
static size_t address_bytes(void) {
  char text[64] = "";
  int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  NEED(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
  return strtoull(text, NULL, 10) * os_page_bytes();
}
static void allow_more(size_t bytes) {
  struct rlimit limit;
  NEED(getrlimit(RLIMIT_AS, &limit) == 0);
  limit.rlim_cur = address_bytes() + bytes;
  NEED(setrlimit(RLIMIT_AS, &limit) == 0);
}
static void nothing_lost(void) {
  home_set_count(UINT32_MAX); /* each thread its own */
  (void)heap_own();
  while (heap_id_end() % 512 != 0) (void)heap_by_hand(); /* leaves are of 512 */
  NEED(lock_enter(&heap_none.lock));
  allow_more(0);
  while (meta_alloc(64) != NULL) { /* the open block ends */
  }
  size_t before = meta_bytes();
  allow_more(56 * KIB);
  for (int i = 0; i < 8; i++) NEED(home_acquire() == NULL);
  NEED(meta_bytes() == before);
  allow_more(64 * KIB); /* now for the block only */
  for (int i = 0; i < 8; i++) NEED(home_acquire() == NULL);
  NEED(meta_bytes() == before + 64 * KIB);
  allow_more(64 * KIB);
  uint32_t end = heap_id_end();
  struct heap *h = home_acquire();
  NEED(h != NULL && heap_id(h) == end && heap_of_id(end) == h);
  lock_leave(&heap_none.lock);
}
static void without_memory_nothing_is_lost(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(nothing_lost);
}

static void whole(void) {
  (void)heap_own();
  struct heap *h = heap_by_hand();
  void *objects[500];
  NEED(lock_enter(&h->lock));
  for (size_t i = 0; i < 500; i++)
    NEED((objects[i] = refill_take_one(h, (uint32_t)(i % CLASS_COUNT))) != NULL);
  lock_leave(&h->lock);
  for (size_t i = 0; i < 500; i++) {
    NEED(object_owner(objects[i]) == h);
    stamp(objects[i], size_classes[i % CLASS_COUNT].size, (unsigned)i);
  }
  size_t out = load_relaxed(&h->objects_out);
  abandon(h);
  NEED(heap_by_hand() == h && load_relaxed(&h->objects_out) == out);
  NEED(lock_enter(&h->lock));
  for (size_t i = 0; i < 500; i++) {
    uint32_t c = (uint32_t)(i % CLASS_COUNT);
    NEED(has_stamp(objects[i], size_classes[c].size, (unsigned)i));
    NEED(object_owner(objects[i]) == h && !object_is_in_bitmap(objects[i]));
    flush_slots(h, c, &objects[i], 1);
  }
  NEED(heap_is_valid(h) && h->fault.kind == FAULT_NONE);
  lock_leave(&h->lock);
}
static void a_heap_is_adopted_whole(void **state) {
  (void)state;
  run_child(whole);
}

/* A fault found on the way out is said by whoever abandons. */
static void faulty(void) {
  (void)heap_own();
  struct heap *h = heap_by_hand();
  NEED(lock_enter(&h->lock));
  void *p = refill_take_one(h, 5), *slots[2] = {p, p};
  flush_slots(h, 5, slots, 2);
  lock_leave(&h->lock);
  struct heap_fault fault = abandon_noting(h);
  NEED(fault.kind == FAULT_DOUBLE_FREE && fault.object == p);
}
static void faults_are_returned(void **state) {
  (void)state;
  run_child(faulty);
}

static struct heap *pair[2];
static uint64_t counts[2][2];
static void *locks_both_ways(void *number) {
  struct heap *own = pair[(uintptr_t)number % 2], *other = pair[((uintptr_t)number + 1) % 2];
  for (int i = 0; i < ROUNDS; i++) {
    struct heap *second = i % 3 == 0 ? own : other;
    NEED(heap_enter_with(own, second) && lock_is_mine(&own->lock) && lock_is_mine(&second->lock));
    for (int h = 0; h < 2; h++) {
      if (!lock_is_mine(&pair[h]->lock)) continue;
      NEED(counts[h][0] == counts[h][1]);
      counts[h][0]++, counts[h][1]++;
    }
    heap_leave_with(own, second);
  }
  return NULL;
}
static void pairs(void) {
  home_set_count(UINT32_MAX);
  (void)heap_own();
  pair[0] = heap_by_hand(), pair[1] = heap_by_hand();
  threads_run(4, locks_both_ways);
  NEED(counts[0][0] + counts[1][0] > 4 * ROUNDS && counts[1][0] == counts[1][1]);
  NEED(lock_enter(&pair[0]->lock));
  NEED(!heap_enter_with(pair[0], pair[1]) && !heap_enter_with(pair[0], pair[0])); /* self-entry */
  NEED(lock_is_mine(&pair[0]->lock) && !lock_is_mine(&pair[1]->lock));
  lock_leave(&pair[0]->lock);
}
static void two_heaps_are_locked_without_deadlock(void **state) {
  (void)state;
  run_child(pairs);
}

static pthread_barrier_t barrier;
static void *left_objects[LEFT][300];
static void *works_and_waits(void *number) {
  void **mine = left_objects[(uintptr_t)number];
  for (int i = 0; i < 300; i++) mine[i] = hak_malloc(100);
  for (int i = 0; i < 300; i++) stamp(mine[i], 100, (unsigned)i);
  for (int i = 200; i < 300; i++) hak_free(mine[i]);
  (void)pthread_barrier_wait(&barrier);
  (void)pthread_barrier_wait(&barrier);
  return NULL;
}
static struct heap *acquired_heap;
static void *acquires(void *unused) {
  (void)unused;
  for (int i = 0; i < 3000; i++) stamp(hak_malloc(100), 100, 77);
  acquired_heap = heap_current;
  (void)pthread_barrier_wait(&barrier);
  return NULL;
}
/* The child takes the heaps of the threads that fork took away, each once; live objects stay. */
static void in_the_child(struct heap *own) {
  uint32_t end = heap_id_end();
  for (int i = 0; i < LEFT; i++) NEED(heap_is_away(object_owner(left_objects[i][0])));
  NEED(!heap_is_away(own) && heap_current == own);
  NEED(pthread_barrier_init(&barrier, NULL, 2) == 0);
  for (int i = 0; i < LEFT; i++) { /* threads stay alive: each takes another heap */
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, acquires, NULL) == 0);
    (void)pthread_barrier_wait(&barrier);
    NEED(acquired_heap != own && heap_id_end() == end && pthread_detach(thread) == 0);
  }
  for (int t = 0; t < LEFT; t++) {
    for (int i = 0; i < 200; i++) {
      NEED(has_stamp(left_objects[t][i], 100, (unsigned)i));
      hak_free(left_objects[t][i]);
    }
  }
}
static void left_behind(void) {
  home_set_count(UINT32_MAX); /* each thread its own */
  pthread_t threads[LEFT];
  struct heap *own = heap_own();
  NEED(pthread_barrier_init(&barrier, NULL, LEFT + 1) == 0);
  for (uintptr_t i = 0; i < LEFT; i++)
    NEED(pthread_create(&threads[i], NULL, works_and_waits, (void *)i) == 0);
  (void)pthread_barrier_wait(&barrier);
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    in_the_child(own);
    _exit(0);
  }
  child_wait(pid);
  (void)pthread_barrier_wait(&barrier);
  for (int i = 0; i < LEFT; i++) NEED(pthread_join(threads[i], NULL) == 0);
}
static void heaps_left_behind_by_fork_are_adopted(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(left_behind);
}

static void *tells_its_heap(void *out) {
  NEED(hak_malloc(10) != NULL);
  *(struct heap **)out = heap_current;
  return NULL;
}
/* A child of _Fork, which runs no handlers: its only thread keeps its heap, whichever thread
 * notices the fork first. */
static void after_a_bare_fork(void) {
  struct heap *own = heap_own(), *next;
  pid_t pid = _Fork();
  if (pid == 0) {
    child_start();
    thread_run(tells_its_heap, &next);
    NEED(next != own && heap_current == own);
    _exit(0);
  }
  child_wait(pid);
}
static void a_bare_fork_leaves_the_heap_with_its_thread(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(after_a_bare_fork);
}

/* The same while another thread is getting its heap, uses a shared one, or frees into this one: the
 * child does not wait for a thread that is gone. */
static struct heap *locked_at_fork;
static void *holds_a_lock(void *unused) {
  (void)unused;
  NEED(lock_enter(&locked_at_fork->lock));
  (void)pthread_barrier_wait(&barrier);
  (void)pthread_barrier_wait(&barrier);
  lock_leave(&locked_at_fork->lock);
  return NULL;
}
static void *has_given_up_its_heap(void *unused) {
  heap_make_exit_current();
  hak_free(hak_malloc(100)); /* served or refused */
  return unused;
}
static void after_a_bare_fork_meanwhile(void) {
  struct heap *const locked[] = {&heap_none, heap_exit_get(), heap_own()}, *next;
  NEED(locked[1] == &heap_exit);
  NEED(pthread_barrier_init(&barrier, NULL, 2) == 0);
  for (size_t i = 0; i < HAK_COUNT_OF(locked); i++) {
    pthread_t thread;
    locked_at_fork = locked[i];
    NEED(pthread_create(&thread, NULL, holds_a_lock, NULL) == 0);
    (void)pthread_barrier_wait(&barrier);
    pid_t pid = _Fork();
    if (pid == 0) {
      child_start();
      hak_free(hak_malloc(100000));
      thread_run(tells_its_heap, &next);
      thread_run(has_given_up_its_heap, NULL);
      _exit(0);
    }
    child_wait(pid);
    (void)pthread_barrier_wait(&barrier);
    NEED(pthread_join(thread, NULL) == 0);
  }
}
static void a_bare_fork_leaves_every_heap_usable(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(after_a_bare_fork_meanwhile);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(heaps_and_ids_are_for_ever),
      cmocka_unit_test(exit_heap_is_made_when_needed),
      cmocka_unit_test(without_memory_nothing_is_lost),
      cmocka_unit_test(a_heap_is_adopted_whole),
      cmocka_unit_test(faults_are_returned),
      cmocka_unit_test(two_heaps_are_locked_without_deadlock),
      cmocka_unit_test(heaps_left_behind_by_fork_are_adopted),
      cmocka_unit_test(a_bare_fork_leaves_the_heap_with_its_thread),
      cmocka_unit_test(a_bare_fork_leaves_every_heap_usable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
