/* model_explore.c — which executions there are, and their order: those with few deviations first.
 */
#include "model_run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A deviation is a preemption, or a load that gives an older value. Level n has the executions with
 * n of them: all of level 0 come first, then all of level 1, and so on, each once. An execution is
 * the list of its choices; where the last that is not a first way is put back to the first, and all
 * behind it with it, that is the one that it was found from. */
enum {
  CHOICES = 4096, /* of one execution */
  LEVELS = 16,
  NODES_FIRST = 4096,
  NO_NODE = UINT32_MAX,
};

/* An execution that is known, and was run or is to be. */
struct node {
  uint32_t found_from;
  uint32_t next; /* of its level */
  uint16_t at;   /* its last choice that is not a first way */
  uint16_t taken, count;
};

struct level {
  uint32_t first, last;
  uint64_t waiting;
  bool is_cut; /* there are more than may be run, and not all are known */
};

static struct explore {
  struct model_bounds bounds;
  struct choice {
    uint16_t taken, count;
    uint8_t kind;
  } choice[CHOICES];
  unsigned scripted; /* choices that are given; those behind are first ways, or left to chance */
  unsigned choice_at;
  unsigned kind_count[CHOICE_KINDS], kind_most[CHOICE_KINDS], kind_spread[CHOICE_KINDS];
  struct node *node;
  size_t node_count, node_room;
  uint32_t current;
  struct level level[LEVELS];
  unsigned at_level;
  unsigned whole; /* levels, before the last restart */
  unsigned learnt_at_level;
  bool has_learnt;
  bool is_at_random;
  uint64_t random;
  uint64_t walks;
  unsigned points_max;
} * explore;

/* ---- nodes */

static void node_add(uint32_t from, unsigned at_level, struct node n) {
  struct level *level = &explore->level[at_level];
  if (explore->bounds.executions != 0 && level->waiting > explore->bounds.executions) {
    level->is_cut = true;
    return;
  }
  if (explore->node_count == explore->node_room) {
    explore->node_room = explore->node_room == 0 ? NODES_FIRST : 2 * explore->node_room;
    explore->node = realloc(explore->node, explore->node_room * sizeof *explore->node);
    if (explore->node == NULL || explore->node_room > NO_NODE) exit(2);
  }
  uint32_t i = (uint32_t)explore->node_count++;
  n.found_from = from;
  n.next = NO_NODE;
  explore->node[i] = n;
  if (level->waiting++ == 0) {
    level->first = i;
  } else {
    explore->node[level->last].next = i;
  }
  level->last = i;
}

/* The first of the level, as the choices that lead there. */
static void node_take(struct level *level) {
  uint32_t i = explore->current = level->first;
  level->first = explore->node[i].next;
  level->waiting--;
  explore->scripted = explore->node[i].found_from == NO_NODE ? 0 : explore->node[i].at + 1u;
  memset(explore->choice, 0, explore->scripted * sizeof *explore->choice);
  for (; explore->node[i].found_from != NO_NODE; i = explore->node[i].found_from) {
    const struct node *n = &explore->node[i];
    explore->choice[n->at].taken = n->taken;
    explore->choice[n->at].count = n->count;
  }
}

/* ---- chance */

static unsigned random_below(unsigned end) {
  explore->random = explore->random * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)((explore->random >> 32) * end >> 32);
}

/* Deviations spread evenly over an execution, or over its beginning: it may be a short one. */
static void walk_begin(void) {
  explore->walks++;
  explore->scripted = 0;
  for (size_t k = 0; k < CHOICE_KINDS; k++) {
    unsigned most = explore->kind_most[k] + 1;
    explore->kind_spread[k] = random_below(2) == 0 ? most : 1 + random_below(most);
  }
}

static unsigned walk_choose(unsigned count, enum choice_kind kind, unsigned left) {
  if (kind == CHOICE_FREE) return random_below(count);
  unsigned before = explore->kind_count[kind], spread = explore->kind_spread[kind];
  if (random_below(spread > before ? spread - before : 1) >= left) return 0;
  return 1 + random_below(count - 1);
}

/* ---- executions */

static void node_root(void) {
  explore->node_count = 0;
  explore->at_level = 0;
  memset(explore->level, 0, sizeof explore->level);
  node_add(NO_NODE, 0, (struct node){0});
}

void explore_begin(struct model_bounds bounds) {
  if (explore == NULL)
    explore =
        mmap(NULL, sizeof *explore, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (explore == MAP_FAILED || bounds.preemptions + bounds.stale >= LEVELS) exit(2);
  free(explore->node);
  *explore = (struct explore){.bounds = bounds, .random = 1};
  node_root();
}

/* In the levels below, one thread alone uses what has been learnt: they need no more points. */
void explore_learnt(void) {
  if (explore->is_at_random || explore->has_learnt) return;
  explore->has_learnt = true;
  explore->learnt_at_level = explore->at_level;
}

static unsigned whole_levels(void) {
  unsigned now = explore->has_learnt ? explore->learnt_at_level : explore->at_level;
  return now > explore->whole ? now : explore->whole;
}

void explore_restart(uint64_t again, uint64_t executions) {
  explore->whole = whole_levels();
  if (explore->bounds.executions != 0 && again > explore->bounds.executions - executions) {
    explore->is_at_random = true;
    return;
  }
  explore->has_learnt = false;
  node_root();
}

bool explore_next(uint64_t executions) {
  uint64_t left = UINT64_MAX;
  if (explore->bounds.executions != 0) left = explore->bounds.executions - executions;
  explore->choice_at = 0;
  memset(explore->kind_count, 0, sizeof explore->kind_count);
  if (!explore->is_at_random) {
    while (explore->level[explore->at_level].waiting == 0)
      if (explore->at_level++ == explore->bounds.preemptions + explore->bounds.stale) return false;
    struct level *level = &explore->level[explore->at_level];
    explore->is_at_random = level->is_cut || level->waiting > left;
    if (!explore->is_at_random) node_take(level);
  }
  if (left == 0) return false;
  if (explore->is_at_random) walk_begin();
  return true;
}

unsigned explore_choose(unsigned count, enum choice_kind kind, unsigned left) {
  unsigned at = explore->choice_at++;
  if (at == CHOICES) model_fail("too many choices", __FILE__, __LINE__);
  struct choice *c = &explore->choice[at];
  if (at >= explore->scripted) {
    c->taken = 0;
    if (explore->is_at_random) c->taken = (uint16_t)walk_choose(count, kind, left);
  } else if (c->taken != 0 && c->count != count) {
    model_fail("not deterministic", __FILE__, __LINE__);
  }
  c->count = (uint16_t)count;
  c->kind = (uint8_t)kind;
  explore->kind_count[kind]++;
  return c->taken;
}

void explore_ended(void) {
  if (explore->choice_at < explore->scripted) model_fail("not deterministic", __FILE__, __LINE__);
  if (explore->choice_at > explore->points_max) explore->points_max = explore->choice_at;
  for (size_t k = 0; k < CHOICE_KINDS; k++)
    if (explore->kind_count[k] > explore->kind_most[k])
      explore->kind_most[k] = explore->kind_count[k];
  if (explore->is_at_random) return;
  for (unsigned at = explore->scripted; at < explore->choice_at; at++) {
    struct choice c = explore->choice[at];
    unsigned level = explore->at_level + (c.kind != CHOICE_FREE);
    for (uint16_t way = 1; way < c.count; way++)
      node_add(explore->current, level,
               (struct node){.at = (uint16_t)at, .taken = way, .count = c.count});
  }
}

bool explore_is_at_random(void) { return explore->is_at_random; }
bool explore_is_between_levels(void) { return explore->level[explore->at_level].waiting == 0; }

void explore_result(struct model_result *result) {
  unsigned end = explore->bounds.preemptions + explore->bounds.stale + 1;
  result->is_complete = explore->at_level == end;
  result->levels = result->is_complete ? end : whole_levels();
  result->at_random = explore->walks;
  result->points_max = explore->points_max;
}
