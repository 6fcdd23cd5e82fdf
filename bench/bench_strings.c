/* bench_strings: a hash table of --keys possible strings, each an entry and a text of its own. An
 * operation picks a key: an entry that is there is taken out and both are freed, one that is not is
 * put in. The shape of caches, interpreters' symbol tables and key-value stores. Texts are --min to
 * --max bytes, with their key at the start, which is checked. */
#include <string.h>

#include "bench_common.h"
#include "bench_latency.h"

#define KEYS_MAX (UINT64_C(1) << 28)
#define CHUNK_OPS 4096u

static uint64_t keys = 20000;

struct entry {
  struct entry *next;
  unsigned char *text;
  uint64_t key;
  size_t bytes;
};
struct worker {
  BENCH_OWN_LINES struct entry **bucket; /* keys / 2 and one of them */
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

static struct entry **bucket_of(struct worker *w, uint64_t key) {
  uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);
  return &w->bucket[bench_scale((uint32_t)(hash >> 32), (uint32_t)(keys / 2 + 1))];
}

LATENCY_LOOP void put(struct entry **at, uint64_t key, uint64_t draw, bool is_timed) {
  size_t bytes = bench_draw_size(draw);
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
  w->random = bench_seed(bench_options.seed, thread);
  w->bucket = bench_map((keys / 2 + 1) * sizeof(struct entry *));
  visit(w, keys * 2, false); /* half of the keys are there then */
}

static void visit_all(unsigned thread, uint64_t ops) {
  LATENCY_EITHER(visit, &workers[thread], ops);
}
static uint64_t work(unsigned thread) { return bench_chunks(thread, CHUNK_OPS, visit_all); }

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {{"--keys", BENCH_NUMBER, &keys, 1, KEYS_MAX, NULL}};
  const struct bench_program program = {
      .name = "bench_strings",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 5000000,
      .min_bytes = 8,
      .max_bytes = 80,
      .least_bytes = sizeof(uint64_t),
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
