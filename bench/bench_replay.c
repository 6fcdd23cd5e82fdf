/* bench_replay: a recorded trace (docs/trace.md) once more, under whatever allocator is preloaded.
 * An operation is one recorded call. Each recorded thread's calls are made by one thread, in order;
 * a call on an object of another thread waits until that one has made its call before. What has no
 * effect on the allocator (the time between calls, the ends of threads) is left out. --threads 1
 * makes all calls in the recorded order. New memory is written to, see touch(). The trace is
 * replayed once, or again and again until --ops or --seconds are reached; whole times.
 *
 * Slots (16 bytes an object) and the calls weigh on RSS, the calls only a chunk at a time. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench_common.h"
#include "bench_latency.h"
#include "replay_plan.h"
#include "replay_summary.h"
#include "replay_turn.h"

#define CHUNK_MOST 16384u /* operations, 256 KiB: what of them is resident. Arbitrary */
#define SAMPLES_MOST 256u /* of RSS */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static uint64_t file_text, summary, wants_samples;
static uint64_t touch_ends; /* --touch: 0 pages, 1 ends */

static const struct replay_plan *plan;
static size_t page_bytes;
static size_t chunk_ops;

struct slot {
  unsigned char *object; /* NULL: none */
  size_t bytes;
};
static struct slot *slots;

/* One a lane; a lane's thread writes its own. */
static struct lane { _Alignas(128) uint64_t kind_count[REPLAY_KINDS]; } * lanes;
static pthread_barrier_t pass_barrier;
static bool goes_on; /* another pass follows: lane 0, between two pass_barriers */

struct sample {
  uint64_t ops, bytes;
};
static pthread_mutex_t sample_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two below */
static struct sample *samples;
static size_t sample_count;
static _Atomic uint64_t ops_seen; /* of the first pass, by whole chunks */

/* ---- one operation ---- */

/* Bytes [from, bytes) of the object are new. Programs write most of what they ask for: a byte a
 * page makes it resident. */
LATENCY_LOOP void touch(unsigned char *object, size_t from, size_t bytes) {
  if (bytes <= from) {
    return;
  }
  object[from] = 1;
  if (!touch_ends) {
    size_t into_page = (uintptr_t)(object + from) % page_bytes;
    for (size_t at = from + page_bytes - into_page; at < bytes; at += page_bytes) {
      object[at] = 1;
    }
  }
  object[bytes - 1] = 1;
}

/* The result of a call that is to give new memory, with `kept` bytes of it old. */
LATENCY_LOOP void slot_fill(struct slot *slot, const struct replay_op *op, void *object,
                            size_t kept) {
  if (op->slot == REPLAY_NO_SLOT) {
    free(object); /* the recorded call gave nothing */
    return;
  }
  if (__builtin_expect(object == NULL && op->bytes != 0, 0)) {
    bench_fail("out of memory: no %llu bytes", (unsigned long long)op->bytes);
  }
  touch(object, kept, op->bytes);
  *slot = (struct slot){object, op->bytes};
}

LATENCY_LOOP void resize(struct slot *slot, const struct replay_op *op, bool is_timed) {
  void *object = bench_realloc(slot->object, op->bytes, is_timed);
  if (op->bytes == 0) { /* gives NULL or a new object, by allocator */
    free(object);
    *slot = (struct slot){NULL, 0};
  } else if (!op->has_failed) {
    slot_fill(slot, op, object, slot->bytes);
  } else if (op->slot == REPLAY_NO_SLOT) {
    free(object);
  } else if (object != NULL) { /* it failed when it was recorded: its memory was not used */
    *slot = (struct slot){object, slot->bytes};
  }
}

LATENCY_LOOP void op_run(const struct replay_op *op, struct slot *slot, bool is_timed) {
  switch ((enum replay_kind)op->kind) {
  case REPLAY_MALLOC:
    slot_fill(slot, op, bench_malloc(op->bytes, is_timed), 0);
    break;
  case REPLAY_CALLOC:
    slot_fill(slot, op, bench_calloc(op->bytes, is_timed), 0);
    break;
  case REPLAY_ALIGNED: {
    size_t align = (size_t)1 << op->align_log2;
    align = align < sizeof(void *) ? sizeof(void *) : align;
    slot_fill(slot, op, bench_aligned(align, op->bytes, is_timed), 0);
    break;
  }
  case REPLAY_FREE:
    bench_free(slot->object, is_timed);
    *slot = (struct slot){NULL, 0};
    break;
  case REPLAY_REALLOC:
    resize(slot, op, is_timed);
    break;
  case REPLAY_KINDS:
    break;
  }
}

LATENCY_LOOP void ops_run(struct lane *lane, const struct replay_op *op, size_t count,
                          bool is_parallel, bool is_timed) {
  struct slot none = {NULL, 0};
  for (const struct replay_op *end = op + count; op < end; op++) {
    if (is_parallel && op->waits) {
      turn_wait(op->slot, op->turn);
    }
    op_run(op, op->slot != REPLAY_NO_SLOT ? &slots[op->slot] : &none, is_timed);
    lane->kind_count[op->kind]++;
    if (is_parallel && op->hands_over) {
      turn_set(op->slot, op->turn + 1);
    }
  }
}

/* The four copies of the loop. */
static void chunk_run(struct lane *lane, const struct replay_op *op, size_t count) {
  if (plan->lane_count > 1) {
    LATENCY_EITHER(ops_run, lane, op, count, true);
  } else {
    LATENCY_EITHER(ops_run, lane, op, count, false);
  }
}

/* ---- between chunks, not timed ---- */

/* `advice` for the pages that operations [from, to) are in; the last only where they end with it
 * or `is_whole`. */
static void ops_advise(const struct replay_op *from, const struct replay_op *to, bool is_whole,
                       int advice) {
  uintptr_t mask = ~((uintptr_t)page_bytes - 1);
  uintptr_t begin = (uintptr_t)from & mask;
  uintptr_t end = ((uintptr_t)to + (is_whole ? page_bytes - 1 : 0)) & mask;
  if (end > begin) {
    madvise((void *)begin, end - begin, advice);
  }
}
static void ops_leave(const struct replay_op *from, const struct replay_op *to) {
  ops_advise(from, to, false, MADV_DONTNEED);
}
/* On an old kernel, which knows no such advice, they come by faults. */
static void ops_enter(const struct replay_op *from, size_t left) {
  ops_advise(from, from + (left < chunk_ops ? left : chunk_ops), true, MADV_POPULATE_READ);
}

static void sample_take(size_t count) {
  uint64_t step = plan->op_count / SAMPLES_MOST + 1;
  uint64_t before = atomic_fetch_add(&ops_seen, count);
  uint64_t now = before + count;
  if (now / step == before / step && now != plan->op_count) {
    return;
  }
  pthread_mutex_lock(&sample_lock);
  if (sample_count < SAMPLES_MOST + 1 &&
      (sample_count == 0 || samples[sample_count - 1].ops < now)) {
    samples[sample_count++] = (struct sample){now, bench_rss_bytes()};
  }
  pthread_mutex_unlock(&sample_lock);
}

static void lane_run(unsigned index, bool is_first_pass) {
  const struct replay_op *op = replay_ops(plan) + plan->lane[index].first_op;
  size_t left = plan->lane[index].op_count;
  bool is_alone = plan->lane_count == 1;
  while (left > 0) {
    size_t count = left < chunk_ops ? left : chunk_ops;
    chunk_run(&lanes[index], op, count);
    left -= count;
    struct bench_pause pause = bench_pause_begin();
    ops_leave(op, op + count);
    op += count;
    if (wants_samples && is_first_pass) {
      sample_take(count);
    }
    ops_enter(op, left);
    bench_pause_end(pause, is_alone);
  }
}

/* Frees what the recorded program had not, so that the trace can begin again. */
static void slots_clear(void) {
  struct bench_pause pause = bench_pause_begin();
  for (size_t i = 0; i < plan->slot_count; i++) {
    free(slots[i].object);
    slots[i] = (struct slot){NULL, 0};
  }
  turns_reset();
  bench_pause_end(pause, true);
}

/* Whether --ops or --seconds ask for one more pass; then all is ready for it. Of every lane. */
static bool pass_begins(unsigned index) {
  if (bench_options.ops == 0 && bench_options.seconds_ns == 0) {
    return false;
  }
  if (plan->lane_count > 1) {
    pthread_barrier_wait(&pass_barrier);
  }
  if (index == 0) {
    goes_on = bench_take(plan->op_count) != 0;
    if (goes_on) {
      slots_clear();
    }
  }
  if (plan->lane_count > 1) {
    pthread_barrier_wait(&pass_barrier);
  }
  return goes_on;
}

static void prepare(unsigned index) {
  ops_enter(replay_ops(plan) + plan->lane[index].first_op, plan->lane[index].op_count);
}

static uint64_t work(unsigned index) {
  uint64_t done = 0;
  if (index == 0) {
    bench_take(plan->op_count); /* the first pass */
  }
  do {
    lane_run(index, done == 0);
    done += plan->lane[index].op_count;
  } while (pass_begins(index));
  return done;
}

/* ---- the result ---- */

static void more_print(void) {
  uint64_t counts[REPLAY_KINDS] = {0};
  for (uint32_t i = 0; i < plan->lane_count; i++) {
    for (size_t kind = 0; kind < REPLAY_KINDS; kind++) {
      counts[kind] += lanes[i].kind_count[kind];
    }
  }
  if (!bench_options.json) {
    summary_counts_print(plan, counts);
    for (size_t i = 0; i < sample_count; i++) {
      printf("%12llu operations: RSS %llu KiB\n", (unsigned long long)samples[i].ops,
             (unsigned long long)samples[i].bytes / 1024);
    }
    return;
  }
  printf(",\"threads\":%u,\"replayed\":", plan->lane_count);
  summary_counts_json(counts);
  printf(",\"foreign\":%llu,\"truncated\":%s", (unsigned long long)plan->foreign,
         plan->is_truncated ? "true" : "false");
  if (wants_samples) {
    printf(",\"rss_samples\":[");
    for (size_t i = 0; i < sample_count; i++) {
      printf("%s[%llu,%llu]", i != 0 ? "," : "", (unsigned long long)samples[i].ops,
             (unsigned long long)samples[i].bytes);
    }
    putchar(']');
  }
}

static int replay(void) {
  if (plan->op_count == 0) {
    bench_fail("%s has no call to replay", (const char *)(uintptr_t)file_text);
  }
  uint64_t share = plan->op_count / SAMPLES_MOST / plan->lane_count + 1;
  chunk_ops = share < CHUNK_MOST ? share : CHUNK_MOST;
  slots = bench_map((plan->slot_count + 1ul) * sizeof *slots);
  lanes = bench_map(plan->lane_count * sizeof *lanes);
  samples = bench_map((SAMPLES_MOST + 1) * sizeof *samples);
  if (plan->lane_count > 1) {
    turns_make(plan->slot_count);
    pthread_barrier_init(&pass_barrier, NULL, plan->lane_count);
  }
  bench_record_more = more_print;
  bench_options.threads = plan->lane_count;
  return bench_parallel(prepare, work);
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"FILE", BENCH_TEXT, &file_text, 0, 0, NULL},
      {"--touch", BENCH_CHOICE, &touch_ends, 0, 0, "pages|ends"},
      {"--rss-samples", BENCH_SWITCH, &wants_samples, 0, 0, NULL},
      {"--summary", BENCH_SWITCH, &summary, 0, 0, NULL},
  };
  const struct bench_program program = {
      .name = "bench_replay", .flags = flags, .flag_count = BENCH_COUNT(flags),
      /* threads 0: as recorded; sizes are the trace's: --min and the like are refused */
  };
  bench_parse(argc, argv, &program);
  if (file_text == 0) {
    bench_fail("which trace? give its FILE (see --help)");
  }
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  plan = replay_read((const char *)(uintptr_t)file_text, bench_options.threads);
  if (summary) {
    summary_print(plan);
    bench_output_end("the summary");
    return 0;
  }
  return replay();
}
