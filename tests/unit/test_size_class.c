/* test_size_class.c — every class, every offset, every request: nothing here is sampled.
 */
#include "unit_death.h"

#include <pthread.h>

#include "base_size.h"
#include "size_class.h"
#include "slab.h"

enum { SPLITS = 32 /* four coarse classes a doubling, from 160 to 32,768 */ };

static int setup(void **state) {
  (void)state;
  size_class_init();
  return 0;
}

static const struct size_class *of(size_t n) { return &size_classes[size_class_of(n)]; }

static void classes_rise_and_fill_their_slabs(void **state) {
  (void)state;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    const struct size_class *k = &size_classes[c];
    assert_true(c == 0 || c >= CLASS_FIXED_COUNT || k->size > size_classes[c - 1].size);
    assert_int_equal(k->size % 16, 0);
    assert_true(k->slab_chunks == 1 || k->slab_chunks == 2);
    assert_int_equal(k->slab_objects * k->size + k->slack, k->slab_chunks * CHUNK_BYTES);
    assert_true(k->slack < k->size && k->magazine_capacity > 0);
  }
  assert_int_equal(size_classes[0].size, 16);
  assert_int_equal(size_classes[CLASS_COUNT - 1].size, CLASS_SIZE_MAX);
}

/* One multiplication says the same as % and /. */
static void slots_are_told_at_every_offset(void **state) {
  (void)state;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    const struct size_class *k = &size_classes[c];
    uint32_t slab_bytes = (uint32_t)k->slab_chunks * CHUNK_BYTES;
    uint32_t wrong = 0, slots = 0;
    for (uint32_t offset = 0; offset < slab_bytes; offset++) {
      const void *p = (const void *)(((uintptr_t)1 << 33) + 6 * (uintptr_t)slab_bytes + offset);
      bool is_slot = offset >= k->slack && (offset - k->slack) % k->size == 0;
      wrong += size_class_from_end(k, p) != slab_bytes - offset;
      wrong += size_class_is_slot(k, p) != is_slot;
      uint64_t product = size_class_slot_product(p, ~k->high_mask, k->slack, k->reciprocal);
      wrong += ((uint32_t)product < k->reciprocal) != is_slot;
      if (is_slot) wrong += product >> 32 != (offset - k->slack) / k->size;
      if (is_slot) wrong += slab_index(k, p) != (offset - k->slack) / k->size;
      slots += is_slot;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(slots, k->slab_objects);
  }
}

static void every_request_has_a_class_that_fits(void **state) {
  (void)state;
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n++) {
    uint32_t c = size_class_of(n);
    assert_true(c < CLASS_COUNT);
    assert_true(size_classes[c].size >= n);
    assert_true(size_classes[c].size <= n + size_max(n / 4, 16)); /* four a doubling */
    assert_true(n == 0 || size_classes[c].size >= size_classes[size_class_of(n - 1)].size);
    if (n <= TINY_MAX)
      assert_int_equal(size_class_table.tiny[size_class_request(n)], c * MAP_CLASS_SCALE);
    uint32_t finest = 0;
    while (size_classes[finest].size < n) finest++;
    assert_int_equal(size_class_finest(n), size_classes[finest].size);
  }
}

static void aligned_requests_have_a_class_up_to_the_largest(void **state) {
  (void)state;
  for (size_t align = 1; align <= CLASS_SIZE_MAX; align *= 2) {
    for (size_t n = 0; n <= CLASS_SIZE_MAX; n += n < 300 ? 1 : 61) {
      uint32_t c = size_class_of_aligned(n, align);
      assert_true(c < CLASS_COUNT);
      assert_true(size_classes[c].size >= n);
      assert_int_equal(size_classes[c].size % align, 0);
      assert_true(size_class_could_hold(c, n, align));
    }
    assert_int_equal(size_class_of_aligned(CLASS_SIZE_MAX + 1, align), CLASS_COUNT);
  }
  assert_int_equal(size_class_of_aligned(1, 2 * (size_t)CLASS_SIZE_MAX), CLASS_COUNT);
  assert_int_equal(size_class_of_aligned(SIZE_MAX, 16), CLASS_COUNT);
}

static void could_hold_refuses_alignments_that_the_class_has_not(void **state) {
  (void)state;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    size_t size = size_classes[c].size;
    for (size_t align = 1; align <= CLASS_SIZE_MAX; align *= 2)
      if (size_class_could_hold(c, size, align) != (size % align == 0)) fail_msg("%zu", size);
  }
}

static void could_hold_refuses_too_small_and_far_too_large(void **state) {
  (void)state;
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n++) {
    uint32_t own = size_class_of(n);
    for (uint32_t c = 0; c < CLASS_COUNT; c++) {
      size_t size = size_classes[c].size;
      if (size < n && size_class_could_hold(c, n, 1)) fail_msg("%zu B in %zu B", n, size);
      bool is_far = c > own && size / 2 > n;
      if (is_far && size_class_could_hold(c, n, 1)) fail_msg("%zu B in %zu B", n, size);
      bool is_own = c == own || (size >= n && size / 2 <= n); /* where realloc may leave it */
      if (is_own && !size_class_could_hold(c, n, 1)) fail_msg("%zu B not in %zu B", n, size);
    }
  }
}

/* Whoever borrows uses half of the object at least: no more could be freed with its size. */
static void half_used_is_half_used(void **state) {
  (void)state;
  for (size_t n = 1; n <= CLASS_SIZE_MAX; n++) {
    uint32_t own = size_class_of(n), most = size_class_half_used_max(own);
    assert_true(most <= 2 * n);
    for (uint32_t c = own; c < CLASS_COUNT && size_classes[c].size <= most; c++)
      assert_true(size_class_could_hold(c, n, 1));
  }
}

static void split_keeps_every_class_large_enough(void **state) {
  (void)state;
  static uint32_t before[CLASS_SIZE_MAX + 1];
  uint32_t splits = 0;
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n++) before[n] = size_class_of(n);
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    if (!size_class_split(c)) continue;
    splits++;
    assert_false(size_class_split(c));
    size_t moved = 0, kept = 0;
    for (size_t n = 0; n <= CLASS_SIZE_MAX; n++) {
      assert_true(of(n)->size >= n);
      if (before[n] != c) continue;
      bool is_moved = size_class_of(n) != c;
      assert_true(!is_moved || size_class_of(n) < c);
      moved += is_moved;
      kept += !is_moved;
      assert_true(size_class_could_hold(c, n, 1)); /* what was handed out before the split */
      assert_true(size_class_could_hold(size_class_of(n), n, 1));
    }
    assert_true(moved > 0 && moved <= kept && kept - moved <= 1);
  }
  assert_int_equal(splits, SPLITS);
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n++) /* eight a doubling now */
    assert_true(of(n)->size <= n + size_max(n / 8, 16));
  for (size_t align = 1; align <= CLASS_SIZE_MAX; align *= 2) {
    for (size_t n = 0; n <= CLASS_SIZE_MAX; n += 7) {
      uint32_t c = size_class_of_aligned(n, align);
      assert_true(c < CLASS_COUNT && size_classes[c].size >= n);
      assert_int_equal(size_classes[c].size % align, 0);
      assert_true(size_class_could_hold(c, n, align));
    }
  }
}

/* A class for requests of one size; the rest of the wider class's requests stay with it. */
static void tailored_classes_fit(void **state) {
  (void)state;
  uint32_t c = size_class_of(1032), count = 0;
  assert_false(size_class_tailor(c, size_classes[c].size - 16)); /* not worth it */
  for (size_t n = 1032; n < CLASS_SIZE_MAX; n = n * 5 / 4) {
    uint32_t wide = size_class_of(n), before = size_class_of(n - n / 4);
    if (!size_class_tailor(wide, n)) continue;
    count++;
    assert_false(size_class_tailor(wide, n)); /* done */
    uint32_t own = size_class_of(n);
    assert_int_equal(own, CLASS_FIXED_COUNT + count - 1);
    assert_int_equal(size_classes[own].size, size_round_up(n, 16));
    assert_int_equal(size_class_finest(n), size_classes[own].size);
    assert_int_equal(size_class_of(size_classes[own].size), own);
    assert_int_equal(size_class_of(size_classes[own].size + 1), wide);
    assert_int_equal(size_class_of(n - n / 4), before);
    assert_true(size_class_wider(own) <= wide);
    assert_true(size_classes[size_class_wider(own)].size > size_classes[own].size);
    assert_false(size_class_split(own));
  }
  assert_true(count > 8 && count <= CLASS_TAILORED_COUNT);
  for (size_t n = 0; n <= CLASS_SIZE_MAX; n++) {
    assert_true(of(n)->size >= n && size_class_could_hold(size_class_of(n), n, 1));
    assert_true(n == 0 || of(n)->size >= of(n - 1)->size);
    assert_true(size_class_finest(n) <= of(n)->size);
  }
  slots_are_told_at_every_offset(state);
}

/* Two threads that tailor at once: who gets a class gets one of its own. */
static pthread_barrier_t barrier;
struct tailoring {
  uint32_t c;
  size_t bytes;
  bool is_done;
};
static void *tailors(void *argument) {
  struct tailoring *t = argument;
  (void)pthread_barrier_wait(&barrier);
  t->is_done = size_class_tailor(t->c, t->bytes);
  return NULL;
}
static int tailor_by_two(void *unused) {
  (void)unused;
  if (pthread_barrier_init(&barrier, NULL, 2) != 0) return 1;
  uint32_t count = 0;
  for (size_t n = 1032; n < CLASS_SIZE_MAX * 2 / 3; n = n * 3 / 2) {
    struct tailoring two[2] = {{size_class_of(n), n, false}, {0, n * 5 / 4, false}};
    two[1].c = size_class_of(two[1].bytes);
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
      if (pthread_create(&thread[i], NULL, tailors, &two[i]) != 0) return 2;
    for (int i = 0; i < 2; i++)
      if (pthread_join(thread[i], NULL) != 0) return 3;
    for (int i = 0; i < 2; i++) {
      count += two[i].is_done;
      if (two[i].is_done && of(two[i].bytes)->size != size_round_up(two[i].bytes, 16)) return 4;
    }
  }
  return count > 4 && size_class_count() == CLASS_FIXED_COUNT + count ? 0 : 5;
}
static void tailors_of_two_threads_do_not_meet(void **state) {
  (void)state;
  for (int i = 0; i < 10; i++) { /* a child each: tailored classes stay */
    char err[512];
    size_t rest;
    int status = death_run(tailor_by_two, NULL, err, sizeof err, &rest);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(classes_rise_and_fill_their_slabs, setup),
      cmocka_unit_test_setup(slots_are_told_at_every_offset, setup),
      cmocka_unit_test_setup(every_request_has_a_class_that_fits, setup),
      cmocka_unit_test_setup(aligned_requests_have_a_class_up_to_the_largest, setup),
      cmocka_unit_test_setup(could_hold_refuses_alignments_that_the_class_has_not, setup),
      cmocka_unit_test_setup(could_hold_refuses_too_small_and_far_too_large, setup),
      cmocka_unit_test_setup(half_used_is_half_used, setup),
      cmocka_unit_test_setup(split_keeps_every_class_large_enough, setup),
      cmocka_unit_test_setup(tailors_of_two_threads_do_not_meet, setup),
      cmocka_unit_test_setup(tailored_classes_fit, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
