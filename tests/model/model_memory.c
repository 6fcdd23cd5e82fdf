/* model_memory.c — values and races. See model.h for the memory model.
 */
#include "model_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
  LOCATIONS = 1 << 16, /* slots of the hash: a power of two */
  GRANULES = 1 << 16,
  STORES = 1 << 20, /* of one execution */
  GRANULE_BYTES = 8,
};

/* Of all executions together: is it used by two threads, and changed by one? */
struct sharing {
  bool is_shared;
  bool is_used_by_two;
  bool is_written;
  uint8_t first_thread;
  uint32_t round; /* that it was learnt in */
};

/* A value that a location had. */
struct store {
  uint64_t value;
  struct clock carried; /* what an acquire load of it learns */
  uint32_t time;        /* of the thread's clock */
  uint8_t thread;
  bool carries;
  struct store *older;
};

struct location {
  const void *p;
  struct sharing sharing;
  uint32_t execution; /* that the rest is of */
  struct store *newest;
  struct store *newest_seq;
  struct store *seen[ALL_THREADS]; /* the newest that a thread has read or written */
};

/* Plain and atomic accesses of one byte, by thread: the time of the last. */
struct byte_uses {
  uint32_t plain_read[ALL_THREADS], plain_write[ALL_THREADS];
  uint32_t atomic_read[ALL_THREADS], atomic_write[ALL_THREADS];
};

struct granule {
  uintptr_t address;
  struct sharing sharing;
  uint32_t execution;
  struct byte_uses byte[GRANULE_BYTES];
};

/* All that executions change lies outside the snapshot. */
static struct memory {
  struct location location[LOCATIONS];
  struct granule granule[GRANULES];
  struct store store[STORES];
  size_t store_count;
  struct clock clock[ALL_THREADS];
  uint32_t execution, round;
  unsigned shared_count;
  struct model_place mutant_at;
  char mutant_kind[16];
} * memory;

static const char *base_name(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash == NULL ? file : slash + 1;
}

/* MODEL_MUTANT=file:line:kind[:operand] changes one atomic access of the source: kind is `relaxed`
 * (its order is gone), `split` (a read-modify-write falls apart), `drop` (a store, or an addition,
 * does not happen) or `zero` (a load gives 0). The operand tells accesses of one line apart. */
static void mutant_init(void) {
  const char *text = getenv("MODEL_MUTANT");
  static char file[64], operand[128];
  if (text == NULL) return;
  int found = sscanf(text, "%63[^:]:%d:%15[^:]:%127[^\n]", file, &memory->mutant_at.line,
                     memory->mutant_kind, operand);
  if (found < 3) {
    fprintf(stderr, "MODEL_MUTANT=%s: expected file:line:kind[:operand]\n", text);
    exit(2);
  }
  memory->mutant_at.file = file;
  memory->mutant_at.operand = found == 4 ? operand : NULL;
}

static bool is_mutant(struct model_place at, const char *kind) {
  return memory->mutant_at.line == at.line && memory->mutant_at.line != 0 &&
         strcmp(memory->mutant_kind, kind) == 0 &&
         (memory->mutant_at.operand == NULL ||
          strcmp(at.operand, memory->mutant_at.operand) == 0) &&
         strcmp(base_name(at.file), memory->mutant_at.file) == 0;
}

/* Before the allocator's own constructor: its mutants are at work from the start. */
__attribute__((constructor(101))) static void memory_init(void) {
  memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) exit(2);
  mutant_init();
}

void memory_reset(void) {
  memory->execution++;
  memory->store_count = 0;
  for (unsigned t = 0; t < ALL_THREADS; t++) {
    for (unsigned u = 0; u < ALL_THREADS; u++) memory->clock[t].time[u] = 1;
  }
}

void memory_begin_round(void) { memory->round++; }

unsigned memory_shared_count(void) { return memory->shared_count; }

static void clock_join(struct clock *to, const struct clock *from) {
  for (unsigned t = 0; t < ALL_THREADS; t++)
    if (from->time[t] > to->time[t]) to->time[t] = from->time[t];
}

static void learn(struct sharing *s, bool is_write) {
  if (s->is_shared) return;
  if (s->first_thread != model_self()) s->is_used_by_two = true;
  if (is_write) s->is_written = true;
  if (!s->is_used_by_two || !s->is_written) return;
  s->is_shared = true;
  s->round = memory->round;
  memory->shared_count++;
  sched_learnt();
}

/* ---- races of plain accesses */

static struct granule *granule_of(uintptr_t address) {
  size_t i = (address / GRANULE_BYTES * 0x9E3779B97F4A7C15u) >> 48;
  while (memory->granule[i % GRANULES].address != 0 &&
         memory->granule[i % GRANULES].address != address)
    i++;
  struct granule *g = &memory->granule[i % GRANULES];
  if (g->address == 0) {
    g->address = address;
    g->sharing.first_thread = (uint8_t)model_self();
  }
  return g;
}

/* Some other thread's access that this one does not come after? */
static bool is_unordered(const uint32_t time[ALL_THREADS], unsigned self) {
  for (unsigned t = 0; t < ALL_THREADS; t++)
    if (t != self && time[t] > memory->clock[self].time[t]) return true;
  return false;
}

static void touch_byte(struct byte_uses *b, bool is_write, bool is_atomic, unsigned self,
                       const char *p) {
  bool is_race = is_unordered(b->plain_write, self);
  if (is_write) is_race = is_race || is_unordered(b->plain_read, self);
  if (!is_atomic) is_race = is_race || is_unordered(b->atomic_write, self);
  if (!is_atomic && is_write) is_race = is_race || is_unordered(b->atomic_read, self);
  if (is_race) {
    sched_note(is_write ? "races: writes" : "races: reads", p, 0, (struct model_place){"", 0, ""});
    model_fail("a race", __FILE__, __LINE__);
  }
  uint32_t now = memory->clock[self].time[self] + 1;
  if (is_atomic) {
    (is_write ? b->atomic_write : b->atomic_read)[self] = now;
  } else {
    (is_write ? b->plain_write : b->plain_read)[self] = now;
  }
}

static void touch(uintptr_t p, size_t size, bool is_write, bool is_atomic) {
  if (!sched_is_running() || sched_is_stack(p) || os_model_is_object(p)) return;
  unsigned self = model_self();
  while (size != 0) {
    uintptr_t address = p & ~(uintptr_t)(GRANULE_BYTES - 1);
    size_t from = p - address, n = GRANULE_BYTES - from < size ? GRANULE_BYTES - from : size;
    struct granule *g = granule_of(address);
    learn(&g->sharing, is_write);
    if (g->sharing.is_shared) {
      if (g->execution != memory->execution) {
        g->execution = memory->execution;
        memset(g->byte, 0, sizeof g->byte);
      }
      for (size_t i = 0; i < n; i++)
        touch_byte(&g->byte[from + i], is_write, is_atomic, self, (const char *)p + i);
    }
    p += n;
    size -= n;
  }
}

void model_range(const void *p, size_t size, bool is_write) {
  touch((uintptr_t)p, size, is_write, false);
}

/* What -fsanitize=thread calls. */
#define PLAIN(size)                                                                                \
  void __tsan_read##size(void *p);                                                                 \
  void __tsan_write##size(void *p);                                                                \
  void __tsan_unaligned_read##size(void *p);                                                       \
  void __tsan_unaligned_write##size(void *p);                                                      \
  void __tsan_read##size(void *p) { touch((uintptr_t)p, size, false, false); }                     \
  void __tsan_write##size(void *p) { touch((uintptr_t)p, size, true, false); }                     \
  void __tsan_unaligned_read##size(void *p) { touch((uintptr_t)p, size, false, false); }           \
  void __tsan_unaligned_write##size(void *p) { touch((uintptr_t)p, size, true, false); }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)
void __tsan_read_range(void *p, unsigned long size);
void __tsan_write_range(void *p, unsigned long size);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_init(void);
void __tsan_read_range(void *p, unsigned long size) { touch((uintptr_t)p, size, false, false); }
void __tsan_write_range(void *p, unsigned long size) { touch((uintptr_t)p, size, true, false); }
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}

/* ---- atomic values */

static uint64_t bits_now(const void *p, size_t size) {
  uint64_t bits = 0;
  memcpy(&bits, p, size);
  return bits;
}

static struct store *store_new(void) {
  if (memory->store_count == STORES) model_fail("too many stores", __FILE__, __LINE__);
  return &memory->store[memory->store_count++];
}

static struct location *location_of(const void *p, size_t size, bool is_write) {
  size_t i = ((uintptr_t)p * 0x9E3779B97F4A7C15u) >> 48;
  while (memory->location[i % LOCATIONS].p != NULL && memory->location[i % LOCATIONS].p != p) i++;
  struct location *l = &memory->location[i % LOCATIONS];
  if (l->p == NULL) {
    l->p = p;
    l->sharing.first_thread = (uint8_t)model_self();
  }
  learn(&l->sharing, is_write);
  if (l->execution != memory->execution) {
    l->execution = memory->execution;
    l->newest = NULL;
    l->newest_seq = NULL;
    memset(l->seen, 0, sizeof l->seen);
  }
  uint64_t now = bits_now(p, size);
  /* The first look, or it was written as a plain variable since (which `touch` watches). */
  if (l->newest == NULL || l->newest->value != now) {
    struct store *s = store_new();
    *s = (struct store){.value = now, .older = NULL, .time = 0, .thread = 0};
    l->newest = s;
    l->newest_seq = NULL;
    memset(l->seen, 0, sizeof l->seen);
  }
  return l;
}

/* The location of a step that begins: where two threads use it, another may go on first, and change
 * it. */
static struct location *step_on(const void *p, size_t size, bool is_write) {
  struct location *l = location_of(p, size, is_write);
  if (!l->sharing.is_shared || l->sharing.round == memory->round) return l;
  sched_point();
  return location_of(p, size, is_write);
}

/* The oldest value that the thread may read is the first one, from the newest on, that it knows. */
static bool is_known(const struct location *l, const struct store *s, unsigned self,
                     enum model_order order) {
  return s->older == NULL || s == l->seen[self] || s->time <= memory->clock[self].time[s->thread] ||
         (order == MODEL_SEQ && s == l->newest_seq);
}

static bool is_acquire(enum model_order o) { return o != MODEL_RELAXED && o != MODEL_RELEASE; }
static bool is_release(enum model_order o) { return o != MODEL_RELAXED && o != MODEL_ACQUIRE; }

static void read_from(struct location *l, struct store *s, enum model_order order) {
  unsigned self = model_self();
  l->seen[self] = s;
  if (is_acquire(order) && s->carries) clock_join(&memory->clock[self], &s->carried);
}

static struct store *choose_value(struct location *l, enum model_order order) {
  unsigned self = model_self(), count = 1;
  struct store *s = l->newest;
  for (struct store *t = s; !is_known(l, t, self, order); t = t->older) count++;
  unsigned back = count > 1 ? sched_choose_stale(count) : 0;
  while (back-- != 0) s = s->older;
  return s;
}

uint64_t model_load(const void *p, size_t size, enum model_order order, struct model_place at) {
  if (!sched_is_running()) return is_mutant(at, "zero") ? 0 : bits_now(p, size);
  if (is_mutant(at, "relaxed")) order = MODEL_RELAXED;
  struct location *l = step_on(p, size, false);
  touch((uintptr_t)p, size, false, true);
  struct store *s = choose_value(l, order);
  read_from(l, s, order);
  sched_note("load", p, s->value, at);
  return is_mutant(at, "zero") ? 0 : s->value;
}

/* `before`: what a read-modify-write has read, whose release sequence it continues. */
static void write_to(struct location *l, void *p, size_t size, uint64_t value,
                     enum model_order order, const struct store *before) {
  unsigned self = model_self();
  struct clock *clock = &memory->clock[self];
  struct store *s = store_new();
  clock->time[self]++;
  *s = (struct store){.value = value, .older = l->newest, .thread = (uint8_t)self};
  s->time = clock->time[self];
  if (before != NULL && before->carries) {
    s->carries = true;
    s->carried = before->carried;
  }
  if (is_release(order)) {
    s->carries = true;
    clock_join(&s->carried, clock);
  }
  l->newest = s;
  l->seen[self] = s;
  if (order == MODEL_SEQ) l->newest_seq = s;
  memcpy(p, &value, size);
}

void model_store(void *p, size_t size, uint64_t v, enum model_order order, struct model_place at) {
  if (is_mutant(at, "drop")) return;
  if (!sched_is_running()) {
    memcpy(p, &v, size);
    return;
  }
  if (is_mutant(at, "relaxed")) order = MODEL_RELAXED;
  struct location *l = step_on(p, size, true);
  touch((uintptr_t)p, size, true, true);
  write_to(l, p, size, v, order, NULL);
  sched_note("store", p, v, at);
}

static uint64_t result_of(enum model_op op, uint64_t old, uint64_t v, size_t size) {
  uint64_t mask = size == 8 ? UINT64_MAX : ((uint64_t)1 << size * 8) - 1;
  switch (op) {
  case MODEL_SWAP:
    return v & mask;
  case MODEL_ADD:
    return (old + v) & mask;
  case MODEL_SUB:
    return (old - v) & mask;
  case MODEL_OR:
    return (old | v) & mask;
  default:
    return old & v & mask;
  }
}

uint64_t model_rmw(void *p, size_t size, enum model_op op, uint64_t v, enum model_order order,
                   struct model_place at) {
  if (is_mutant(at, "drop")) return model_load(p, size, MODEL_RELAXED, at);
  if (!sched_is_running()) {
    uint64_t old = bits_now(p, size), next = result_of(op, old, v, size);
    memcpy(p, &next, size);
    return old;
  }
  if (is_mutant(at, "split")) {
    uint64_t old = model_load(p, size, order == MODEL_RELAXED ? order : MODEL_ACQUIRE, at);
    model_store(p, size, result_of(op, old, v, size), order, at);
    return old;
  }
  if (is_mutant(at, "relaxed")) order = MODEL_RELAXED;
  struct location *l = step_on(p, size, true);
  touch((uintptr_t)p, size, true, true);
  struct store *before = l->newest;
  read_from(l, before, order);
  write_to(l, p, size, result_of(op, before->value, v, size), order, before);
  sched_note("read-modify-write", p, l->newest->value, at);
  return before->value;
}

bool model_cas(void *p, size_t size, uint64_t *expected, uint64_t v, enum model_order order,
               struct model_place at) {
  if (!sched_is_running()) {
    uint64_t old = bits_now(p, size);
    bool is_equal = old == *expected;
    if (is_equal) memcpy(p, &v, size);
    *expected = old;
    return is_equal;
  }
  if (is_mutant(at, "split")) {
    uint64_t old = model_load(p, size, order == MODEL_RELAXED ? order : MODEL_ACQUIRE, at);
    bool is_equal = old == *expected;
    if (is_equal) model_store(p, size, v, order, at);
    *expected = old;
    return is_equal;
  }
  if (is_mutant(at, "relaxed")) order = MODEL_RELAXED;
  struct location *l = step_on(p, size, false);
  struct store *before = l->newest;
  /* One that fails is a load; the newest value is what hardware gives. */
  bool is_equal = before->value == *expected;
  touch((uintptr_t)p, size, is_equal, true);
  read_from(l, before, order);
  if (is_equal) {
    learn(&l->sharing, true);
    write_to(l, p, size, v, order, before);
  }
  *expected = before->value;
  sched_note(is_equal ? "exchange" : "failed exchange", p, v, at);
  return is_equal;
}
