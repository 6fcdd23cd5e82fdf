/* test_view_stats.c — live, cached and free objects are told apart wherever a free one waits: bin,
 * second magazine, depot, outbox, inbox, bitmap; and what is said when no lock can be had.
 */
#include "unit_child.h"

#include <pthread.h>
#include <semaphore.h>

#include "entry.h"
#include "hakmem.h"
#include "heap.h"
#include "superslab.h"
#include "view_stats.h"

enum { SMALL_BYTES = 48, MANY = 20000 };

static struct view_totals look(void) {
  struct view_totals t;
  entry_init();
  view_stats_collect(&t);
  return t;
}

static uint32_t class_of(const void *p) {
  uint32_t c = map_entry_class(map_load(chunk_index(p)));
  assert_true(c < CLASS_COUNT);
  return c;
}

static void assert_sums(const struct view_totals *t) {
  size_t used = t->run_bytes, cached = 0, cached_count = 0, held = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    const struct view_class *k = &t->cls[c];
    size_t size = size_classes[c].size;
    used += k->live_count * size;
    cached += k->cached_count * size;
    cached_count += k->cached_count;
    held += (k->live_count + k->cached_count + k->free_count) * size;
    size_t slab_bytes = (size_t)size_classes[c].slab_chunks * CHUNK_BYTES;
    assert_int_equal(k->live_count + k->cached_count + k->free_count,
                     slab_class_bytes(c) / slab_bytes * size_classes[c].slab_objects);
  }
  assert_int_equal(t->used_bytes, used);
  assert_int_equal(t->cached_bytes, cached);
  assert_int_equal(t->cached_count, cached_count);
  assert_int_equal(t->arena_bytes, t->used_bytes + t->free_bytes);
  assert_true(held <= t->arena_bytes && t->cached_bytes <= t->free_bytes);
  assert_true(t->empty_bytes <= t->free_bytes);
  assert_true(t->peak_bytes >= superslab_claimed_bytes());
}

static void before_the_first_malloc_there_is_nothing(void **state) {
  (void)state;
  struct view_totals t = look();
  assert_true(t.is_exact);
  assert_sums(&t);
  assert_int_equal(t.large_count, 0);
  assert_int_equal(t.run_bytes, 0);
}

static void objects_are_counted_by_class(void **state) {
  (void)state;
  for (size_t n = 1; n <= CLASS_SIZE_MAX; n = n * 2 + 1) {
    void *warm = hak_malloc(n);
    uint32_t c = class_of(warm);
    hak_free(warm);
    struct view_totals before = look();
    void *p[100];
    for (size_t i = 0; i < 100; i++) p[i] = hak_malloc(n);
    struct view_totals full = look();
    assert_int_equal(full.cls[c].live_count, before.cls[c].live_count + 100);
    assert_int_equal(full.used_bytes, before.used_bytes + 100 * (size_t)size_classes[c].size);
    assert_sums(&full);
    for (size_t i = 0; i < 100; i++) {
      hak_free(p[i]);
      struct view_totals now = look();
      assert_int_equal(now.cls[c].live_count, full.cls[c].live_count - i - 1);
    }
    struct view_totals after = look();
    assert_int_equal(after.used_bytes, before.used_bytes);
    assert_sums(&after);
  }
}

static void *many[MANY];

static void allocate_many(void) {
  for (size_t i = 0; i < MANY; i++) many[i] = hak_malloc(SMALL_BYTES);
}

/* Some are borrowed from a larger class, and count there. */
static size_t many_of_class(uint32_t c, size_t from, size_t to) {
  size_t n = 0;
  for (size_t i = from; i < to; i++) n += class_of(many[i]) == c;
  return n;
}

static void free_many(size_t from, size_t to) {
  for (size_t i = from; i < to; i++) hak_free(many[i]);
}

static void full_magazines_and_bitmaps_are_no_live_objects(void **state) {
  (void)state;
  struct view_totals before = look();
  uint32_t c = 0;
  for (int round = 0; round < 10; round++) { /* until the whole magazine is used */
    allocate_many();
    c = class_of(many[MANY - 1]);
    free_many(0, MANY);
  }
  struct view_totals after = look();
  assert_true(heap_current->cls[c].depot_count > 0);
  assert_int_equal(after.used_bytes, before.used_bytes);
  assert_true(after.cls[c].cached_count > size_classes[c].magazine_capacity);
  assert_true(after.cls[c].free_count > 0);
  assert_sums(&after);
}

struct remote {
  size_t count;
  sem_t is_done, may_end;
};

static void *free_remotely(void *argument) {
  struct remote *r = argument;
  free_many(0, r->count);
  sem_post(&r->is_done);
  sem_wait(&r->may_end);
  return NULL;
}

/* Few objects stay in the sender's outbox; many are posted to our inbox; at the thread's end all
 * are. */
static void mail_is_no_live_objects(void **state) {
  (void)state;
  for (size_t count = 3; count <= MANY; count += MANY - 3) {
    struct view_totals before = look();
    allocate_many();
    uint32_t c = class_of(many[MANY - 1]);
    size_t kept_count = many_of_class(c, count, MANY);
    struct remote r = {.count = count};
    sem_init(&r.is_done, 0, 0);
    sem_init(&r.may_end, 0, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_remotely, &r), 0);
    sem_wait(&r.is_done);
    struct view_totals mailed = look();
    assert_int_equal(load_relaxed(&heap_current->inbox) != NULL, count == MANY);
    assert_int_equal(mailed.cls[c].live_count, before.cls[c].live_count + kept_count);
    assert_sums(&mailed);
    sem_post(&r.may_end);
    assert_int_equal(pthread_join(thread, NULL), 0);
    free_many(count, MANY);
    struct view_totals after = look();
    assert_int_equal(after.cls[c].live_count, before.cls[c].live_count);
    assert_true(after.is_exact);
    assert_sums(&after);
  }
}

static void large_objects_are_runs_or_mappings(void **state) {
  (void)state;
  struct view_totals before = look();
  void *run = hak_malloc(100000);
  struct view_totals with_run = look();
  assert_int_equal(with_run.run_bytes - before.run_bytes, hak_malloc_usable_size(run));
  assert_int_equal(with_run.used_bytes - before.used_bytes, hak_malloc_usable_size(run));
  void *mapping = hak_malloc((size_t)50 << 20);
  struct view_totals with_both = look();
  assert_int_equal(with_both.large_bytes - before.large_bytes, hak_malloc_usable_size(mapping));
  assert_int_equal(with_both.large_count, before.large_count + 1);
  assert_int_equal(with_both.used_bytes, with_run.used_bytes);
  assert_sums(&with_both);
  hak_free(run);
  hak_free(mapping);
  struct view_totals after = look();
  assert_int_equal(after.used_bytes, before.used_bytes);
  assert_int_equal(after.large_bytes, before.large_bytes);
  assert_true(after.large_peak_bytes >= with_both.large_bytes);
}

/* As a signal handler finds it that interrupted a slow path: the own heap is locked already. */
static void without_a_lock_counters_have_to_do(void **state) {
  (void)state;
  hak_free(hak_malloc(1));
  struct view_totals exact = look();
  assert_true(lock_enter(&heap_current->lock));
  struct view_totals t;
  view_stats_collect(&t);
  lock_leave(&heap_current->lock);
  assert_false(t.is_exact);
  assert_int_equal(t.used_bytes, superslab_claimed_bytes());
  assert_int_equal(t.arena_bytes, t.used_bytes + t.free_bytes);
  assert_int_equal(t.arena_bytes, exact.arena_bytes);
  assert_true(t.used_bytes >= exact.used_bytes);
  assert_int_equal(t.cached_count, 0);
  /* As a handler inside a slow path finds it: `busy` is current. */
  struct heap *h = entry_enter();
  view_stats_collect(&t);
  entry_leave(h);
  assert_false(t.is_exact);
}

/* Those of a thread of the child's own are counted. */
static void *caches_and_waits(void *argument) {
  struct remote *r = argument;
  hak_free(hak_malloc(SMALL_BYTES));
  sem_post(&r->is_done);
  sem_wait(&r->may_end);
  return NULL;
}
static bool are_a_threads_caches_counted(uint32_t c) {
  struct remote r = {.count = 0};
  struct view_totals before = look();
  pthread_t thread;
  if (sem_init(&r.is_done, 0, 0) != 0 || sem_init(&r.may_end, 0, 0) != 0) return false;
  if (pthread_create(&thread, NULL, caches_and_waits, &r) != 0) return false;
  sem_wait(&r.is_done);
  struct view_totals t = look();
  sem_post(&r.may_end);
  bool is_joined = pthread_join(thread, NULL) == 0;
  return is_joined && t.cls[c].cached_count > before.cls[c].cached_count;
}

/* What another thread's caches held when a fork cut them off is lost: it counts as live. */
static int look_after_fork(void *argument) {
  const struct view_totals *parent = argument;
  struct view_totals t = look();
  assert_sums(&t);
  uint32_t c = class_of(many[0]);
  bool is_lost = t.cls[c].live_count > parent->cls[c].live_count;
  if (!UNIT_TSAN && !are_a_threads_caches_counted(c)) return 1;
  return is_lost && t.is_exact && t.arena_bytes == parent->arena_bytes ? 0 : 1;
}

static void *allocate_and_wait(void *argument) {
  struct remote *r = argument;
  allocate_many();
  free_many(MANY / 2, MANY);
  sem_post(&r->is_done);
  sem_wait(&r->may_end);
  return NULL;
}

static void a_fork_loses_the_caches_of_other_threads(void **state) {
  (void)state;
  struct remote r = {.count = 0};
  sem_init(&r.is_done, 0, 0);
  sem_init(&r.may_end, 0, 0);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, allocate_and_wait, &r), 0);
  sem_wait(&r.is_done);
  struct view_totals t = look();
  char err[512];
  size_t rest;
  assert_int_equal(death_run(look_after_fork, &t, err, sizeof err, &rest), 0);
  sem_post(&r.may_end);
  assert_int_equal(pthread_join(thread, NULL), 0);
  free_many(0, MANY / 2);
}

static _Atomic(bool) must_stop;

static void *churn(void *unused) {
  (void)unused;
  void *held[64] = {NULL};
  for (size_t i = 0; !load_relaxed(&must_stop); i++) {
    hak_free(held[i % 64]);
    held[i % 64] = hak_malloc(i * 37 % 3000);
  }
  for (size_t i = 0; i < 64; i++) hak_free(held[i]);
  return NULL;
}

/* Off by what moves, but never absurd: no figure wraps, and the sums hold. */
static void while_others_work_the_sums_hold(void **state) {
  (void)state;
  struct view_totals before = look();
  pthread_t threads[3];
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
  for (int i = 0; i < 2000; i++) {
    struct view_totals t = look();
    assert_int_equal(t.arena_bytes, t.used_bytes + t.free_bytes);
    assert_true(t.cached_bytes <= t.free_bytes && t.arena_bytes < (size_t)1 << 32);
    assert_true(t.is_exact);
  }
  store_relaxed(&must_stop, true);
  for (size_t i = 0; i < 3; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
  struct view_totals after = look();
  assert_int_equal(after.used_bytes, before.used_bytes);
  assert_sums(&after);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(before_the_first_malloc_there_is_nothing),
      cmocka_unit_test(objects_are_counted_by_class),
      cmocka_unit_test(full_magazines_and_bitmaps_are_no_live_objects),
      cmocka_unit_test(mail_is_no_live_objects),
      cmocka_unit_test(large_objects_are_runs_or_mappings),
      cmocka_unit_test(without_a_lock_counters_have_to_do),
      cmocka_unit_test(a_fork_loses_the_caches_of_other_threads),
      cmocka_unit_test(while_others_work_the_sums_hold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
