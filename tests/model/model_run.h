/* model_run.h — between the model's parts: sched (threads), explore (choices), memory (values,
 * races), os.
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

/* --- explore */
enum choice_kind { CHOICE_FREE, CHOICE_PREEMPTION, CHOICE_STALE, CHOICE_KINDS };
void explore_begin(struct model_bounds bounds);
/* Something was learnt to be shared. */
void explore_learnt(void);
/* From the first execution on, where `again` of them can be run once more; else at random. */
void explore_restart(uint64_t again, uint64_t executions);
/* So many have been run. False when that was the last. */
bool explore_next(uint64_t executions);
/* One of `count` ways, two at least: the first by default. The execution may have `left` more that
 * are not, of this kind; if the kind is free, any number. */
unsigned explore_choose(unsigned count, enum choice_kind kind, unsigned left);
/* The execution has ended well: what it had to choose from is known. */
void explore_ended(void);
bool explore_is_at_random(void);
/* With so many deviations all have been run that are known. */
bool explore_is_between_levels(void);
void explore_result(struct model_result *result);

/* --- memory */
/* What is known to be shared by now gives points from here on. */
void memory_begin_round(void);
void memory_reset(void); /* before an execution: what is there is known to all */
unsigned memory_shared_count(void);

/* --- os: the memory that a snapshot must hold */
void os_model_used(char **start, size_t *size);
/* True of the region: what objects hold is the program's affair. */
bool os_model_is_object(uintptr_t address);
/* What libc does at a thread's end. */
void os_model_thread_ends(void);

#endif
