/* test_region.c — both ways of getting address space, each in a program of its own: reserved, and
 * in a window under a limit; growth to the very end, and what is said of it.
 */
#include "unit_region.h"

static bool grow(void) {
  bool is_grown;
  LOCKED(0, is_grown = region_grow());
  return is_grown;
}

static struct chunk_run claim(uint32_t count) {
  struct chunk_run run;
  LOCKED(0, run = superslab_claim(count, 1, SIZE_MAX));
  return run;
}

/* Announced chunks are memory: zero and writable, as their records and map entries are. */
static void chunk_is_usable(size_t chunk) {
  NEED(chunk < region_chunk_count && map_load(chunk) == 0);
  NEED(chunk_index(chunk_address(chunk)) == chunk);
  NEED(chunk_index(chunk_bytes(chunk) + CHUNK_BYTES - 1) == chunk);
  NEED(is_all_zero(chunk_address(chunk), CHUNK_BYTES));
  NEED(is_all_zero(region_record(chunk), RECORD_BYTES));
  chunk_bytes(chunk)[0] = chunk_bytes(chunk)[CHUNK_BYTES - 1] = 'x';
  stamp(region_record(chunk), RECORD_BYTES, (unsigned)chunk);
  map_store(chunk, 1, (uint32_t)chunk + 1);
}

/* Claim all there is, chunk by chunk, the first `usable` of which are looked at. */
static size_t claim_all(size_t usable) {
  size_t count = 0;
  for (struct chunk_run run = claim(1); run.first != CHUNK_NONE; run = claim(1), count++) {
    NEED(run.count == 1 && run.is_zero);
    if (count < usable) chunk_is_usable(run.first);
  }
  NEED(!grow());
  return count;
}

static void base_is_sane(void) {
  NEED(region_base != 0 && region_base % SUPERSLAB_BYTES == 0);
  NEED(region_bytes() == region_chunk_count * CHUNK_BYTES);
  NEED(chunk_index(NULL) >= region_chunk_count);
  NEED(chunk_index(&region_base) >= region_chunk_count);
  NEED(chunk_index((void *)(region_base - 1)) >= region_chunk_count);
  NEED(chunk_index((void *)(region_base + region_bytes())) >= region_chunk_count);
}

/* A wild pointer finds an unused chunk, wherever it points. */
static void map_is_readable(void) {
  for (size_t i = 0; i < region_chunk_count; i += 1 + region_chunk_count / 5000)
    NEED(map_load(i) == 0);
  NEED(map_load(region_chunk_count - 1) == 0);
}

static void reserved_by_default(void) {
  layers_init(0);
  base_is_sane();
  map_is_readable();
  uint64_t wanted = size_max(4 * os_ram_bytes(), 32 * GIB);
  NEED(size_is_pow2(region_bytes()) && region_bytes() <= 16384 * GIB);
  NEED(UNIT_SANITIZED || region_bytes() >= size_min(wanted, 16384 * GIB));
  NEED(region_committed_bytes() == 0 && superslab_announced_bytes() == 0);
  for (size_t i = 1; i <= 100; i++) {
    NEED(grow());
    NEED(superslab_announced_bytes() == i * SUPERSLAB_BYTES);
    NEED(region_committed_bytes() >= i * SUPERSLAB_BYTES);
    NEED(region_committed_bytes() <= i * SUPERSLAB_BYTES + GIB);
    NEED(region_meta_bytes() >= i * (SUPERSLAB_CHUNKS * (4 + RECORD_BYTES) + 8));
    NEED(region_meta_bytes() < region_committed_bytes());
  }
  for (size_t i = 0; i < 100 * SUPERSLAB_CHUNKS; i += 7) chunk_is_usable(i);
}

static void reserved_to_the_end(void) {
  layers_init(40 * MIB);
  base_is_sane();
  map_is_readable();
  NEED(region_bytes() == 64 * MIB); /* a power of two */
  NEED(claim_all(SIZE_MAX) * CHUNK_BYTES == 64 * MIB);
  NEED(superslab_announced_bytes() == 64 * MIB && region_committed_bytes() == 64 * MIB);
  for (size_t i = 0; i < region_chunk_count; i++) {
    NEED(map_load(i) == i + 1 && has_stamp(region_record(i), RECORD_BYTES, (unsigned)i));
    NEED(chunk_bytes(i)[0] == 'x' && chunk_bytes(i)[CHUNK_BYTES - 1] == 'x');
  }
  superslab_release(100, 3);
  struct chunk_run run = claim(3);
  NEED(run.first == 100 && !run.is_zero);
}

static size_t address_space_bytes(void) {
  char text[128];
  FILE *file = fopen("/proc/self/statm", "r");
  NEED(file != NULL && fgets(text, sizeof text, file) != NULL);
  fclose(file);
  return strtoul(text, NULL, 10) * os_page_bytes();
}

enum { WINDOW_LIMIT_MIB = 512 };

static void in_a_window(void) {
  os_mem_init();
  size_t before = address_space_bytes();
  layers_init(0);
  base_is_sane();
  map_is_readable();
  NEED(address_space_bytes() - before < 32 * MIB); /* nothing is reserved but tables */
  NEED(region_bytes() >= WINDOW_LIMIT_MIB * MIB && region_committed_bytes() == 0);
  size_t room = WINDOW_LIMIT_MIB * MIB - address_space_bytes();
  size_t claimed = claim_all(100) * CHUNK_BYTES;
  NEED(claimed <= room && claimed + SUPERSLAB_BYTES >= room); /* down to the last chunks */
  NEED(claimed == superslab_announced_bytes() && claimed == region_committed_bytes());
  superslab_release(40, 20);
  NEED(claim(20).first == 40 && claim(1).first == CHUNK_NONE);
}

/* What the program has mapped in our window stays the program's. */
static void beside_others_in_a_window(void) {
  layers_init(0);
  char *others[] = {chunk_bytes(1 * SUPERSLAB_CHUNKS), chunk_bytes(3 * SUPERSLAB_CHUNKS + 5),
                    chunk_bytes(4 * SUPERSLAB_CHUNKS + 31)};
  for (unsigned i = 0; i < 3; i++) {
    NEED(os_map_at(others[i], CHUNK_BYTES));
    stamp(others[i], CHUNK_BYTES, i);
  }
  for (int i = 0; i < 12 * SUPERSLAB_CHUNKS; i++) {
    struct chunk_run run = claim(1);
    NEED(run.first != CHUNK_NONE);
    memset(chunk_address(run.first), 0xEE, CHUNK_BYTES);
  }
  for (unsigned i = 0; i < 3; i++) NEED(has_stamp(others[i], CHUNK_BYTES, i));
}

static const struct {
  const char *name;
  void (*run)(void);
  size_t limit_bytes;
} programs[] = {
    {"reserved_by_default", reserved_by_default, 0},
    {"reserved_to_the_end", reserved_to_the_end, 0},
    {"in_a_window", in_a_window, WINDOW_LIMIT_MIB *MIB},
    {"beside_others_in_a_window", beside_others_in_a_window, WINDOW_LIMIT_MIB *MIB},
};

static void run_case(size_t i) {
  if (UNIT_SANITIZED && programs[i].limit_bytes != 0) skip(); /* their shadow needs more */
  run_program(programs[i].name, NULL, programs[i].limit_bytes);
}
static void it_is_reserved_by_default(void **state) { (void)state, run_case(0); }
static void it_is_used_to_the_end(void **state) { (void)state, run_case(1); }
static void under_a_limit_it_is_a_window(void **state) { (void)state, run_case(2); }
static void a_window_leaves_others_alone(void **state) { (void)state, run_case(3); }

static void without_any_address_space(void) {
  struct rlimit none = {4096, 4096};
  os_mem_init();
  NEED(setrlimit(RLIMIT_AS, &none) == 0);
  NEED(!region_init(0) && region_chunk_count == 0 && region_bytes() == 0);
  for (int i = 0; i < UMBRELLAS; i++) lock_register(&umbrellas[i]);
  NEED(!grow() && chunk_index(NULL) >= region_chunk_count);
}
static void without_address_space_there_is_none(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(without_any_address_space);
}

int main(int argc, char **argv) {
  for (size_t i = 0; argc == 2 && i < sizeof programs / sizeof programs[0]; i++) {
    if (strcmp(argv[1], programs[i].name) != 0) continue;
    programs[i].run();
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_is_reserved_by_default),
      cmocka_unit_test(it_is_used_to_the_end),
      cmocka_unit_test(under_a_limit_it_is_a_window),
      cmocka_unit_test(a_window_leaves_others_alone),
      cmocka_unit_test(without_address_space_there_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
