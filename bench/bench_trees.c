/* bench_trees: build a binary tree of --depth levels, walk it, free it; again and again, beside one
 * tree that lives as long as the run. The shape of interpreters and compilers: many small objects
 * of one or two sizes, freed in another order than they came. An operation is one node, from its
 * malloc to its free. */
#include "bench_common.h"
#include "bench_latency.h"

#define DEPTH_MAX 24

static uint64_t depth = 14;

struct node {
  struct node *left, *right;
};

struct worker {
  BENCH_OWN_LINES struct node *kept;
  uint64_t random;
};
static struct worker workers[BENCH_THREADS_MAX];

static uint64_t nodes_of(uint64_t levels) { return (UINT64_C(1) << levels) - 1; }

static inline struct node *node_new(struct worker *w, bool is_timed) {
  size_t bytes = bench_draw_size(bench_random(&w->random));
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
  w->random = bench_seed(bench_options.seed, thread);
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
  const struct bench_flag flags[] = {{"--depth", BENCH_NUMBER, &depth, 1, DEPTH_MAX, NULL}};
  const struct bench_program program = {
      .name = "bench_trees",
      .flags = flags,
      .flag_count = BENCH_COUNT(flags),
      .threads = 1,
      .ops = 10000000,
      .min_bytes = 32,
      .max_bytes = 48,
      .least_bytes = sizeof(struct node),
      .most_bytes = BENCH_BYTES_MAX,
  };
  bench_parse(argc, argv, &program);
  return bench_parallel(prepare, work);
}
