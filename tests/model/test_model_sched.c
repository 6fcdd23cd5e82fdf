/* test_model_sched.c — the scheduler itself: bugs that are put there by hand are found within few
 * executions, wherever in a long scenario they lie, and a small one is run whole, each order once.
 */
#include "model.h"
#include "model_atomic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  LONG = 300,    /* steps: so many that a search from the end on never comes to the first */
  WINDOW = 60,   /* steps in which something must happen */
  SHORT = 5,     /* steps */
  BUDGET = 3000, /* executions */
  LEARNING = 1,  /* the first of them, which tells what is shared */
  OUT_BYTES = 65536,
};

static _Atomic(unsigned) busy, a, b;

static void work(unsigned steps) {
  for (unsigned i = 0; i < steps; i++) add_relaxed(&busy, 1u);
}
static void begin(void) {}
static void nothing_more(void) {}

/* Wrong if the second thread starts first. */
static void needs_to_be_first(void) {
  MODEL_NEED(load_relaxed(&a) == 0);
  work(LONG);
}
static void is_there(void) {
  store_relaxed(&a, 1u);
  work(LONG);
}

/* Wrong between two of the first steps. */
static void is_wrong_for_a_moment(void) {
  store_relaxed(&a, 1u);
  store_relaxed(&a, 0u);
  work(LONG);
}
static void looks(void) {
  MODEL_NEED(load_relaxed(&a) == 0);
  work(LONG);
}

/* Wrong where a load gives an old value. */
static void tells_without_order(void) {
  store_relaxed(&a, 1u);
  store_relaxed(&b, 1u);
  work(LONG);
}
static void is_told(void) {
  if (load_relaxed(&b) == 1) MODEL_NEED(load_relaxed(&a) == 1);
  work(LONG);
}

/* Wrong only if each is interrupted once, at some time in the midst of it: more orders than can be
 * tried. */
static void changes_its_mind(void) {
  work(WINDOW);
  store_relaxed(&a, 1u);
  work(WINDOW);
  store_relaxed(&a, 2u);
  work(LONG);
}
static void looks_twice(void) {
  work(WINDOW);
  unsigned before = load_relaxed(&a);
  work(WINDOW);
  MODEL_NEED(before != 1 || load_relaxed(&a) == 1);
  work(LONG);
}

static void few_steps(void) { work(SHORT); }

static const struct model_scenario start = {
    "start", begin, {needs_to_be_first, is_there}, nothing_more};
static const struct model_scenario moment = {
    "moment", begin, {is_wrong_for_a_moment, looks}, nothing_more};
static const struct model_scenario old_value = {
    "old_value", begin, {tells_without_order, is_told}, nothing_more};
static const struct model_scenario chance = {
    "chance", begin, {changes_its_mind, looks_twice}, nothing_more};
static const struct model_scenario few = {"few", begin, {few_steps, few_steps}, nothing_more};

/* One run, in a process of its own, as model_main has it. */
static struct outcome {
  bool is_passed;
  struct model_result result;
  char text[OUT_BYTES]; /* what it printed */
} * outcome;

static void run(const struct model_scenario *s, struct model_bounds bounds, struct outcome *out) {
  FILE *text = tmpfile();
  if (text == NULL) exit(2);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    dup2(fileno(text), STDOUT_FILENO);
    outcome->is_passed = model_run(s, bounds, &outcome->result);
    fflush(stdout);
    _exit(0);
  }
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) exit(2);
  *out = *outcome;
  rewind(text);
  out->text[fread(out->text, 1, OUT_BYTES - 1, text)] = '\0';
  fclose(text);
}

static bool say(const char *name, const struct outcome *o, bool is_good) {
  printf("%-12s %s: %llu executions, %u whole levels, %llu at random\n", name,
         is_good ? "as it should be" : "WRONG", (unsigned long long)o->result.executions,
         o->result.levels, (unsigned long long)o->result.at_random);
  return is_good;
}

/* The same failure, after the same steps, each time. */
static bool is_found(const struct model_scenario *s, struct model_bounds bounds) {
  static struct outcome first, second;
  run(s, bounds, &first);
  run(s, bounds, &second);
  return say(s->name, &first,
             !first.is_passed && strcmp(first.text, second.text) == 0 &&
                 first.result.executions == second.result.executions);
}

/* Who starts is one of two, and each step but those of the last thread may be preempted. */
static bool is_whole(unsigned preemptions, uint64_t orders) {
  static struct outcome o;
  run(&few, (struct model_bounds){preemptions, 0, 0}, &o);
  return say(few.name, &o,
             o.is_passed && o.result.is_complete && o.result.at_random == 0 &&
                 o.result.executions == orders + LEARNING);
}

int main(void) {
  outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (outcome == MAP_FAILED) exit(2);
  bool is_good = is_found(&start, (struct model_bounds){2, 0, BUDGET});
  is_good = is_found(&moment, (struct model_bounds){2, 0, BUDGET}) && is_good;
  is_good = is_found(&old_value, (struct model_bounds){2, 1, BUDGET}) && is_good;
  is_good = is_found(&chance, (struct model_bounds){2, 0, BUDGET}) && is_good;
  const uint64_t n = SHORT;
  is_good = is_whole(0, 2) && is_good;
  is_good = is_whole(1, 2 * (1 + n)) && is_good;
  is_good = is_whole(2, 2 * (1 + n + n * n)) && is_good;
  return is_good ? 0 : 1;
}
