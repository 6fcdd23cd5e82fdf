/* bench_common: see bench_common.h. */
#define _GNU_SOURCE
#include "bench_common.h"

#include "bench_latency.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct bench_options bench_options = {.threads = 1};
void (*bench_result_more)(void);

static const char *program_name = "bench";
static int arg_count;
static char **args;

static _Atomic uint64_t ops_taken;
static uint64_t deadline_ns; /* 0: none; written before the threads are let go */

void bench_fail(const char *format, ...) {
  char line[256];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  fprintf(stderr, "%s: %s\n", program_name, line);
  exit(2);
}

void *bench_map(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    bench_fail("cannot map %zu bytes: %s", bytes, strerror(errno));
  }
  return memory;
}

/* ---- command line ---- */

static uint64_t number_parse(const char *name, const char *text, uint64_t least, uint64_t most) {
  char *end = NULL;
  errno = 0;
  unsigned long long value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
  if (end == NULL || *end != '\0' || errno != 0 || value < least || value > most) {
    bench_fail("%s must be a whole number from %llu to %llu, not '%s'", name,
               (unsigned long long)least, (unsigned long long)most, text);
  }
  return value;
}

static uint64_t seconds_parse(const char *name, const char *text) {
  char *end = NULL;
  double value = text[0] == '.' || (text[0] >= '0' && text[0] <= '9') ? strtod(text, &end) : 0;
  if (end == NULL || *end != '\0' || !(value > 0 && value <= 1e6)) {
    bench_fail("%s must be a number of seconds above 0, at most 1000000, not '%s'", name, text);
  }
  return (uint64_t)(value * 1e9) + 1;
}

static uint64_t choice_parse(const char *name, const char *text, const char *choices) {
  size_t length = strlen(text);
  uint64_t index = 0;
  for (const char *at = choices; at != NULL; index++) {
    const char *bar = strchr(at, '|');
    size_t span = bar != NULL ? (size_t)(bar - at) : strlen(at);
    if (span == length && memcmp(at, text, length) == 0) {
      return index;
    }
    at = bar != NULL ? bar + 1 : NULL;
  }
  bench_fail("%s must be one of %s, not '%s'", name, choices, text);
}

static void value_parse(const struct bench_flag *flag, const char *text) {
  switch (flag->kind) {
  case BENCH_NUMBER:
    *flag->value = number_parse(flag->name, text, flag->least, flag->most);
    break;
  case BENCH_SECONDS:
    *flag->value = seconds_parse(flag->name, text);
    break;
  case BENCH_CHOICE:
    *flag->value = choice_parse(flag->name, text, flag->choices);
    break;
  case BENCH_SWITCH:
    *flag->value = 1;
    break;
  case BENCH_TEXT:
    *flag->value = (uintptr_t)text;
    break;
  }
}

noreturn static void usage_print(const struct bench_flag *flags, size_t flag_count) {
  static const char *const values[] = {
      [BENCH_NUMBER] = "N", [BENCH_SECONDS] = "S", [BENCH_TEXT] = "TEXT"};
  printf("usage: %s", program_name);
  for (size_t i = 0; i < flag_count; i++) {
    const struct bench_flag *flag = &flags[i];
    if (flag->kind == BENCH_SWITCH || flag->name[0] != '-') {
      printf(" [%s]", flag->name);
    } else {
      printf(" [%s %s]", flag->name,
             flag->kind == BENCH_CHOICE ? flag->choices : values[flag->kind]);
    }
  }
  printf("\n");
  exit(0);
}

static const struct bench_flag *flag_find(const struct bench_flag *flags, size_t flag_count,
                                          const char *name) {
  for (size_t i = 0; i < flag_count; i++) {
    if (strcmp(flags[i].name, name) == 0) {
      return &flags[i];
    }
  }
  return NULL;
}

void bench_parse(int argc, char **argv, const char *program, const struct bench_flag *flags,
                 size_t flag_count) {
  program_name = program;
  arg_count = argc;
  args = argv;
  size_t positional = 0;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      usage_print(flags, flag_count);
    }
    if (argv[i][0] == '-') {
      const struct bench_flag *flag = flag_find(flags, flag_count, argv[i]);
      if (flag == NULL) {
        bench_fail("unknown option '%s' (see --help)", argv[i]);
      }
      if (flag->kind != BENCH_SWITCH && ++i >= argc) {
        bench_fail("%s needs a value", flag->name);
      }
      value_parse(flag, argv[i]);
      continue;
    }
    while (positional < flag_count && flags[positional].name[0] == '-') {
      positional++;
    }
    if (positional == flag_count) {
      bench_fail("unexpected argument '%s' (see --help)", argv[i]);
    }
    value_parse(&flags[positional++], argv[i]);
  }
}

void bench_sizes_check(uint64_t min_bytes, uint64_t max_bytes) {
  if (min_bytes > max_bytes) {
    bench_fail("--min is above --max");
  }
}

void bench_ops_default(uint64_t ops) {
  if (bench_options.ops == 0 && bench_options.seconds_ns == 0) {
    bench_options.ops = ops;
  }
}

uint64_t bench_env_number(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? number_parse(name, text, 0, UINT64_C(1) << 48) : otherwise;
}

/* ---- clocks and memory ---- */

struct reading {
  uint64_t cpu_ns, wall_ns, faults;
};

/* One a thread, then the sum of all; NULL without --latency. */
static struct bench_latency *latencies[BENCH_THREADS_MAX];

/* After the warm-up, which is not recorded. */
static void latency_begin(unsigned thread) {
  if (bench_options.latency) {
    bench_latency = latencies[thread] = bench_map(sizeof *bench_latency);
  }
}

/* While the threads wait. */
static struct latency_summary latency_end(unsigned threads) {
  for (unsigned i = 1; i < threads; i++) {
    latency_merge(latencies[0], latencies[i]);
  }
  return latency_summarize(latencies[0]);
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static struct reading reading_take(unsigned threads) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (struct reading){
      .cpu_ns = clock_ns(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID),
      .wall_ns = clock_ns(CLOCK_MONOTONIC),
      .faults = (uint64_t)(usage.ru_minflt + usage.ru_majflt),
  };
}

static _Atomic uint64_t paused_cpu_ns, paused_wall_ns, paused_faults;

struct bench_pause bench_pause_begin(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return (struct bench_pause){
      .cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID),
      .wall_ns = clock_ns(CLOCK_MONOTONIC),
      .faults = (uint64_t)(usage.ru_minflt + usage.ru_majflt),
  };
}

void bench_pause_end(struct bench_pause begin, bool is_alone) {
  struct bench_pause end = bench_pause_begin();
  atomic_fetch_add(&paused_cpu_ns, end.cpu_ns - begin.cpu_ns);
  atomic_fetch_add(&paused_wall_ns, is_alone ? end.wall_ns - begin.wall_ns : 0);
  atomic_fetch_add(&paused_faults, end.faults - begin.faults);
}

/* The number of KiB after `key` in a /proc file, in bytes. open and read, not stdio: a stream's
 * buffer would come from the allocator that is being measured. */
static uint64_t proc_bytes(const char *path, const char *key) {
  static char text[8192];
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    bench_fail("cannot open %s: %s", path, strerror(errno));
  }
  size_t length = 0;
  ssize_t got;
  while (length < sizeof text - 1 &&
         (got = read(file, text + length, sizeof text - 1 - length)) > 0) {
    length += (size_t)got;
  }
  close(file);
  text[length] = '\0';
  const char *at = strstr(text, key);
  if (at == NULL) {
    bench_fail("no '%s' in %s", key, path);
  }
  return strtoull(at + strlen(key), NULL, 10) * 1024;
}

uint64_t bench_rss_bytes(void) { return proc_bytes("/proc/self/smaps_rollup", "Rss:"); }

#ifdef BENCH_FLOOR
static void allocator_name(char *name, size_t size) { snprintf(name, size, "floor"); }
#else
static const char *library_of(const char *symbol) {
  Dl_info info;
  void *address = dlsym(RTLD_DEFAULT, symbol);
  if (address == NULL || dladdr(address, &info) == 0 || info.dli_fname == NULL) {
    return "static";
  }
  const char *slash = strrchr(info.dli_fname, '/');
  return slash != NULL ? slash + 1 : info.dli_fname;
}

/* The library whose malloc and free this process calls: the proof that a preload took over. */
static void allocator_name(char *name, size_t size) {
  const char *allocates = library_of("malloc");
  const char *frees = library_of("free");
  if (strcmp(allocates, frees) == 0) {
    snprintf(name, size, "%s", allocates);
  } else {
    snprintf(name, size, "%s and %s", allocates, frees);
  }
}
#endif

static void json_string_print(const char *text) {
  putchar('"');
  for (; *text != '\0'; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') {
      printf("\\%c", c);
    } else if (c < 0x20) {
      printf("\\u%04x", c);
    } else {
      putchar(c);
    }
  }
  putchar('"');
}

static void latency_print(struct latency_summary s) {
  const char *format =
      bench_options.json
          ? ",\"latency\":{\"calls\":%llu,\"timer_ns\":%llu,\"p50_ns\":%llu,\"p90_ns\":%llu,"
            "\"p99_ns\":%llu,\"p99_9_ns\":%llu,\"p99_99_ns\":%llu,\"max_ns\":%llu}"
          : "latency of %llu calls (%llu ns of each are the clock's): p50 %llu, p90 %llu, p99 "
            "%llu, "
            "p99.9 %llu, p99.99 %llu, max %llu ns\n";
  printf(format, (unsigned long long)s.calls, (unsigned long long)s.timer_ns,
         (unsigned long long)s.p50_ns, (unsigned long long)s.p90_ns, (unsigned long long)s.p99_ns,
         (unsigned long long)s.p99_9_ns, (unsigned long long)s.p99_99_ns,
         (unsigned long long)s.max_ns);
}

static void result_print(unsigned threads, uint64_t ops, struct reading begin, struct reading end) {
  /* Memory first: all that follows may allocate. */
  uint64_t rss_end = bench_rss_bytes();
  uint64_t rss_peak = proc_bytes("/proc/self/status", "VmHWM:");
  if (rss_peak < rss_end) {
    rss_peak = rss_end; /* the kernel counts the peak in batches, so it may lag */
  }
  uint64_t cpu_ns = end.cpu_ns - begin.cpu_ns - atomic_load(&paused_cpu_ns);
  uint64_t wall_ns = end.wall_ns - begin.wall_ns - atomic_load(&paused_wall_ns);
  uint64_t faults = end.faults - begin.faults - atomic_load(&paused_faults);
  char allocator[256];
  allocator_name(allocator, sizeof allocator);
  if (!bench_options.json) {
    double per = ops != 0 ? (double)ops : 1;
    printf("%s: %.2f ns an operation (CPU), %.2f ns (wall), %llu operations, RSS %llu KiB, peak "
           "%llu KiB, %llu faults, %s\n",
           program_name, (double)cpu_ns / per, (double)wall_ns / per, (unsigned long long)ops,
           (unsigned long long)rss_end / 1024, (unsigned long long)rss_peak / 1024,
           (unsigned long long)faults, allocator);
    if (bench_options.latency) {
      latency_print(latency_end(threads));
    }
    if (bench_result_more != NULL) {
      bench_result_more();
    }
    return;
  }
  printf("{\"schema\":1,\"bench\":\"%s\",\"args\":[", program_name);
  for (int i = 1; i < arg_count; i++) {
    if (i > 1) {
      putchar(',');
    }
    json_string_print(args[i]);
  }
  printf("],\"ops\":%llu,\"cpu_ns\":%llu,\"wall_ns\":%llu,\"rss_end_bytes\":%llu,"
         "\"rss_peak_bytes\":%llu,\"faults\":%llu,\"allocator\":",
         (unsigned long long)ops, (unsigned long long)cpu_ns, (unsigned long long)wall_ns,
         (unsigned long long)rss_end, (unsigned long long)rss_peak, (unsigned long long)faults);
  json_string_print(allocator);
  if (bench_options.latency) {
    latency_print(latency_end(threads));
  }
  if (bench_result_more != NULL) {
    bench_result_more();
  }
  printf("}\n");
}

/* ---- the run ---- */

uint64_t bench_take(uint64_t chunk) {
  /* One block a thread whatever the time: on a busy machine a thread may start too late for any,
   * and a run without operations has no figure. */
  static _Thread_local bool has_taken;
  if (deadline_ns != 0 && has_taken && clock_ns(CLOCK_MONOTONIC) >= deadline_ns) {
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

static struct reading run_begin(unsigned threads) {
  struct reading begin = reading_take(threads);
  deadline_ns = bench_options.seconds_ns != 0 ? begin.wall_ns + bench_options.seconds_ns : 0;
  marker_emit(1);
  return begin;
}

static struct reading run_end(unsigned threads) {
  marker_emit(2);
  return reading_take(threads);
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
  latency_begin(index);
  pthread_barrier_wait(&ready);
  pthread_barrier_wait(&go);
  atomic_fetch_add(&ops_done, thread_work(index));
  pthread_barrier_wait(&done);
  /* The memory is read while the threads still hold their heaps. */
  pthread_barrier_wait(&leave);
  return NULL;
}

static void parallel_run(unsigned threads) {
  pthread_t *thread = bench_map(threads * sizeof *thread);
  pthread_barrier_init(&ready, NULL, threads + 1);
  pthread_barrier_init(&go, NULL, threads + 1);
  pthread_barrier_init(&done, NULL, threads + 1);
  pthread_barrier_init(&leave, NULL, threads + 1);
  for (unsigned i = 0; i < threads; i++) {
    int error = pthread_create(&thread[i], NULL, thread_main, (void *)(uintptr_t)i);
    if (error != 0) {
      bench_fail("cannot start thread %u: %s", i, strerror(error));
    }
  }
  pthread_barrier_wait(&ready);
  struct reading begin = run_begin(threads);
  pthread_barrier_wait(&go);
  pthread_barrier_wait(&done);
  struct reading end = run_end(threads);
  result_print(threads, atomic_load(&ops_done), begin, end);
  pthread_barrier_wait(&leave);
  for (unsigned i = 0; i < threads; i++) {
    pthread_join(thread[i], NULL);
  }
}

void bench_parallel(unsigned threads, void (*prepare)(unsigned index),
                    uint64_t (*work)(unsigned index)) {
  thread_prepare = prepare;
  thread_work = work;
  if (threads == 1) {
    prepare(0);
    latency_begin(0);
    struct reading begin = run_begin(1);
    uint64_t ops = work(0);
    struct reading end = run_end(1);
    result_print(1, ops, begin, end);
  } else {
    parallel_run(threads);
  }
  if (fflush(stdout) != 0) {
    bench_fail("cannot write the result: %s", strerror(errno));
  }
}
