/* bench_trees: build a binary tree of --depth levels, walk it, free it; again and again, beside one
 * tree that lives as long as the run. The shape of interpreters and compilers: many small objects
 * of one or two sizes, freed in another order than they came. An operation is one node, from its
 * malloc to its free. */
#include "bench_common.h"
#include "bench_latency.h"

#define DEPTH_MAX 24
#define BYTES_MAX (UINT64_C(1) << 20)

static uint64_t depth = 14, seed = 1;
static uint64_t min_bytes = 32, max_bytes = 48;

struct node {
  struct node *left, *right;
};

struct worker {
  struct node *kept;
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

static uint64_t nodes_of(uint64_t levels) { return (UINT64_C(1) << levels) - 1; }

static inline struct node *node_new(struct worker *w, bool is_timed) {
  size_t bytes = bench_size(bench_random(&w->random), min_bytes, max_bytes);
  return bench_touch(bench_malloc(bytes, is_timed), bytes);
}

static struct node *build(struct worker *w, uint64_t levels, bool is_timed) {
  if (levels == 0) {
    return NULL;
  }
  struct node *n = node_new(w, is_timed);
  n->left = build(w, levels - 1, is_timed);
  n->right = build(w, levels - 1, is_timed);
  return n;
}

static uint64_t count(const struct node *n) {
  return n == NULL ? 0 : 1 + count(n->left) + count(n->right);
}

static void drop(struct node *n, bool is_timed) {
  if (n == NULL) {
    return;
  }
  drop(n->left, is_timed);
  drop(n->right, is_timed);
  bench_free(n, is_timed);
}

static void tree_run(struct worker *w, bool is_timed) {
  struct node *tree = build(w, depth, is_timed);
  if (count(tree) != nodes_of(depth)) {
    bench_fail("a tree lost nodes");
  }
  drop(tree, is_timed);
}

static void prepare(unsigned thread) {
  struct worker *w = &workers[thread];
  w->random = bench_seed(seed, thread);
  w->kept = build(w, depth, false);
  tree_run(w, false);
}

static uint64_t work(unsigned thread) {
  uint64_t done = 0;
  while (bench_take(nodes_of(depth)) != 0) {
    tree_run(&workers[thread], bench_options.latency != 0);
    done += nodes_of(depth);
  }
  if (count(workers[thread].kept) != nodes_of(depth)) {
    bench_fail("the tree that lives lost nodes");
  }
  return done;
}

int main(int argc, char **argv) {
  const struct bench_flag flags[] = {
      {"--depth", BENCH_NUMBER, &depth, 1, DEPTH_MAX, NULL},
      {"--min", BENCH_NUMBER, &min_bytes, sizeof(struct node), BYTES_MAX, NULL},
      {"--max", BENCH_NUMBER, &max_bytes, sizeof(struct node), BYTES_MAX, NULL},
      {"--seed", BENCH_NUMBER, &seed, 0, UINT64_MAX, NULL},
      BENCH_THREADS_FLAG,
      BENCH_LATENCY_FLAG,
      BENCH_COMMON_FLAGS,
  };
  bench_parse(argc, argv, "bench_trees", flags, BENCH_COUNT(flags));
  bench_sizes_check(min_bytes, max_bytes);
  bench_ops_default(10000000);
  bench_parallel((unsigned)bench_options.threads, prepare, work);
  return 0;
}
