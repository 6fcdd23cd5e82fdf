/* bench_larson: a server's load. There are two arrays of objects a thread. In a round a thread
 * takes an array, replaces --round of its objects, picked at random (free the old, allocate a new
 * one of a random size, first and last byte written), puts the array at the queue's end and takes
 * the one at its front: most of what it frees, another thread has allocated. An operation is one
 * replacement. With --churn each round runs on a thread of its own, that ends with the round.
 * One round an array runs before the clock starts. */
#include <pthread.h>

#include "bench_slots.h"

#define ARRAYS_PER_THREAD 2u

static uint64_t objects = 1000, round_ops = 5000, churn;

struct array {
  struct bench_slots slots;
  uint64_t ops; /* of the round at hand */
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

static void round_run(void *argument) {
  struct array *array = argument;
  LATENCY_EITHER(slots_replace, &array->slots, array->ops, slots_malloc);
}

static void prepare(unsigned thread) {
  for (unsigned i = 0; i < ARRAYS_PER_THREAD; i++) {
    unsigned index = thread * ARRAYS_PER_THREAD + i;
    slots_fill(&arrays[index].slots, objects, index, slots_malloc);
    slots_replace(&arrays[index].slots, round_ops, slots_malloc, false);
    queue_push(&arrays[index]);
  }
}

static uint64_t work(unsigned thread) {
  (void)thread;
  uint64_t done = 0;
  for (uint64_t ops; (ops = bench_take(round_ops)) != 0; done += ops) {
    struct array *array = queue_pop();
    array->ops = ops;
    if (churn) {
      bench_on_new_thread(round_run, array);
    } else {
      round_run(array);
    }
    queue_push(array);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--objects", BENCH_NUMBER, &objects, 1, SLOTS_MAX, NULL},
      {"--round", BENCH_NUMBER, &round_ops, 1, UINT64_C(1) << 32, NULL},
      {"--churn", BENCH_SWITCH, &churn, 0, 0, NULL},
  };
  struct bench_program program = {
      .name = "bench_larson",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 2,
      .ops = 20000000,
      .min_bytes = 16,
      .max_bytes = 1024,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  program.starts_threads = churn != 0;
  queue_length = (size_t)bench_options.threads * ARRAYS_PER_THREAD;
  arrays = bench_map(queue_length * sizeof *arrays);
  queue = bench_map(queue_length * sizeof *queue);
  return bench_parallel(prepare, work);
}
