/* bench_record: see bench_record.h. */
#define _GNU_SOURCE
#include "bench_record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench_latency.h"

/* ---- clocks ---- */

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

struct record_reading record_read(void) {
  bool is_one_thread = bench_options.threads == 1 && !record_command.program->starts_threads;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (struct record_reading){
      .cpu_ns = clock_ns(is_one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID),
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

/* One a thread, then the sum of all; NULL without --latency. */
static struct bench_latency *latencies[BENCH_THREADS_MAX];

void record_latency_begin(unsigned thread) {
  if (bench_options.latency) {
    bench_latency = latencies[thread] = bench_map(sizeof *bench_latency);
  }
}

/* ---- memory ---- */

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

static uint64_t rss_seen_bytes; /* the highest RSS read so far */

uint64_t bench_rss_bytes(void) {
  uint64_t rss = proc_bytes("/proc/self/smaps_rollup", "Rss:");
  if (rss > rss_seen_bytes) {
    rss_seen_bytes = rss;
  }
  return rss;
}

/* VmHWM is the highest value of counters that each core adds to in batches of 32 pages, so it may
 * lie some 100 KiB a core below what smaps_rollup, which walks the pages, has said. */
uint64_t record_rss_peak_bytes(void) {
  uint64_t peak = proc_bytes("/proc/self/status", "VmHWM:");
  return peak > rss_seen_bytes ? peak : rss_seen_bytes;
}

/* ---- the allocator ---- */

#ifdef BENCH_FLOOR
void record_allocator_name(char *name, size_t size) { snprintf(name, size, "floor"); }
#else
/* Only in a program that has hakmem's archive linked in is it the program's own. */
extern const char *hak_version(void) __attribute__((weak));

static bool is_of_program(const void *address) {
  Dl_info own, other;
  return dladdr(&bench_options, &own) != 0 && dladdr(address, &other) != 0 &&
         own.dli_fbase == other.dli_fbase;
}

static const char *library_of(const char *symbol) {
  Dl_info info;
  void *address = dlsym(RTLD_DEFAULT, symbol);
  if (address == NULL || is_of_program(address)) {
    return hak_version != NULL && is_of_program((const void *)(uintptr_t)hak_version)
               ? "hakmem (static)"
               : "static";
  }
  if (dladdr(address, &info) == 0 || info.dli_fname == NULL) {
    return "unknown";
  }
  const char *slash = strrchr(info.dli_fname, '/');
  return slash != NULL ? slash + 1 : info.dli_fname;
}

void record_allocator_name(char *name, size_t size) {
  const char *allocates = library_of("malloc");
  const char *frees = library_of("free");
  if (strcmp(allocates, frees) == 0) {
    snprintf(name, size, "%s", allocates);
  } else {
    snprintf(name, size, "%s and %s", allocates, frees);
  }
}
#endif

/* ---- the record ---- */

struct record {
  uint64_t ops, cpu_ns, wall_ns, rss_end_bytes, rss_peak_bytes, faults;
  char allocator[256];
  const struct bench_latency *latency; /* NULL: not asked for */
};

static double per_operation(uint64_t ns, const struct record *r) {
  return (double)ns / (r->ops != 0 ? (double)r->ops : 1);
}

void (*bench_record_more)(void);

#define ADDED_MAX 4u
static struct {
  const char *name;
  uint64_t value;
} added[ADDED_MAX];
static size_t added_count;

void bench_record_add(const char *name, uint64_t value) {
  if (added_count == ADDED_MAX) {
    bench_fail("no room for %s in the record", name);
  }
  added[added_count].name = name;
  added[added_count++].value = value;
}

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
            "\"p99_ns\":%llu,\"p99_9_ns\":%llu,\"p99_99_ns\":%llu,\"max_ns\":%llu"
          : "latency of %llu calls (%llu ns of each are the clock's): p50 %llu, p90 %llu, p99 "
            "%llu, "
            "p99.9 %llu, p99.99 %llu, max %llu ns\n";
  printf(format, (unsigned long long)s.calls, (unsigned long long)s.timer_ns,
         (unsigned long long)s.p50_ns, (unsigned long long)s.p90_ns, (unsigned long long)s.p99_ns,
         (unsigned long long)s.p99_9_ns, (unsigned long long)s.p99_99_ns,
         (unsigned long long)s.max_ns);
}

/* The buckets that hold calls: all that a cumulative distribution needs. */
static void buckets_print(const struct bench_latency *latency) {
  printf(",\"buckets\":[");
  const char *comma = "";
  for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
    if (latency->count[i] != 0) {
      printf("%s[%llu,%llu]", comma, (unsigned long long)latency_bucket_end_ns(latency, i),
             (unsigned long long)latency->count[i]);
      comma = ",";
    }
  }
  printf("]}");
}

static void json_print(const struct record *r) {
  printf("{\"schema\":1,\"bench\":\"%s\",\"args\":[", record_command.program->name);
  for (int i = 1; i < record_command.arg_count; i++) {
    if (i > 1) {
      putchar(',');
    }
    json_string_print(record_command.args[i]);
  }
  printf("],\"ops\":%llu,\"cpu_ns\":%llu,\"wall_ns\":%llu,\"rss_end_bytes\":%llu,"
         "\"rss_peak_bytes\":%llu,\"faults\":%llu,\"allocator\":",
         (unsigned long long)r->ops, (unsigned long long)r->cpu_ns, (unsigned long long)r->wall_ns,
         (unsigned long long)r->rss_end_bytes, (unsigned long long)r->rss_peak_bytes,
         (unsigned long long)r->faults);
  json_string_print(r->allocator);
  for (size_t i = 0; i < added_count; i++) {
    printf(",\"%s\":%llu", added[i].name, (unsigned long long)added[i].value);
  }
  if (r->latency != NULL) {
    latency_print(latency_summarize(r->latency));
    buckets_print(r->latency);
  }
  if (bench_record_more != NULL) {
    bench_record_more();
  }
  printf("}\n");
}

static void words_print(const struct record *r) {
  printf("%s: %.2f ns an operation (CPU), %.2f ns (wall), %llu operations, RSS %llu KiB, peak "
         "%llu KiB, %llu faults, %s\n",
         record_command.program->name, per_operation(r->cpu_ns, r), per_operation(r->wall_ns, r),
         (unsigned long long)r->ops, (unsigned long long)r->rss_end_bytes / 1024,
         (unsigned long long)r->rss_peak_bytes / 1024, (unsigned long long)r->faults, r->allocator);
  for (size_t i = 0; i < added_count; i++) {
    printf("%s %llu\n", added[i].name, (unsigned long long)added[i].value);
  }
  if (r->latency != NULL) {
    latency_print(latency_summarize(r->latency));
  }
  if (bench_record_more != NULL) {
    bench_record_more();
  }
}

void bench_output_end(const char *what) {
  errno = 0;
  if (fflush(stdout) != 0 || ferror(stdout)) {
    bench_fail("cannot write %s: %s", what, errno != 0 ? strerror(errno) : "a part was lost");
  }
}

/* ---- targets ---- */

/* One line for all that were missed. The time is the thread's CPU time for one thread, else wall
 * time: what the operations of several threads took side by side. */
static int targets_check(const struct record *r) {
  double ns = per_operation(bench_options.threads == 1 ? r->cpu_ns : r->wall_ns, r);
  double target_ns = (double)bench_options.target_ps / 1000;
  uint64_t target_rss = bench_options.target_rss_bytes;
  bool is_slow = target_ns > 0 && ns > target_ns;
  bool is_large = target_rss != 0 && r->rss_end_bytes > target_rss;
  if (!is_slow && !is_large) {
    return 0;
  }
  fprintf(stderr, "%s: target missed:", record_command.program->name);
  if (is_slow) {
    fprintf(stderr, " %.3f ns an operation, target %.3f%s", ns, target_ns, is_large ? ";" : "");
  }
  if (is_large) {
    fprintf(stderr, " RSS %llu bytes, target %llu", (unsigned long long)r->rss_end_bytes,
            (unsigned long long)target_rss);
  }
  fprintf(stderr, "\n");
  return 1;
}

int record_finish(uint64_t ops, struct record_reading begin, struct record_reading end) {
  /* Memory first: all that follows may allocate. */
  uint64_t rss_end_bytes = bench_rss_bytes();
  struct record r = {
      .rss_end_bytes = rss_end_bytes,
      .rss_peak_bytes = record_rss_peak_bytes(),
      .ops = ops,
      .cpu_ns = end.cpu_ns - begin.cpu_ns - atomic_load(&paused_cpu_ns),
      .wall_ns = end.wall_ns - begin.wall_ns - atomic_load(&paused_wall_ns),
      .faults = end.faults - begin.faults - atomic_load(&paused_faults),
  };
  record_allocator_name(r.allocator, sizeof r.allocator);
  for (unsigned i = 1; bench_options.latency && i < bench_options.threads; i++) {
    latency_merge(latencies[0], latencies[i]);
  }
  r.latency = latencies[0];
  (bench_options.json ? json_print : words_print)(&r);
  bench_output_end("the record");
  return targets_check(&r);
}
