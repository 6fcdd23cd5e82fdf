/* test_slab.c — take and put against a model of which objects are out; what release leaves behind.
 */
#include "unit_death.h"

#include <string.h>

#include "entry.h"
#include "meta.h"
#include "rt_options.h"
#include "slab.h"
#include "superslab.h"

/* What heap/flush.c does for a heap's objects, without a heap: put object p back. False, with
 * nothing changed, when its bit is set already: a double free. */
static bool object_put(struct slab *s, const struct size_class *k, const void *p) {
  uint32_t index = slab_index(k, p);
  uint32_t word = index / 64;
  uint64_t bit = (uint64_t)1 << (index % 64);
  uint64_t bits = load_relaxed(&s->bits[word]);
  if (HAK_UNLIKELY((bits & bit) != 0)) return false;
  store_relaxed(&s->bits[word], bits | bit);
  s->hint = word < s->hint ? (uint8_t)word : s->hint;
  s->free_count++;
  return true;
}

enum { ROUNDS = 400, OBJECTS_MAX = CHUNK_BYTES / 16 };

static uint64_t random_state = 1;
static uint32_t random_below(uint32_t n) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33) % n;
}

static struct heap *own;
static int lock(void **state) {
  (void)state;
  entry_init();
  own = entry_enter();
  return own != NULL ? 0 : -1;
}
static int unlock(void **state) {
  (void)state;
  entry_leave(own);
  return 0;
}

static bool is_out[OBJECTS_MAX];
static uint32_t out_count;

/* Everything that the bitmap says, object by object. */
static void check_all(const struct slab *s, const struct size_class *k, char *first) {
  assert_true(slab_is_valid(s));
  assert_int_equal(s->free_count, k->slab_objects - out_count);
  for (uint32_t i = 0; i < k->slab_objects; i++)
    if (slab_has(s, k, first + (size_t)i * k->size) == is_out[i]) fail_msg("object %u", i);
}

static void take(struct slab *s, const struct size_class *k, char *first, uint32_t want) {
  static void *slots[OBJECTS_MAX + 1];
  uint32_t left = k->slab_objects - out_count;
  slots[want] = &is_out;
  uint32_t taken = slab_take(s, slots, want);
  assert_int_equal(taken, want < left ? want : left);
  assert_ptr_equal(slots[want], &is_out);
  for (uint32_t i = 0; i < taken; i++) {
    char *p = slots[i];
    assert_true(i == 0 || p < (char *)slots[i - 1]); /* the lowest is last */
    assert_true(p >= first && size_class_is_slot(k, p));
    uint32_t index = slab_index(k, p);
    assert_true(index < k->slab_objects && first + (size_t)index * k->size == p);
    assert_false(is_out[index]);
    is_out[index] = true;
  }
  out_count += taken;
}

static void put(struct slab *s, const struct size_class *k, char *first, uint32_t index) {
  bool was_out = is_out[index];
  uint16_t free_before = s->free_count;
  assert_int_equal(object_put(s, k, first + (size_t)index * k->size), was_out);
  assert_int_equal(s->free_count, free_before + was_out);
  is_out[index] = false;
  out_count -= was_out;
}

static struct slab *fresh(uint32_t c, char **first) {
  const struct size_class *k = &size_classes[c];
  struct slab *s = slab_new(heap_id(own), c, 0);
  assert_non_null(s);
  memset(is_out, 0, sizeof is_out);
  out_count = 0;
  *first = (char *)chunk_address(slab_chunk(s)) + k->slack;
  return s;
}

static void every_object_of_every_class_comes_once(void **state) {
  (void)state;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    const struct size_class *k = &size_classes[c];
    char *first;
    size_t bytes = slab_class_bytes(c);
    struct slab *s = fresh(c, &first);
    uint32_t chunk = slab_chunk(s);
    assert_int_equal(chunk % k->slab_chunks, 0);
    assert_int_equal(slab_class_bytes(c), bytes + (size_t)k->slab_chunks * CHUNK_BYTES);
    for (uint32_t i = 0; i < k->slab_chunks; i++) {
      assert_int_equal(map_load(chunk + i), map_entry(heap_id(own), c));
      assert_ptr_equal(slab_of_chunk(k, chunk + i), s);
    }
    check_all(s, k, first);
    take(s, k, first, k->slab_objects);
    assert_int_equal(out_count, k->slab_objects);
    take(s, k, first, 1);                                   /* there is none */
    memset(first, 0xA5, (size_t)k->slab_objects * k->size); /* overwrites no record */
    check_all(s, k, first);
    for (uint32_t i = 0; i < k->slab_objects; i++) put(s, k, first, i);
    check_all(s, k, first);
    slab_release(s);
    assert_int_equal(slab_class_bytes(c), bytes);
    for (uint32_t i = 0; i < k->slab_chunks; i++)
      assert_int_equal(map_load(chunk + i), map_entry(HEAP_ID_FREED, c));
  }
}

/* Bitmaps beside the records of slabs given back serve the next ones, all of them. */
static void side_bitmaps_are_used_again(void **state) {
  (void)state;
  enum { SLABS = 5 };
  struct slab *held[SLABS];
  size_t before = 0;
  for (int round = 0; round < 40; round++) {
    char *first;
    for (size_t i = 0; i < SLABS; i++) held[i] = fresh(0, &first);
    for (size_t i = 0; i < SLABS; i++) slab_release(held[i]);
    if (round == 1) before = meta_bytes();
  }
  assert_int_equal(meta_bytes(), before);
}

static void random_use_agrees_with_a_model(void **state) {
  (void)state;
  static const size_t sizes[] = {16, 48, 64, 144, 240, 256, 1024, 5120, 8192, 9216, 32768};
  for (size_t i = 0; i < HAK_COUNT_OF(sizes); i++) {
    uint32_t c = 0;
    while (size_classes[c].size != sizes[i]) c++;
    const struct size_class *k = &size_classes[c];
    char *first;
    struct slab *s = fresh(c, &first);
    for (int round = 0; round < ROUNDS; round++) {
      take(s, k, first, 1 + random_below(k->slab_objects / (round % 2 == 0 ? 1 : 4) + 1u));
      uint32_t puts = random_below(k->slab_objects + 1u); /* some of them double frees */
      for (uint32_t j = 0; j < puts; j++) put(s, k, first, random_below(k->slab_objects));
      check_all(s, k, first);
    }
    for (uint32_t j = 0; j < k->slab_objects; j++)
      if (is_out[j]) put(s, k, first, j);
    slab_release(s);
  }
}

static void slabs_held_together_lie_apart(void **state) {
  (void)state;
  static struct slab *held[CLASS_COUNT];
  size_t claimed = superslab_claimed_bytes(), chunks = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    held[c] = slab_new(heap_id(own), c, 0);
    assert_non_null(held[c]);
    chunks += size_classes[c].slab_chunks;
  }
  assert_int_equal(superslab_claimed_bytes() - claimed, chunks * CHUNK_BYTES);
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    uint32_t from = slab_chunk(held[c]), end = from + size_classes[c].slab_chunks;
    assert_int_equal(map_load(from), map_entry(heap_id(own), c)); /* nobody wrote over it */
    for (uint32_t d = 0; d < c; d++) {
      uint32_t other = slab_chunk(held[d]);
      assert_true(other >= end || other + size_classes[d].slab_chunks <= from);
      bool is_shared_bits = held[c]->bits == held[d]->bits;
      assert_false(is_shared_bits);
    }
  }
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    void *p;
    assert_int_equal(slab_take(held[c], &p, 1), 1);
    for (uint32_t d = c; d < CLASS_COUNT; d++) assert_true(slab_is_valid(held[d]));
    assert_true(object_put(held[c], &size_classes[c], p));
    slab_release(held[c]);
  }
  assert_int_equal(superslab_claimed_bytes(), claimed);
}

static int release_with_objects_out(void *unused) {
  (void)unused;
  void *p;
  struct slab *s = slab_new(heap_id(own), 0, 0);
  if (s == NULL || slab_take(s, &p, 1) != 1) return 1;
  slab_release(s);
  return 0;
}

/* Requests of class c that find no object at hand, the first of `first` bytes and the others of
 * `n`: after how many there is a class more, or 0. */
static uint32_t note_until_tailored(uint32_t c, size_t first, size_t n, uint32_t most) {
  uint32_t before = size_class_count();
  for (uint32_t i = 0; i < most; i++) {
    slab_note_request(c, i == 0 ? first : n);
    if (size_class_count() != before) return i + 1;
  }
  return 0;
}

static void what_is_asked_for_gets_a_class(void **state) {
  (void)state;
  enum { SAMPLE = 64, WIDE = 5120, FULL = WIDE, LARGEST = 4900, OTHER = 4700, LARGEST_SIZE = 4912 };
  uint32_t c = size_class_of(WIDE);
  assert_int_equal(size_classes[c].size, WIDE);
  assert_true(rt_option_set(RT_OPTION_REFINE_BYTES, "64K"));
  struct slab *slabs[SAMPLE];
  uint32_t count = 0;
  while (slab_class_bytes(c) < 2 * 64 * 1024) {
    assert_true(count < SAMPLE && (slabs[count] = slab_new(1, c, CHUNK_NONE)) != NULL);
    count++;
  }
  assert_int_equal(note_until_tailored(c, FULL, OTHER, SAMPLE), 0); /* one needs it all */
  assert_int_equal(note_until_tailored(c, LARGEST, OTHER, 3 * SAMPLE), SAMPLE);
  assert_int_equal(size_class_of(OTHER), size_class_count() - 1);
  assert_int_equal(size_classes[size_class_of(OTHER)].size, LARGEST_SIZE);
  while (count != 0) slab_release(slabs[--count]);
}

static void a_slab_in_use_is_not_released(void **state) {
  (void)state;
  char err[512];
  size_t rest;
  int status = death_run(release_with_objects_out, NULL, err, sizeof err, &rest);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(every_object_of_every_class_comes_once, lock, unlock),
      cmocka_unit_test_setup_teardown(side_bitmaps_are_used_again, lock, unlock),
      cmocka_unit_test_setup_teardown(random_use_agrees_with_a_model, lock, unlock),
      cmocka_unit_test_setup_teardown(slabs_held_together_lie_apart, lock, unlock),
      cmocka_unit_test_setup_teardown(what_is_asked_for_gets_a_class, lock, unlock),
      cmocka_unit_test_setup_teardown(a_slab_in_use_is_not_released, lock, unlock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
