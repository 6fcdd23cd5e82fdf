/* bench_epoch: see bench_epoch.h. */
#define _GNU_SOURCE
#include "bench_epoch.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench_common.h"
#include "bench_latency.h"
#include "bench_record.h"

/* Arbitrary: so many operations between two looks at the clock (30 ns each). */
#define CHUNK_OPS 65536u
/* Arbitrary: the empty loop and the timed operations have 1/64 of an epoch each. 10 s of it time
 * some 2 million calls, 200 of them above p99.99. */
#define SLICE_PART 64u

uint64_t bench_epoch_ns;

static volatile sig_atomic_t signal_caught;

/* One epoch's sums. */
struct epoch {
  uint64_t ops; /* timed ones and others */
  uint64_t ops_per_s, floor_ops_per_s;
  uint64_t cpu_ps_per_op; /* picoseconds: whole numbers print without stdio's big-number memory */
  uint64_t faults;
};

struct slice {
  uint64_t ops, wall_ns;
};

static void signal_note(int number) { signal_caught = number; }

static void signals_catch(void) {
  struct sigaction action = {.sa_handler = signal_note, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

static uint64_t cpu_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t faults_now(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

static void line_write(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void line_write(const char *format, ...) {
  static char line[1024];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line, format, list);
  va_end(list);
  if (length < 0 || (size_t)length >= sizeof line) {
    bench_fail("an epoch's line does not fit");
  }
  for (size_t at = 0; at < (size_t)length;) {
    ssize_t written = write(STDOUT_FILENO, line + at, (size_t)length - at);
    if (written < 0 && errno != EINTR) {
      bench_fail("cannot write an epoch: %s", strerror(errno));
    }
    at += written > 0 ? (size_t)written : 0;
  }
}

static void empty_loop(unsigned thread, uint64_t ops, bool is_timed) {
  static uint64_t random = 1;
  (void)thread;
  (void)is_timed;
  uint64_t state = random;
  for (uint64_t i = 0; i < ops; i++) {
    bench_random(&state);
  }
  random = state;
}

/* One chunk at least, then chunks until the time is over or a signal came. */
static struct slice slice_run(void (*visit)(unsigned, uint64_t, bool), bool is_timed,
                              uint64_t until_ns) {
  uint64_t begin_ns = latency_now_ns(), now_ns, ops = 0;
  do {
    visit(0, CHUNK_OPS, is_timed);
    ops += CHUNK_OPS;
    now_ns = latency_now_ns();
  } while (now_ns < until_ns && signal_caught == 0);
  return (struct slice){.ops = ops, .wall_ns = now_ns - begin_ns};
}

/* The slices that visit objects are each between markers: what is read between them costs system
 * calls. */
static struct slice marked_run(void (*visit)(unsigned, uint64_t, bool), bool is_timed,
                               uint64_t until_ns) {
  bench_marker_emit(1);
  struct slice slice = slice_run(visit, is_timed, until_ns);
  bench_marker_emit(2);
  return slice;
}

static uint64_t per_second(struct slice slice) {
  return (uint64_t)((double)slice.ops * 1e9 / (double)(slice.wall_ns + (slice.wall_ns == 0)));
}

static struct epoch epoch_run(void (*visit)(unsigned, uint64_t, bool), uint64_t begin_ns) {
  uint64_t slice_ns = bench_epoch_ns / SLICE_PART;
  uint64_t faults = faults_now();
  memset(bench_latency, 0, sizeof *bench_latency);
  struct slice floor = slice_run(empty_loop, false, begin_ns + slice_ns);
  struct slice timed = marked_run(visit, true, begin_ns + 2 * slice_ns);
  uint64_t cpu_ns = cpu_now_ns();
  struct slice plain = marked_run(visit, false, begin_ns + bench_epoch_ns);
  cpu_ns = cpu_now_ns() - cpu_ns;
  return (struct epoch){
      .ops = timed.ops + plain.ops,
      .ops_per_s = per_second(plain),
      .floor_ops_per_s = per_second(floor),
      .cpu_ps_per_op = (uint64_t)((double)cpu_ns * 1000 / (double)plain.ops),
      .faults = faults_now() - faults,
  };
}

static void epoch_print(uint64_t index, uint64_t time_ns, const struct epoch *epoch) {
  uint64_t rss = bench_rss_bytes();
  uint64_t peak = record_rss_peak_bytes();
  const struct bench_latency *of = bench_latency;
#define NUMBER(value) ((unsigned long long)(value))
  line_write("{\"epoch\":%llu,\"time_ns\":%llu,\"ops\":%llu,\"ops_per_s\":%llu,"
             "\"cpu_ns_per_op\":%llu.%03llu,\"floor_ops_per_s\":%llu,\"rss_bytes\":%llu,"
             "\"rss_peak_bytes\":%llu,\"faults\":%llu,\"p50_ns\":%llu,\"p99_ns\":%llu,"
             "\"p99_9_ns\":%llu,\"p99_99_ns\":%llu,\"max_ns\":%llu}\n",
             NUMBER(index), NUMBER(time_ns), NUMBER(epoch->ops), NUMBER(epoch->ops_per_s),
             NUMBER(epoch->cpu_ps_per_op / 1000), NUMBER(epoch->cpu_ps_per_op % 1000),
             NUMBER(epoch->floor_ops_per_s), NUMBER(rss), NUMBER(peak), NUMBER(epoch->faults),
             NUMBER(latency_quantile_ns(of, 0.5)), NUMBER(latency_quantile_ns(of, 0.99)),
             NUMBER(latency_quantile_ns(of, 0.999)), NUMBER(latency_quantile_ns(of, 0.9999)),
             NUMBER(of->max_ns));
#undef NUMBER
}

static void options_check(void) {
  if (bench_options.seconds_ns == 0 || bench_options.ops != 0) {
    bench_fail("--epoch-seconds needs --seconds, and takes no --ops");
  }
  if (bench_epoch_ns > bench_options.seconds_ns) {
    bench_fail("--epoch-seconds is above --seconds");
  }
  if (bench_options.threads != 1 || bench_options.latency) {
    bench_fail("--epoch-seconds takes one thread, and no --latency: each epoch has its own");
  }
}

int bench_epochs_run(const char *program, void (*prepare)(unsigned thread),
                     void (*visit)(unsigned thread, uint64_t ops, bool is_timed)) {
  char allocator[256];
  options_check();
  signals_catch();
  bench_latency = bench_map(sizeof *bench_latency);
  record_allocator_name(allocator, sizeof allocator);
  line_write("{\"schema\":1,\"bench\":\"%s\",\"allocator\":\"%s\",\"pid\":%ld}\n", program,
             allocator, (long)getpid());
  prepare(0);
  uint64_t start_ns = latency_now_ns(), now_ns = start_ns;
  for (uint64_t index = 0; now_ns - start_ns < bench_options.seconds_ns; index++) {
    struct epoch epoch = epoch_run(visit, now_ns);
    if (signal_caught != 0) {
      return 128 + signal_caught;
    }
    now_ns = latency_now_ns();
    epoch_print(index, now_ns - start_ns, &epoch);
  }
  return 0;
}
