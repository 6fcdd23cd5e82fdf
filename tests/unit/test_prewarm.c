/* test_prewarm.c — memory that is touched ahead: it is there, it is free, it is zero to who asks
 * for that, it stays; and allocations then fault no more.
 */
#include "unit_region.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include "hakmem.h"
#include "limit.h"
#include "prewarm.h"
#include "purge.h"
#include "superslab_word.h"

static size_t resident_bytes(size_t first, size_t count) {
  size_t pages = 0, page = os_page_bytes();
  for (size_t i = 0; i < count; i++) {
    unsigned char states[CHUNK_BYTES / 4096];
    NEED(mincore(chunk_bytes(first + i), CHUNK_BYTES, states) == 0);
    for (size_t k = 0; k < CHUNK_BYTES / page; k++) pages += states[k] & 1;
  }
  return pages * page;
}

static void touches(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_THP, "never"));
  NEED(prewarm(0) == 0 && prewarm(CHUNK_BYTES - 1) == 0 && superslab_chunk_end() == 0);
  size_t bytes = 5 * SUPERSLAB_BYTES + 3 * CHUNK_BYTES;
  NEED(prewarm(bytes + 1) == bytes);
  NEED(superslab_dirty_bytes() == bytes && superslab_claimed_bytes() == 0);
  NEED(superslab_chunk_end() == 6 * SUPERSLAB_CHUNKS && prewarm_keep_bytes() == bytes);
  NEED(resident_bytes(0, 6 * SUPERSLAB_CHUNKS) == bytes);
  NEED(superslab_word(5) == (word_of(7, CHUNK_DIRTY) | word_of(ALL_FREE << 3, CHUNK_ZERO)));
  struct chunk_run run = claim_chunks(0, 4, 1, 5);         /* the last three do not do */
  NEED(run.first == 5 * SUPERSLAB_CHUNKS && !run.is_zero); /* nobody says so, but it is */
  for (uint32_t i = 0; i < 4; i++) NEED(is_all_zero(chunk_bytes(run.first + i), CHUNK_BYTES));
}
static void what_is_touched_is_free_and_has_pages(void **state) {
  (void)state;
  run_child(touches);
}

/* Around what is in use already. */
static void fills_holes(void) {
  layers_init(256 * MIB);
  struct chunk_run run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  chunks_stamp(run, 9);
  superslab_release(1, 2);
  NEED(purge_chunks(true) == 2 * CHUNK_BYTES);
  superslab_release(7, 1); /* dirty: it needs nothing */
  NEED(prewarm(5 * CHUNK_BYTES) == 5 * CHUNK_BYTES);
  NEED(word_zero(superslab_word(0)) == 0 && superslab_dirty_bytes() == 6 * CHUNK_BYTES);
  NEED(resident_bytes(1, 2) == 2 * CHUNK_BYTES);
  NEED(word_dirty(superslab_word(1)) == 7);
  for (uint32_t i = 0; i < SUPERSLAB_CHUNKS; i++) {
    if (i != 1 && i != 2) NEED(*(unsigned *)(void *)chunk_bytes(i) == 9);
  }
  NEED(prewarm(SIZE_MAX) == 256 * MIB - SUPERSLAB_BYTES - 3 * CHUNK_BYTES); /* all there is */
  NEED(prewarm(CHUNK_BYTES) == 0);
}
static void what_is_in_use_is_left_alone(void **state) {
  (void)state;
  run_child(fills_holes);
}

/* As much as was touched, in use and free together, is no purge's but for who asks. */
static void stays(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_WARM_POOL_BYTES, "1M"));
  NEED(prewarm(20 * SUPERSLAB_BYTES) == 20 * SUPERSLAB_BYTES);
  NEED(!purge_is_due() && purge_chunks(false) == 0);
  struct purge_quiet q = {0, 0, 0};
  uint64_t due_ms;
  for (uint64_t ms = 1000; ms < 20000; ms += 500) {
    purge_tick(ms);
    NEED(!purge_quiet(&q, ms, &due_ms));
  }
  NEED(superslab_dirty_bytes() == 20 * SUPERSLAB_BYTES);
  struct chunk_run run = claim_chunks(0, 30 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(prewarm_keep_bytes() == 0);
  chunks_stamp(run, 9);
  superslab_release(20 * SUPERSLAB_CHUNKS, 10 * SUPERSLAB_CHUNKS);
  NEED(prewarm_keep_bytes() == 0 && purge_is_due());
  superslab_release(15 * SUPERSLAB_CHUNKS, 5 * SUPERSLAB_CHUNKS);
  NEED(prewarm_keep_bytes() == 5 * SUPERSLAB_BYTES);
  while (purge_is_due()) NEED(purge_chunks(false) != 0);
  NEED(superslab_dirty_bytes() == 5 * SUPERSLAB_BYTES);
  NEED(rt_options_tighten(RT_PRESSURE_CLOSE)); /* there is no room for it */
  NEED(purge_is_due() && purge_chunks(false) != 0);
  NEED(rt_options_tighten(RT_PRESSURE_NONE));
  NEED(purge_chunks(true) != 0 && superslab_dirty_bytes() == 0);
  NEED(prewarm_keep_bytes() == 0); /* who asks for all ends it */
}
static void so_much_stays(void **state) {
  (void)state;
  run_child(stays);
}

static void limited(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "40M"));
  size_t bytes = prewarm(100 * MIB);
  NEED(bytes <= 30 * MIB && bytes > 28 * MIB); /* the tables count */
  NEED(limit_pressure() == RT_PRESSURE_NONE);
  limit_look(1000);
  NEED(limit_pressure() == RT_PRESSURE_NONE);
  NEED(prewarm(100 * MIB) < 2 * MIB);
}
static void a_limit_bounds_it(void **state) {
  (void)state;
  run_child(limited);
}

/* The program: faults of allocating, after a start with the option and without. */
enum { OBJECTS = 4000, OBJECT_BYTES = 8000 };
static long faults(void) {
  struct rusage usage;
  NEED(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_minflt;
}
static long faults_of_allocating(void) {
  static void *objects[OBJECTS];
  memset(objects, 1, sizeof objects);
  long before = faults();
  for (size_t i = 0; i < OBJECTS; i++) {
    objects[i] = i % 2 != 0 ? hak_malloc(OBJECT_BYTES) : hak_calloc(1, OBJECT_BYTES);
    NEED(objects[i] != NULL && (i % 2 != 0 || is_all_zero(objects[i], OBJECT_BYTES)));
    memset(objects[i], 1, OBJECT_BYTES);
  }
  return faults() - before;
}
static int program(const char *name) {
  child_start();
  size_t touched = superslab_dirty_bytes();
  if (strcmp(name, "off") == 0) {
    NEED(touched == 0 && superslab_chunk_end() == 0);
    NEED(faults_of_allocating() > OBJECTS * OBJECT_BYTES / 4096);
    return 0;
  }
  NEED(touched == 40 * MIB && rt_option(RT_OPTION_PREWARM) == 40 * MIB);
  NEED(faults_of_allocating() < OBJECTS * OBJECT_BYTES / 4096 / 10);
  return 0;
}
static void allocations_fault_no_more(void **state) {
  (void)state;
  if (UNIT_SANITIZED || os_page_bytes() != 4096) skip(); /* shadows fault, too */
  run_program("off", "HAKMEM_THP=never", 0);
  run_program("on", "HAKMEM_PREWARM=40M", 0);
  run_program("on", "HAKMEM_PREWARM=40M", 2048 * MIB); /* of addresses: no reservation */
}

int main(int argc, char **argv) {
  if (argc > 1) return program(argv[1]);
  os_mem_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_touched_is_free_and_has_pages),
      cmocka_unit_test(what_is_in_use_is_left_alone),
      cmocka_unit_test(so_much_stays),
      cmocka_unit_test(a_limit_bounds_it),
      cmocka_unit_test(allocations_fault_no_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
