/* test_entry_limit.c — near a limit: what a program sees of it; on the twin, whose tree has the
 * control group.
 */
#include "unit_entry.h"
#include "unit_tree.h"

#include "entry_limit.h"
#include "idle.h"
#include "large.h"
#include "large_cache.h"
#include "limit.h"
#include "os_proc.h"
#include "purge.h"

static bool is(const char *name, const char *expected) {
  char value[64];
  return hak_option_get(name, value, sizeof value) == 0 && strcmp(value, expected) == 0;
}

/* Slow paths, so many that the clock is looked at. */
static void tick(void) {
  for (int i = 0; i < 200; i++) hak_free(hak_malloc(40000));
}
static void look(void) {
  limit_look_soon();
  tick();
}

struct link {
  struct link *next;
};
static size_t fill(size_t n, struct link **list) {
  size_t count = 0;
  errno = 0;
  for (struct link *p; count < 1000000 && (p = hak_malloc(n)) != NULL; count++) {
    memset(p, 1, n);
    p->next = *list;
    *list = p;
  }
  NEED(errno == (count < 1000000 ? ENOMEM : 0));
  return count * n;
}
static void empty(struct link *list) {
  while (list != NULL) {
    struct link *next = list->next;
    hak_free(list);
    list = next;
  }
}

static void fills_to_its_number(void) {
  NEED(hak_option_set("MEMORY_LIMIT", "32M") == 0);
  static const size_t sizes[] = {64, 1000, 30000, 300000, 3000000, 6000000};
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) {
    struct link *list = NULL;
    size_t bytes = fill(sizes[i], &list);
    NEED(bytes > 24 * MIB && bytes <= 32 * MIB);
    NEED(limit_held_bytes() <= 32 * MIB);
    if (sizes[i] > MIB) {
      void *same = list, *grown = hak_realloc(list, 33 * MIB);
      NEED(grown == NULL && errno == ENOMEM && list == same && list->next != NULL);
    }
    empty(list);
  }
  NEED(hak_malloc(33 * MIB) == NULL && hak_calloc(1, 40 * MIB) == NULL);
  NEED(hak_option_set("MEMORY_LIMIT", "off") == 0);
  void *p = hak_malloc(33 * MIB);
  NEED(p != NULL);
  hak_free(p);
}
static void beyond_a_number_is_no_memory(void **state) {
  (void)state;
  run_child_in_tree(fills_to_its_number);
}

/* A block that moves counts all the while: its room is given to nobody else. */
enum { ASKS = 2000 };
static _Atomic(bool) is_enough;
static void *moves(void *unused) {
  char *p = hak_malloc(20 * MIB);
  for (size_t n = 20; p != NULL && !load_relaxed(&is_enough); n ^= 1) p = hak_realloc(p, n * MIB);
  NEED(p != NULL);
  hak_free(p);
  return unused;
}
static void moves_beside(void) {
  NEED(hak_option_set("MEMORY_LIMIT", "32M") == 0);
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, moves, NULL) == 0);
  while (large_bytes() == 0) cpu_pause();
  for (int i = 0; i < ASKS; i++) NEED(hak_malloc(15 * MIB) == NULL);
  store_relaxed(&is_enough, true);
  NEED(pthread_join(thread, NULL) == 0);
}
/* One that is used again may be larger than what was asked for, and checked. */
static void uses_again(void) {
  char *p = hak_malloc(15 * MIB), *q = hak_malloc(16 * MIB), text[32];
  NEED(p != NULL && q != NULL);
  hak_free(p);
  NEED(large_cache_bytes() == 15 * MIB);
  size_t limit = limit_held_bytes() + 14 * MIB + 768 * KIB;
  snprintf(text, sizeof text, "%zu", limit);
  NEED(hak_option_set("MEMORY_LIMIT", text) == 0);
  p = hak_malloc(14 * MIB + 512 * KIB);
  NEED(p != NULL && limit_held_bytes() <= limit);
}
static void a_number_is_exact(void **state) {
  (void)state;
  run_child_in_tree(uses_again);
  if (UNIT_TSAN) skip(); /* a thread after a fork */
  run_child_in_tree(moves_beside);
}

/* What another thread's heap keeps is given to who has nothing left. */
static _Atomic(uint32_t) step;
static void *keeps(void *unused) {
  (void)unused;
  struct link *list = NULL;
  size_t bytes = fill(200, &list);
  NEED(bytes > 20 * MIB);
  empty(list);
  step_set(&step, 1);
  step_wait(&step, 2);
  return NULL;
}
static void takes_all(void) {
  NEED(hak_option_set("SS_RELEASE", "off") == 0 && hak_option_set("DEPOT_BYTES", "1G") == 0);
  NEED(hak_option_set("MEMORY_LIMIT", "32M") == 0);
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, keeps, NULL) == 0);
  step_wait(&step, 1);
  struct link *list = NULL;
  NEED(fill(30000, &list) > 26 * MIB);
  step_set(&step, 2);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_purge_comes_before_no_memory(void **state) {
  (void)state;
  if (UNIT_TSAN) skip(); /* threads after a fork, and much to stamp */
  run_child_in_tree(takes_all);
}

static void tightens(void) {
  group_set(100 * MIB, 10 * MIB);
  hak_free(hak_malloc(1));
  look();
  NEED(rt_options_pressure() == RT_PRESSURE_NONE);
  uint32_t epoch = load_relaxed(&trim_epoch);
  group_set(100 * MIB, 85 * MIB);
  look();
  NEED(load_relaxed(&trim_epoch) == epoch + 1); /* each thread gives up what it has */
  NEED(rt_option(RT_OPTION_WARM_POOL_BYTES) == 4 * MIB && is("WARM_POOL_BYTES", "16M"));
  NEED(rt_option(RT_OPTION_DEPOT_BYTES) == 64 * KIB && rt_option(RT_OPTION_SUBSLAB_PURGE) == 0);
  NEED(hak_option_set("WARM_POOL_BYTES", "40M") == 0); /* what is said later, too */
  NEED(load_relaxed(&trim_epoch) == epoch + 2);
  NEED(rt_option(RT_OPTION_WARM_POOL_BYTES) == 10 * MIB && is("WARM_POOL_BYTES", "40M"));
  NEED(hak_option_set("WARM_POOL_BYTES", "0") == 0 && rt_option(RT_OPTION_WARM_POOL_BYTES) == 0);
  NEED(hak_option_set("WARM_POOL_BYTES", "40M") == 0);
  group_set(100 * MIB, 92 * MIB);
  look();
  NEED(rt_option(RT_OPTION_WARM_POOL_BYTES) == MIB && rt_option(RT_OPTION_SUBSLAB_PURGE) == 1);
  NEED(rt_option(RT_OPTION_PURGE_DELAY_MS) == 100 && is("PURGE_DELAY_MS", "1000"));
  group_set(100 * MIB, 10 * MIB);
  look();
  NEED(rt_option(RT_OPTION_WARM_POOL_BYTES) == 40 * MIB && rt_option(RT_OPTION_BIN_BYTES) == MIB);
}
static void options_tighten_and_are_as_said_again(void **state) {
  (void)state;
  run_child_in_tree(tightens);
}

static void dirty(void) {
  struct link *list = NULL;
  for (int i = 0; i < 2000; i++) {
    struct link *p = hak_malloc(30000);
    NEED(p != NULL);
    p->next = list;
    list = p;
  }
  empty(list);
  NEED(superslab_dirty_bytes() > 50 * MIB);
}
static void gives_back(void) {
  NEED(hak_option_set("WARM_POOL_BYTES", "1G") == 0 && hak_option_set("PURGE_DELAY_MS", "0") == 0);
  for (int round = 0; round < 2; round++) {
    group_set(1000 * MIB, 10 * MIB);
    look();
    dirty();
    group_set(1000 * MIB, 960 * MIB);
    look();
    NEED(rt_options_pressure() == RT_PRESSURE_TIGHT && superslab_dirty_bytes() < MIB);
    NEED(rt_option(RT_OPTION_WARM_POOL_BYTES) == 0 && is("WARM_POOL_BYTES", "1G"));
  }
}
static void what_is_free_goes_when_it_is_tight(void **state) {
  (void)state;
  run_child_in_tree(gives_back);
}

struct told {
  int count;
  size_t used, limit;
};
static void tell(size_t used_bytes, size_t limit_bytes, void *context) {
  struct told *told = context;
  *told = (struct told){told->count + 1, used_bytes, limit_bytes};
  look(); /* it may allocate, and is not called in between */
}

static void is_told(void) {
  struct told told = {0};
  group_set(100 * MIB, 89 * MIB);
  NEED(hak_limit_callback(0, tell, &told) == 0);
  look();
  NEED(told.count == 0);
  group_set(100 * MIB, 90 * MIB);
  look();
  NEED(told.count == 1 && told.used == 90 * MIB && told.limit == 100 * MIB);
  group_set(100 * MIB, 93 * MIB); /* more is not refused yet */
  look();
  NEED(told.count == 1);
  group_set(100 * MIB, 79 * MIB);
  look();
  group_set(100 * MIB, 90 * MIB);
  look();
  NEED(told.count == 2);
  NEED(hak_limit_callback(0, tell, &told) == 0); /* who asks anew is told anew */
  look();
  NEED(told.count == 3);
  NEED(hak_limit_callback(0, NULL, NULL) == 0);
  group_set(100 * MIB, 79 * MIB);
  look();
  group_set(100 * MIB, 99 * MIB);
  look();
  NEED(told.count == 3);
}
static void the_program_is_told_once_a_time(void **state) {
  (void)state;
  run_child_in_tree(is_told);
}

static void is_told_of_its_own(void) {
  struct told told = {0};
  NEED(hak_limit_callback(40 * MIB, tell, &told) == 0);
  for (int round = 1; round <= 2; round++) {
    struct link *list = NULL;
    size_t count = 0;
    while (told.count < round && count < 3000) {
      struct link *p = hak_malloc(30000);
      NEED(p != NULL);
      p->next = list;
      list = p;
      count++;
    }
    NEED(told.count == round && told.limit == 40 * MIB);
    NEED(told.used >= 40 * MIB && told.used < 42 * MIB);
    empty(list);
    look();
  }
  struct heap *h = heap_own();
  heap_busy_begin();
  NEED(hak_limit_callback(1, tell, &told) == EBUSY);
  heap_busy_end(h);
}
static void a_number_of_its_own_too(void **state) {
  (void)state;
  run_child_in_tree(is_told_of_its_own);
}

/* Frees what it has, as a program's cache would; the group uses less then. */
struct cache {
  struct told told;
  struct link *list;
  bool is_shared; /* others in the group free, not we */
};
static void shed(size_t used_bytes, size_t limit_bytes, void *context) {
  struct cache *cache = context;
  cache->told = (struct told){cache->told.count + 1, used_bytes, limit_bytes};
  NEED(hak_malloc(50 * MIB) == NULL); /* it is not called amid itself */
  errno = EIO;
  if (cache->list == NULL && !cache->is_shared) return;
  empty(cache->list);
  cache->list = NULL;
  group_set(100 * MIB, 20 * MIB);
}
static void group_is_full(void) {
  group_set(100 * MIB, 98 * MIB);
  limit_look(os_coarse_ms());
}
static void is_asked(void) {
  static const size_t sizes[] = {100, 30000, 6 * MIB, 45 * MIB};
  struct cache cache = {{0}, NULL, false};
  group_set(100 * MIB, 10 * MIB);
  hak_free(hak_malloc(1));
  look();
  NEED(hak_limit_callback(200 * MIB, shed, &cache) == 0); /* never for what is in use */
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) {
    group_set(100 * MIB, 10 * MIB);
    limit_look(os_coarse_ms());
    for (int n = 0; n < 100; n++) {
      struct link *p = hak_malloc(30000);
      NEED(p != NULL);
      *p = (struct link){cache.list};
      cache.list = p;
    }
    group_is_full();
    struct link *list = NULL; /* until no slab, nor bin, has one any more */
    for (int n = 0; n < 10000 && cache.told.count == (int)i; n++) {
      struct link *p = hak_malloc(sizes[i]);
      NEED(p != NULL && (n == 0 || errno != EIO));
      p->next = list;
      list = p;
    }
    NEED(cache.told.count == (int)i + 1 && cache.told.limit == 200 * MIB);
    empty(list);
  }
  group_is_full();
  NEED(hak_malloc(101 * MIB) == NULL && cache.told.count == HAK_COUNT_OF(sizes)); /* no use */
  /* One that has nothing left is not called for each refusal. */
  for (int n = 0; n < 3; n++) NEED(hak_malloc(50 * MIB) == NULL && errno == ENOMEM);
  NEED(cache.told.count == HAK_COUNT_OF(sizes) + 1);
  NEED(hak_limit_callback(0, NULL, NULL) == 0);
  NEED(hak_malloc(50 * MIB) == NULL && errno == ENOMEM);
}
static void the_program_is_asked_before_there_is_no_memory(void **state) {
  (void)state;
  run_child_in_tree(is_asked);
}

/* That a refusal has called it takes no call from what it wants to know; nor its errno. */
static void is_told_all_the_same(void) {
  struct cache cache = {{0}, NULL, true};
  group_set(100 * MIB, 98 * MIB);
  hak_free(hak_malloc(1));
  limit_look(os_coarse_ms());
  NEED(hak_limit_callback(0, shed, &cache) == 0);
  void *p = hak_malloc(6 * MIB);
  NEED(p != NULL && cache.told.count == 1 && cache.told.used == 98 * MIB);
  look();
  NEED(cache.told.count == 1);
  group_set(100 * MIB, 95 * MIB);
  errno = 0;
  look();
  NEED(cache.told.count == 2 && errno == 0);
}
static void who_was_asked_is_told_too(void **state) {
  (void)state;
  run_child_in_tree(is_told_all_the_same);
}

/* In the child of a fork, by another thread, nobody is inside the callback any more. */
static _Atomic(uint32_t) asked_step;
static void stays_inside(size_t used_bytes, size_t limit_bytes, void *context) {
  (void)used_bytes, (void)limit_bytes;
  int *count = context;
  if (++*count > 1) return; /* the child's */
  step_set(&asked_step, 1);
  step_wait(&asked_step, 2);
}
static void *is_refused(void *unused) {
  NEED(hak_malloc(50 * MIB) == NULL);
  return unused;
}
static void fork_beside_by(bool is_bare) {
  int count = 0;
  group_is_full();
  hak_free(hak_malloc(1));
  limit_look(os_coarse_ms());
  NEED(hak_limit_callback(200 * MIB, stays_inside, &count) == 0);
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, is_refused, NULL) == 0);
  step_wait(&asked_step, 1);
  NEED(hak_malloc(50 * MIB) == NULL && count == 1); /* not while a thread is inside it */
  pid_t child = is_bare ? _Fork() : fork();
  if (child == 0) _exit(hak_malloc(50 * MIB) == NULL && count == 2 ? 0 : 1);
  int status;
  NEED(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  step_set(&asked_step, 2);
  NEED(pthread_join(thread, NULL) == 0);
}
static void fork_beside(void) { fork_beside_by(false); }
static void bare_fork_beside(void) { fork_beside_by(true); }
/* So is that of a thread which has been inside. */
static void counts(size_t used_bytes, size_t limit_bytes, void *context) {
  (void)used_bytes, (void)limit_bytes;
  ++*(int *)context;
}
static void fork_after(void) {
  int count = 0;
  group_is_full();
  hak_free(hak_malloc(1));
  limit_look(os_coarse_ms());
  NEED(hak_limit_callback(200 * MIB, counts, &count) == 0);
  NEED(hak_malloc(50 * MIB) == NULL && count == 1);
  pid_t child = fork();
  NEED(child >= 0);
  if (child != 0) {
    child_wait(child);
    return;
  }
  NEED(hak_limit_callback(0, counts, &count) == 0); /* who asks anew is told anew */
  look();
  NEED(count == 2);
  _exit(0);
}
static void a_child_is_asked_too(void **state) {
  (void)state;
  if (UNIT_TSAN) skip(); /* it cannot follow these forks */
  run_child_in_tree(fork_beside);
  run_child_in_tree(bare_fork_beside);
  run_child_in_tree(fork_after);
}

/* What a large request may not be written to, one that grows is. */
static void grows(void) {
  struct cache cache = {{0}, NULL, true};
  group_set(100 * MIB, 30 * MIB);
  char *p = hak_malloc(20 * MIB), *q = p, *small = hak_malloc(1000), *run = hak_malloc(3 * MIB);
  NEED(p != NULL && small != NULL && run != NULL);
  memset(p, 7, 20 * MIB);
  limit_look(os_coarse_ms());
  void *sparse = hak_malloc(80 * MIB);
  NEED(sparse != NULL);
  hak_free(sparse);
  NEED(hak_realloc(p, 87 * MIB) == NULL && errno == ENOMEM);
  NEED(hak_realloc(small, 80 * MIB) == NULL && hak_realloc(run, 80 * MIB) == NULL);
  NEED(p[20 * MIB - 1] == 7);
  group_set(100 * MIB, 21 * MIB); /* others in the group need less */
  NEED((p = hak_realloc(p, 87 * MIB)) != NULL && p[20 * MIB - 1] == 7);
  NEED((p = hak_realloc(p, 20 * MIB)) != NULL);
  group_set(100 * MIB, 90 * MIB);
  limit_look(os_coarse_ms());
  NEED(hak_realloc(p, 60 * MIB) == NULL);
  NEED(hak_limit_callback(200 * MIB, shed, &cache) == 0);
  NEED((q = hak_realloc(p, 60 * MIB)) != NULL && cache.told.count == 1 && q[20 * MIB - 1] == 7);
  hak_free(q);
}
/* What is free goes back before a block may not grow, and before the program is asked. */
static void grows_after_a_purge(void) {
  struct told told = {0};
  NEED(hak_option_set("WARM_POOL_BYTES", "1G") == 0 && hak_option_set("PURGE_DELAY_MS", "0") == 0);
  group_set(1000 * MIB, 10 * MIB);
  char *p = hak_malloc(10 * MIB);
  NEED(p != NULL);
  dirty();
  group_set(100 * MIB, 60 * MIB);
  limit_look(os_coarse_ms());
  NEED(hak_option_set("WARM_POOL_BYTES", "1G") == 0 && superslab_dirty_bytes() > 50 * MIB);
  NEED(hak_limit_callback(200 * MIB, tell, &told) == 0);
  NEED(hak_realloc(p, 60 * MIB) == NULL); /* the file does not know what was given back */
  NEED(superslab_dirty_bytes() < MIB && told.count == 1);
}
/* One that shrinks needs no memory, and asks nobody. */
static void shrinks(void) {
  static const size_t sizes[] = {100, 33000, 5 * MIB};
  struct cache cache = {{0}, NULL, false};
  char *mapping[HAK_COUNT_OF(sizes)], *run[HAK_COUNT_OF(sizes)];
  group_set(100 * MIB, 10 * MIB);
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) {
    NEED((mapping[i] = hak_malloc(40 * MIB)) != NULL && (run[i] = hak_malloc(3 * MIB)) != NULL);
    mapping[i][99] = run[i][99] = 7;
  }
  group_is_full();
  NEED(hak_limit_callback(200 * MIB, shed, &cache) == 0);
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) {
    size_t wanted = size_round_up(sizes[i], CHUNK_BYTES);
    NEED((mapping[i] = hak_realloc(mapping[i], sizes[i])) != NULL && mapping[i][99] == 7);
    NEED(hak_malloc_usable_size(mapping[i]) <= wanted);
    if (sizes[i] > 3 * MIB) continue;
    NEED((run[i] = hak_realloc(run[i], sizes[i])) != NULL && run[i][99] == 7);
    NEED(hak_malloc_usable_size(run[i]) <= wanted);
  }
  NEED(cache.told.count == 0);
}
static void a_block_that_grows_counts_whole(void **state) {
  (void)state;
  run_child_in_tree(grows);
  run_child_in_tree(grows_after_a_purge);
  run_child_in_tree(shrinks);
}

/* One that forks is inside in the child too: it is not called amid itself there either, but again
 * once it has returned. */
static int depth, calls;
static void forks(size_t used_bytes, size_t limit_bytes, void *unused) {
  (void)used_bytes, (void)limit_bytes, (void)unused;
  NEED(++depth == 1);
  if (++calls == 1) {
    pid_t pid = fork();
    NEED(pid >= 0);
    if (pid != 0) child_wait(pid);
    NEED(hak_malloc(50 * MIB) == NULL);
    look();
  }
  depth--;
}
static void forks_amid_a_call(void) {
  group_set(100 * MIB, 10 * MIB);
  hak_free(hak_malloc(1));
  look();
  NEED(hak_limit_callback(200 * MIB, forks, NULL) == 0);
  group_is_full();
  NEED(hak_malloc(50 * MIB) == NULL && calls == 1);
  group_set(100 * MIB, 92 * MIB);                /* more is not refused */
  NEED(hak_limit_callback(0, forks, NULL) == 0); /* who asks anew is told anew */
  look();
  NEED(calls == 2 && depth == 0);
}
static void a_call_that_forks_is_inside_in_the_child(void **state) {
  (void)state;
  run_child_in_tree(forks_amid_a_call);
}

static void reclaim(void) {
  struct heap *h = heap_own();
  NEED(!entry_reclaim(SIZE_MAX, false)); /* nothing gives that */
  NEED(entry_reclaim(1, false));
  heap_busy_begin();
  NEED(!entry_reclaim(1, false)); /* a handler amid a slow path waits for nobody */
  heap_busy_end(h);
}
static void reclaim_is_tried_where_it_can_help(void **state) {
  (void)state;
  run_child_in_tree(reclaim);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(beyond_a_number_is_no_memory),
      cmocka_unit_test(a_number_is_exact),
      cmocka_unit_test(a_purge_comes_before_no_memory),
      cmocka_unit_test(options_tighten_and_are_as_said_again),
      cmocka_unit_test(what_is_free_goes_when_it_is_tight),
      cmocka_unit_test(the_program_is_told_once_a_time),
      cmocka_unit_test(a_number_of_its_own_too),
      cmocka_unit_test(the_program_is_asked_before_there_is_no_memory),
      cmocka_unit_test(who_was_asked_is_told_too),
      cmocka_unit_test(a_child_is_asked_too),
      cmocka_unit_test(a_call_that_forks_is_inside_in_the_child),
      cmocka_unit_test(a_block_that_grows_counts_whole),
      cmocka_unit_test(reclaim_is_tried_where_it_can_help),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
