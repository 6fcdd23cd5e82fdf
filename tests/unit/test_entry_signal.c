/* test_entry_signal.c — what a handler gets that interrupted a slow path: simulated by calling the
 * allocator between entry_enter and entry_leave, and for real by a trap and by a storm of signals.
 */
#include "unit_entry.h"
#include "unit_trap.h"

#include "entry_signal.h"
#include "idle.h"
#include "run.h"

enum { PAGE = 4096, STORM = 500, PARKERS = 4, PARK_ROUNDS = 50 };

static struct heap *enter(void) {
  struct heap *h = entry_enter();
  NEED(h != NULL && lock_is_mine(&h->lock));
  return h;
}

static void the_reserve_serves(void) {
  void *before = hak_malloc(100);
  struct heap *h = enter();
  NEED(entry_signal_used_bytes() == 0);
  char *last = NULL;
  for (size_t n = 0; n < 200; n += 5) {
    char *p = hak_malloc(n);
    NEED(p != NULL && entry_signal_owns(p) && (uintptr_t)p % 16 == 0 && p >= last);
    NEED(hak_malloc_usable_size(p) >= n && is_all_zero(p, hak_malloc_usable_size(p)));
    stamp(p, hak_malloc_usable_size(p), (unsigned)n);
    last = p + hak_malloc_usable_size(p);
  }
  for (size_t align = 16; align <= PAGE; align *= 2) {
    char *p = hak_aligned_alloc(align, 40);
    NEED(p != NULL && entry_signal_owns(p) && (uintptr_t)p % align == 0 && p >= last);
    stamp(p, 40, 1);
    last = p + 40;
  }
  char *cleared = hak_calloc(5, 10), *large = hak_malloc(20000);
  NEED(entry_signal_owns(cleared) && is_all_zero(cleared, 50) && entry_signal_owns(large));
  size_t used = entry_signal_used_bytes();
  NEED(used > 20000 && used <= SIGNAL_RESERVE_BYTES);
  hak_free(large); /* does nothing else */
  NEED(entry_signal_used_bytes() == used);
  /* Used up: ENOMEM, at any size and alignment that is left no room. */
  while (hak_malloc(1000) != NULL) NEED(entry_signal_used_bytes() <= SIGNAL_RESERVE_BYTES);
  errno = 0;
  NEED(hak_malloc(30000) == NULL && errno == ENOMEM);
  errno = 0;
  NEED(hak_malloc((size_t)8 << 20) == NULL && errno == ENOMEM);
  errno = 0;
  NEED(hak_calloc(1, 1100) == NULL && errno == ENOMEM);
  errno = 0;
  NEED(hak_realloc(before, 200000) == NULL && errno == ENOMEM);
  NEED(!entry_signal_owns(before) && !entry_signal_owns(&used));
  entry_leave(h);
  /* Outside again: real memory; what the reserve gave may be freed and moved. */
  char *p = hak_malloc(20000);
  NEED(p != NULL && !entry_signal_owns(p));
  hak_free(p);
  hak_free(cleared);
  stamp(large, 20000, 3);
  large = hak_realloc(large, 50000);
  NEED(large != NULL && !entry_signal_owns(large) && has_stamp(large, 20000, 3));
  hak_free(large);
  hak_free(before);
}
static void malloc_inside_comes_from_a_reserve(void **state) {
  (void)state;
  run_child(the_reserve_serves);
}

static void sizes_and_alignments_of_the_reserve(void) {
  errno = 0;
  NEED(entry_signal_alloc(SIGNAL_RESERVE_BYTES, 1) == NULL && errno == ENOMEM); /* and a header */
  NEED(entry_signal_alloc(SIZE_MAX, 1) == NULL && entry_signal_alloc(1, SIZE_MAX / 2 + 1) == NULL);
  NEED(entry_signal_alloc(SIZE_MAX - 8, PAGE) == NULL);
  NEED(entry_signal_used_bytes() == 0);
  char *p = entry_signal_alloc(SIGNAL_RESERVE_BYTES - 16, 1);
  NEED(p != NULL && is_all_zero(p, SIGNAL_RESERVE_BYTES - 16));
  NEED(entry_signal_bytes(p) == SIGNAL_RESERVE_BYTES - 16);
  NEED(entry_signal_alloc(0, 1) == NULL);
}
static void it_is_used_to_its_end(void **state) {
  (void)state;
  run_child(sizes_and_alignments_of_the_reserve);
}

static void *reserve_parts[8][400];
static void *takes_parts(void *number) {
  for (unsigned i = 0; i < 400; i++) {
    char *p = reserve_parts[(uintptr_t)number][i] = entry_signal_alloc(16, 1);
    if (p != NULL) stamp(p, 16, (unsigned)(uintptr_t)number * 31 + i);
  }
  return NULL;
}
static void threads_take_parts(void) {
  threads_run(8, takes_parts);
  size_t count = 0;
  for (unsigned t = 0; t < 8; t++)
    for (unsigned i = 0; i < 400; i++)
      if (reserve_parts[t][i] != NULL && ++count)
        NEED(has_stamp(reserve_parts[t][i], 16, t * 31 + i));
  NEED(count == SIGNAL_RESERVE_BYTES / 32); /* nothing lost, nothing given twice */
}
static void handlers_of_many_threads_share_it(void **state) {
  (void)state;
  run_child(threads_take_parts);
}

enum kind { TINY, MEDIUM, RUN, MAPPING, REMOTE, KINDS };

static void *allocates_40(void *out) {
  for (int i = 0; i < 40; i++) ((void **)out)[i] = hak_malloc(64);
  return NULL;
}

/* Whatever is freed inside is parked, live until the slow path ends, and freed then. */
static void frees_inside(void) {
  static const size_t sizes[KINDS] = {48, 5000, 100000, (size_t)20 << 20, 64};
  for (int kind = 0; kind < KINDS; kind++) {
    void *objects[40];
    (void)heap_own();
    if (kind == REMOTE) thread_run(allocates_40, objects);
    for (int i = 0; i < 40 && kind != REMOTE; i++) objects[i] = hak_malloc(sizes[kind]);
    for (int i = 0; i < 40; i++) NEED(objects[i] != NULL), stamp(objects[i], 40, (unsigned)i);
    struct mallinfo2 before = hak_mallinfo2();
    struct heap *h = enter();
    errno = 77;
    for (int i = 0; i < 40; i++) hak_free(objects[i]);
    NEED(errno == 77 && entry_signal_has_parked());
    for (int i = 0; i < 40; i++) NEED(has_stamp(objects[i], 40, (unsigned)i));
    entry_leave(h);
    NEED(!entry_signal_has_parked());
    struct mallinfo2 after = hak_mallinfo2();
    NEED(before.uordblks + before.hblkhd - after.uordblks - after.hblkhd >= 40 * sizes[kind]);
  }
  NEED(entry_signal_leaked_count() == 0);
}
static void free_inside_is_put_off(void **state) {
  (void)state;
  run_child(frees_inside);
}

static void too_many_frees_inside(void) {
  static void *objects[PARKED_SLOTS + 10];
  for (size_t i = 0; i < PARKED_SLOTS + 10; i++) objects[i] = hak_malloc(100000);
  struct heap *h = enter();
  for (size_t i = 0; i < PARKED_SLOTS + 10; i++) hak_free(objects[i]);
  NEED(entry_signal_leaked_count() == 10);
  entry_leave(h);
  size_t freed = 0;
  for (size_t i = 0; i < PARKED_SLOTS + 10; i++)
    freed += map_entry_id(object_entry(objects[i])) == HEAP_ID_FREED;
  NEED(freed == PARKED_SLOTS && entry_signal_leaked_count() == 10);
}
static void what_has_no_slot_leaks_and_is_counted(void **state) {
  (void)state;
  run_child(too_many_frees_inside);
}

/* Threads park side by side, and free what is parked: nothing is lost, nothing freed twice. */
static pthread_barrier_t all_parkers;
static void *parks_and_frees(void *unused) {
  for (int round = 0; round < PARK_ROUNDS; round++) {
    void *objects[PARKED_SLOTS / PARKERS];
    for (size_t i = 0; i < PARKED_SLOTS / PARKERS; i++)
      NEED((objects[i] = hak_malloc(100000)) != NULL);
    pthread_barrier_wait(&all_parkers);
    for (size_t i = 0; i < PARKED_SLOTS / PARKERS; i++) entry_signal_park(objects[i]);
    pthread_barrier_wait(&all_parkers);
    entry_signal_free_parked();
  }
  return unused;
}
static void parking_side_by_side(void) {
  hak_free(hak_malloc(100000));
  size_t before = run_total_bytes();
  NEED(pthread_barrier_init(&all_parkers, NULL, PARKERS) == 0);
  threads_run(PARKERS, parks_and_frees);
  entry_signal_free_parked();
  NEED(!entry_signal_has_parked() && entry_signal_leaked_count() == 0);
  NEED(run_total_bytes() == before);
}
static void threads_share_the_slots(void **state) {
  (void)state;
  run_child(parking_side_by_side);
}

/* A handler in the midst of a refill, and of a flush: at the first change of the slab's record. */
static void *live_before, *got_inside;
static void uses_all_inside(void) {
  NEED(hak_malloc_usable_size(live_before) >= 48);
  hak_free(live_before);
  got_inside = hak_malloc(48);
  NEED(got_inside != NULL && entry_signal_owns(got_inside));
}
static void trapped(void) {
  static void *objects[4000];
  for (int is_flush = 0; is_flush < 2; is_flush++) {
    for (int i = 0; i < 2000; i++) NEED((objects[i] = hak_malloc(48)) != NULL);
    live_before = objects[0];
    trap_set(region_record(chunk_index(objects[1999])), uses_all_inside);
    for (int i = 2000; !is_flush && i < 4000; i++) NEED((objects[i] = hak_malloc(48)) != NULL);
    for (int i = 1; i < (is_flush ? 2000 : 4000); i++) hak_free(objects[i]);
    if (is_flush) (void)hak_malloc_trim(0);
    NEED(trap_has_sprung() && !entry_signal_has_parked());
    hak_free(got_inside);
    (void)hak_malloc_trim(0);
    NEED(object_is_in_bitmap(live_before));
    struct heap *h = enter();
    NEED(heap_is_valid(h));
    entry_leave(h);
  }
}
static void a_slow_path_stands_being_interrupted(void **state) {
  (void)state;
  run_child(trapped);
}

static _Atomic(bool) is_over;
static void *handled;
static void allocates_and_frees(int unused) {
  (void)unused;
  int kept = errno;
  void *p = hak_malloc(24);
  hak_free(handled);
  handled = p;
  errno = kept;
}
static void *storms(void *thread) {
  for (int i = 0; i < STORM; i++) {
    NEED(pthread_kill(*(pthread_t *)thread, SIGUSR1) == 0);
    os_yield();
  }
  store_relaxed(&is_over, true);
  return NULL;
}

/* Only slow paths are interrupted: large objects, whose malloc and free have no hot path. */
static void handlers_in_slow_paths(void) {
  struct sigaction action = {.sa_handler = allocates_and_frees, .sa_flags = SA_RESTART};
  pthread_t self = pthread_self(), thread;
  handled = hak_malloc(24);
  NEED(sigaction(SIGUSR1, &action, NULL) == 0);
  NEED(pthread_create(&thread, NULL, storms, &self) == 0);
  while (!load_relaxed(&is_over)) {
    char *p = hak_malloc(100000);
    NEED(p != NULL);
    p[0] = p[99999] = 1;
    hak_free(p);
  }
  NEED(pthread_join(thread, NULL) == 0);
  struct heap *h = enter();
  NEED(heap_is_valid(h));
  entry_leave(h);
}
static void a_storm_of_handlers_is_survived(void **state) {
  (void)state;
  run_child(handlers_in_slow_paths);
}

/* On a hot path, which a handler cannot tell from no call at all: whatever these do, bins are as
 * they were, though another thread has trimmed. */
static void bins_stay(void) {
  static void *objects[64];
  char value[64], *mapping = hak_malloc((size_t)20 << 20);
  for (size_t i = 0; i < 64; i++) NEED((objects[i] = hak_malloc(64)) != NULL);
  for (size_t i = 0; i < 32; i++) hak_free(objects[i]);
  struct heap *h = heap_current;
  static struct bin before[CLASS_COUNT];
  memcpy(before, h->bin, sizeof before);
  uint32_t paths = load_relaxed(&h->home->slow_count);
  for (int i = 0; i < 100; i++) {
    add_relaxed(&trim_epoch, 1u);
    NEED(hak_option_set("BORROW", "1") == 0 && hak_option_set("NONE", "1") == ENOENT);
    NEED(hak_option_get("BORROW", value, sizeof value) == 0);
    NEED(hak_limit_callback(0, NULL, NULL) == 0);
    NEED(hak_malloc_usable_size(mapping) == (size_t)20 << 20);
    NEED(hak_malloc_usable_size(objects[40]) == 64 && hak_good_size(40) >= 40);
    NEED(hak_mallinfo2().hblks == 1 && hak_mallinfo().hblks == 1 && hak_mallopt(1, 1) == 1);
    NEED(heap_current == h && memcmp(before, h->bin, sizeof before) == 0);
  }
  hak_malloc_stats();
  NEED(memcmp(before, h->bin, sizeof before) == 0);
  NEED(load_relaxed(&h->home->slow_count) == paths);
}
static void what_handlers_may_call_leaves_bins_alone(void **state) {
  (void)state;
  run_child(bins_stay);
}

/* Amid a slow path, or one's own purge: a fork may wait for it, so the option may not wait. */
static void options_are_busy_inside(void) {
  struct heap *h = enter();
  NEED(hak_option_set("BORROW", "1") == EBUSY && hak_limit_callback(0, NULL, NULL) == EBUSY);
  entry_leave(h);
  NEED(hak_option_set("BORROW", "1") == 0);
}
static void *sets_without_a_heap(void *unused) {
  NEED(heap_current == &heap_none);
  NEED(hak_option_set("BORROW", "1") == 0 && heap_current == &heap_none);
  (void)heap_make_exit_current();
  NEED(hak_option_set("BORROW", "1") == 0 && heap_current == &heap_exit);
  return unused;
}
static void options_are_busy_amid_a_slow_path(void **state) {
  (void)state;
  run_child(options_are_busy_inside);
  threads_run(1, sets_without_a_heap);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(malloc_inside_comes_from_a_reserve),
      cmocka_unit_test(it_is_used_to_its_end),
      cmocka_unit_test(handlers_of_many_threads_share_it),
      cmocka_unit_test(free_inside_is_put_off),
      cmocka_unit_test(what_has_no_slot_leaks_and_is_counted),
      cmocka_unit_test(threads_share_the_slots),
      cmocka_unit_test(a_slow_path_stands_being_interrupted),
      cmocka_unit_test(a_storm_of_handlers_is_survived),
      cmocka_unit_test(what_handlers_may_call_leaves_bins_alone),
      cmocka_unit_test(options_are_busy_amid_a_slow_path),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
