/* unit_region.h — the layers up to the region made ready by hand, as entry/ would, and an umbrella
 * lock a thread for what wants an outermost one.
 */
#ifndef UNIT_REGION_H
#define UNIT_REGION_H

#include "unit_child.h"

#include "region.h"
#include "rt_conf.h"
#include "rt_lock.h"
#include "rt_options.h"
#include "superslab.h"

enum { UMBRELLAS = 4 };
static struct rt_lock umbrellas[UMBRELLAS] = {LOCK_INIT(LOCK_RANK_HEAP), LOCK_INIT(LOCK_RANK_HEAP),
                                              LOCK_INIT(LOCK_RANK_HEAP), LOCK_INIT(LOCK_RANK_HEAP)};

/* As entry/ has them, of a thread that holds no lock. */
static inline void fork_prepare(void) { lock_fork_prepare(false); }
static inline void fork_parent(void) { lock_fork_parent(false); }
static inline void fork_child(void) { lock_fork_child(false); }

static inline void layers_init(uint64_t region_wanted_bytes) {
  os_mem_init();
  lock_init_process();
  NEED(rt_conf_init());
  NEED(os_at_fork(fork_prepare, fork_parent, fork_child));
  for (int i = 0; i < UMBRELLAS; i++) lock_register(&umbrellas[i]);
  NEED(region_init(region_wanted_bytes));
}

/* x, with umbrella i held around it. */
#define LOCKED(i, x)                                                                               \
  do {                                                                                             \
    NEED(lock_enter(&umbrellas[i]));                                                               \
    x;                                                                                             \
    lock_leave(&umbrellas[i]);                                                                     \
  } while (0)

static inline char *chunk_bytes(size_t chunk) { return chunk_address(chunk); }

static inline struct chunk_run claim_chunks(size_t umbrella, uint32_t count, uint32_t step,
                                            size_t preferred) {
  struct chunk_run run;
  LOCKED(umbrella, run = superslab_claim(count, step, preferred));
  return run;
}

static inline void chunks_stamp(struct chunk_run run, unsigned seed) {
  for (uint32_t i = 0; i < run.count; i++) *(unsigned *)(void *)chunk_bytes(run.first + i) = seed;
}
static inline void chunks_check(struct chunk_run run, unsigned seed) {
  for (uint32_t i = 0; i < run.count; i++)
    NEED(*(unsigned *)(void *)chunk_bytes(run.first + i) == seed);
}
static inline void chunks_are_zero(struct chunk_run run) {
  for (uint32_t i = 0; i < run.count; i++)
    NEED(is_all_zero(chunk_bytes(run.first + i), CHUNK_BYTES));
}

#endif
