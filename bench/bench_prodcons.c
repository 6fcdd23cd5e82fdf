/* bench_prodcons: --producers threads allocate, --consumers threads free (of --threads, that is
 * half of each, the odd one a producer). Objects travel in batches of 64, 64 batches at most on
 * their way. With --backlog B, B bytes of objects are made before the clock starts and consumers
 * stay that far behind: each object waits alive while B bytes more are made. Producers write the
 * first and last byte, consumers check both. An operation is one object made and one freed; the
 * backlog stays to the end, and the record says how many bytes were alive at most: those of a
 * batch from when it is made until a consumer takes it. With --no-objects all is the same, threads,
 * queue, backlog and draws, but each place in a batch has the address of one static byte: what is
 * resident then is not of the objects. */
#include <stdatomic.h>

#include "bench_common.h"
#include "bench_latency.h"
#include "bench_ring.h"

static uint64_t producers, consumers, backlog_bytes, backlog_batches, has_no_objects;
static unsigned char no_object; /* what stands for each with --no-objects */
/* With a backlog only: a line that all threads write to is part of no other measurement. */
static BENCH_OWN_LINES _Atomic uint64_t live_bytes;
static BENCH_OWN_LINES _Atomic uint64_t live_peak_bytes;

static void live_add(uint64_t bytes) {
  uint64_t now = atomic_fetch_add_explicit(&live_bytes, bytes, memory_order_relaxed) + bytes;
  uint64_t peak = atomic_load_explicit(&live_peak_bytes, memory_order_relaxed);
  while (now > peak && !atomic_compare_exchange_weak(&live_peak_bytes, &peak, now)) {
  }
}

LATENCY_LOOP void produce(struct ring_batch *batch, uint64_t count, uint64_t *random,
                          bool is_timed) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; i++) {
    size_t bytes = bench_draw_size(bench_random(random));
    sum += bytes;
    batch->object[i].byte = bench_touch(bench_malloc(bytes, is_timed), bytes);
    batch->object[i].bytes = bytes;
  }
  batch->count = count;
  batch->bytes = sum;
}

/* Loops of their own, so that those of a run with objects have no branch more. */
static void produce_none(struct ring_batch *batch, uint64_t count, uint64_t *random) {
  for (uint64_t i = 0; i < count; i++) {
    batch->object[i].byte = &no_object;
    batch->object[i].bytes = bench_draw_size(bench_random(random));
  }
  batch->count = count;
  batch->bytes = 0;
}

static void batch_send(uint64_t count, uint64_t *random) {
  struct ring_batch *batch = ring_fill_begin();
  if (has_no_objects) {
    produce_none(batch, count, random);
  } else {
    LATENCY_EITHER(produce, batch, count, random);
  }
  if (backlog_batches != 0) {
    live_add(batch->bytes);
  }
  ring_fill_end(batch);
}

static uint64_t producer_run(unsigned thread) {
  uint64_t random = bench_seed(bench_options.seed, thread), made = 0;
  for (uint64_t count; (count = bench_take(RING_BATCH_OBJECTS)) != 0; made += count) {
    batch_send(count, &random);
  }
  ring_filler_leave();
  return made;
}

LATENCY_LOOP void consume(const struct ring_batch *batch, bool is_timed) {
  for (uint64_t i = 0; i < batch->count; i++) {
    unsigned char *byte = batch->object[i].byte;
    size_t bytes = batch->object[i].bytes;
    if (byte[0] != (unsigned char)bytes || byte[bytes - 1] != (unsigned char)bytes) {
      bench_fail("an object of %zu bytes lost its contents", bytes);
    }
    bench_free(byte, is_timed);
  }
}

static void consume_none(const struct ring_batch *batch) {
  for (uint64_t i = 0; i < batch->count; i++) {
    if (batch->object[i].byte != &no_object) {
      bench_fail("a place in a batch lost its contents");
    }
  }
}

static void consumer_run(void) {
  for (struct ring_batch *batch; (batch = ring_drain_begin()) != NULL;) {
    if (backlog_batches != 0) {
      atomic_fetch_sub_explicit(&live_bytes, batch->bytes, memory_order_relaxed);
    }
    if (has_no_objects) {
      consume_none(batch);
    } else {
      LATENCY_EITHER(consume, batch);
    }
    ring_drain_end(batch);
  }
}

/* Without a backlog there is nothing to warm: the run's first milliseconds fill the ring. */
static void prepare(unsigned thread) {
  uint64_t random = bench_seed(bench_options.seed, BENCH_THREADS_MAX + thread);
  for (uint64_t i = thread; thread < producers && i < backlog_batches; i += producers) {
    batch_send(RING_BATCH_OBJECTS, &random);
  }
}

static uint64_t work(unsigned thread) {
  if (thread < producers) {
    return producer_run(thread);
  }
  consumer_run(); /* ends after all producers */
  if (thread == producers && backlog_batches != 0) {
    bench_record_add("live_peak_bytes", live_peak_bytes);
  }
  return 0;
}

/* --threads, --producers and --consumers: what is not given follows from what is. */
static void threads_split(void) {
  uint64_t threads = bench_options.threads;
  if (threads == 0) {
    producers = producers != 0 ? producers : 1;
    consumers = consumers != 0 ? consumers : 1;
    threads = producers + consumers;
  } else if (producers == 0) {
    consumers = consumers != 0 ? consumers : threads / 2;
    producers = consumers < threads ? threads - consumers : 0;
  } else if (consumers == 0) {
    consumers = producers < threads ? threads - producers : 0;
  }
  if (producers == 0 || consumers == 0 || producers + consumers != threads) {
    bench_fail("--threads %llu: must be the sum of --producers and --consumers, 1 of each at least",
               (unsigned long long)threads);
  }
  bench_options.threads = threads;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--producers", BENCH_NUMBER, &producers, 1, BENCH_THREADS_MAX / 2, NULL},
      {"--consumers", BENCH_NUMBER, &consumers, 1, BENCH_THREADS_MAX / 2, NULL},
      {"--backlog", BENCH_BYTES, &backlog_bytes, 1, UINT64_C(1) << 40, NULL},
      {"--no-objects", BENCH_SWITCH, &has_no_objects, 0, 0, NULL},
  };
  const struct bench_program program = {
      .name = "bench_prodcons",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .ops = 10000000,
      .min_bytes = 64,
      .max_bytes = 64,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  threads_split();
  if (has_no_objects && bench_options.latency) {
    bench_fail("--latency: with --no-objects there are no calls that could be timed");
  }
  uint64_t mean_bytes = (bench_options.min_bytes + bench_options.max_bytes + 1) / 2;
  backlog_batches = backlog_bytes / mean_bytes / RING_BATCH_OBJECTS;
  backlog_batches += backlog_bytes != 0; /* B bytes at least */
  ring_open(producers, backlog_batches);
  return bench_parallel(prepare, work);
}
