/* bench_larson: a server's load. There are two arrays of objects a thread. In a round a thread
 * takes an array, replaces --round of its objects, picked at random (free the old, allocate a new
 * one of a random size, first and last byte written), puts the array at the queue's end and takes
 * the one at its front: most of what it frees, another thread has allocated. An operation is one
 * replacement. With --churn each round runs on a thread of its own, that ends with the round.
 * One round an array runs before the clock starts. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench_common.h"
#include "bench_latency.h"

#define OBJECTS_MAX (UINT64_C(1) << 24)
#define BYTES_MAX (UINT64_C(1) << 30)
#define ARRAYS_PER_THREAD 2u

static uint64_t objects = 1000, round_ops = 5000, churn, seed = 1;
static uint64_t min_bytes = 16, max_bytes = 1024;

struct array {
  uint64_t random;
  uint64_t ops; /* of the round at hand */
  void **object;
};

/* The queue always has room: it is as long as there are arrays. Guarded by `queue_lock`. */
static struct array *arrays;
static struct array **queue;
static size_t queue_length, queue_head, queue_count;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;

static void queue_push(struct array *array) {
  pthread_mutex_lock(&queue_lock);
  queue[(queue_head + queue_count++) % queue_length] = array;
  pthread_mutex_unlock(&queue_lock);
}

/* Never empty: each thread holds one array at most, and there are two a thread. */
static struct array *queue_pop(void) {
  pthread_mutex_lock(&queue_lock);
  struct array *array = queue[queue_head];
  queue_head = (queue_head + 1) % queue_length;
  queue_count--;
  pthread_mutex_unlock(&queue_lock);
  return array;
}

LATENCY_LOOP void *object_new(uint64_t draw, bool is_timed) {
  size_t bytes = bench_size(draw, min_bytes, max_bytes);
  return bench_touch(bench_malloc(bytes, is_timed), bytes);
}

LATENCY_LOOP void replace(struct array *array, bool is_timed) {
  void **object = array->object;
  uint64_t random = array->random;
  for (uint64_t i = 0; i < array->ops; i++) {
    uint64_t draw = bench_random(&random);
    size_t index = bench_scale((uint32_t)(draw >> 32), (uint32_t)objects);
    bench_free(object[index], is_timed);
    object[index] = object_new(draw, is_timed);
  }
  array->random = random;
}

static void round_run(struct array *array) { replace(array, false); }
static void round_run_timed(struct array *array) { replace(array, true); }

/* A round on a thread of its own, which records for the one that waits for it. */
struct server {
  struct array *array;
  struct bench_latency *latency;
};
static void *server_main(void *argument) {
  struct server *server = argument;
  bench_latency = server->latency;
  (bench_options.latency ? round_run_timed : round_run)(server->array);
  return NULL;
}

static void prepare(unsigned thread) {
  for (unsigned i = 0; i < ARRAYS_PER_THREAD; i++) {
    unsigned index = thread * ARRAYS_PER_THREAD + i;
    struct array *array = &arrays[index];
    array->random = bench_seed(seed, index);
    array->object = bench_map(objects * sizeof *array->object);
    for (size_t k = 0; k < objects; k++) {
      array->object[k] = object_new(bench_random(&array->random), false);
    }
    array->ops = round_ops;
    round_run(array);
    queue_push(array);
  }
}

static uint64_t work(unsigned thread) {
  (void)thread;
  uint64_t done = 0;
  for (uint64_t ops; (ops = bench_take(round_ops)) != 0; done += ops) {
    struct array *array = queue_pop();
    array->ops = ops;
    if (churn) {
      struct server job = {array, bench_latency};
      pthread_t server;
      int error = pthread_create(&server, NULL, server_main, &job);
      if (error != 0) {
        bench_fail("cannot start a thread: %s", strerror(error));
      }
      pthread_join(server, NULL);
    } else if (bench_options.latency) {
      round_run_timed(array);
    } else {
      round_run(array);
    }
    queue_push(array);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--objects", BENCH_NUMBER, &objects, 1, OBJECTS_MAX, NULL},
      {"--round", BENCH_NUMBER, &round_ops, 1, UINT64_C(1) << 32, NULL},
      {"--churn", BENCH_SWITCH, &churn, 0, 0, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, 1, BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, 1, BYTES_MAX, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_options.threads = 2;
  bench_parse(argc, argv, "bench_larson", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  bench_ops_default(20000000);
  queue_length = (size_t)bench_options.threads * ARRAYS_PER_THREAD;
  arrays = bench_map(queue_length * sizeof *arrays);
  queue = bench_map(queue_length * sizeof *queue);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
