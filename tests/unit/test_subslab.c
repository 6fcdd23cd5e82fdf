/* test_subslab.c — pages inside slabs go back to the kernel once every object on them is free:
 * those and no others, whoever owns the slab, also while other threads are at work.
 */
#include "unit_heap.h"

#include <sys/mman.h>

#include "purge.h"
#include "idle.h"
#include "subslab.h"
#include "unit_clock.h"

enum { COUNT = 20000, LOOKED_AT_MAX = 64 * 1024 };
static size_t kept_one_of = 40;
static unsigned char *objects[COUNT];

static bool is_kept(size_t i) { return i % kept_one_of == 0; }

static void fill(size_t bytes) {
  for (size_t i = 0; i < COUNT; i++) {
    NEED((objects[i] = hak_malloc(bytes)) != NULL);
    memset(objects[i], (int)(i % 251), bytes);
  }
}
static void thin_out(void) {
  for (size_t i = 0; i < COUNT; i++)
    if (!is_kept(i)) hak_free(objects[i]);
}
static bool kept_are_intact(size_t bytes) {
  for (size_t i = 0; i < COUNT; i += kept_one_of)
    for (size_t k = 0; k < bytes; k++)
      if (objects[i][k] != i % 251) return false;
  return true;
}
static void free_kept(void) {
  for (size_t i = 0; i < COUNT; i += kept_one_of) hak_free(objects[i]);
}

/* Everything out of bins and depots, so that bits tell what is free. */
static void all_to_bitmaps(void) {
  struct heap *h = enter();
  idle_flush_own(h);
  flush_shared(h->home);
  entry_leave(h);
}

static bool page_is_resident(uintptr_t page) {
  unsigned char state;
  NEED(mincore((void *)page, os_page_bytes(), &state) == 0);
  return (state & 1) != 0;
}

static struct slab *slab_of(const void *p) {
  return slab_of_chunk(&size_classes[object_class(p)], chunk_index(p));
}

/* Of the pages that the objects were on: resident are those of kept objects, and no others. */
static void only_kept_are_resident(size_t bytes) {
  static bool is_kept_page[LOOKED_AT_MAX];
  size_t page_bytes = os_page_bytes(), looked = 0;
  for (size_t i = 0; i < COUNT; i += kept_one_of) {
    size_t first = ((uintptr_t)objects[i] - region_base) / page_bytes;
    size_t last = ((uintptr_t)objects[i] + bytes - 1 - region_base) / page_bytes;
    NEED(last < LOOKED_AT_MAX);
    for (size_t page = first; page <= last; page++) is_kept_page[page] = true;
  }
  for (size_t i = 0; i < COUNT; i++) {
    size_t page = ((uintptr_t)objects[i] - region_base) / page_bytes;
    NEED(page < LOOKED_AT_MAX);
    if (!map_entry_is_slab(object_entry(objects[i]))) continue; /* a slab that is free altogether */
    if (slab_of(objects[i]) == object_owner(objects[i])->empty_slab) continue;
    NEED(page_is_resident(region_base + page * page_bytes) == is_kept_page[page]);
    looked++;
  }
  NEED(looked > COUNT / 4);
}

/* Objects[0], with another kept object. */
static bool shares_its_slab(void) {
  for (size_t i = kept_one_of; i < COUNT; i += kept_one_of)
    if (slab_of(objects[i]) == slab_of(objects[0])) return true;
  return false;
}

/* All slices of a purge of its own slabs, each a small part of it. One that is on goes on without
 * the option. */
static size_t purge_own(struct heap *own) {
  size_t purged = 0;
  for (int slices = 1;; slices++) {
    size_t bytes = entry_purge_slabs(own, own);
    NEED(bytes <= (64 + 16) * (size_t)CHUNK_BYTES && slices < COUNT);
    purged += bytes;
    if (load_relaxed(&own->subslab_next) == 0) return purged;
    NEED(lock_enter(&own->lock) && subslab_is_due(own));
    lock_leave(&own->lock);
  }
}

static void purge_leaves_pages_of(size_t bytes) {
  struct heap *own = heap_own();
  fill(bytes);
  thin_out();
  all_to_bitmaps();
  uint32_t c = object_class(objects[0]);
  size_t taken = own->cls[c].taken_count, taken_bytes = own->taken_bytes, live = live_objects(c);
  NEED(purge_own(own) > COUNT / 8 * bytes);
  NEED(own->cls[c].taken_count == taken && own->taken_bytes == taken_bytes);
  NEED(live_objects(c) == live && kept_are_intact(bytes));
  only_kept_are_resident(bytes);
  NEED(purge_own(own) == 0); /* nothing has changed */
  bool has_company = shares_its_slab();
  hak_free(objects[0]);
  all_to_bitmaps();
  NEED((entry_purge_slabs(own, NULL) > 0) == has_company); /* one slab has, or is free altogether */
  NEED((objects[0] = hak_malloc(bytes)) != NULL);
  memset(objects[0], 0, bytes);
  fill(bytes); /* what was kept before is the test's to lose */
  NEED(kept_are_intact(bytes));
}

static void of_few_bytes(void) {
  kept_one_of = 1000;
  purge_leaves_pages_of(32);
}
static void of_a_power_of_two(void) { purge_leaves_pages_of(1024); }
static void of_odd_sizes(void) { purge_leaves_pages_of(600); }
static void of_more_than_a_page(void) { purge_leaves_pages_of(5000); }
static void of_more_slabs_than_a_slice(void) {
  kept_one_of = 10;
  purge_leaves_pages_of(5000);
}
/* Where the kernel takes its time, each slice is one slab, and all of them get their turn. */
static void of_slow_pages(void) {
  struct heap *own = heap_own();
  fill(5000);
  thin_out();
  all_to_bitmaps();
  clock_step_us = PURGE_SLICE_US;
  uint32_t slices = 0;
  do {
    NEED(entry_purge_slabs(own, own) <= 16 * (size_t)CHUNK_BYTES);
    slices++;
  } while (load_relaxed(&own->subslab_next) != 0);
  NEED(slices > 4);
  only_kept_are_resident(5000);
}

static void free_pages_go_back_and_no_others(void **state) {
  (void)state;
  run_child(of_few_bytes);
  run_child(of_a_power_of_two);
  run_child(of_odd_sizes);
  run_child(of_more_than_a_page);
  run_child(of_more_slabs_than_a_slice);
  run_child(of_slow_pages);
}

static void trim_reaches_all(void) {
  struct heap *own = heap_own();
  (void)own;
  fill(600);
  thin_out();
  NEED(hak_malloc_trim(0) == 1);
  NEED(kept_are_intact(600));
  only_kept_are_resident(600);
  free_kept();
  NEED(hak_malloc_trim(0) == 1);
}
static void malloc_trim_purges_slabs_too(void **state) {
  (void)state;
  run_child(trim_reaches_all);
}

/* A drop of what is in use is a matter of the frees themselves, with the option on. */
static void drop(void) {
  struct heap *own = heap_own();
  NEED(hak_option_set("SUBSLAB_PURGE", "1") == 0);
  size_t before = purge_events().slab_bytes;
  fill(600);
  NEED(purge_events().slab_bytes == before); /* it only grew */
  thin_out();
  size_t purged = purge_events().slab_bytes - before;
  NEED(purged > COUNT * (size_t)600 / 2);
  NEED(kept_are_intact(600));
  NEED(hak_option_set("SUBSLAB_PURGE", "0") == 0);
  NEED(lock_enter(&own->lock) && !subslab_is_due(own));
  lock_leave(&own->lock);
  free_kept();
}
static void a_drop_purges_there_and_then(void **state) {
  (void)state;
  run_child(drop);
}

/* What became free without the option counts once it is set, also where it was set before. */
static void again(void) {
  (void)heap_own();
  for (int round = 0; round < 3; round++) {
    size_t before = purge_events().slab_bytes;
    fill(600);
    thin_out();
    NEED(purge_events().slab_bytes == before);
    NEED(hak_option_set("SUBSLAB_PURGE", "1") == 0);
    do /* each ends with a look at what is due, and purges a slice */
      all_to_bitmaps();
    while (load_relaxed(&heap_own()->subslab_next) != 0);
    size_t purged = purge_events().slab_bytes - before;
    NEED(purged > COUNT * (size_t)600 / 2);
    NEED(kept_are_intact(600));
    NEED(hak_option_set("SUBSLAB_PURGE", "0") == 0);
    free_kept();
  }
}
static void a_drop_before_the_option_counts(void **state) {
  (void)state;
  run_child(again);
}

/* A slow path after a change of options is no longer than one slice, of chunks or inside slabs. */
static void both_due(void) {
  enum { RUNS = 64, RUN_BYTES = 512 * 1024 };
  struct heap *own = heap_own();
  void *runs[RUNS];
  for (size_t i = 0; i < RUNS; i++)
    NEED((runs[i] = hak_malloc(RUN_BYTES)) != NULL && memset(runs[i], 1, RUN_BYTES) != NULL);
  fill(600);
  thin_out();
  NEED(hak_option_set("SS_RELEASE", "off") == 0);
  for (size_t i = 0; i < RUNS; i++) hak_free(runs[i]);
  NEED(hak_option_set("WARM_POOL_BYTES", "0") == 0 && hak_option_set("SUBSLAB_PURGE", "1") == 0);
  struct purge_events first = purge_events(), before, now = first;
  NEED(hak_option_set("SS_RELEASE", "dontneed") == 0);
  do {
    before = now;
    entry_leave(enter());
    now = purge_events();
    NEED(now.run_bytes == before.run_bytes || now.slab_bytes == before.slab_bytes);
  } while (now.run_bytes != before.run_bytes || load_relaxed(&own->subslab_next) != 0);
  NEED(now.run_bytes - first.run_bytes >= RUNS * (size_t)RUN_BYTES);
  NEED(now.slab_bytes - first.slab_bytes > COUNT * (size_t)600 / 2);
  NEED(kept_are_intact(600));
}
static void a_slow_path_takes_one_slice(void **state) {
  (void)state;
  run_child(both_due);
}

/* SS_RELEASE=off means these pages too. */
static void off(void) {
  (void)heap_own();
  NEED(hak_option_set("SUBSLAB_PURGE", "1") == 0 && hak_option_set("SS_RELEASE", "off") == 0);
  fill(600);
  thin_out();
  NEED(purge_events().slab_bytes == 0);
  NEED(hak_purge() > COUNT * (size_t)600 / 2 && kept_are_intact(600));
}
static void off_purges_when_asked_only(void **state) {
  (void)state;
  run_child(off);
}

/* Two threads that ask at once both get what they ask for. */
static void *purges_all(void *unused) {
  (void)unused;
  (void)hak_purge();
  return NULL;
}
static void asked_by_two(void) {
  pthread_t thread;
  fill(600);
  thin_out();
  NEED(pthread_create(&thread, NULL, purges_all, NULL) == 0);
  (void)hak_purge();
  only_kept_are_resident(600);
  NEED(pthread_join(thread, NULL) == 0);
}
static void who_asks_gets_all(void **state) {
  (void)state;
  run_child(asked_by_two);
}

/* Where memory is locked all bits come back all the same. */
static void refused(void) {
  struct heap *own = heap_own();
  fill(600);
  thin_out();
  all_to_bitmaps();
  uint32_t c = object_class(objects[0]);
  size_t live = live_objects(c);
  if (mlockall(MCL_CURRENT) != 0) child_skip("mlockall is refused");
  NEED(purge_own(own) == 0);
  NEED(live_objects(c) == live && kept_are_intact(600));
  NEED(munlockall() == 0);
  NEED(purge_own(own) > COUNT * (size_t)600 / 2); /* it was not forgotten */
  free_kept();
  all_to_bitmaps();
  NEED(live_objects(c) == 0);
}
static void a_refusal_loses_nothing(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* their mlock does nothing */
  run_child(refused);
}

/* Two threads allocate, stamp, check and free, also each other's; the third purges all the while.
 */
enum { WORKERS = 2, SLOTS = 4000, ROUNDS = 60000 };
static _Atomic(bool) is_over;
static _Atomic(unsigned char *) shared[SLOTS];

static void check_and_free(unsigned char *p) {
  if (p == NULL) return;
  size_t bytes = (size_t)p[0] * 8;
  for (size_t k = 1; k < bytes; k++) NEED(p[k] == p[0]);
  hak_free(p);
}
static void *works(void *argument) {
  uint64_t random = 88172645463325252u + (uintptr_t)argument;
  for (size_t i = 0; i < ROUNDS; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    unsigned char *p = NULL;
    /* Long rows of frees, so that pages become free. */
    if ((i >> 12) % 2 == 0) {
      unsigned char stamp = (unsigned char)(8 + random % 100);
      NEED((p = hak_malloc(stamp * (size_t)8)) != NULL);
      memset(p, stamp, stamp * (size_t)8);
    }
    check_and_free(swap_acq_rel(&shared[(random >> 32) % SLOTS], p));
  }
  return NULL;
}
static void *purges(void *unused) {
  struct heap *own = heap_own();
  while (!load_relaxed(&is_over)) {
    entry_purge_slabs(own, NULL);
    entry_settle_strays(own);
  }
  return unused;
}
static void beside_others(void) {
  pthread_t workers[WORKERS], purger;
  NEED(pthread_create(&purger, NULL, purges, NULL) == 0);
  for (size_t i = 0; i < WORKERS; i++)
    NEED(pthread_create(&workers[i], NULL, works, (void *)(i + 1)) == 0);
  for (size_t i = 0; i < WORKERS; i++) NEED(pthread_join(workers[i], NULL) == 0);
  store_relaxed(&is_over, true);
  NEED(pthread_join(purger, NULL) == 0);
  for (size_t i = 0; i < SLOTS; i++) check_and_free(load_relaxed(&shared[i]));
}
static void others_work_on_meanwhile(void **state) {
  (void)state;
  run_child(beside_others);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(free_pages_go_back_and_no_others),
      cmocka_unit_test(malloc_trim_purges_slabs_too),
      cmocka_unit_test(a_drop_purges_there_and_then),
      cmocka_unit_test(a_drop_before_the_option_counts),
      cmocka_unit_test(a_slow_path_takes_one_slice),
      cmocka_unit_test(off_purges_when_asked_only),
      cmocka_unit_test(who_asks_gets_all),
      cmocka_unit_test(a_refusal_loses_nothing),
      cmocka_unit_test(others_work_on_meanwhile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
