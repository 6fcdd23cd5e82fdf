/* test_recover.c — whatever a thread was doing when a bare fork took it away, the child can use
 * everything: docs/decisions/0005.
 */
#include "unit_heap.h"
#include "unit_step.h"

#include "large.h"
#include "meta.h"
#include "recover.h"
#include "outbox.h"
#include "refill.h"
#include "superslab.h"

enum { LIVE = 24, BLOCKS = 16, MAPPINGS = 31, MANY = 40, MAGAZINES = 24 };

/* Live throughout, in the child too: objects of the thread that forks, metadata, mappings. */
static void *live[LIVE];
static void *blocks[BLOCKS];
static size_t live_bytes(size_t i) { return 16 + i * i * 57; }
/* Made-up addresses that have one home in the hash: each removal shifts the others. */
static struct large mapping(size_t i) {
  return (struct large){(void *)(((uintptr_t)1 << 44) + (i << 38)), (i + 1) * 4096};
}

static void fill_everything(void) {
  for (size_t i = 0; i < LIVE; i++) {
    NEED((live[i] = hak_malloc(live_bytes(i))) != NULL);
    stamp(live[i], live_bytes(i), (unsigned)i);
  }
  struct heap *h = enter();
  for (size_t i = 0; i < BLOCKS; i++) {
    NEED((blocks[i] = meta_alloc(512)) != NULL);
    stamp(blocks[i], 512, (unsigned)i);
  }
  for (size_t i = 0; i < MAPPINGS; i++) NEED(large_insert(mapping(i), 0));
  entry_leave(h);
}

static void uses_objects(void) {
  static const size_t sizes[] = {16, 48, 1000, 5000, 32768, 100000, (size_t)3 << 20};
  void *objects[MANY];
  for (size_t s = 0; s < HAK_COUNT_OF(sizes); s++) {
    size_t count = sizes[s] > 50000 ? 3 : MANY, n = size_min(sizes[s], 5000);
    for (size_t i = 0; i < count; i++) {
      NEED((objects[i] = hak_malloc(sizes[s])) != NULL);
      stamp(objects[i], n, (unsigned)i);
    }
    for (size_t i = 0; i < count; i++) NEED(has_stamp(objects[i], n, (unsigned)i));
    free_all(objects, count);
  }
  for (size_t i = 0; i < MANY; i++) NEED((objects[i] = hak_malloc(16 * i)) != NULL);
  free_all(objects, MANY); /* of many classes: new slabs, new bitmaps */
}

/* Against the slab map and the bitmaps, for every heap. */
static void heaps_are_whole(void) {
  struct heap *own = heap_current;
  for (uint32_t id = HEAP_ID_BOOTING; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    if (h == NULL) continue;
    uint32_t taken[CLASS_COUNT] = {0}, linked[CLASS_COUNT] = {0};
    size_t slab_bytes = 0;
    NEED(heap_enter_with(own, h) && heap_is_valid(h) && h->fault.kind == FAULT_NONE);
    for (size_t i = 0; i < superslab_chunk_end(); i++) {
      uint32_t entry = map_load(i), c = map_entry_class(entry);
      if (!map_entry_is_slab(entry) || map_entry_id(entry) != id) continue;
      const struct size_class *k = &size_classes[c];
      struct slab *s = region_record(i);
      if (i % k->slab_chunks != 0 || map_load(i + k->slab_chunks - 1) != entry) continue;
      NEED(slab_is_valid(s) && s->class_index == c);
      taken[c] += k->slab_objects - s->free_count;
      slab_bytes += (size_t)k->slab_chunks * CHUNK_BYTES;
      linked[c] += s->free_count != 0;
    }
    NEED(load_relaxed(&h->slab_bytes) == slab_bytes);
    for (uint32_t c = 0; c < CLASS_COUNT; c++) {
      const struct slab *before = NULL;
      for (struct slab *s = h->cls[c].slabs; s != NULL; before = s, s = s->next) {
        NEED(s->prev == before && s->class_index == c && linked[c] != 0);
        NEED(map_load(slab_chunk(s)) == heap_entry(h, c));
        linked[c]--;
      }
      NEED(linked[c] == 0 && h->cls[c].taken_count == taken[c]);
    }
    heap_leave_with(own, h);
  }
}

static void magazines_are_nobody_elses(void) {
  struct heap *h = enter();
  for (uint32_t c = 0; c < CLASS_COUNT; c += 13) {
    struct magazine *m[MAGAZINES];
    for (size_t i = 0; i < MAGAZINES; i++) {
      NEED((m[i] = magazine_get(size_classes[c].magazine_kind)) != NULL &&
           load_relaxed(&m[i]->count) == 0);
      for (size_t j = 0; j < i; j++) NEED(m[j] != m[i]);
      for (uint32_t d = 0; d < CLASS_COUNT; d++) {
        NEED(m[i] != load_relaxed(&h->cls[d].loaded) && m[i] != load_relaxed(&h->cls[d].previous));
        for (struct magazine *o = h->cls[d].depot_newest; o != NULL; o = o->next) NEED(o != m[i]);
      }
    }
    for (size_t i = 0; i < MAGAZINES; i++) magazine_give(m[i]);
  }
  entry_leave(h);
}

static void metadata_is_nobody_elses(void) {
  char *mine[BLOCKS];
  struct heap *h = enter();
  for (size_t i = 0; i < BLOCKS; i++) {
    NEED((mine[i] = meta_alloc(i % 2 == 0 ? 640 : 6000)) != NULL);
    NEED(is_all_zero(mine[i], 640));
    stamp(mine[i], 640, (unsigned)i + 100);
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    NEED(has_stamp(mine[i], 640, (unsigned)i + 100));
    NEED(has_stamp(blocks[i], 512, (unsigned)i));
  }
  entry_leave(h);
}

/* Those that the operation removes or moves are there, or not, or half so; the others are there,
 * whole and once. */
static bool is_going[MAPPINGS];
static void mappings_are_found(void) {
  struct heap *h = enter();
  NEED(large_insert((struct large){is_going, 4096}, 0));
  for (size_t i = 0; i < MAPPINGS; i++) {
    struct large o = mapping(i), found = large_find(o.address);
    if (is_going[i]) continue;
    NEED(found.address == o.address && found.bytes == o.bytes);
    found = large_remove(o.address);
    NEED(found.address == o.address && found.bytes == o.bytes);
    NEED(large_find(o.address).address == NULL);
  }
  NEED(large_remove(is_going).bytes == 4096);
  entry_leave(h);
}

static struct heap *lost_heap, *kept;
static void heaps_are_nobody_elses(void) {
  struct heap *h[4];
  NEED(lock_enter(&heap_none.lock));
  for (size_t i = 0; i < HAK_COUNT_OF(h); i++) {
    NEED((h[i] = home_acquire()) != NULL && h[i] != heap_current);
    NEED(h[i] != lost_heap && h[i] != kept);
    for (size_t j = 0; j < i; j++) NEED(h[j] != h[i]);
    NEED(heap_of_id(heap_id(h[i])) == h[i]);
  }
  lock_leave(&heap_none.lock);
  for (size_t i = 0; i < HAK_COUNT_OF(h); i++)
    NEED(home_abandon(h[i], &(struct magazine *){NULL}).kind == FAULT_NONE);
}

static void everything_can_be_used(void) {
  struct heap *own = heap_current;
  uses_objects();
  heaps_are_whole();
  magazines_are_nobody_elses();
  metadata_is_nobody_elses();
  mappings_are_found();
  heaps_are_nobody_elses();
  (void)hak_malloc_trim(0); /* exactly what is free and has pages */
  NEED(heap_current == own && superslab_empty_bytes() == 0 && superslab_dirty_bytes() == 0);
  heap_make_exit_current();
  uses_objects();
  for (size_t i = 0; i < LIVE; i++) {
    NEED(has_stamp(live[i], live_bytes(i), (unsigned)i));
    hak_free(live[i]);
  }
  heaps_are_whole();
}

/* The operations: what the thread did before, and what it is stopped at. */
static void *mine[MANY];
static void begins(void) { lost_heap = entry_thread_heap(); }
static void gives_up_its_heap(void) { heap_make_exit_current(); }
static void takes(void) {
  static const size_t sizes[] = {16, 16, 16, 5000, 32768, 32768, 32768, 32768, 32768};
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) mine[i] = hak_malloc(sizes[i]);
}
static void has_taken(void) {
  heap_make_exit_current();
  for (size_t i = 0; i < 9; i++) mine[i] = hak_malloc(i < 7 ? 32768 : 64 + i % 2 * 32);
}
static void frees(void) { free_all(mine, 9); }
static void frees_the_forkers(void) { free_all(mine + 20, 9); }
static void has_filled_caches(void) {
  begins();
  void *all[300];
  for (size_t n = 100; n < 3000; n += 900) {
    allocate_all(all, 300, n);
    free_all(all, 300);
  }
  free_all(mine + 20, 9); /* into the outbox */
}
static void trims(void) { (void)hak_malloc_trim(0); }
static void has_trimmed(void) {
  has_filled_caches();
  trims();
}
static void refills(void) {
  hak_free(hak_malloc(100));
  hak_free(hak_malloc(1900));
}
/* `given` was before `kept` among the orphans once, and has mail of two classes. */
static struct heap *given;
static void has_a_heap_to_give(void) {
  begins();
  kept = heap_by_hand();
  given = heap_by_hand();
  NEED(home_abandon(kept, &(struct magazine *){NULL}).kind == FAULT_NONE &&
       home_abandon(given, &(struct magazine *){NULL}).kind == FAULT_NONE);
  NEED(heap_by_hand() == given && heap_by_hand() == kept);
  NEED(lock_enter(&given->lock));
  for (uint32_t i = 0; i < 8; i++) NEED((mine[i] = refill_take_one(given, 3 + i % 2)) != NULL);
  lock_leave(&given->lock);
  for (uint32_t i = 0; i < 2; i++) {
    free_all(mine + i * 4, 4);
    struct heap *h = entry_enter();
    outbox_send_all(h);
    entry_leave(h);
  }
  NEED(load_relaxed(&given->inbox)->next != NULL);
}
static void gives_and_takes_heaps(void) {
  NEED(home_abandon(given, &(struct magazine *){NULL}).kind == FAULT_NONE);
  (void)heap_by_hand(); /* the one given */
  (void)heap_by_hand(); /* a new one */
}
static void takes_metadata(void) {
  struct heap *h = entry_enter();
  for (int i = 0; i < 12; i++) (void)!meta_alloc(7168);
  entry_leave(h);
}
static void has_mappings_to_take(void) {
  begins();
  for (size_t i = MAPPINGS / 3; i < MAPPINGS; i++) is_going[i] = i % 3 != 0;
}
static void takes_mappings_out(void) {
  struct heap *h = entry_enter();
  for (size_t i = 0; i < MAPPINGS; i++) {
    if (!is_going[i]) continue;
    struct large m = mapping(i);
    struct large o = i % 2 == 0 ? large_remove(m.address) : large_begin_move(m.address, m.bytes);
    o.address = (char *)o.address + 4096;
    if (i % 2 != 0) large_end_move(o, m.bytes, 0);
  }
  entry_leave(h);
}
static void adds_mappings(void) {
  struct heap *h = entry_enter();
  for (size_t i = 100; i < 103; i++) (void)!large_insert(mapping(i), 0); /* the hash grows */
  entry_leave(h);
}
static void takes_runs(void) {
  for (int i = 0; i < 3; i++) mine[i] = hak_malloc((size_t)3 << 19);
  mine[3] = hak_malloc((size_t)5 << 19);
  mine[0] = hak_realloc(mine[0], 70000);
  free_all(mine, 4);
}
static void has_emptied_superslabs(void) {
  begins();
  for (int i = 0; i < 3; i++) mine[i] = hak_malloc((size_t)2 << 20);
  free_all(mine, 3);
}

static const struct {
  const char *name;
  void (*prepare)(void);
  void (*operation)(void);
  uint32_t stops_min; /* so that one which does nothing is noticed */
} cases[] = {
    {"takes from a shared heap", gives_up_its_heap, takes, 60},
    {"frees into a shared heap", has_taken, frees, 60},
    {"frees into the forker's heap", gives_up_its_heap, frees_the_forkers, 30},
    {"gives everything back", has_filled_caches, trims, 60},
    {"begins anew", has_trimmed, refills, 20},
    {"heaps come and go", has_a_heap_to_give, gives_and_takes_heaps, 20},
    {"metadata", begins, takes_metadata, 20},
    {"mappings go", has_mappings_to_take, takes_mappings_out, 60},
    {"mappings come", begins, adds_mappings, 20},
    {"runs", begins, takes_runs, 60},
    {"purge", has_emptied_superslabs, trims, 10},
};

static const char *case_name;
static void one_case(void) {
  for (size_t i = 0; i < HAK_COUNT_OF(cases); i++) {
    if (strcmp(cases[i].name, case_name) != 0) continue;
    fill_everything();
    allocate_all(mine + 20, 9, 30000);
    uint32_t stops = step_through(cases[i].prepare, cases[i].operation, everything_can_be_used);
    NEED(stops >= cases[i].stops_min);
    return;
  }
  NEED(!"no such case");
}
static void every_prefix_is_usable(void **state) {
  (void)state;
  if (!UNIT_CAN_STEP) skip();
  for (size_t i = 0; i < HAK_COUNT_OF(cases); i++) {
    case_name = cases[i].name;
    run_child(one_case);
  }
}

/* Whether a class has free objects on resident pages is not known: it is not said to have none. */
static void is_not_dry(void) {
  hak_free(hak_malloc(48));
  struct heap *h = enter();
  for (uint32_t c = 0; c < CLASS_COUNT; c++) store_relaxed(&h->cls[c].is_dry, true);
  recover_heap(&h->lock);
  for (uint32_t c = 0; c < CLASS_COUNT; c++) NEED(!load_relaxed(&h->cls[c].is_dry));
  NEED(heap_is_valid(h));
  entry_leave(h);
}
static void a_recovered_heap_looks_for_free_objects(void **state) {
  (void)state;
  run_child(is_not_dry);
}

int main(void) {
  entry_init();
  home_set_count(UINT32_MAX); /* each thread its own */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_prefix_is_usable),
      cmocka_unit_test(a_recovered_heap_looks_for_free_objects),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
