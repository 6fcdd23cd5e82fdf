/* bench_mappings: how many mappings a fragmented heap takes. Each thread, --times times over: fills
 * up to --mib MiB with objects of --min to --max bytes of which each doubling of the size has an
 * equal share of the bytes, writes to each page of each, frees two thirds of them at random, and
 * calls malloc_trim(0). Then it fills up to the half of --mib. Of that moment, in the record:
 * `mappings`, lines of /proc/self/maps more than before the first object; `live_bytes`, what thread
 * 0 then has. An operation is one object. --ops and --seconds ask for more of the same. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "bench_heap.h"

#define FREED_PERCENT 67u
#define PAGE_BYTES 4096u /* or more; those that are larger are written to several times */

static uint64_t mib = 64, times = 3;
static uint64_t mappings_before; /* thread 0 */
static struct bench_heap workers[BENCH_THREADS_MAX];

/* By open and read: a stream's buffer would come from the allocator. */
static uint64_t mappings_count(void) {
  static char text[65536];
  int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    bench_fail("cannot open /proc/self/maps: %s", strerror(errno));
  }
  uint64_t lines = 0;
  ssize_t got;
  while ((got = read(file, text, sizeof text)) > 0) {
    for (ssize_t i = 0; i < got; i++) {
      lines += text[i] == '\n';
    }
  }
  if (got < 0) {
    bench_fail("cannot read /proc/self/maps: %s", strerror(errno));
  }
  close(file);
  return lines;
}

/* The density of sizes falls with their square, so that each doubling has as many bytes. */
static size_t size_draw(uint64_t draw) {
  double least = (double)bench_options.min_bytes, most = (double)bench_options.max_bytes;
  double share = (double)(draw >> 11) / (double)(UINT64_C(1) << 53);
  return (size_t)(least / (1 - share * (1 - least / most)));
}

LATENCY_LOOP uint64_t fill(struct bench_heap *h, uint64_t bytes, bool is_timed) {
  uint64_t made = 0;
  for (; h->live_bytes < bytes; made++) {
    size_t size = size_draw(bench_random(&h->random));
    if (h->count == h->room) {
      bench_fail("more objects than expected");
    }
    unsigned char *byte = bench_malloc(size, is_timed);
    for (size_t i = PAGE_BYTES; byte != NULL && i < size; i += PAGE_BYTES) {
      byte[i] = 1;
    }
    h->object[h->count++] = (struct heap_object){bench_touch(byte, size), size};
    h->live_bytes += size;
  }
  return made;
}

LATENCY_LOOP uint64_t round_run(struct bench_heap *h, bool is_timed) {
  uint64_t made = 0;
  for (uint64_t i = 0; i < times; i++) {
    made += fill(h, mib << 20, is_timed);
    heap_thin(h, FREED_PERCENT, is_timed);
    (void)malloc_trim(0); /* whether there was something does not matter here */
  }
  return made + fill(h, mib << 19, is_timed);
}

static void prepare(unsigned thread) {
  heap_init(&workers[thread], mib << 20, bench_options.min_bytes, thread);
  if (thread == 0) {
    mappings_before = mappings_count();
  }
}

/* One round, or as many as the budget says, which counts them by what they will very roughly make:
 * the mean size is some ten times the least. */
static uint64_t work(unsigned thread) {
  uint64_t done = 0, about = (mib << 20) / bench_options.min_bytes / 10 + 1;
  bool is_one = bench_options.ops == 0 && bench_options.seconds_ns == 0;
  while (is_one ? done == 0 : bench_take(about) != 0) {
    done += LATENCY_EITHER(round_run, &workers[thread]);
  }
  if (thread == 0) {
    uint64_t now = mappings_count();
    bench_record_add("mappings", now > mappings_before ? now - mappings_before : 0);
    bench_record_add("live_bytes", workers[0].live_bytes);
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--mib", BENCH_NUMBER, &mib, 1, HEAP_MIB_MAX, NULL},
      {"--times", BENCH_NUMBER, &times, 1, 1000, NULL},
  };
  const struct bench_program program = {
      .name = "bench_mappings",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .min_bytes = 16,
      .max_bytes = 8 << 20,
      .least_bytes = 1,
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
