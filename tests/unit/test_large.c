/* test_large.c — the hash of own mappings against a model, with addresses made to collide. The
 * memory behind an address is never touched, so the addresses are made up.
 */
#include "unit_region.h"

#include <unistd.h>

#include "large.h"

enum { OBJECTS = 700, ROUNDS = 60000, REMEMBERED = 64, THREADS = 4 };

static struct {
  struct large object;
  bool is_inserted, is_moving;
  size_t counted_bytes; /* while it moves */
} model[OBJECTS];

static bool insert(struct large object) {
  bool is_in;
  LOCKED(0, is_in = large_insert(object, 0));
  return is_in;
}
static struct large find(const void *p) {
  struct large found;
  LOCKED(0, found = large_find(p));
  return found;
}
static struct large take(const void *p, struct large (*how)(const void *)) {
  struct large found;
  LOCKED(0, found = how(p));
  return found;
}
static bool ask(const void *p, bool (*what)(const void *)) {
  bool answer;
  LOCKED(0, answer = what(p));
  return answer;
}
#define REMOVE(p) take(p, large_remove)
static struct large begin_move(const void *p, size_t counted_bytes) {
  struct large found;
  LOCKED(0, found = large_begin_move(p, counted_bytes));
  return found;
}

/* Neighbours, far apart, and with equal low bits. No two objects overlap. */
static void *made_up(size_t i, size_t generation) {
  static const uintptr_t distances[] = {0x10000, 0x40000000, 0x100000000};
  return (void *)(((1 + i % 3) << 60) + (generation * OBJECTS + i) * distances[i % 3]);
}

static void model_holds(void) {
  size_t count = 0, bytes = 0, moving_bytes = 0;
  for (size_t i = 0; i < OBJECTS; i++) {
    char *p = model[i].object.address;
    struct large found = find(p);
    bool is_in = model[i].is_inserted && !model[i].is_moving;
    NEED(found.address == (is_in ? p : NULL));
    if (model[i].is_moving) moving_bytes += model[i].counted_bytes;
    if (!is_in) continue;
    NEED(found.bytes == model[i].object.bytes);
    NEED(!ask(p, large_is_interior) && ask(p + 1, large_is_interior));
    NEED(ask(p + found.bytes - 1, large_is_interior) && !ask(p + found.bytes, large_is_interior));
    NEED(find(p + 4096).address == NULL);
    count++, bytes += found.bytes;
  }
  NEED(large_count() == count && large_bytes() == bytes + moving_bytes);
  NEED(large_peak_bytes() >= bytes);
}

static void as_the_model_says(void) {
  layers_init(64 * MIB);
  uint64_t seed = 7;
  size_t generation = 0, inserted = 0, peak = 0;
  NEED(find(made_up(0, 0)).address == NULL && REMOVE(NULL).address == NULL);
  for (size_t i = 0; i < OBJECTS; i++)
    model[i].object = (struct large){made_up(i, 0), (random_next(&seed) % 15 + 1) * 4096};
  for (int round = 0; round < ROUNDS; round++) {
    /* Waves: the hash grows, empties, and is full again. */
    bool is_filling = round / 5000 % 2 == 0 || random_next(&seed) % 3 == 0;
    size_t i = random_next(&seed) % OBJECTS;
    struct large *o = &model[i].object;
    if (model[i].is_moving) {
      size_t most = model[i].counted_bytes / 4096;
      *o = (struct large){made_up(i, ++generation), (random_next(&seed) % most + 1) * 4096};
      LOCKED(0, large_end_move(*o, model[i].counted_bytes, 0));
      model[i].is_moving = false;
      peak = size_max(peak, large_bytes());
    } else if (!model[i].is_inserted && is_filling) {
      NEED(insert(*o));
      model[i].is_inserted = true;
      inserted++;
      peak = size_max(peak, large_bytes());
    } else if (model[i].is_inserted && random_next(&seed) % 4 == 0) {
      size_t counted_bytes = o->bytes + random_next(&seed) % 8 * 4096;
      struct large found = begin_move(o->address, counted_bytes);
      NEED(found.address == o->address && found.bytes == o->bytes);
      model[i].counted_bytes = counted_bytes;
      model[i].is_moving = true;
    } else if (model[i].is_inserted && !is_filling) {
      struct large found = REMOVE(o->address);
      NEED(found.address == o->address && found.bytes == o->bytes);
      NEED(ask(o->address, large_was_removed));
      NEED(REMOVE(o->address).address == NULL && begin_move(o->address, 4096).address == NULL);
      model[i].is_inserted = false;
    }
    if (round % 2500 == 0) model_holds();
  }
  model_holds();
  NEED(large_inserted_count() == inserted && large_peak_bytes() == peak);
}
static void it_is_as_the_model_says(void **state) {
  (void)state;
  run_child(as_the_model_says);
}

static void lately_removed(void) {
  layers_init(64 * MIB);
  NEED(!ask(NULL, large_was_removed));
  for (size_t i = 0; i < 3 * REMEMBERED; i++) {
    struct large o = {made_up(i, 0), 4096};
    NEED(!ask(o.address, large_was_removed) && insert(o));
    NEED(!ask(o.address, large_was_removed));
    NEED(REMOVE(o.address).address == o.address && ask(o.address, large_was_removed));
  }
  for (size_t i = 0; i < 3 * REMEMBERED; i++)
    NEED(ask(made_up(i, 0), large_was_removed) == (i >= 2 * REMEMBERED));
  NEED(!ask(NULL, large_was_removed) && large_count() == 0 && large_bytes() == 0);
}
static void the_last_removed_are_remembered(void **state) {
  (void)state;
  run_child(lately_removed);
}

static void a_move_keeps_its_place(void) {
  layers_init(64 * MIB);
  size_t count = 0;
  for (size_t i = 0; i < 100; i++) NEED(insert((struct large){made_up(i, 0), 4096}));
  for (size_t i = 0; i < 100; i++) NEED(begin_move(made_up(i, 0), 8192).address != NULL);
  NEED(large_count() == 0 && large_bytes() == 100 * 8192); /* nobody else is given that room */
  if (!UNIT_SANITIZED) { /* with no memory for a larger hash, what moves still has its place */
    struct rlimit none = {0, 0};
    NEED(setrlimit(RLIMIT_AS, &none) == 0);
    while (count < 5000 && insert((struct large){made_up(count, 3), 4096})) count++;
    NEED(count < 5000);
  }
  for (size_t i = 0; i < 100; i++)
    LOCKED(0, large_end_move((struct large){made_up(i, 1), i % 2 == 0 ? 8192 : 4096}, 8192, 0));
  NEED(large_count() == 100 + count && large_bytes() == (150 + count) * 4096);
  for (size_t i = 0; i < 100; i++)
    NEED(find(made_up(i, 1)).bytes == (i % 2 == 0 ? 8192 : 4096) &&
         find(made_up(i, 0)).address == NULL);
  for (size_t i = 0; i < count; i++) NEED(find(made_up(i, 3)).address != NULL);
}
static void a_move_cannot_fail(void **state) {
  (void)state;
  run_child(a_move_keeps_its_place);
}

static void *inserts_and_removes(void *number) {
  size_t thread = (uintptr_t)number;
  for (size_t round = 0; round < 40; round++) {
    for (size_t i = thread; i < OBJECTS; i += THREADS) {
      bool is_in;
      LOCKED(thread, is_in = large_insert((struct large){made_up(i, round), i + 1}, 0));
      NEED(is_in);
    }
    for (size_t i = thread; i < OBJECTS; i += THREADS) {
      struct large found, removed;
      LOCKED(thread, found = large_find(made_up(i, round)));
      LOCKED(thread, removed = large_remove(made_up(i, round)));
      NEED(found.bytes == i + 1 && removed.bytes == i + 1);
    }
  }
  return NULL;
}
static void together(void) {
  layers_init(64 * MIB);
  threads_run(THREADS, inserts_and_removes);
  NEED(large_count() == 0 && large_bytes() == 0);
  NEED(large_inserted_count() == 40 * OBJECTS);
}
static void threads_may_use_it_together(void **state) {
  (void)state;
  run_child(together);
}

/* The hash is rehashed, which takes some ms at this size, while others fork without handlers. */
enum { BEFORE_GROWTH = 1 << 18, LOOKED_AT = 2000 };
static _Atomic(uint32_t) growth_step;
static void *grows(void *unused) {
  bool is_in;
  step_set(&growth_step, 1);
  LOCKED(1, is_in = large_insert((struct large){made_up(BEFORE_GROWTH, 0), 4096}, 0));
  NEED(is_in);
  step_set(&growth_step, 2);
  return unused;
}
static void forks_while_it_grows(void) {
  layers_init(64 * MIB);
  for (size_t i = 0; i < BEFORE_GROWTH; i++) NEED(insert((struct large){made_up(i, 0), 4096}));
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, grows, NULL) == 0);
  step_wait(&growth_step, 1);
  for (bool is_over = false; !is_over;) { /* the last one is after the growth */
    is_over = load_acquire(&growth_step) == 2;
    pid_t pid = _Fork();
    if (pid == 0) {
      child_start();
      for (size_t i = 0; i < LOOKED_AT; i++) NEED(find(made_up(i, 0)).bytes == 4096);
      _exit(0);
    }
    child_wait(pid);
  }
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_bare_fork_amid_its_growth_loses_nothing(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip();
  run_child(forks_while_it_grows);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_is_as_the_model_says),
      cmocka_unit_test(the_last_removed_are_remembered),
      cmocka_unit_test(a_move_cannot_fail),
      cmocka_unit_test(threads_may_use_it_together),
      cmocka_unit_test(a_bare_fork_amid_its_growth_loses_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
