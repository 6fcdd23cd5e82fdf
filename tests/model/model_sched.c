/* model_sched.c — threads as fibers, and a scenario's executions, one after the other.
 */
#include "model_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum {
  STACK_BYTES = 65536,
  STEPS = 20000, /* of one execution: more are a livelock */
  NOTES = 4096,  /* a power of two: the last steps, to be printed */
};

enum fiber_state { FIBER_READY, FIBER_WAITS, FIBER_ENDED };
struct fiber {
  ucontext_t context;
  enum fiber_state state;
  const void *waits_for; /* the futex word */
  bool is_timed;         /* ... or until nothing else can go on: time has passed then */
  char *tls;             /* its thread-local variables while another fiber runs */
};

struct note {
  const char *what;
  const void *p;
  uint64_t value;
  struct model_place at;
  unsigned thread;
};

static struct sched {
  struct fiber fiber[ALL_THREADS]; /* 0: setup, check and the loop itself */
  unsigned self;
  bool is_running;
  bool has_failed;
  bool has_learnt;
  unsigned preemptions_left, stale_left;
  struct model_bounds bounds;
  unsigned steps;
  struct note note[NOTES];
  size_t note_count;
  char *stacks;
  char *globals_copy, *arena_copy;
  size_t arena_bytes;
  char *arena;
  char *tls_start; /* a new thread's */
} * sched;

/* The thread-local variables of the code under test, and everything else that it may change. */
extern char __start_model_tls[], __stop_model_tls[], __data_start[], _end[];
static _Thread_local char *tls_anchor = NULL; /* so that there is at least one */

static size_t tls_bytes(void) { return (size_t)(__stop_model_tls - __start_model_tls); }
static size_t globals_bytes(void) { return (size_t)(_end - __data_start); }

unsigned model_self(void) { return sched == NULL ? 0 : sched->self; }
bool sched_is_running(void) { return sched != NULL && sched->is_running; }
bool sched_is_stack(uintptr_t address) {
  return (address - (uintptr_t)sched->stacks < ALL_THREADS * (size_t)STACK_BYTES) ||
         (address - (uintptr_t)__start_model_tls < tls_bytes());
}
void sched_learnt(void) { sched->has_learnt = true; }

void sched_note(const char *what, const void *p, uint64_t value, struct model_place at) {
  sched->note[sched->note_count++ % NOTES] = (struct note){what, p, value, at, sched->self};
}

static void print_notes(void) {
  size_t from = sched->note_count > 80 ? sched->note_count - 80 : 0;
  for (size_t i = from; i < sched->note_count; i++) {
    const struct note *n = &sched->note[i % NOTES];
    const char *slash = strrchr(n->at.file, '/');
    printf("  thread %u  %-18s %p = %llx  %s:%d\n", n->thread, n->what, n->p,
           (unsigned long long)n->value, slash == NULL ? n->at.file : slash + 1, n->at.line);
  }
}

/* ---- fibers */

static void resume(unsigned next) {
  unsigned self = sched->self;
  if (next == self) return;
  memcpy(sched->fiber[self].tls, __start_model_tls, tls_bytes());
  memcpy(__start_model_tls, sched->fiber[next].tls, tls_bytes());
  sched->self = next;
  swapcontext(&sched->fiber[self].context, &sched->fiber[next].context);
}

void model_fail(const char *what, const char *file, int line) {
  const char *slash = strrchr(file, '/');
  printf("thread %u: %s (%s:%d)\n", model_self(), what, slash == NULL ? file : slash + 1, line);
  if (sched == NULL) exit(1);
  sched->has_failed = true;
  if (sched->self == 0) {
    print_notes();
    exit(1);
  }
  resume(0);
  abort(); /* it is not resumed */
}

static unsigned others_ready(unsigned out[ALL_THREADS]) {
  unsigned count = 0;
  for (unsigned i = 1; i < ALL_THREADS; i++) { /* from the next one on */
    unsigned t = (sched->self + i - 1) % MODEL_THREADS_MAX + 1;
    if (t != sched->self && sched->fiber[t].state == FIBER_READY) out[count++] = t;
  }
  return count;
}

unsigned sched_choose_stale(unsigned count) {
  if (sched->stale_left == 0) return 0;
  unsigned back = explore_choose(count, CHOICE_STALE, sched->stale_left);
  if (back != 0) sched->stale_left--;
  return back;
}

static void count_step(void) {
  if (++sched->steps > STEPS) model_fail("no end", __FILE__, __LINE__);
}

void sched_point(void) {
  count_step();
  if (sched->preemptions_left == 0) return;
  unsigned other[ALL_THREADS], count = others_ready(other);
  if (count == 0) return;
  unsigned taken = explore_choose(count + 1, CHOICE_PREEMPTION, sched->preemptions_left);
  if (taken == 0) return;
  sched->preemptions_left--;
  resume(other[taken - 1]);
}

/* Whichever of some threads goes on. */
static void resume_one(const unsigned *which, unsigned count) {
  resume(which[count == 1 ? 0 : explore_choose(count, CHOICE_FREE, 0)]);
}

/* All whose wait is timed go on. */
static unsigned time_passes(unsigned out[ALL_THREADS]) {
  unsigned count = 0;
  for (unsigned t = 1; t < ALL_THREADS; t++) {
    struct fiber *f = &sched->fiber[t];
    if (f->state != FIBER_WAITS || !f->is_timed) continue;
    f->state = FIBER_READY;
    out[count++] = t;
  }
  return count;
}

/* This thread cannot go on, or says that another had better. */
static void give_way(void) {
  unsigned other[ALL_THREADS], count = others_ready(other);
  count_step();
  if (count == 0) {
    if (sched->fiber[sched->self].state == FIBER_READY) return;
    count = time_passes(other);
  }
  if (count == 0) {
    bool is_end = true;
    for (unsigned t = 1; t < ALL_THREADS; t++)
      is_end = is_end && sched->fiber[t].state == FIBER_ENDED;
    if (!is_end) model_fail("all wait", __FILE__, __LINE__);
    resume(0);
    return;
  }
  resume_one(other, count);
}

void model_pause(void) {
  if (sched_is_running()) give_way();
}
void os_yield(void) { model_pause(); }

static void futex_wait(const void *word, uint32_t expected, bool is_timed) {
  uint32_t now;
  memcpy(&now, word, sizeof now);
  if (!sched_is_running() || now != expected) return;
  sched->fiber[sched->self].state = FIBER_WAITS;
  sched->fiber[sched->self].waits_for = word;
  sched->fiber[sched->self].is_timed = is_timed;
  sched_note("waits", word, now, MODEL_HERE(""));
  give_way();
}

void os_futex_wait(const void *word, uint32_t expected) { futex_wait(word, expected, false); }
void os_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms) {
  futex_wait(word, expected, ms != 0);
}

void os_futex_wake_all(const void *word) {
  if (!sched_is_running()) return;
  for (unsigned t = 1; t < ALL_THREADS; t++) {
    struct fiber *f = &sched->fiber[t];
    if (f->state == FIBER_WAITS && f->waits_for == word) f->state = FIBER_READY;
  }
  sched_note("wakes", word, 0, MODEL_HERE(""));
}

/* Nobody, until there are fibers: to the library's constructor, which runs before main, that is the
 * thread which makes everything ready, and it leaves that to the scenarios. */
uintptr_t os_thread_self(void) { return sched == NULL ? 0 : model_self() * 64u + 64u; }

/* ---- executions */

static const struct model_scenario *scenario;

static void fiber_main(void) {
  scenario->thread[sched->self - 1]();
  os_model_thread_ends();
  sched->fiber[sched->self].state = FIBER_ENDED;
  give_way();
  abort();
}

static void snapshot(void) {
  os_model_used(&sched->arena, &sched->arena_bytes);
  free(sched->globals_copy);
  free(sched->arena_copy);
  sched->globals_copy = malloc(globals_bytes());
  sched->arena_copy = malloc(sched->arena_bytes);
  if (sched->globals_copy == NULL || sched->arena_copy == NULL) exit(2);
  memcpy(sched->globals_copy, __data_start, globals_bytes());
  memcpy(sched->arena_copy, sched->arena, sched->arena_bytes);
}

static void restore(void) {
  char *start;
  size_t used;
  os_model_used(&start, &used);
  if (used > sched->arena_bytes) memset(start + sched->arena_bytes, 0, used - sched->arena_bytes);
  memcpy(__data_start, sched->globals_copy, globals_bytes());
  memcpy(sched->arena, sched->arena_copy, sched->arena_bytes);
}

static void start_fibers(void) {
  for (unsigned t = 1; t < ALL_THREADS; t++) {
    struct fiber *f = &sched->fiber[t];
    f->state = scenario->thread[t - 1] == NULL ? FIBER_ENDED : FIBER_READY;
    if (f->state == FIBER_ENDED) continue;
    memcpy(f->tls, sched->tls_start, tls_bytes());
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = sched->stacks + t * (size_t)STACK_BYTES;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    makecontext(&f->context, fiber_main, 0);
  }
}

static void execute(void) {
  restore();
  memory_reset();
  sched->steps = 0;
  sched->note_count = 0;
  sched->preemptions_left = sched->bounds.preemptions;
  sched->stale_left = sched->bounds.stale;
  start_fibers();
  sched->is_running = true;
  unsigned ready[ALL_THREADS], count = others_ready(ready);
  resume_one(ready, count);
  sched->is_running = false;
  if (!sched->has_failed) scenario->check(); /* all is written: the newest values are there */
}

static void sched_init(void) {
  if (sched != NULL) return;
  sched = mmap(NULL, sizeof *sched, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *stacks = mmap(NULL, ALL_THREADS * (size_t)STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (sched == MAP_FAILED || stacks == MAP_FAILED) exit(2);
  sched->stacks = stacks;
  for (unsigned t = 0; t < ALL_THREADS; t++) {
    sched->fiber[t].tls = calloc(1, tls_bytes());
    if (sched->fiber[t].tls == NULL) exit(2);
  }
  sched->tls_start = calloc(1, tls_bytes());
  memcpy(sched->tls_start, __start_model_tls, tls_bytes());
  sched->fiber[0].state = FIBER_ENDED;
  (void)tls_anchor;
}

/* What two threads use is learnt on the way: the executions before had too few points. They begin
 * anew, not at once: there may be more to learn. */
static bool is_worth_a_restart(uint64_t done, uint64_t learnt_at) {
  return explore_is_between_levels() || done >= 2 * learnt_at - 1;
}

bool model_run(const struct model_scenario *s, struct model_bounds bounds,
               struct model_result *result) {
  scenario = s;
  sched_init();
  sched->bounds = bounds;
  sched->has_failed = false;
  sched->has_learnt = false;
  explore_begin(bounds);
  s->setup();
  snapshot();
  *result = (struct model_result){0};
  memory_begin_round();
  uint64_t round_start = 0, learnt_at = 0;
  while (explore_next(result->executions)) { /* ends: executions are finite, and so are locations */
    execute();
    result->executions++;
    if (sched->has_failed) {
      print_notes();
      break;
    }
    explore_ended();
    if (!sched->has_learnt) continue;
    uint64_t done = result->executions - round_start;
    if (learnt_at == 0) learnt_at = done;
    explore_learnt();
    bool is_at_random = explore_is_at_random();
    if (!is_at_random && !is_worth_a_restart(done, learnt_at)) continue;
    memory_begin_round();
    if (!is_at_random) explore_restart(done, result->executions);
    sched->has_learnt = false;
    round_start = result->executions;
    learnt_at = 0;
  }
  explore_result(result);
  result->locations = memory_shared_count();
  return !sched->has_failed;
}

/* As a process of its own says by its status; what ends it early says 1 or 2. */
enum { SCENARIOS_MAX = 64 };
enum verdict { PASSED_ALL, FAILED, PASSED_CUT_OFF = 3 };

static void print_cut_off(const struct model_result *r) {
  if (r->levels == 0) {
    printf("; not even all without preemptions");
  } else {
    printf("; all with up to %u preemptions or old values", r->levels - 1);
  }
  printf(", then %llu at random, not all", (unsigned long long)r->at_random);
}

/* Each scenario in a process of its own: all begin with the same memory. */
static enum verdict run_apart(const struct model_scenario *s, struct model_bounds bounds) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    struct model_result r;
    bool is_passed = model_run(s, bounds, &r);
    printf("%-28s %s: %llu executions, %u locations, %u choices at most", s->name,
           is_passed ? "passed" : "FAILED", (unsigned long long)r.executions, r.locations,
           r.points_max);
    if (is_passed && !r.is_complete) print_cut_off(&r);
    printf("\n");
    fflush(stdout);
    _exit(!is_passed ? FAILED : r.is_complete ? PASSED_ALL : PASSED_CUT_OFF);
  }
  int status = -1;
  if (child < 0 || waitpid(child, &status, 0) != child) return FAILED;
  if (WIFSIGNALED(status)) printf("%-28s FAILED: signal %d\n", s->name, WTERMSIG(status));
  if (!WIFEXITED(status)) return FAILED;
  return WEXITSTATUS(status) == PASSED_ALL || WEXITSTATUS(status) == PASSED_CUT_OFF
             ? (enum verdict)WEXITSTATUS(status)
             : FAILED;
}

/* The last line, which docs/results keeps. */
static void print_names(const char *before, enum verdict which,
                        const struct model_scenario *scenarios, size_t count,
                        const enum verdict *verdicts) {
  for (size_t i = 0; i < count; i++) {
    if (verdicts[i] != which) continue;
    printf("%s%s", before, scenarios[i].name);
    before = ", ";
  }
}
static void print_verdicts(const struct model_scenario *scenarios, size_t count,
                           const enum verdict *verdicts) {
  size_t complete = 0;
  for (size_t i = 0; i < count; i++) complete += verdicts[i] == PASSED_ALL;
  printf("%zu of %zu scenarios complete", complete, count);
  print_names("; cut off: ", PASSED_CUT_OFF, scenarios, count, verdicts);
  print_names("; failed: ", FAILED, scenarios, count, verdicts);
  printf("\n");
}

int model_main(int argc, char **argv, const struct model_scenario *scenarios, size_t count,
               struct model_bounds brief, struct model_bounds thorough) {
  bool is_long = false;
  const char *only = NULL;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--long") == 0) {
      is_long = true;
    } else if (strcmp(argv[i], "--executions") == 0 && i + 1 < argc) {
      brief.executions = strtoull(argv[++i], NULL, 10);
    } else {
      only = argv[i];
    }
  }
  if (count > SCENARIOS_MAX) exit(2);
  bool is_good = true;
  size_t found = 0;
  struct model_scenario ran[SCENARIOS_MAX];
  enum verdict verdicts[SCENARIOS_MAX];
  for (size_t i = 0; i < count; i++) {
    if (only != NULL && strcmp(only, scenarios[i].name) != 0) continue;
    ran[found] = scenarios[i];
    verdicts[found] = run_apart(&scenarios[i], is_long ? thorough : brief);
    is_good = is_good && verdicts[found] != FAILED;
    found++;
  }
  if (found == 0) {
    fprintf(stderr, "%s: no scenario %s\n", argv[0], only == NULL ? "" : only);
    return 2;
  }
  print_verdicts(ran, found, verdicts);
  return is_good ? 0 : 1;
}
