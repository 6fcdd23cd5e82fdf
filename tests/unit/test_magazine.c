/* test_magazine.c — storage that fits each class, the words below slot 0, and the stock.
 */
#include "unit_death.h"

#include <pthread.h>
#include <string.h>

#include "entry.h"
#include "magazine.h"
#include "rt_lock.h"

enum { EACH = 20, THREADS = 3, ROUNDS = 40000, HELD = 8 };

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

static void give_emptied(struct magazine *m) {
  store_relaxed(&m->count, (uint16_t)0);
  magazine_give(m);
}

static void a_larger_capacity_has_no_smaller_kind(void **state) {
  (void)state;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    const struct size_class *k = &size_classes[c];
    assert_in_range(k->magazine_kind, 1, MAGAZINE_KIND_COUNT);
    for (uint32_t d = 0; d < c; d++) {
      const struct size_class *other = &size_classes[d];
      if (k->magazine_capacity >= other->magazine_capacity)
        assert_true(k->magazine_kind >= other->magazine_kind);
    }
  }
}

static void a_kind_is_the_smallest_that_will_do(void **state) {
  (void)state;
  for (uint32_t slots = 1; slots <= 260; slots++) {
    uint8_t kind = magazine_kind_for(slots);
    struct magazine *m = magazine_get(kind);
    assert_non_null(m);
    assert_true(magazine_room(m) >= slots);
    magazine_give(m);
    if (kind == 1) continue;
    m = magazine_get((uint8_t)(kind - 1));
    assert_non_null(m);
    assert_true(magazine_room(m) < slots);
    magazine_give(m);
  }
}

/* As many slots as the class's capacity can be written, and no other magazine feels it. */
static void capacity_fits(void **state) {
  (void)state;
  static struct magazine *all[CLASS_COUNT][EACH];
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    for (size_t i = 0; i < EACH; i++) {
      struct magazine *m = all[c][i] = magazine_get(size_classes[c].magazine_kind);
      assert_non_null(m);
      assert_int_equal((uintptr_t)m % HAK_CACHE_LINE_BYTES, 0);
      assert_int_equal(load_relaxed(&m->count), 0);
      assert_int_equal(m->kind, size_classes[c].magazine_kind);
      m->entry = c * EACH + (uint32_t)i;
      for (uint32_t s = 0; s < size_classes[c].magazine_capacity; s++) m->slot[s] = &m->slot[s];
      store_relaxed(&m->count, size_classes[c].magazine_capacity);
    }
  }
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    for (size_t i = 0; i < EACH; i++) {
      struct magazine *m = all[c][i];
      assert_int_equal(m->entry, c * EACH + i);
      assert_int_equal(m->kind, size_classes[c].magazine_kind);
      assert_int_equal(load_relaxed(&m->count), size_classes[c].magazine_capacity);
      for (uint32_t s = 0; s < size_classes[c].magazine_capacity; s++)
        assert_ptr_equal(m->slot[s], &m->slot[s]);
      uint64_t below[2]; /* the words below slot 0 equal no pointer: see magazine.h */
      memcpy(below, (char *)m + offsetof(struct magazine, slot) - sizeof below, sizeof below);
      assert_int_equal(below[0] >> 56, m->kind);
      assert_int_equal(below[1], 0);
      give_emptied(m);
    }
  }
}

/* What was given comes back, to the classes of its kind and to no others. */
static void the_stock_is_used_again(void **state) {
  (void)state;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    struct magazine *m = magazine_get(size_classes[c].magazine_kind);
    struct magazine *n = magazine_get(size_classes[c].magazine_kind);
    assert_true(m != NULL && n != NULL && m != n);
    give_emptied(m);
    for (uint32_t d = 0; d < CLASS_COUNT; d++) {
      struct magazine *got = magazine_get(size_classes[d].magazine_kind);
      assert_non_null(got);
      bool is_same_kind = size_classes[d].magazine_kind == size_classes[c].magazine_kind;
      assert_int_equal(got == m, is_same_kind); /* the latest given */
      assert_ptr_not_equal(got, n);
      assert_null(got->next);
      assert_int_equal(load_relaxed(&got->link), 0);
      give_emptied(got);
    }
    give_emptied(n);
  }
}

static void a_warm_stock_takes_no_memory(void **state) {
  (void)state;
  static struct magazine *held[CLASS_COUNT];
  static struct magazine *known[CLASS_COUNT];
  for (int round = 0; round < 50; round++) {
    for (uint32_t c = 0; c < CLASS_COUNT; c++)
      held[c] = magazine_get(size_classes[c].magazine_kind);
    for (uint32_t c = 0; c < CLASS_COUNT; c++) {
      bool is_known = round == 0;
      for (uint32_t d = 0; d < CLASS_COUNT && !is_known; d++) is_known = known[d] == held[c];
      assert_true(is_known);
    }
    memcpy(known, held, sizeof known);
    for (uint32_t c = 0; c < CLASS_COUNT; c++) give_emptied(held[c]);
  }
}

static struct rt_lock umbrellas[THREADS] = {LOCK_INIT(LOCK_RANK_HEAP), LOCK_INIT(LOCK_RANK_HEAP),
                                            LOCK_INIT(LOCK_RANK_HEAP)};

/* Each thread signs what it has got; a magazine handed out twice would show the other's name. */
static void *get_and_give(void *name) {
  struct rt_lock *umbrella = &umbrellas[(uintptr_t)name - 1];
  uintptr_t wrong = 0;
  struct magazine *held[HELD];
  for (uint32_t round = 0; round < ROUNDS && wrong == 0; round++) {
    if (!lock_enter(umbrella)) return umbrella;
    uint32_t c = round / (ROUNDS / 4); /* all at the same one */
    for (size_t i = 0; i < HELD; i++) {
      held[i] = magazine_get(size_classes[c].magazine_kind);
      if (held[i] != NULL) held[i]->slot[0] = name;
      wrong += held[i] == NULL;
    }
    for (size_t i = 0; i < HELD && wrong == 0; i++) {
      wrong += held[i]->slot[0] != name;
      give_emptied(held[i]);
    }
    lock_leave(umbrella);
  }
  return (void *)wrong;
}

static void threads_never_get_the_same_magazine(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) lock_register(&umbrellas[i]);
  for (uintptr_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, get_and_give, (void *)(i + 1)), 0);
  for (size_t i = 0; i < THREADS; i++) {
    void *wrong;
    assert_int_equal(pthread_join(threads[i], &wrong), 0);
    assert_null(wrong);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_larger_capacity_has_no_smaller_kind, lock, unlock),
      cmocka_unit_test_setup_teardown(a_kind_is_the_smallest_that_will_do, lock, unlock),
      cmocka_unit_test_setup_teardown(capacity_fits, lock, unlock),
      cmocka_unit_test_setup_teardown(the_stock_is_used_again, lock, unlock),
      cmocka_unit_test_setup_teardown(a_warm_stock_takes_no_memory, lock, unlock),
      cmocka_unit_test(threads_never_get_the_same_magazine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
