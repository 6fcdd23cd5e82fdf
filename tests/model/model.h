/* model.h — a deterministic scheduler over the allocator's own source: the orders of a few threads'
 * atomic steps, up to a bound, with weak memory.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Threads are fibers. Before each atomic access to a location that two threads use, another thread
 * may go on in place of this one: at most `preemptions` times an execution; where a thread waits,
 * each of the others is tried. A load that is not ordered may give an older value: at most `stale`
 * times. An execution is the list of its choices. Those that deviate least from the first ways come
 * first: all without a preemption or an older value, whoever begins; all with one of them, wherever
 * it lies; and so on. Where as many as may be run do not make the next number whole, the rest of
 * them are drawn at random, with a fixed seed, from all that the bounds allow.
 *
 * Memory. A location has all values stored to it, in order. A thread may read any of them from the
 * newest that it knows of on: one stored, or known, before something it has synchronised with
 * (acquire reads what a release stored), or that it has read itself. A read-modify-write takes the
 * newest. A sequentially consistent load gives the newest sequentially consistent store, or a newer
 * value. Plain accesses (from the compiler's -fsanitize=thread) must be ordered, or are a race.
 * Weaker than x86-64, and stronger than C17 in what is not used here: no load gives a value that
 * has not been stored yet, and there are no fences.
 *
 * Not thread-safe; a failure ends the process's model run (model_run returns false).
 */

enum { MODEL_THREADS_MAX = 4 };

struct model_scenario {
  const char *name;
  void (*setup)(void); /* once, before all executions: they start from what it leaves */
  void (*thread[MODEL_THREADS_MAX])(void); /* NULL from the first that is not used */
  void (*check)(void);                     /* after each execution, when all is written */
};

struct model_bounds {
  unsigned preemptions, stale;
  uint64_t executions; /* at most; 0: all, of which a list is kept */
};

struct model_result {
  uint64_t executions;
  unsigned locations;  /* that two threads use */
  unsigned points_max; /* choices of one execution */
  bool is_complete;    /* within the bounds nothing is left to try */
  unsigned levels;     /* all with fewer preemptions and older values together have been run */
  uint64_t at_random;  /* of the executions */
};

/* True when no execution failed. What failed is printed, with the steps that led there. */
bool model_run(const struct model_scenario *scenario, struct model_bounds bounds,
               struct model_result *result);
/* For scenarios: ends the execution as failed. */
_Noreturn void model_fail(const char *what, const char *file, int line);
#define MODEL_NEED(x) ((x) ? (void)0 : model_fail(#x, __FILE__, __LINE__))
/* The calling thread: 0 in setup and check, else 1 + its index. */
unsigned model_self(void);

/* The allocator is ready, with a region of 8 MiB. Called by setups. */
void model_allocator_init(void);
/* The one option that the allocator is started with. */
char *model_region_option(void);
/* Memory is as in the child of a fork. For setups: nothing runs. */
void model_fork_wipes(void);
/* libc has a lock of streams, free at first. For setups. */
void model_set_streams(void);
/* The coarse clock, which stands still. */
void model_clock_set(uint64_t ms);
/* watcher is called for each purge; NULL: nobody. */
void model_watch_purges(void (*watcher)(void *p, size_t size));
/* main of a program of scenarios: [--long] [--executions N] [NAME]. A line each, and a last
 * one that says how many are complete, and names the others. */
int model_main(int argc, char **argv, const struct model_scenario *scenarios, size_t count,
               struct model_bounds brief, struct model_bounds thorough);

#endif
