/* bench_fragment: fill --mib MiB with objects of --min to --max bytes, free 95 % of them at random,
 * fill up again with objects of --refill-min to --refill-max bytes, free everything. What stays
 * resident at the end of the refill, against what is live, is what fragmentation costs; RSS at the
 * end (after everything is freed) is what the allocator keeps. An operation is one object, from its
 * malloc to its free. With --stop-full the last free is left out, and RSS is that of the refill. */
#include "bench_common.h"
#include "bench_latency.h"

#define MIB_MAX UINT64_C(65536)
#define BYTES_MAX (UINT64_C(1) << 30)
#define KEPT_PERCENT 5u

static uint64_t mib = 64, seed = 1, stop_full;
static uint64_t min_bytes = 16, max_bytes = 512;
static uint64_t refill_min_bytes = 513, refill_max_bytes = 2048;

struct object {
  unsigned char *byte;
  size_t bytes;
};
struct worker {
  struct object *object;
  uint64_t count, room, live_bytes, random;
};
static struct worker workers[BENCH_THREADS_MAX];

LATENCY_LOOP uint64_t fill(struct worker *w, uint64_t least, uint64_t most, bool is_timed) {
  uint64_t made = 0;
  while (w->live_bytes < mib << 20) {
    size_t bytes = bench_size(bench_random(&w->random), least, most);
    if (w->count == w->room) {
      bench_fail("more objects than expected");
    }
    w->object[w->count++] =
        (struct object){bench_touch(bench_malloc(bytes, is_timed), bytes), bytes};
    w->live_bytes += bytes;
    made++;
  }
  return made;
}

/* Frees each object with this probability; those that stay move together. */
LATENCY_LOOP uint64_t thin(struct worker *w, uint32_t percent, bool is_timed) {
  uint64_t kept = 0, count = w->count;
  for (uint64_t i = 0; i < count; i++) {
    struct object o = w->object[i];
    if (o.byte[0] != (unsigned char)o.bytes || o.byte[o.bytes - 1] != (unsigned char)o.bytes) {
      bench_fail("an object of %zu bytes lost its contents", o.bytes);
    }
    if (bench_scale((uint32_t)bench_random(&w->random), 100) < percent) {
      bench_free(o.byte, is_timed);
      w->live_bytes -= o.bytes;
    } else {
      w->object[kept++] = o;
    }
  }
  w->count = kept;
  return count - kept;
}

LATENCY_LOOP uint64_t round_run(struct worker *w, bool is_timed) {
  uint64_t made = fill(w, min_bytes, max_bytes, is_timed);
  thin(w, 100 - KEPT_PERCENT, is_timed);
  made += fill(w, refill_min_bytes, refill_max_bytes, is_timed);
  if (!stop_full) {
    thin(w, 100, is_timed);
  }
  return made;
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->random = bench_seed(seed, thread);
  uint64_t least = min_bytes < refill_min_bytes ? min_bytes : refill_min_bytes;
  w->room = (mib << 20) / least + 1;
  w->object = bench_map(w->room * sizeof *w->object);
}

/* One round a time that is asked for; the budget counts rounds by what they will about make. */
static uint64_t work(unsigned thread) {
  uint64_t done = 0, about = (mib << 20) / ((min_bytes + max_bytes) / 2 + 1) + 1;
  while (bench_take(about) != 0) {
    done += LATENCY_EITHER(round_run, &workers[thread]);
    if (stop_full) {
      break;
    }
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--mib", BENCH_NUMBER, &mib, 1, MIB_MAX, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, 1, BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, 1, BYTES_MAX, NULL},
      {"--refill-min", BENCH_NUMBER, &refill_min_bytes, 1, BYTES_MAX, NULL},
      {"--refill-max", BENCH_NUMBER, &refill_max_bytes, 1, BYTES_MAX, NULL},
      {"--stop-full", BENCH_SWITCH, &stop_full, 0, 0, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_fragment", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  if (refill_min_bytes > refill_max_bytes) {
    bench_fail("--refill-min is above --refill-max");
  }
  bench_ops_default(2000000);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
