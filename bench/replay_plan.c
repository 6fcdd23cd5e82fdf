/* replay_plan: see replay_plan.h. Two passes over the records: the first checks each by itself and
 * deals the recorded threads out to lanes; the second follows every object from its malloc to its
 * free and writes the operations. Runs in replay_read's child; all memory is bench_map's. */
#include "replay_plan.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replay_table.h"

#define NONE UINT32_MAX
/* New slots are dealt out to a lane so many at a time, so that two threads' slots do not share
 * cache lines: 8 of 16 bytes are 128, which the processor fetches together. */
#define SLOT_BATCH 8u
/* Slots that pile up with a lane that only frees are taken back once there are more than this.
 * Arbitrary: it bounds what the slots weigh, 1 MiB. */
#define FREE_SLOTS_MOST 65536u

struct recorded_thread {
  size_t first, last; /* indices of records */
  size_t op_count;
  uint32_t lane;
  bool is_seen;
};

/* Where a slot's story stands. */
struct slot_story {
  struct replay_op *latest; /* the latest operation on it */
  uint32_t latest_lane;     /* NONE: fresh */
  uint32_t turn;
  uint32_t next_free; /* of its lane's list */
};

struct lane_slots {
  uint32_t first_free; /* NONE: no slot */
  uint32_t free_count;
  uint32_t batch_next, batch_left;
  struct replay_op *op; /* the next to be written */
};

/* What a realloc that has not ended began with. */
struct resize {
  struct resize *outer; /* the thread's realloc that a signal handler's call came into */
  bool has_object;
  uint64_t address;
  struct replay_object object;
};

static struct replay_plan *plan;
static const char *path;
static struct recorded_thread *threads;
static struct slot_story *stories;
static struct lane_slots *lanes;
static struct resize **resizes; /* the innermost of each recorded thread; NULL: none */
static struct resize *resize_pool, *resize_free;
static uint64_t free_slots;

noreturn static void impossible(size_t index, struct trace_record record, const char *what) {
  bench_fail("%s: record %zu (address %#llx): %s: the file is damaged, or no trace", path, index,
             (unsigned long long)trace_address(record), what);
}

/* ---- threads ---- */

static bool is_operation(unsigned kind) {
  return kind != TRACE_REALLOC_FROM && kind != TRACE_CLOCK;
}

static void threads_read(const struct trace_record *records, size_t count) {
  threads = bench_map(TRACE_THREADS * sizeof *threads);
  for (size_t i = 0; i < count; i++) {
    unsigned kind = trace_kind(records[i]);
    if (kind < TRACE_MALLOC || kind > TRACE_CLOCK || trace_align_log2(records[i]) >= 48) {
      impossible(i, records[i], "no such record");
    }
    struct recorded_thread *thread = &threads[trace_thread(records[i])];
    if (!thread->is_seen) {
      thread->is_seen = true;
      thread->first = i;
      plan->recorded_count++;
    }
    thread->last = i;
    thread->op_count += is_operation(kind);
    if (kind == TRACE_CLOCK && trace_bytes(records[i]) > plan->duration_ns) {
      plan->duration_ns = trace_bytes(records[i]);
    }
  }
}

/* A thread goes to the lowest lane whose thread has made its last call. */
static void lanes_deal(const struct trace_record *records, size_t count) {
  bool *is_taken = bench_map(TRACE_THREADS);
  for (size_t i = 0; i < count; i++) {
    struct recorded_thread *thread = &threads[trace_thread(records[i])];
    if (thread->first == i) {
      while (is_taken[thread->lane]) {
        thread->lane++;
      }
      is_taken[thread->lane] = true;
      plan->most_lanes = thread->lane >= plan->most_lanes ? thread->lane + 1u : plan->most_lanes;
    }
    if (thread->last == i) {
      is_taken[thread->lane] = false;
    }
  }
}

static void lanes_lay_out(uint64_t wanted) {
  uint64_t most = plan->most_lanes != 0 ? plan->most_lanes : 1;
  if (wanted > most) {
    bench_fail("--threads %llu: at most %llu of the threads of %s called at a time",
               (unsigned long long)wanted, (unsigned long long)most, path);
  }
  plan->lane_count =
      (uint32_t)(wanted != 0 ? wanted : (most < BENCH_THREADS_MAX ? most : BENCH_THREADS_MAX));
  for (size_t i = 0; i < TRACE_THREADS; i++) {
    threads[i].lane %= plan->lane_count;
    plan->lane[threads[i].lane].op_count += threads[i].op_count;
  }
  lanes = bench_map(plan->lane_count * sizeof *lanes);
  struct replay_op *ops = (struct replay_op *)(void *)((char *)plan + plan->ops_offset);
  size_t per_page = (size_t)sysconf(_SC_PAGESIZE) / sizeof(struct replay_op);
  size_t at = 0;
  for (uint32_t i = 0; i < plan->lane_count; i++) {
    plan->lane[i].first_op = at;
    lanes[i] = (struct lane_slots){.first_free = NONE, .op = ops + at};
    at += (plan->lane[i].op_count + per_page - 1) & ~(per_page - 1); /* a lane begins a page */
  }
}

/* ---- slots ---- */

static uint32_t slot_pop(uint32_t lane) {
  uint32_t slot = lanes[lane].first_free;
  lanes[lane].first_free = stories[slot].next_free;
  lanes[lane].free_count--;
  free_slots--;
  return slot;
}

/* The lane's own free slots first, whose reuse waits for nobody. */
static uint32_t slot_take(uint32_t lane) {
  struct lane_slots *own = &lanes[lane];
  if (own->first_free != NONE) {
    return slot_pop(lane);
  }
  if (free_slots > FREE_SLOTS_MOST) {
    uint32_t rich = 0;
    for (uint32_t i = 1; i < plan->lane_count; i++) {
      rich = lanes[i].free_count > lanes[rich].free_count ? i : rich;
    }
    return slot_pop(rich);
  }
  if (own->batch_left == 0) {
    if (plan->slot_count > NONE - 2 * SLOT_BATCH) {
      bench_fail("%s: more than 4 billion objects at a time", path);
    }
    own->batch_next = plan->slot_count;
    own->batch_left = SLOT_BATCH;
    plan->slot_count += SLOT_BATCH;
  }
  own->batch_left--;
  uint32_t slot = own->batch_next++;
  stories[slot].latest_lane = NONE;
  return slot;
}

static void slot_give(uint32_t lane, uint32_t slot) {
  stories[slot].next_free = lanes[lane].first_free;
  lanes[lane].first_free = slot;
  lanes[lane].free_count++;
  free_slots++;
}

/* Writes the lane's next operation and links it to the slot's one before. */
static void op_add(uint32_t lane, enum replay_kind kind, uint32_t slot,
                   struct trace_record record) {
  struct replay_op *op = lanes[lane].op++;
  *op = (struct replay_op){
      .slot = slot,
      .bytes = trace_bytes(record),
      .align_log2 = trace_align_log2(record),
      .kind = kind,
      .has_failed = kind != REPLAY_FREE && trace_address(record) == 0 && trace_bytes(record) != 0,
  };
  plan->kind_count[kind]++;
  plan->op_count++;
  if (slot == REPLAY_NO_SLOT) {
    return;
  }
  struct slot_story *story = &stories[slot];
  if (story->latest_lane != NONE && story->latest_lane != lane) {
    story->latest->hands_over = 1;
    story->turn++;
    op->waits = 1;
  }
  op->turn = story->turn;
  story->latest = op;
  story->latest_lane = lane;
}

/* ---- objects ---- */

static void object_begins(uint64_t bytes) {
  plan->live_count++;
  plan->live_bytes += bytes;
  plan->peak_count = plan->live_count > plan->peak_count ? plan->live_count : plan->peak_count;
  plan->peak_bytes = plan->live_bytes > plan->peak_bytes ? plan->live_bytes : plan->peak_bytes;
}

static void object_ends(uint64_t bytes) {
  plan->live_count--;
  plan->live_bytes -= bytes;
}

static void class_count(uint64_t bytes) {
  plan->class_count[bytes == 0 ? 0 : 64u - (unsigned)__builtin_clzll(bytes)]++;
}

static void alloc_add(size_t index, struct trace_record record, uint32_t lane,
                      enum replay_kind kind) {
  uint64_t bytes = trace_bytes(record), address = trace_address(record);
  uint32_t slot = REPLAY_NO_SLOT;
  class_count(bytes);
  if (address != 0) {
    slot = slot_take(lane);
    if (!table_put(address, (struct replay_object){bytes, slot})) {
      impossible(index, record, "the object lives already");
    }
    object_begins(bytes);
  }
  op_add(lane, kind, slot, record);
}

static void free_add(struct trace_record record, uint32_t lane) {
  struct replay_object object;
  uint64_t address = trace_address(record);
  if (address == 0 || !table_take(address, &object)) {
    plan->foreign += address != 0;
    op_add(lane, REPLAY_FREE, REPLAY_NO_SLOT, record);
    return;
  }
  object_ends(object.bytes);
  op_add(lane, REPLAY_FREE, object.slot, record);
  slot_give(lane, object.slot);
}

static void resize_begin(struct trace_record record) {
  struct resize *resize = resize_free;
  if (resize != NULL) {
    resize_free = resize->outer;
  } else {
    resize = resize_pool++;
  }
  *resize = (struct resize){
      .outer = resizes[trace_thread(record)],
      .address = trace_address(record),
  };
  resize->has_object = resize->address != 0 && table_take(resize->address, &resize->object);
  resizes[trace_thread(record)] = resize;
}

static void resize_end(size_t index, struct trace_record record, uint32_t lane) {
  struct resize *resize = resizes[trace_thread(record)];
  uint64_t bytes = trace_bytes(record), address = trace_address(record);
  if (resize == NULL) {
    impossible(index, record, "the end of a realloc that did not begin");
  }
  resizes[trace_thread(record)] = resize->outer;
  resize->outer = resize_free; /* what it holds is still needed below, and until the next begins */
  resize_free = resize;
  class_count(bytes);
  bool has_failed = address == 0 && bytes != 0;
  uint32_t slot = resize->has_object ? resize->object.slot : REPLAY_NO_SLOT;
  if (has_failed) {
    if (resize->has_object && !table_put(resize->address, resize->object)) {
      impossible(index, record, "the object of a failed realloc lives twice");
    }
    op_add(lane, REPLAY_REALLOC, slot, record);
    return;
  }
  plan->foreign += resize->address != 0 && !resize->has_object;
  if (resize->has_object) {
    object_ends(resize->object.bytes);
  } else if (address != 0) {
    slot = slot_take(lane);
  }
  if (address != 0) {
    if (!table_put(address, (struct replay_object){bytes, slot})) {
      impossible(index, record, "the object lives already");
    }
    object_begins(bytes);
  }
  op_add(lane, REPLAY_REALLOC, slot, record);
  if (address == 0 && resize->has_object) {
    slot_give(lane, slot);
  }
}

static void record_add(size_t index, struct trace_record record) {
  uint32_t lane = threads[trace_thread(record)].lane;
  switch (trace_kind(record)) {
  case TRACE_MALLOC:
    alloc_add(index, record, lane, REPLAY_MALLOC);
    break;
  case TRACE_CALLOC:
    alloc_add(index, record, lane, REPLAY_CALLOC);
    break;
  case TRACE_ALIGNED:
    alloc_add(index, record, lane, REPLAY_ALIGNED);
    break;
  case TRACE_FREE:
    free_add(record, lane);
    break;
  case TRACE_REALLOC_FROM:
    resize_begin(record);
    break;
  case TRACE_REALLOC_TO:
    resize_end(index, record, lane);
    break;
  default: /* a clock */
    break;
  }
}

void replay_plan_make(struct replay_plan *plan_to_fill, const char *trace_path,
                      const struct trace_record *records, size_t count, uint64_t wanted) {
  plan = plan_to_fill;
  path = trace_path;
  threads_read(records, count);
  lanes_deal(records, count);
  lanes_lay_out(wanted);
  /* One a record would do, and what is not touched costs nothing. */
  stories = bench_map((count + BENCH_THREADS_MAX * SLOT_BATCH) * sizeof *stories);
  resizes = bench_map(TRACE_THREADS * sizeof(struct resize *));
  resize_pool = bench_map((count + 1) * sizeof *resize_pool);
  table_make();
  for (size_t i = 0; i < count; i++) {
    record_add(i, records[i]);
  }
}
