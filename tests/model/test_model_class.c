/* test_model_class.c — a tailored class comes to be while others look for one: what the table or
 * the count names can be read whole.
 */
#include "model.h"
#include "model_atomic.h"

#include "size_class.h"

/* Of two classes of medium objects, each with a size that is worth one of its own. */
enum { FIRST_BYTES = 1100, SECOND_BYTES = 2200 };

static uint32_t first_class, second_class;
static _Atomic(uint32_t) refused_count;

static void begin(void) {
  model_allocator_init();
  first_class = size_class_of(FIRST_BYTES);
  second_class = size_class_of(SECOND_BYTES);
  MODEL_NEED(first_class >= CLASS_TINY_COUNT && first_class != second_class);
}

static void tailors(uint32_t c, size_t n) {
  if (!size_class_tailor(c, n)) add_relaxed(&refused_count, 1u);
}
static void tailors_first(void) { tailors(first_class, FIRST_BYTES); }
static void tailors_second(void) { tailors(second_class, SECOND_BYTES); }

/* As malloc's slow path and free's do. */
static void looks_up(void) {
  const struct size_class *k = &size_classes[size_class_known(FIRST_BYTES)];
  MODEL_NEED(k->size >= FIRST_BYTES && k->slab_objects != 0 && k->reciprocal != 0);
}
/* As a walk over all classes does. */
static void counts(void) {
  for (uint32_t c = CLASS_FIXED_COUNT; c < size_class_count(); c++)
    MODEL_NEED(size_classes[c].size >= FIRST_BYTES && size_classes[c].slab_objects != 0);
}

static void one_is_tailored(void) {
  MODEL_NEED(size_class_count() == CLASS_FIXED_COUNT + 1 && load_relaxed(&refused_count) == 0);
  MODEL_NEED(size_class_known(FIRST_BYTES) == CLASS_FIXED_COUNT);
  looks_up();
}
static void each_has_its_own(void) {
  MODEL_NEED(size_class_count() + load_relaxed(&refused_count) == CLASS_FIXED_COUNT + 2);
  uint32_t first = size_class_known(FIRST_BYTES), second = size_class_known(SECOND_BYTES);
  MODEL_NEED(first != second);
  MODEL_NEED(size_classes[first].size >= FIRST_BYTES && size_classes[second].size >= SECOND_BYTES);
  counts();
}
/* Who comes second finds it done or the other at it; or both make one, and share the requests. */
static void both_serve(void) {
  uint32_t made = size_class_count() - CLASS_FIXED_COUNT;
  MODEL_NEED(made == 2 || (made == 1 && load_relaxed(&refused_count) == 1));
  MODEL_NEED(size_class_known(FIRST_BYTES) >= CLASS_FIXED_COUNT);
  looks_up();
  counts();
}

static const struct model_scenario scenarios[] = {
    {"tailor_look", begin, {tailors_first, looks_up}, one_is_tailored},
    {"tailor_count", begin, {tailors_first, counts}, one_is_tailored},
    {"tailor_look_count", begin, {tailors_first, looks_up, counts}, one_is_tailored},
    {"tailor_tailor", begin, {tailors_first, tailors_second}, each_has_its_own},
    {"tailor_same", begin, {tailors_first, tailors_first}, both_serve},
    {"tailor_tailor_count", begin, {tailors_first, tailors_second, counts}, each_has_its_own},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 50000}, (struct model_bounds){3, 2, 1000000});
}
