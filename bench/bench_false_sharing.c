/* bench_false_sharing --mode active|passive: does the allocator give two threads objects in one
 * cache line? Each thread has an object, writes to it --writes times, frees it and takes another.
 * active: threads allocate at the same time. passive: the first objects were all allocated by one
 * thread and handed out, so that threads that free them get neighbours again, if the allocator
 * keeps such objects with whoever freed them. An operation is one object; compare with --threads 1.
 */
#include "bench_common.h"
#include "bench_latency.h"

#define WRITES_MAX (UINT64_C(1) << 30)
#define BYTES_MAX 4096u
#define CHUNK_OPS 256u

static uint64_t writes = 1000, bytes = 8, is_passive;
static unsigned char *handed_out[BENCH_THREADS_MAX];

LATENCY_LOOP void use(unsigned thread, uint64_t ops, bool is_timed) {
  for (uint64_t i = 0; i < ops; i++) {
    volatile unsigned char *byte = handed_out[thread];
    for (uint64_t k = 0; k < writes; k++) {
      byte[k % bytes] = (unsigned char)(byte[k % bytes] + 1);
    }
    bench_free(handed_out[thread], is_timed);
    handed_out[thread] = bench_touch(bench_malloc(bytes, is_timed), bytes);
  }
}

static void prepare(unsigned thread) {
  if (!is_passive) {
    handed_out[thread] = bench_touch(bench_malloc(bytes, false), bytes);
  }
}

static void visit(unsigned thread, uint64_t ops) { LATENCY_EITHER(use, thread, ops); }
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit); }

int main(int argc, char **argv) {
  bench_options.threads = 2;
  const struct bench_flag flags[] = {
      {"--mode", BENCH_CHOICE, &is_passive, 0, 0, "active|passive"},
      {"--writes", BENCH_NUMBER, &writes, 1, WRITES_MAX, NULL},
      {"--size", BENCH_NUMBER, &bytes, 1, BYTES_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_false_sharing", flags, BENCH_COUNT(flags));
  bench_ops_default(1000000);
  for (unsigned i = 0; is_passive && i < bench_options.threads; i++) {
    handed_out[i] = bench_touch(bench_malloc(bytes, false), bytes);
  }
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
