/* test_home.c — homes: who gets which, what threads that share one may do, and what is left of one
 * when they end or fork. */
#include "unit_heap.h"
#include "unit_step.h"

#include "depot.h"
#include "flush.h"
#include "idle.h"
#include "mail.h"
#include "outbox.h"
#include "refill.h"

enum { HOMES = 2, THREADS = 7, OBJECTS = 3000 };

/* --- threads that stop where the test wants --------------------------------------------------- */

struct worker {
  pthread_t thread;
  pthread_barrier_t step;
  struct heap *heap;
  void *object[OBJECTS];
  void (*todo)(struct worker *w);
};
static struct worker workers[THREADS];

static void *works(void *argument) {
  struct worker *w = argument;
  w->heap = heap_own();
  for (;;) { /* until there is nothing to do */
    (void)pthread_barrier_wait(&w->step);
    (void)pthread_barrier_wait(&w->step);
    if (w->todo == NULL) return NULL;
    w->todo(w);
  }
}
static void worker_start(struct worker *w) {
  NEED(pthread_barrier_init(&w->step, NULL, 2) == 0);
  NEED(pthread_create(&w->thread, NULL, works, w) == 0);
  (void)pthread_barrier_wait(&w->step);
}
static void worker_do(struct worker *w, void (*todo)(struct worker *)) {
  w->todo = todo;
  (void)pthread_barrier_wait(&w->step);
  if (todo != NULL) (void)pthread_barrier_wait(&w->step);
}
static void worker_end(struct worker *w) {
  worker_do(w, NULL);
  NEED(pthread_join(w->thread, NULL) == 0);
}
static void all_start(void) {
  home_set_count(HOMES);
  (void)heap_own();
  for (size_t i = 0; i < THREADS; i++) worker_start(&workers[i]);
}

static void is_whole(struct heap *home) {
  struct heap *own = heap_current;
  NEED(heap_is_home(home) && heap_enter_with(own, home) && heap_is_valid(home));
  NEED(home->fault.kind == FAULT_NONE);
  heap_leave_with(own, home);
}

/* --- the cases -------------------------------------------------------------------------------- */

static void allocates(struct worker *w) {
  for (size_t i = 0; i < OBJECTS; i++) {
    size_t n = 16 + i * 7 % 2000;
    NEED((w->object[i] = hak_malloc(n)) != NULL && object_owner(w->object[i]) == w->heap->home);
    stamp(w->object[i], n, (unsigned)(i + (size_t)(w - workers)));
  }
}
static void frees(struct worker *w) {
  for (size_t i = 0; i < OBJECTS; i++) {
    NEED(has_stamp(w->object[i], 16 + i * 7 % 2000, (unsigned)(i + (size_t)(w - workers))));
    hak_free(w->object[i]);
  }
}
static void sleeps(struct worker *w) {
  (void)w;
  hak_thread_idle();
}
static void frees_first_and_sleeps(struct worker *w) {
  hak_free(w->object[0]);
  hak_thread_idle();
}

/* Eight threads, two homes, of which one takes guests. */
static void spread(void) {
  struct heap *own = heap_own();
  all_start();
  uint32_t at_own = 1, homes = 1;
  for (size_t i = 0; i < THREADS; i++) {
    struct heap *h = workers[i].heap;
    NEED(h->is_owned && h != own && h->key == h->home->key && heap_id(h) == heap_id(h->home));
    at_own += h->home == own;
    homes += heap_is_home(h);
    for (size_t j = 0; j < i; j++) NEED(workers[j].heap != h);
  }
  NEED(at_own == THREADS && homes == HOMES);
  NEED(load_relaxed(&own->thread_count) == at_own);
  for (size_t i = 0; i < THREADS; i++) worker_do(&workers[i], allocates);
  for (size_t i = 0; i < THREADS; i++) worker_do(&workers[i], frees);
  is_whole(own);
  uint32_t end = heap_id_end();
  for (int round = 0; round < 3; round++) { /* heaps of threads that ended serve others */
    for (size_t i = 0; i < THREADS; i++) worker_end(&workers[i]);
    (void)hak_malloc_trim(0);
    NEED(load_relaxed(&own->thread_count) == 1 && taken_of(own) == 0);
    for (size_t i = 0; i < THREADS; i++) worker_start(&workers[i]);
    NEED(load_relaxed(&own->thread_count) == at_own && heap_id_end() == end);
  }
}
static void threads_share_a_home(void **state) {
  (void)state;
  run_child(spread);
}

/* Where there are more hosts, a guest goes to one with few threads. */
static void evenly(void) {
  home_set_count(4);
  (void)heap_own();
  for (size_t i = 0; i < THREADS; i++) worker_start(&workers[i]);
  uint32_t alone = 0, shared = 0;
  for (uint32_t id = HEAP_ID_FIRST; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    if (!heap_is_home(h)) continue;
    uint32_t count = load_relaxed(&h->thread_count);
    NEED(count == 1 || count == (THREADS + 1 - 2) / 2);
    alone += count == 1;
    shared += count != 1;
  }
  NEED(alone == 2 && shared == 2);
  struct heap *host = NULL;
  for (size_t i = 0; i < THREADS; i++) { /* the guests of one host go, as many come: there again */
    struct heap *h = workers[i].heap;
    if (heap_is_home(h) || (host != NULL && h->home != host)) continue;
    host = h->home;
    worker_end(&workers[i]);
    workers[i].heap = NULL;
  }
  NEED(host != NULL && load_relaxed(&host->thread_count) == 1);
  for (size_t i = 0; i < THREADS; i++) {
    if (workers[i].heap != NULL) continue;
    worker_start(&workers[i]);
    NEED(workers[i].heap->home == host);
  }
}
static void hosts_are_shared_evenly(void **state) {
  (void)state;
  run_child(evenly);
}

/* Whoever takes a heap over finds nothing left to honour, and nothing of a thread that is gone. */
static void takes_over(void) {
  home_set_count(UINT32_MAX);
  (void)heap_own();
  struct heap *h = heap_by_hand();
  NEED(home_abandon(h, &(struct magazine *){NULL}).kind == FAULT_NONE);
  (void)hak_malloc_trim(0);
  NEED(heap_by_hand() == h && !idle_trim_is_due(h));
  uint32_t c = size_class_of(100);
  NEED(lock_enter(&h->lock));
  store_relaxed(&h->cls[c].previous, flush_magazine_get(h, c));
  h->cls[c].window = 5;
  lock_leave(&h->lock);
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    NEED(heap_is_away(h) && heap_by_hand() == h && !heap_is_away(h));
    NEED(load_relaxed(&h->generation) == load_relaxed(&fork_generation));
    NEED(load_relaxed(&h->cls[c].previous) == NULL && h->cls[c].window == 0);
    NEED(load_relaxed(&h->thread_count) == 1 && heap_by_hand() != h);
    _exit(0);
  }
  child_wait(pid);
}
static void nothing_is_taken_over_but_slabs(void **state) {
  (void)state;
  run_child(takes_over);
}

/* What one allocates another of its home frees into its own bin: no mail. */
static void is_local(void) {
  all_start();
  struct heap *own = heap_current;
  struct worker *w = &workers[0];
  for (size_t i = 0; w->heap->home != own; i++) w = &workers[i];
  worker_do(w, allocates);
  uint32_t room = own->outbox_room;
  for (size_t i = 0; i < OBJECTS; i++) hak_free(w->object[i]);
  NEED(own->outbox_room == room && !mail_is_waiting(own));
  is_whole(own);
}
static void frees_within_a_home_are_local(void **state) {
  (void)state;
  run_child(is_local);
}

/* A home is away when all its threads are: gone, or asleep. */
static void away(void) {
  all_start();
  struct heap *own = heap_current, *other = own; /* the host; its own thread, this one, sleeps */
  hak_thread_idle();
  size_t last = THREADS;
  for (size_t i = 0; i < THREADS; i++) {
    if (workers[i].heap->home != other) continue;
    NEED(!heap_is_away(other));
    worker_do(&workers[i], allocates);
    worker_do(&workers[i], i % 2 == 0 ? frees : sleeps);
    if (i % 2 == 0) worker_do(&workers[i], sleeps);
    last = i;
  }
  NEED(heap_is_away(other) && load_relaxed(&other->absence) == HEAP_ASLEEP);
  NEED(other->depot_bytes == 0 && other->empty_slab == NULL);
  worker_do(&workers[last], allocates); /* one is enough to look after the mail */
  NEED(!heap_is_away(other) && load_relaxed(&other->absence) == HEAP_PRESENT);
  worker_end(&workers[last]); /* and when it ends the others still sleep */
  NEED(load_relaxed(&other->absence) == HEAP_ASLEEP);
  for (size_t i = 0; i < THREADS; i++) {
    if (i != last && workers[i].heap->home == other) worker_end(&workers[i]);
  }
  NEED(load_relaxed(&other->absence) == HEAP_ASLEEP && load_relaxed(&other->thread_count) == 1);
  heap_make_exit_current();
  NEED(home_abandon(own, &(struct magazine *){NULL}).kind == FAULT_NONE);
  NEED(load_relaxed(&other->absence) == HEAP_ORPHAN && load_relaxed(&other->thread_count) == 0);
  worker_start(&workers[last]);
  NEED(workers[last].heap == other && !heap_is_away(other)); /* adopted whole */
}
static void a_home_is_away_when_all_its_threads_are(void **state) {
  (void)state;
  run_child(away);
}

/* The thread that forks is a guest: its home lives on, without the home's own thread. */
static pid_t forked;
static void forks(struct worker *w) {
  struct heap *home = w->heap->home;
  forked = fork();
  if (forked != 0) return;
  child_start();
  NEED(heap_current == w->heap && w->heap->home == home && !heap_is_away(home));
  NEED(load_relaxed(&home->thread_count) == 1 && !home->has_thread);
  frees(w);
  allocates(w);
  is_whole(home);
  static struct worker late[THREADS];
  uint32_t at_home = 1;
  bool is_home_used = false;
  for (size_t i = 0; i < THREADS; i++) {
    worker_start(&late[i]);
    NEED(late[i].heap != w->heap && !heap_is_away(late[i].heap->home));
    for (size_t j = 0; j < i; j++) NEED(late[i].heap != late[j].heap);
    at_home += late[i].heap->home == home;
    is_home_used = is_home_used || late[i].heap == home;
  }
  NEED(late[0].heap->home != home); /* what was left behind comes first */
  NEED(at_home == THREADS && is_home_used);
  frees(w);
  is_whole(home);
  _exit(0);
}
static void guest_forks(void) {
  all_start();
  struct worker *w = NULL;
  for (size_t i = 0; i < THREADS; i++) {
    worker_do(&workers[i], allocates);
    if (!heap_is_home(workers[i].heap)) w = &workers[i];
  }
  NEED(w != NULL);
  for (size_t i = 0; i < THREADS; i++) {
    if (i % 3 == 0 && &workers[i] != w) worker_do(&workers[i], sleeps);
  }
  worker_do(w, forks);
  child_wait(forked);
  for (size_t i = 0; i < THREADS; i++) worker_do(&workers[i], frees);
}
static void a_guest_that_forks_lives_on(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(guest_forks);
}

/* In the child of a process of so many threads, nearly all of them guests: each start takes one of
 * the heaps that were left behind, and none looks at many. Counted in instructions. */
enum { FEW_LEFT = 100, MANY_LEFT = 400, LEFT_LOOKS = 16, STARTS = 4 };
static void starts(void) { (void)heap_by_hand(); }
static uint64_t dearest_start_of(uint32_t left) {
  int pipe_fd[2];
  NEED(pipe(pipe_fd) == 0);
  while (heap_id_end() < HEAP_ID_FIRST + left) starts();
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    uint64_t most = 0;
    for (uint32_t i = 0; i < STARTS; i++) {
      uint64_t n = step_count(starts);
      if (n > most) most = n;
    }
    NEED(heap_id_end() == HEAP_ID_FIRST + left); /* none is new */
    NEED(write(pipe_fd[1], &most, sizeof most) == sizeof most);
    _exit(0);
  }
  uint64_t most = 0;
  NEED(read(pipe_fd[0], &most, sizeof most) == sizeof most);
  child_wait(pid);
  NEED(close(pipe_fd[0]) == 0 && close(pipe_fd[1]) == 0);
  return most;
}
static void many_are_left(void) {
  home_set_count(HOMES);
  (void)heap_own();
  uint64_t few = dearest_start_of(FEW_LEFT);
  NEED(few > 100 && dearest_start_of(MANY_LEFT) < few + MANY_LEFT / 2);
}
static void after_a_fork_a_start_looks_at_a_few(void **state) {
  (void)state;
  if (!UNIT_CAN_STEP) skip();
  run_child(many_are_left);
}

/* All that were left behind are taken, each once, before any is made. */
static void all_left(void) {
  home_set_count(HOMES);
  (void)heap_own();
  while (heap_id_end() < HEAP_ID_FIRST + FEW_LEFT) starts();
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    static struct heap *taken[FEW_LEFT];
    for (uint32_t i = 1; i < FEW_LEFT; i++) {
      taken[i] = heap_by_hand();
      NEED(!heap_is_away(taken[i]->home) && taken[i] != heap_current);
      for (uint32_t j = 1; j < i; j++) NEED(taken[j] != taken[i]);
    }
    NEED(heap_id_end() == HEAP_ID_FIRST + FEW_LEFT);
    (void)heap_by_hand();
    NEED(heap_id_end() == HEAP_ID_FIRST + FEW_LEFT + 1);
    _exit(0);
  }
  child_wait(pid);
}
static void what_a_fork_leaves_is_taken_whole(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(all_left);
}

/* The ids that a start looks at are all in use again, and so are no hosts near: it takes one that
 * was left behind all the same, and makes none beyond the number of homes. */
static void hosts_left(void) {
  enum { COUNT = 64 };
  home_set_count(COUNT);
  struct heap *heap[COUNT] = {heap_own()};
  for (size_t i = 1; i < COUNT; i++) NEED(heap_is_home(heap[i] = heap_by_hand()));
  (void)heap_by_hand(); /* a guest: the ring turns */
  for (size_t i = 1; i <= LEFT_LOOKS; i++)
    NEED(home_abandon(heap[i], &(struct magazine *){NULL}).kind == FAULT_NONE);
  uint32_t end = heap_id_end();
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    for (size_t i = 0; i < LEFT_LOOKS; i++) NEED(heap_is_home(heap_by_hand()));
    struct heap *h = heap_by_hand();
    NEED(heap_is_home(h) && h->has_thread && load_relaxed(&h->thread_count) == 1);
    NEED(!heap_is_away(h) && heap_id_end() == end);
    _exit(0);
  }
  child_wait(pid);
}
static void a_host_left_behind_is_found_in_the_ring(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(hosts_left);
}

/* Without handlers, by a thread whose home is no host: what comes later still shares. */
static void forks_bare(struct worker *w) {
  forked = _Fork();
  if (forked != 0) return;
  child_start();
  uint32_t homes = 0;
  for (size_t i = 0; i < 20; i++) {
    struct heap *h = heap_by_hand();
    NEED(h != w->heap && !heap_is_away(h->home));
    homes += heap_is_home(h);
  }
  NEED(homes == HOMES);
  frees(w);
  _exit(0);
}
static void home_without_guests_forks(void) {
  all_start();
  struct worker *w = NULL;
  for (size_t i = 0; i < THREADS; i++)
    if (heap_is_home(workers[i].heap)) w = &workers[i];
  NEED(w != NULL && load_relaxed(&w->heap->thread_count) == 1);
  worker_do(w, allocates);
  worker_do(w, forks_bare);
  child_wait(forked);
}
static void threads_share_after_a_bare_fork_too(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(home_without_guests_forks);
}

/* The thread that forks slept, and others of its home did not: in the child nobody is awake there.
 */
static void sleeper_forks(void) {
  home_set_count(1);
  struct heap *own = heap_own();
  worker_start(&workers[0]);
  hak_thread_idle();
  NEED(load_relaxed(&own->absence) == HEAP_PRESENT && own->asleep_count == 1);
  pid_t pid = fork();
  if (pid == 0) {
    child_start();
    home_survive_fork(own);
    NEED(load_relaxed(&own->absence) == HEAP_ASLEEP && own->asleep_count == 1);
    NEED(load_relaxed(&own->thread_count) == 1);
    hak_free(hak_malloc(100));
    struct heap *h = enter();
    NEED(load_relaxed(&own->absence) == HEAP_PRESENT && own->asleep_count == 0);
    entry_leave(h);
    _exit(0);
  }
  child_wait(pid);
}
static void a_sleeper_that_forks_is_alone(void **state) {
  (void)state;
  if (UNIT_TSAN) skip();
  run_child(sleeper_forks);
}

/* Its last thread has left a home: until it is on the list of orphans it takes no guest. */
static void hosts_none(void) {
  home_set_count(1);
  struct heap *own = heap_own();
  store_seq(&own->absence, HEAP_ORPHAN);
  struct heap *h = heap_by_hand();
  NEED(h->home == h && h != own);
  store_seq(&own->absence, HEAP_PRESENT);
  h = heap_by_hand();
  NEED(h->home == own);
}
static void a_home_about_to_be_an_orphan_hosts_none(void **state) {
  (void)state;
  run_child(hosts_none);
}

/* Where no memory is left, and at malloc_trim, what the threads of a home share is nobody's alone.
 */
static void holds_nothing_back(void) {
  home_set_count(1);
  struct heap *own = heap_own();
  worker_start(&workers[0]); /* it stays awake */
  worker_do(&workers[0], allocates);
  worker_do(&workers[0], frees);
  struct heap *h = enter();
  if (h->depot_bytes == 0)
    depot_put(h, 0, magazine_with(h, 0, (void *[]){refill_take_one(h, 0)}, 1));
  entry_leave(h);
  NEED(own->depot_bytes != 0);
  (void)hak_malloc_trim(0);
  NEED(own->depot_bytes == 0 && own->empty_slab == NULL);
}
static void a_trim_empties_a_shared_depot(void **state) {
  (void)state;
  run_child(holds_nothing_back);
}

/* What is posted while the sleeper itself has its home's lock, for statistics, is not left. */
static void looked_at_asleep(void) {
  home_set_count(UINT32_MAX);
  struct heap *own = heap_own();
  worker_start(&workers[0]);
  void *p = hak_malloc(100);
  hak_thread_idle();
  NEED(load_relaxed(&own->absence) == HEAP_ASLEEP);
  NEED(heap_enter_with(own, own)); /* as statistics do: it does not wake */
  workers[0].object[0] = p;
  worker_do(&workers[0], frees_first_and_sleeps);
  NEED(mail_is_waiting(own));
  heap_leave_with(own, own);
  NEED(!mail_is_waiting(own) && load_relaxed(&own->absence) == HEAP_ASLEEP && taken_of(own) == 0);
}
static void statistics_strand_no_mail(void **state) {
  (void)state;
  run_child(looked_at_asleep);
}

/* The depot has a share for each thread: one that goes takes its own along. */
static void leaves(void) {
  home_set_count(1);
  struct heap *own = heap_own();
  worker_start(&workers[0]);
  uint32_t c = size_class_of(48), n = size_classes[c].magazine_capacity;
  static void *object[512];
  struct heap *h = enter();
  size_t bound = rt_option(RT_OPTION_DEPOT_BYTES);
  while (h->depot_bytes + (size_t)n * 48 <= 2 * bound) {
    for (uint32_t i = 0; i < n; i++) NEED((object[i] = refill_take_one(h, c)) != NULL);
    depot_put(h, c, magazine_with(h, c, object, n));
  }
  entry_leave(h);
  NEED(own->depot_bytes > bound);
  worker_end(&workers[0]);
  NEED(own->depot_bytes <= bound && own->depot_bytes > bound / 2);
  is_whole(own);
}
static void a_thread_that_leaves_takes_its_share(void **state) {
  (void)state;
  run_child(leaves);
}

/* All at once: threads of few homes allocate, free each other's objects, sleep, end and come. */
enum { CROWD = 24, CROWD_ROUNDS = 40, TABLE = 4096 };
static _Atomic(void *) table[TABLE];
static void *in_the_crowd(void *number) {
  uint64_t random = (uintptr_t)number * 0x9E3779B97F4A7C15u + 1;
  for (int i = 0; i < 2000; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t n = sizeof(size_t) + (random >> 40) % (i % 50 == 0 ? 20000 : 600);
    size_t *p = hak_malloc(n);
    NEED(p != NULL);
    *p = n;
    p = atomic_exchange(&table[(random >> 20) % TABLE], p);
    if (p != NULL) {
      NEED(hak_malloc_usable_size(p) >= *p);
      hak_free_sized(p, *p);
    }
    if (i % 700 == 0) hak_thread_idle();
    if (i % 900 == 0) (void)hak_malloc_trim(0);
  }
  return NULL;
}
static void crowd(void) {
  home_set_count(HOMES + 1);
  for (uintptr_t round = 0; round < CROWD_ROUNDS; round++) {
    pthread_t threads[CROWD];
    for (uintptr_t i = 0; i < CROWD; i++)
      NEED(pthread_create(&threads[i], NULL, in_the_crowd, (void *)(round * CROWD + i)) == 0);
    for (size_t i = 0; i < CROWD; i++) NEED(pthread_join(threads[i], NULL) == 0);
  }
  for (size_t i = 0; i < TABLE; i++) hak_free(atomic_load(&table[i]));
  (void)hak_malloc_trim(0);
  size_t homes = 0;
  for (uint32_t id = HEAP_ID_FIRST; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    if (!heap_is_home(h)) continue;
    is_whole(h);
    NEED(taken_of(h) <= 64); /* but for what this thread keeps in its bins */
    homes++;
  }
  NEED(homes == HOMES + 1);
}
static void a_crowd_in_few_homes_loses_nothing(void **state) {
  (void)state;
  run_child(crowd);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_a_home),
      cmocka_unit_test(hosts_are_shared_evenly),
      cmocka_unit_test(nothing_is_taken_over_but_slabs),
      cmocka_unit_test(frees_within_a_home_are_local),
      cmocka_unit_test(a_home_is_away_when_all_its_threads_are),
      cmocka_unit_test(a_guest_that_forks_lives_on),
      cmocka_unit_test(after_a_fork_a_start_looks_at_a_few),
      cmocka_unit_test(what_a_fork_leaves_is_taken_whole),
      cmocka_unit_test(a_host_left_behind_is_found_in_the_ring),
      cmocka_unit_test(threads_share_after_a_bare_fork_too),
      cmocka_unit_test(a_sleeper_that_forks_is_alone),
      cmocka_unit_test(a_home_about_to_be_an_orphan_hosts_none),
      cmocka_unit_test(a_trim_empties_a_shared_depot),
      cmocka_unit_test(statistics_strand_no_mail),
      cmocka_unit_test(a_thread_that_leaves_takes_its_share),
      cmocka_unit_test(a_crowd_in_few_homes_loses_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
