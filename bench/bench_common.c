/* bench_common: see bench_common.h. Here is the run: the budget, the threads, the timed part. */
#define _GNU_SOURCE
#include "bench_common.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "bench_latency.h"
#include "bench_record.h"

static _Atomic uint64_t ops_taken;
static uint64_t deadline_ns; /* 0: none; written before the threads are let go */

void *bench_map(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    bench_fail("cannot map %zu bytes: %s", bytes, strerror(errno));
  }
  return memory;
}

uint64_t bench_take(uint64_t chunk) {
  /* One block a thread whatever the time: on a busy machine a thread may start too late for any,
   * and a run without operations has no figure. */
  static _Thread_local bool has_taken;
  if (deadline_ns != 0 && has_taken && latency_now_ns() >= deadline_ns) {
    return 0;
  }
  has_taken = true;
  if (bench_options.ops == 0) {
    return chunk;
  }
  uint64_t taken = atomic_fetch_add_explicit(&ops_taken, chunk, memory_order_relaxed);
  if (taken >= bench_options.ops) {
    return 0;
  }
  uint64_t left = bench_options.ops - taken;
  return left < chunk ? left : chunk;
}

uint64_t bench_chunks(unsigned thread, uint64_t chunk,
                      void (*visit)(unsigned thread, uint64_t ops)) {
  uint64_t done = 0;
  for (uint64_t ops; (ops = bench_take(chunk)) != 0; done += ops) {
    visit(thread, ops);
  }
  return done;
}

static void marker_emit(unsigned long which) {
  if (bench_options.markers) {
    prctl((int)BENCH_MARKER, which, 0ul, 0ul, 0ul);
  }
}

static struct record_reading run_begin(void) {
  struct record_reading begin = record_read();
  deadline_ns = bench_options.seconds_ns != 0 ? begin.wall_ns + bench_options.seconds_ns : 0;
  marker_emit(1);
  return begin;
}

static struct record_reading run_end(void) {
  marker_emit(2);
  return record_read();
}

static void (*thread_prepare)(unsigned index);
static uint64_t (*thread_work)(unsigned index);
static pthread_barrier_t ready, go, done, leave;
static _Atomic uint64_t ops_done;

/* One core a thread, in turn. Left to itself the kernel may keep two threads that wake each other
 * on one core, and then no cache line ever moves: that would measure something else. */
static void thread_place(unsigned index) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return; /* more cores than the set holds: the kernel places the threads */
  }
  unsigned turn = index % (unsigned)CPU_COUNT(&allowed);
  for (int core = 0; core < CPU_SETSIZE; core++) {
    if (CPU_ISSET(core, &allowed) && turn-- == 0) {
      CPU_ZERO(&one);
      CPU_SET(core, &one);
      pthread_setaffinity_np(pthread_self(), sizeof one, &one);
      return;
    }
  }
}

static void *thread_main(void *argument) {
  unsigned index = (unsigned)(uintptr_t)argument;
  thread_place(index);
  thread_prepare(index);
  record_latency_begin(index);
  pthread_barrier_wait(&ready);
  pthread_barrier_wait(&go);
  atomic_fetch_add(&ops_done, thread_work(index));
  pthread_barrier_wait(&done);
  /* The memory is read while the threads still hold their heaps. */
  pthread_barrier_wait(&leave);
  return NULL;
}

static pthread_t thread_start(void *(*body)(void *), void *argument) {
  pthread_t thread;
  int error = pthread_create(&thread, NULL, body, argument);
  if (error != 0) {
    bench_fail("cannot start a thread: %s", strerror(error));
  }
  return thread;
}

static int parallel_run(unsigned threads) {
  pthread_t *thread = bench_map(threads * sizeof *thread);
  pthread_barrier_init(&ready, NULL, threads + 1);
  pthread_barrier_init(&go, NULL, threads + 1);
  pthread_barrier_init(&done, NULL, threads + 1);
  pthread_barrier_init(&leave, NULL, threads + 1);
  for (unsigned i = 0; i < threads; i++) {
    thread[i] = thread_start(thread_main, (void *)(uintptr_t)i);
  }
  pthread_barrier_wait(&ready);
  struct record_reading begin = run_begin();
  pthread_barrier_wait(&go);
  pthread_barrier_wait(&done);
  struct record_reading end = run_end();
  int status = record_finish(atomic_load(&ops_done), begin, end);
  pthread_barrier_wait(&leave);
  for (unsigned i = 0; i < threads; i++) {
    pthread_join(thread[i], NULL);
  }
  return status;
}

int bench_parallel(void (*prepare)(unsigned index), uint64_t (*work)(unsigned index)) {
  if (bench_options.threads > 1) {
    thread_prepare = prepare;
    thread_work = work;
    return parallel_run((unsigned)bench_options.threads);
  }
  prepare(0);
  record_latency_begin(0);
  struct record_reading begin = run_begin();
  uint64_t ops = work(0);
  struct record_reading end = run_end();
  return record_finish(ops, begin, end);
}

struct guest {
  void (*run)(void *);
  void *argument;
  struct bench_latency *latency;
};

static void *guest_main(void *argument) {
  struct guest *guest = argument;
  bench_latency = guest->latency;
  guest->run(guest->argument);
  return NULL;
}

void bench_on_new_thread(void (*run)(void *), void *argument) {
  struct guest guest = {run, argument, bench_latency};
  pthread_join(thread_start(guest_main, &guest), NULL);
}
