/* bench_ring: batches of objects on their way from threads that fill to threads that drain, in
 * order. At most `backlog` + RING_MOVING_BATCHES are on their way, and drainers stay `backlog`
 * batches behind the fillers. A ticket ring: no locks; who waits spins, then yields.
 *
 * Any thread may do either; a batch is the caller's between _begin and _end. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <stddef.h>
#include <stdint.h>

#define RING_BATCH_OBJECTS 64u
#define RING_MOVING_BATCHES 64u

struct ring_batch {
  _Alignas(64) _Atomic uint64_t turn; /* the ring's own */
  uint64_t ticket;                    /* the ring's own */
  uint64_t count;
  uint64_t bytes; /* of all its objects */
  struct {
    unsigned char *byte;
    size_t bytes;
  } object[RING_BATCH_OBJECTS];
};

/* Before all else. */
void ring_open(uint64_t fillers, uint64_t backlog);

struct ring_batch *ring_fill_begin(void);
void ring_fill_end(struct ring_batch *batch);
/* Each filler, when it is done. */
void ring_filler_leave(void);

/* NULL when all fillers have left and only the backlog is there; it stays. */
struct ring_batch *ring_drain_begin(void);
void ring_drain_end(struct ring_batch *batch);

#endif
