/* replay_plan: a recorded trace (docs/trace.md), made ready to be replayed: the calls of each
 * thread, with slots in place of addresses, and what is known of the trace as a whole.
 *
 * replay_read makes it in a child process, so that reading, decompressing and planning leave no
 * mark on the allocator that is to be measured. */
#ifndef REPLAY_PLAN_H
#define REPLAY_PLAN_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench_common.h"
#include "trace_format.h"

enum replay_kind {
  REPLAY_MALLOC,
  REPLAY_CALLOC,
  REPLAY_ALIGNED,
  REPLAY_FREE,
  REPLAY_REALLOC,
  REPLAY_KINDS,
};

/* No object: free(NULL), the free of an object that the trace has no malloc of, a call that failed
 * when it was recorded. */
#define REPLAY_NO_SLOT UINT32_MAX

/* One call. The operations on a slot follow one another; where the next is another thread's, the
 * first `hands_over` and the next `waits`. `turn` counts the slot's hand-overs before this
 * operation: it waits for turn, and hands over by making it turn + 1. `has_failed`: when it was
 * recorded.
 *
 *   0        4        8         14          15           16
 *   +--------+--------+---------+-----------+------------+
 *   | slot   | turn   | bytes   | align     | kind, and  |
 *   |        |        |         | log2      | 3 flags    |
 *   +--------+--------+---------+-----------+------------+ */
struct replay_op {
  uint32_t slot, turn;
  uint64_t bytes : 48, align_log2 : 8, kind : 5, has_failed : 1, waits : 1, hands_over : 1;
};
static_assert(sizeof(struct replay_op) == 16, "one operation is 16 bytes");

#define REPLAY_CLASSES 49u /* of sizes: class c holds those of c significant bits, 0 only 0 */

struct replay_lane { /* what one thread replays: threads of the recorded program, one after another
                      */
  size_t first_op, op_count;
};

struct replay_plan {
  char program[32];
  uint64_t kind_count[REPLAY_KINDS];
  uint64_t op_count;       /* their sum */
  uint64_t foreign;        /* frees and reallocs of objects whose malloc is not in the trace */
  uint64_t recorded_count; /* threads of the program that called */
  uint64_t most_lanes;     /* threads that called, at a time at most */
  uint64_t lost;
  uint64_t duration_ns;
  bool is_truncated; /* no trailer: the recording was cut short */
  uint32_t end;      /* enum trace_end; 0 if it was cut short */
  uint64_t live_count, live_bytes;
  uint64_t peak_count, peak_bytes; /* the most of each, not of the same moment */
  uint64_t class_count[REPLAY_CLASSES];
  uint32_t slot_count;
  uint32_t lane_count;
  struct replay_lane lane[BENCH_THREADS_MAX];
  size_t bytes; /* of the plan with its operations */
  size_t ops_offset;
};

static inline const struct replay_op *replay_ops(const struct replay_plan *plan) {
  return (const struct replay_op *)(const void *)((const char *)plan + plan->ops_offset);
}

/* The plan for `threads` threads (0: as many as called at a time, BENCH_THREADS_MAX at most), in
 * memory that is not the allocator's. Bad input: one line on stderr, exit 2. */
const struct replay_plan *replay_read(const char *path, uint64_t threads);

/* For replay_read: fills the plan, whose ops_offset is set and which has room for an operation a
 * record and a page a lane, from the whole records of a trace. Exits 2 for impossible ones. */
void replay_plan_make(struct replay_plan *plan, const char *path,
                      const struct trace_record *records, size_t count, uint64_t threads);

#endif
