/* bench_prodcons: --producers threads allocate, --consumers threads free. Objects travel in batches
 * of 64 through a bounded ring of 64 batches, so that at most 4,096 are on their way. Producers
 * write the first and last byte, consumers check both. An operation is one object, from malloc to
 * free. */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench_common.h"
#include "bench_latency.h"

#define BATCH_OBJECTS 64u
#define RING_BATCHES 64u
#define BYTES_MAX (UINT64_C(1) << 30)
/* Arbitrary: looks at a batch's turn, some 5 microseconds, before the core is given to another. */
#define SPINS_BEFORE_YIELD 256u

static uint64_t producers = 1, consumers = 1, seed = 1;
static uint64_t min_bytes = 64, max_bytes = 64;

/* A ticket ring: the batch of ticket t may be filled when turn == t, emptied when turn == t + 1,
 * and then is ticket t + RING_BATCHES's. */
struct batch {
  _Alignas(64) _Atomic uint64_t turn;
  uint64_t count; /* 0: the consumer's end */
  struct {
    unsigned char *byte;
    size_t bytes;
  } object[BATCH_OBJECTS];
};
static struct batch ring[RING_BATCHES];
static _Alignas(64) _Atomic uint64_t fill_ticket;
static _Alignas(64) _Atomic uint64_t drain_ticket;
static _Alignas(64) _Atomic uint64_t producers_left;

static struct batch *batch_await(uint64_t ticket, uint64_t turn) {
  struct batch *batch = &ring[ticket % RING_BATCHES];
  for (unsigned spins = 0; atomic_load_explicit(&batch->turn, memory_order_acquire) != turn;
       spins++) {
    if (spins >= SPINS_BEFORE_YIELD) {
      sched_yield();
    } else {
#ifdef __x86_64__
      __builtin_ia32_pause();
#endif
    }
  }
  return batch;
}

LATENCY_LOOP void produce(struct batch *batch, uint64_t count, uint64_t *random, bool is_timed) {
  for (uint64_t i = 0; i < count; i++) {
    size_t bytes = bench_size(bench_random(random), min_bytes, max_bytes);
    batch->object[i].byte = bench_touch(bench_malloc(bytes, is_timed), bytes);
    batch->object[i].bytes = bytes;
  }
  batch->count = count;
}

static void batch_send(uint64_t count, uint64_t *random) {
  uint64_t ticket = atomic_fetch_add(&fill_ticket, 1);
  struct batch *batch = batch_await(ticket, ticket);
  LATENCY_EITHER(produce, batch, count, random);
  atomic_store_explicit(&batch->turn, ticket + 1, memory_order_release);
}

static void producer_run(unsigned index) {
  uint64_t random = bench_seed(seed, index);
  for (uint64_t count; (count = bench_take(BATCH_OBJECTS)) != 0;) {
    batch_send(count, &random);
  }
  if (atomic_fetch_sub(&producers_left, 1) == 1) {
    for (uint64_t i = 0; i < consumers; i++) {
      batch_send(0, &random);
    }
  }
}

LATENCY_LOOP void consume(const struct batch *batch, uint64_t count, bool is_timed) {
  for (uint64_t i = 0; i < count; i++) {
    unsigned char *byte = batch->object[i].byte;
    size_t bytes = batch->object[i].bytes;
    if (byte[0] != (unsigned char)bytes || byte[bytes - 1] != (unsigned char)bytes) {
      bench_fail("an object of %zu bytes lost its contents", bytes);
    }
    bench_free(byte, is_timed);
  }
}

static uint64_t consumer_run(void) {
  uint64_t done = 0;
  for (;;) {
    uint64_t ticket = atomic_fetch_add(&drain_ticket, 1);
    struct batch *batch = batch_await(ticket, ticket + 1);
    uint64_t count = batch->count;
    LATENCY_EITHER(consume, batch, count);
    atomic_store_explicit(&batch->turn, ticket + RING_BATCHES, memory_order_release);
    if (count == 0) {
      return done;
    }
    done += count;
  }
}

/* Nothing to warm: the ring holds 4,096 objects at most, and the run's first few milliseconds fill
 * it. */
static void prepare(unsigned thread) { (void)thread; }

static uint64_t work(unsigned thread) {
  if (thread < producers) {
    producer_run(thread);
    return 0;
  }
  return consumer_run();
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--producers", BENCH_NUMBER, &producers, 1, BENCH_THREADS_MAX / 2, NULL},
      {"--consumers", BENCH_NUMBER, &consumers, 1, BENCH_THREADS_MAX / 2, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, 1, BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, 1, BYTES_MAX, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_prodcons", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  bench_ops_default(10000000);
  for (uint64_t i = 0; i < RING_BATCHES; i++) {
    ring[i].turn = i;
  }
  producers_left = producers;
  bench_parallel((unsigned)(producers + consumers), prepare, work);
  return 0;
}
