/* bench_strings: a hash table of --keys possible strings, each an entry and a text of its own. An
 * operation picks a key: an entry that is there is taken out and both are freed, one that is not is
 * put in. The shape of caches, interpreters' symbol tables and key-value stores. Texts are --min to
 * --max bytes, with their key at the start, which is checked. */
#include <string.h>

#include "bench_common.h"
#include "bench_latency.h"

#define KEYS_MAX (UINT64_C(1) << 28)
#define BYTES_MAX (UINT64_C(1) << 20)
#define CHUNK_OPS 4096u

static uint64_t keys = 20000, seed = 1;
static uint64_t min_bytes = 8, max_bytes = 80;

struct entry {
  struct entry *next;
  unsigned char *text;
  uint64_t key;
  size_t bytes;
};
struct worker {
  struct entry **bucket; /* keys / 2 and one of them */
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

static struct entry **bucket_of(struct worker *w, uint64_t key) {
  uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);
  return &w->bucket[bench_scale((uint32_t)(hash >> 32), (uint32_t)(keys / 2 + 1))];
}

LATENCY_LOOP void put(struct entry **at, uint64_t key, uint64_t draw, bool is_timed) {
  size_t bytes = bench_size(draw, min_bytes, max_bytes);
  struct entry *e = bench_touch(bench_malloc(sizeof *e, is_timed), sizeof *e);
  *e = (struct entry){*at, bench_touch(bench_malloc(bytes, is_timed), bytes), key, bytes};
  memcpy(e->text, &key, sizeof key);
  *at = e;
}

LATENCY_LOOP void take(struct entry **at, bool is_timed) {
  struct entry *e = *at;
  if (memcmp(e->text, &e->key, sizeof e->key) != 0) {
    bench_fail("a text of %zu bytes lost its contents", e->bytes);
  }
  *at = e->next;
  bench_free(e->text, is_timed);
  bench_free(e, is_timed);
}

LATENCY_LOOP void visit(struct worker *w, uint64_t ops, bool is_timed) {
  for (uint64_t i = 0; i < ops; i++) {
    uint64_t draw = bench_random(&w->random);
    uint64_t key = bench_scale((uint32_t)(draw >> 32), (uint32_t)keys);
    struct entry **bucket = bucket_of(w, key), **at = bucket;
    while (*at != NULL && (*at)->key != key) {
      at = &(*at)->next;
    }
    if (*at != NULL) {
      take(at, is_timed);
    } else {
      put(bucket, key, draw, is_timed);
    }
  }
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->random = bench_seed(seed, thread);
  w->bucket = bench_map((keys / 2 + 1) * sizeof(struct entry *));
  visit(w, keys * 2, false); /* half of the keys are there then */
}

static void visit_all(unsigned thread, uint64_t ops) {
  LATENCY_EITHER(visit, &workers[thread], ops);
}
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit_all); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--keys", BENCH_NUMBER, &keys, 1, KEYS_MAX, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, sizeof(uint64_t), BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, sizeof(uint64_t), BYTES_MAX, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_strings", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  bench_ops_default(5000000);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
