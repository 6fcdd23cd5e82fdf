/* test_entry_init.c — the first call, wherever it comes from; the umbrella; fork; options. */
#include "unit_entry.h"

#include <dlfcn.h>

#include "entry_signal.h"
#include "flush.h"
#include "refill.h"
#include "purge.h"
#include "rt_options.h"

enum { THREADS = 8, FORKS = 30 };

#if !UNIT_SANITIZED
/* libc registers handlers of fork by this, and may allocate there: our own are registered when the
 * first call is over. */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
static bool was_told;
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso) {
  int (*next)(void (*)(void), void (*)(void), void (*)(void), void *);
  *(void **)&next = dlsym(RTLD_NEXT, "__register_atfork");
  void *p = hak_malloc(10);
  was_told = was_told || (p != NULL && !entry_is_booting());
  hak_free(p);
  return next(prepare, parent, child, dso);
}
#endif

/* Before any constructor: the very first call of the process. */
static void *earliest[3];
static void allocates_early(int argc, char **argv, char **environment) {
  (void)argc;
  (void)argv;
  (void)environment;
  earliest[0] = hak_malloc(100);
  earliest[1] = hak_calloc(10, 1000);
  earliest[2] = hak_malloc(5000000);
  if (earliest[0] != NULL) stamp(earliest[0], 100, 1);
}
__attribute__((section(".preinit_array"),
               used)) static void (*const early)(int, char **, char **) = allocates_early;

static void the_first_call_may_come_before_main(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) assert_non_null(earliest[i]);
  assert_true(has_stamp(earliest[0], 100, 1) && is_all_zero(earliest[1], 10000));
  assert_true(hak_malloc_usable_size(earliest[2]) >= 5000000);
  for (int i = 0; i < 3; i++) hak_free(earliest[i]);
}

static void init_is_done_once(void **state) {
  (void)state;
#if !UNIT_SANITIZED
  assert_true(was_told);
#endif
  uintptr_t base = region_base;
  size_t chunks = region_chunk_count, meta = region_meta_bytes();
  for (int i = 0; i < 10; i++) entry_init();
  assert_true(region_base == base && region_chunk_count == chunks && region_meta_bytes() == meta);
  assert_false(entry_is_booting());
  assert_true(chunks != 0 && size_classes[0].size == 16 && size_classes[0].magazine_kind != 0);
}

/* Options are read although the first call came before libc had an environment. */
static void has_options(void) {
  NEED(rt_option(RT_OPTION_DEPOT_BYTES) == 12345);
  NEED(earliest[0] != NULL);
}
static void has_little_warm(void) { /* what an option says is what is done */
  NEED(rt_option(RT_OPTION_WARM_POOL_BYTES) == 0);
  static void *runs[64];
  for (int i = 0; i < 64; i++) memset(runs[i] = hak_malloc(MIB), 1, MIB);
  for (int i = 0; i < 64; i++) hak_free(runs[i]);
  NEED(!purge_is_due() && superslab_empty_bytes() <= superslab_peak_bytes() / 4);
}
static const struct {
  const char *name, *variable;
  void (*run)(void);
} programs[] = {{"has_options", "HAKMEM_DEPOT_BYTES=12345", has_options},
                {"has_little_warm", "HAKMEM_WARM_POOL_BYTES=0", has_little_warm}};
static void options_are_applied(void **state) {
  (void)state;
  for (size_t i = 0; i < 2; i++) run_program(programs[i].name, programs[i].variable, 0);
}

static pthread_barrier_t barrier;
static void *enters_and_leaves(void *unused) {
  (void)unused;
  (void)pthread_barrier_wait(&barrier);
  for (int i = 0; i < 2000; i++) {
    struct heap *own = entry_thread_heap();
    NEED(own != NULL && own == heap_current && own->is_owned);
    struct heap *h = entry_enter();
    NEED(h == own && lock_is_mine(&h->home->lock));
    NEED(entry_thread_heap() == NULL && entry_enter() == NULL); /* self-entry */
    NEED(lock_is_mine(&h->home->lock));
    entry_leave(h);
    NEED(heap_current == own && !lock_is_mine(&h->home->lock));
  }
  return NULL;
}
static void umbrellas(void) {
  NEED(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
  threads_run(THREADS, enters_and_leaves);
}
static void each_thread_has_its_umbrella(void **state) {
  (void)state;
  run_child(umbrellas);
}

/* On leaving: parked objects are freed, and what need not stay warm is purged. */
static void leaving(void) {
  void *parked = hak_malloc(100000);
  struct heap *h = entry_enter();
  NEED(h != NULL);
  hak_free(parked);
  NEED(entry_signal_has_parked() && map_entry_id(object_entry(parked)) == HEAP_ID_RUN);
  entry_leave(h);
  NEED(!entry_signal_has_parked() && map_entry_id(object_entry(parked)) == HEAP_ID_FREED);
  h = entry_enter();
  struct chunk_run run = superslab_claim(64 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE);
  entry_leave(h); /* a moment of growth: slabs become free chunks */
  h = entry_enter();
  NEED(h != NULL && rt_option_set(RT_OPTION_WARM_POOL_BYTES, "0"));
  superslab_release(run.first, run.count);
  NEED(purge_is_due());
  size_t dirty = superslab_dirty_bytes();
  entry_leave(h);
  NEED(superslab_dirty_bytes() <= dirty - 4 * MIB); /* a slice each time */
  for (int i = 0; i < 32 && purge_is_due(); i++) entry_leave(entry_enter());
  NEED(!purge_is_due() && superslab_empty_bytes() == 0);
}
static void leaving_cleans_up(void **state) {
  (void)state;
  run_child(leaving);
}

static int reports(void *fault) {
  entry_report_fault(*(struct heap_fault *)fault);
  return 0;
}
static void faults_are_reported(void **state) {
  (void)state;
  static int outside;
  void *p = hak_malloc(100), *run = hak_malloc(100000);
  size_t class_bytes = size_classes[object_class(p)].size;
  struct heap_fault none = {FAULT_NONE, p}, fault = {FAULT_DOUBLE_FREE, p};
  assert_int_equal(reports(&none), 0);
  expect_verdict(reports, &fault, "double free", p, class_bytes);
  fault.kind = FAULT_CORRUPTED;
  expect_verdict(reports, &fault, "corrupted bin", p, class_bytes);
  fault.object = run;
  expect_verdict(reports, &fault, "corrupted bin", run, 0);
  fault.object = &outside;
  expect_verdict(reports, &fault, "corrupted bin", &outside, 0);
  hak_free(p);
  hak_free(run);
}

static _Atomic(bool) must_stop;
/* A thread that starts takes locks of ASan's own allocator, which its fork does not free. */
static pthread_barrier_t have_started;
static void *churns(void *unused) {
  (void)unused;
  void *held[64] = {NULL};
  pthread_barrier_wait(&have_started);
  for (size_t i = 0; !load_relaxed(&must_stop); i++) {
    hak_free(held[i % 64]);
    held[i % 64] = hak_malloc(i % 11 == 0 ? 100000 : i * 37 % 3000);
    NEED(held[i % 64] != NULL);
  }
  for (size_t i = 0; i < 64; i++) hak_free(held[i]);
  return NULL;
}
static void *works_in_the_child(void *unused) {
  (void)unused;
  void *p[200];
  for (size_t i = 0; i < 200; i++) stamp(p[i] = hak_malloc(i * 300), i * 300, (unsigned)i);
  for (size_t i = 0; i < 200; i++) {
    NEED(has_stamp(p[i], i * 300, (unsigned)i));
    hak_free(p[i]);
  }
  return NULL;
}
/* fork while others are in all kinds of slow paths; parent and child go on, with threads. */
static void forks(void) {
  pthread_t threads[3];
  NEED(pthread_barrier_init(&have_started, NULL, 4) == 0);
  for (int i = 0; i < 3; i++) NEED(pthread_create(&threads[i], NULL, churns, NULL) == 0);
  pthread_barrier_wait(&have_started);
  char *kept = hak_malloc(5000);
  stamp(kept, 5000, 3);
  for (int i = 0; i < FORKS; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      child_start();
      NEED(has_stamp(kept, 5000, 3));
      hak_free(kept);
      (void)works_in_the_child(NULL);
      if (!UNIT_TSAN) threads_run(4, works_in_the_child); /* adopt what was left behind */
      for (uint32_t id = HEAP_ID_FIRST; id < heap_id_end(); id++) {
        NEED(lock_enter(&heap_of_id(id)->lock) && heap_is_valid(heap_of_id(id)));
        lock_leave(&heap_of_id(id)->lock);
      }
      _exit(0);
    }
    child_wait(pid);
    (void)works_in_the_child(NULL);
  }
  store_relaxed(&must_stop, true);
  for (int i = 0; i < 3; i++) NEED(pthread_join(threads[i], NULL) == 0);
}
static void fork_at_any_time_is_safe(void **state) {
  (void)state;
  run_child(forks);
}

/* Nobody tells the child of a bare fork: whoever enters its heap's umbrella sees to it that the
 * heap is not taken for one left behind. */
static void enters_after_bare_fork(void) {
  hak_free(hak_malloc(1));
  pid_t pid = _Fork();
  if (pid == 0) {
    child_start();
    uint32_t before = load_relaxed(&fork_generation);
    struct heap *h = entry_enter();
    NEED(h != NULL && load_relaxed(&fork_generation) == before + 1);
    NEED(load_relaxed(&h->generation) == before + 1 && !heap_is_away(h));
    entry_leave(h);
    _exit(0);
  }
  child_wait(pid);
}
static void a_bare_fork_is_noticed_on_entering(void **state) {
  (void)state;
  run_child(enters_after_bare_fork);
}

int main(int argc, char **argv) {
  for (size_t i = 0; argc == 2 && i < sizeof programs / sizeof programs[0]; i++) {
    if (strcmp(argv[1], programs[i].name) != 0) continue;
    programs[i].run();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_call_may_come_before_main),
      cmocka_unit_test(init_is_done_once),
      cmocka_unit_test(options_are_applied),
      cmocka_unit_test(each_thread_has_its_umbrella),
      cmocka_unit_test(leaving_cleans_up),
      cmocka_unit_test(faults_are_reported),
      cmocka_unit_test(fork_at_any_time_is_safe),
      cmocka_unit_test(a_bare_fork_is_noticed_on_entering),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
