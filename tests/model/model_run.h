/* model_run.h — between the model's parts: sched (threads, choices), memory (values, races), os.
 */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include "model.h"
#include "model_atomic.h"

enum { ALL_THREADS = MODEL_THREADS_MAX + 1 };

/* How far a thread knows each thread's steps. */
struct clock {
  uint32_t time[ALL_THREADS];
};

/* --- sched */
/* One of `count` ways, the first by default. */
unsigned sched_choose(unsigned count);
/* Before a step on shared memory: another thread may go on first. */
void sched_point(void);
/* Something is shared that was not known to be: the executions so far had too few points. */
void sched_learnt(void);
/* True while an execution's threads run. */
bool sched_is_running(void);
bool sched_is_stack(uintptr_t address);
/* How far back a load of `count` possible values reads: 0 once the bound is used up. */
unsigned sched_choose_stale(unsigned count);
void sched_note(const char *what, const void *p, uint64_t value, struct model_place at);

/* --- memory */
void memory_reset(void); /* before an execution: what is there is known to all */
unsigned memory_shared_count(void);

/* --- os: the memory that a snapshot must hold */
void os_model_used(char **start, size_t *size);
/* True of the region: what objects hold is the program's affair. */
bool os_model_is_object(uintptr_t address);
/* What libc does at a thread's end. */
void os_model_thread_ends(void);

#endif
