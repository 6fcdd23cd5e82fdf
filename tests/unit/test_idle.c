/* test_idle.c — what threads keep and do not use goes back: when they say so, when another asks,
 * and when they have done nothing for long.
 */
#include "unit_heap.h"
#include "unit_step.h"

#include <pthread.h>
#include <semaphore.h>

#include "idle.h"
#include "mail.h"
#include "pull.h"

enum { COUNT = 20000, SMALL_BYTES = 200, OTHER_BYTES = 3000, IDLE_MS = 500 };

/* A thread that fills its caches, and then waits for orders. */
static struct sleeper {
  sem_t is_ready, may_go_on;
  struct heap *heap;
} sleeper;
static void *objects[COUNT];

static void fill_caches(void) {
  for (int round = 0; round < 12; round++) {
    allocate_all(objects, COUNT, SMALL_BYTES);
    free_all(objects, COUNT);
  }
}

static size_t cached_count(struct heap *h) {
  size_t count = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    struct magazine *previous = load_relaxed(&h->cls[c].previous);
    count += heap_bin_count(h, c) + (previous == NULL ? 0 : load_relaxed(&previous->count));
    for (struct magazine *m = h->cls[c].depot_newest; m != NULL; m = m->next)
      count += load_relaxed(&m->count);
  }
  return count;
}

static void *sleeps(void *unused) {
  fill_caches();
  sleeper.heap = heap_current;
  NEED(sleeper.heap->depot_bytes != 0 && cached_count(sleeper.heap) != 0);
  sem_post(&sleeper.is_ready);
  sem_wait(&sleeper.may_go_on);
  return unused;
}

static void *sleeps_and_wakes(void *unused) {
  (void)sleeps(unused);
  struct heap *h = heap_current;
  NEED(h->depot_bytes == 0 && cached_count(h) != 0); /* that is ours to give */
  void *p = hak_malloc(OTHER_BYTES);                 /* a slow path */
  NEED(cached_count(h) <= size_classes[object_class(p)].magazine_capacity);
  NEED(!idle_trim_is_due(h));
  hak_free(p);
  sem_post(&sleeper.is_ready);
  sem_wait(&sleeper.may_go_on);
  return unused;
}

static pthread_t start(void *(*fn)(void *)) {
  pthread_t thread;
  sem_init(&sleeper.is_ready, 0, 0);
  sem_init(&sleeper.may_go_on, 0, 0);
  NEED(pthread_create(&thread, NULL, fn, NULL) == 0);
  sem_wait(&sleeper.is_ready);
  return thread;
}
static void end(pthread_t thread) {
  sem_post(&sleeper.may_go_on);
  NEED(pthread_join(thread, NULL) == 0);
}

/* Each locked slow path counts: by that the clock is looked at, and others see who is idle. */
static void slow_paths(void) {
  struct heap *h = heap_own();
  uint32_t before = load_relaxed(&h->slow_count);
  for (uint32_t i = 1; i <= 5; i++) {
    NEED(entry_enter() == h);
    entry_leave(h);
    NEED(load_relaxed(&h->slow_count) == before + i);
  }
}
static void slow_paths_are_counted(void **state) {
  (void)state;
  run_child(slow_paths);
}

static void trim(void) {
  (void)heap_own();
  pthread_t thread = start(sleeps_and_wakes);
  NEED(hak_malloc_trim(0) == 1);
  NEED(sleeper.heap->depot_bytes == 0 && idle_trim_is_due(sleeper.heap));
  sem_post(&sleeper.may_go_on);
  sem_wait(&sleeper.is_ready);
  NEED(hak_malloc_trim(0) == 1);
  NEED(superslab_claimed_bytes() <= 4 * (size_t)CHUNK_BYTES);
  end(thread);
}
static void a_trim_reaches_other_threads(void **state) {
  (void)state;
  run_child(trim);
}

static void *frees_all(void *unused) {
  free_all(objects, COUNT);
  return unused;
}
static void *says_that_it_is_idle(void *unused) {
  fill_caches();
  struct heap *h = heap_current;
  void *mine = hak_malloc(SMALL_BYTES);
  allocate_all(objects, COUNT, SMALL_BYTES);
  thread_run(frees_all, NULL); /* mail for us */
  hak_thread_idle();
  hak_thread_idle();
  NEED(heap_current == h && cached_count(h) == 0 && h->depot_bytes == 0 && !mail_is_waiting(h));
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    NEED(load_relaxed(&h->cls[c].loaded) == NULL && h->cls[c].window == 0);
    NEED(h->cls[c].taken_count == (c == object_class(mine)));
  }
  for (uint8_t kind = 0; kind < MAGAZINE_KIND_COUNT; kind++)
    NEED(h->shelf.first[kind] == NULL && h->spare[kind] == NULL);
  NEED(h->outbox_room == OUTBOX_BYTES && load_relaxed(&h->slab_bytes) == CHUNK_BYTES);
  fill_caches(); /* and it goes on as before */
  hak_free(mine);
  return unused;
}
static void idle(void) {
  hak_thread_idle(); /* of a thread without a heap */
  thread_run(says_that_it_is_idle, NULL);
}
static void an_idle_thread_keeps_nothing(void **state) {
  (void)state;
  run_child(idle);
}

/* Who frees a sleeper's objects, and then does something else, leaves nothing on the way. */
static void *owns_some(void *unused) {
  allocate_all(objects, COUNT, SMALL_BYTES);
  sleeper.heap = heap_current;
  sem_post(&sleeper.is_ready);
  sem_wait(&sleeper.may_go_on);
  return unused;
}
static void does_something_else(void) {
  enum { QUIET_PATHS = 16, FREED = 100 };
  struct heap *own = heap_own();
  pthread_t thread = start(owns_some);
  uint32_t c = object_class(objects[0]), before = sleeper.heap->cls[c].taken_count;
  free_all(objects, FREED);
  for (uint32_t i = 0; i < QUIET_PATHS; i++) {
    NEED(own->outbox_room != OUTBOX_BYTES && sleeper.heap->cls[c].taken_count == before);
    NEED(entry_enter() == own);
    entry_leave(own);
  }
  NEED(own->outbox_room == OUTBOX_BYTES && !mail_is_waiting(sleeper.heap));
  NEED(sleeper.heap->cls[c].taken_count == before - FREED);
  NEED(!idle_send_is_due(own));
  end(thread);
}
static void nothing_waits_with_who_does_something_else(void **state) {
  (void)state;
  run_child(does_something_else);
}

/* Time is what we say it is. */
static void ticks(void) {
  struct heap *own = heap_own();
  pthread_t thread = start(sleeps);
  struct heap *h = sleeper.heap;
  uint64_t now = 1000000000; /* after the ticks that came with the slow paths above */
  NEED(idle_tick(own, now).kind == FAULT_NONE);
  now += IDLE_MS - 1;
  NEED(idle_tick(own, now).kind == FAULT_NONE && h->depot_bytes != 0);
  store_relaxed(&h->slow_count, load_relaxed(&h->slow_count) + 1); /* it was at work */
  now += IDLE_MS;
  NEED(idle_tick(own, now).kind == FAULT_NONE && h->depot_bytes != 0);
  NEED(idle_tick(own, now).kind == FAULT_NONE);
  now += IDLE_MS + 1;
  size_t before = cached_count(h);
  NEED(idle_tick(own, now).kind == FAULT_NONE);
  NEED(h->depot_bytes == 0 && cached_count(h) < before && heap_is_valid(h));
  NEED(load_relaxed(&h->idle_since_ms) == 0);
  end(thread);
}
static void ticks_empty_the_depots_of_idle_threads(void **state) {
  (void)state;
  run_child(ticks);
}

/* The same at all heaps, the caller's too, and as often as it likes. */
static void looks(void) {
  enum { HEAPS = 50 };
  pthread_t thread = start(sleeps);
  home_set_count(UINT32_MAX);
  struct heap *heap[HEAPS];
  for (size_t i = 0; i < HEAPS; i++) {
    heap[i] = heap_by_hand();
    store_relaxed(&heap[i]->slow_count, 1u);
  }
  struct magazine *strays = NULL;
  bool is_waiting = false;
  uint64_t now = 1000000000;
  NEED(idle_look(&strays, now, &is_waiting).kind == FAULT_NONE && is_waiting);
  NEED(idle_look(&strays, now - 1, &is_waiting).kind == FAULT_NONE); /* an older clock */
  NEED(idle_look(&strays, now + IDLE_MS - 1, &is_waiting).kind == FAULT_NONE && is_waiting);
  NEED(sleeper.heap->depot_bytes != 0);
  store_relaxed(&heap[HEAPS - 1]->slow_count, 2u);
  NEED(idle_look(&strays, now + IDLE_MS, &is_waiting).kind == FAULT_NONE && is_waiting);
  NEED(sleeper.heap->depot_bytes == 0 && load_relaxed(&heap[0]->idle_since_ms) == 0);
  NEED(load_relaxed(&heap[HEAPS - 1]->idle_since_ms) == now + IDLE_MS);
  NEED(idle_look(&strays, now + 2 * IDLE_MS, &is_waiting).kind == FAULT_NONE && !is_waiting);
  NEED(strays == NULL && heap_is_valid(sleeper.heap));
  end(thread);
}
static void a_look_is_at_all_heaps(void **state) {
  (void)state;
  run_child(looks);
}

/* Each heap is looked at once a round, and no tick looks at more than a few. */
static void many(void) {
  enum { HEAPS = 100, A_TICK = 16 };
  home_set_count(UINT32_MAX); /* each thread its own */
  struct heap *own = heap_own(), *heap[HEAPS];
  for (size_t i = 0; i < HEAPS; i++) heap[i] = heap_by_hand();
  uint64_t now = 1000000000;
  uint32_t looked = 0;
  for (uint32_t round = 1; looked < HEAPS; round++) {
    NEED(round <= (HEAPS + 2) / A_TICK + 1);
    for (size_t i = 0; i < HEAPS; i++) store_relaxed(&heap[i]->slow_count, 1u);
    NEED(idle_tick(own, now += 100).kind == FAULT_NONE);
    uint32_t before = looked;
    looked = 0;
    for (size_t i = 0; i < HEAPS; i++) looked += load_relaxed(&heap[i]->idle_slow_count);
    NEED(looked > before && looked - before <= A_TICK);
    NEED(idle_tick(own, now + 1).kind == FAULT_NONE); /* too early: nothing is looked at */
  }
}
static void a_tick_looks_at_a_few(void **state) {
  (void)state;
  run_child(many);
}

/* What a thread does costs no more with thousands of heaps: half of them orphans, half of threads
 * that do nothing. Counted in instructions; looking at each heap would take one a heap at least. */
enum { FEW_HEAPS = 100, MANY_HEAPS = 4000, A_FEW = 200, LARGE_COUNT = 24, LARGE_BYTES = 30000 };
enum { OTHERS_FREE = 2000, KEPT_ONE_OF = 50 };
static uint32_t heaps_made, freed_up_to;
static uint64_t tick_ms = 1000000000;

static void uses_fresh_slabs(void) {
  static void *large[LARGE_COUNT];
  allocate_all(large, LARGE_COUNT, LARGE_BYTES);
  free_all(large, LARGE_COUNT);
}
static void adopts_and_abandons(void) {
  NEED(home_abandon(heap_by_hand(), &(struct magazine *){NULL}).kind == FAULT_NONE);
}
static void frees_for_another(void) {
  free_all(objects + freed_up_to, A_FEW);
  freed_up_to += A_FEW;
  struct heap *h = enter();
  idle_send(h);
  entry_leave(h);
}
/* Of a thread that has a surplus, as pull_from finds it there; all of it but the wait for a lock.
 */
static void *frees_most(void *unused) {
  allocate_all(objects, COUNT, SMALL_BYTES);
  for (size_t i = OTHERS_FREE; i < COUNT; i++)
    if (i % KEPT_ONE_OF != 0) hak_free(objects[i]);
  sleeper.heap = heap_current;
  sem_post(&sleeper.is_ready);
  sem_wait(&sleeper.may_go_on);
  return unused;
}
static void pulls_a_slab(void) {
  uint32_t c = object_class(objects[COUNT - 1]);
  struct heap *h = enter();
  pull_offer(sleeper.heap, c);
  struct slab *s = pull_slab(h, c);
  NEED(s != NULL && map_load(slab_chunk(s)) == heap_entry(h, c));
  entry_leave(h);
}
static void has_a_tick(void) { NEED(idle_tick(heap_current, tick_ms += 100).kind == FAULT_NONE); }
/* What a thread does after another's malloc_trim: its slow path gives up what is its own alone. */
static void honours_a_trim(void) {
  struct heap *h = heap_current;
  add_relaxed(&trim_epoch, 1u);
  NEED(idle_trim_is_due(h));
  NEED(entry_enter() == h);
  entry_leave(h);
  NEED(!idle_trim_is_due(h));
  has_a_tick();
}

static void make_heaps(uint32_t count) {
  static struct heap *made[MANY_HEAPS];
  for (uint32_t i = heaps_made; i < count; i++) made[i] = heap_by_hand();
  for (uint32_t i = heaps_made; i < count; i += 2)
    NEED(home_abandon(made[i], &(struct magazine *){NULL}).kind == FAULT_NONE);
  heaps_made = count;
}

static void count_operations(uint64_t *count) {
  void (*const operation[])(void) = {uses_fresh_slabs, adopts_and_abandons, frees_for_another,
                                     pulls_a_slab,     has_a_tick,          honours_a_trim};
  for (size_t i = 0; i < HAK_COUNT_OF(operation); i++) {
    operation[i](); /* what the first time needs besides */
    hak_thread_idle();
    count[i] = step_count(operation[i]);
    NEED(count[i] > 100);
  }
}

static void among_many(void) {
  enum { OPERATIONS = 6 };
  uint64_t few[OPERATIONS], many[OPERATIONS];
  (void)heap_own();
  pthread_t thread = start(frees_most);
  make_heaps(FEW_HEAPS);
  count_operations(few);
  make_heaps(MANY_HEAPS);
  NEED(heap_id_end() > MANY_HEAPS - FEW_HEAPS);
  count_operations(many);
  for (size_t i = 0; i < OPERATIONS; i++) NEED(many[i] < few[i] + (MANY_HEAPS - FEW_HEAPS) / 2);
  end(thread);
}
static void among_many_homes(void) {
  home_set_count(UINT32_MAX); /* each thread its own */
  among_many();
}
static void no_slow_path_looks_at_every_heap(void **state) {
  (void)state;
  if (!UNIT_CAN_STEP) skip();
  run_child(among_many);
  run_child(among_many_homes);
}

/* The new bounds hold from the next slow path on. */
static void changes_an_option(void) {
  fill_caches();
  struct heap *h = heap_current;
  NEED(h->depot_bytes != 0 && cached_count(h) != 0);
  NEED(hak_option_set("BIN_BYTES", "4K") == 0);
  void *p = hak_malloc(OTHER_BYTES); /* a slow path */
  NEED(cached_count(h) <= size_classes[object_class(p)].magazine_capacity);
  hak_free(p);
}
static void after_a_change_of_options_all_goes_back(void **state) {
  (void)state;
  run_child(changes_an_option);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(after_a_change_of_options_all_goes_back),
      cmocka_unit_test(slow_paths_are_counted),
      cmocka_unit_test(a_trim_reaches_other_threads),
      cmocka_unit_test(an_idle_thread_keeps_nothing),
      cmocka_unit_test(nothing_waits_with_who_does_something_else),
      cmocka_unit_test(ticks_empty_the_depots_of_idle_threads),
      cmocka_unit_test(a_look_is_at_all_heaps),
      cmocka_unit_test(a_tick_looks_at_a_few),
      cmocka_unit_test(no_slow_path_looks_at_every_heap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
