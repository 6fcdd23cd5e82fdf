/* sim_scaling.c — what threads share, counted: the allocator's own source and structures, run by
 * 1, 16 and 256 threads that take turns, an operation each. Prints the rows of docs/scaling.md's
 * tables; the same on every machine.
 *
 *   read-modify-writes  atomic, an operation; 0: not a single one
 *   transfers           cache lines an operation that another core had changed last, or that others
 *                       had read and this one changes: what coherence moves between cores, each
 *                       thread having a core of its own with a cache that never evicts
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model.h"
#include "model_run.h"

#include "entry.h"
#include "entry_hot.h"
#include "home.h"
#include "mail.h"
#include "os_mem.h"
#include "region.h"
#include "superslab.h"

enum {
  THREADS_MAX = 256,
  LINE_BYTES = 64,
  LINES = 1 << 20, /* slots of the hash: a power of two */
  SLOTS = 100,     /* live objects a thread */
  PRODUCERS = 4,   /* to one consumer */
  TLS_BYTES_MAX = 4096,
  STACK_GUARD = 1 << 20, /* of our own stack: no accesses of the allocator's */
};

struct line {
  uintptr_t address;
  uint16_t writer; /* 1 + thread; 0: nobody yet */
  uint64_t reader[THREADS_MAX / 64];
};

/* Lies outside of what the allocator's threads touch. */
static struct sim {
  struct line line[LINES];
  char tls[THREADS_MAX][TLS_BYTES_MAX];
  void *slot[THREADS_MAX][SLOTS];
  uint64_t rmw_count, transfer_count, op_count;
  uint64_t post_count, part_full_count, mix_count, posted_count; /* magazines; of objects */
  bool is_mapped[THREADS_MAX + 1];
  unsigned self;
  bool is_counting;
} * sim;

extern char __start_model_tls[], __stop_model_tls[];
static size_t tls_bytes(void) { return (size_t)(__stop_model_tls - __start_model_tls); }

char *model_region_option(void) {
  static char option[] = "HAKMEM_REGION_BYTES=4G";
  return option;
}
unsigned model_self(void) { return sim == NULL ? 0 : sim->self; }
uintptr_t os_thread_self(void) { return model_self() * 64u + 64u; }
void os_futex_wait(const void *word, uint32_t expected) { (void)word, (void)expected; }
void os_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms) {
  (void)word, (void)expected, (void)ms;
}
void os_futex_wake_all(const void *word) { (void)word; }
void os_yield(void) {}
void model_pause(void) {}
void model_fail(const char *what, const char *file, int line) {
  fprintf(stderr, "sim_scaling: %s (%s:%d)\n", what, file, line);
  exit(1);
}

static void switch_to(unsigned next) {
  memcpy(sim->tls[sim->self], __start_model_tls, tls_bytes());
  memcpy(__start_model_tls, sim->tls[next], tls_bytes());
  sim->self = next;
}

/* ---- counting */

static struct line *line_of(uintptr_t p) {
  uintptr_t address = p / LINE_BYTES;
  size_t i = (address * 0x9E3779B97F4A7C15u) >> 44;
  while (sim->line[i % LINES].address != 0 && sim->line[i % LINES].address != address) i++;
  sim->line[i % LINES].address = address;
  return &sim->line[i % LINES];
}

static void touch(uintptr_t p, bool is_write) {
  char here;
  if (sim == NULL || (uintptr_t)&here - p + STACK_GUARD < 2 * (uintptr_t)STACK_GUARD) return;
  if (p - (uintptr_t)__start_model_tls < tls_bytes()) return;
  struct line *l = line_of(p);
  unsigned self = sim->self;
  uint64_t own = (uint64_t)1 << self % 64;
  bool has_it = (l->reader[self / 64] & own) != 0, is_others = false;
  for (unsigned i = 0; i < THREADS_MAX / 64; i++)
    is_others = is_others || (l->reader[i] & (i == self / 64 ? ~own : UINT64_MAX)) != 0;
  bool is_foreign = l->writer != 0 && l->writer != self + 1;
  if (sim->is_counting && ((!has_it && is_foreign) || (is_write && has_it && is_others)))
    sim->transfer_count++;
  if (is_write) {
    memset(l->reader, 0, sizeof l->reader);
    l->writer = (uint16_t)(self + 1);
  }
  l->reader[self / 64] |= own;
}
static void touch_all(const void *p, size_t size, bool is_write) {
  if ((uintptr_t)p - (uintptr_t)__start_model_tls < tls_bytes()) return; /* its line has others */
  for (uintptr_t at = (uintptr_t)p / LINE_BYTES; at <= ((uintptr_t)p + size - 1) / LINE_BYTES; at++)
    touch(at * LINE_BYTES, is_write);
}
void model_range(const void *p, size_t size, bool is_write) {
  if (size != 0) touch_all(p, size, is_write);
}

uint64_t model_load(const void *p, size_t size, enum model_order order, struct model_place at) {
  (void)order, (void)at;
  uint64_t bits = 0;
  touch((uintptr_t)p, false);
  memcpy(&bits, p, size);
  return bits;
}
void model_store(void *p, size_t size, uint64_t v, enum model_order order, struct model_place at) {
  (void)order, (void)at;
  touch((uintptr_t)p, true);
  memcpy(p, &v, size);
}
uint64_t model_rmw(void *p, size_t size, enum model_op op, uint64_t v, enum model_order order,
                   struct model_place at) {
  uint64_t old = model_load(p, size, order, at);
  uint64_t next = op == MODEL_SWAP  ? v
                  : op == MODEL_ADD ? old + v
                  : op == MODEL_SUB ? old - v
                  : op == MODEL_OR  ? old | v
                                    : old & v;
  model_store(p, size, next, order, at);
  if (sim != NULL && sim->is_counting) sim->rmw_count++;
  return old;
}
bool model_cas(void *p, size_t size, uint64_t *expected, uint64_t v, enum model_order order,
               struct model_place at) {
  uint64_t old = model_load(p, size, order, at);
  bool is_equal = old == *expected;
  if (is_equal) model_store(p, size, v, order, at);
  if (sim != NULL && sim->is_counting) sim->rmw_count++;
  *expected = old;
  return is_equal;
}

#define PLAIN(bytes)                                                                               \
  void __tsan_read##bytes(void *p);                                                                \
  void __tsan_write##bytes(void *p);                                                               \
  void __tsan_unaligned_read##bytes(void *p);                                                      \
  void __tsan_unaligned_write##bytes(void *p);                                                     \
  void __tsan_read##bytes(void *p) { touch_all(p, bytes, false); }                                 \
  void __tsan_write##bytes(void *p) { touch_all(p, bytes, true); }                                 \
  void __tsan_unaligned_read##bytes(void *p) { touch_all(p, bytes, false); }                       \
  void __tsan_unaligned_write##bytes(void *p) { touch_all(p, bytes, true); }
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
void __tsan_read_range(void *p, unsigned long size) { touch_all(p, size, false); }
void __tsan_write_range(void *p, unsigned long size) { touch_all(p, size, true); }
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}

/* ---- what is posted, and mappings of which only the address is used (the build wraps these) */

void __real_mail_post(struct heap *h, struct heap *owner, struct magazine *m, uint32_t bytes);
void __wrap_mail_post(struct heap *h, struct heap *owner, struct magazine *m, uint32_t bytes);
void __wrap_mail_post(struct heap *h, struct heap *owner, struct magazine *m, uint32_t bytes) {
  if (sim->is_counting) {
    uint32_t count = load_relaxed(&m->count);
    bool is_mix = magazine_is_mix(m);
    sim->post_count++;
    sim->posted_count += count;
    sim->mix_count += is_mix;
    sim->part_full_count +=
        !is_mix && count < size_classes[map_entry_class(m->entry)].magazine_capacity;
  }
  __real_mail_post(h, owner, m, bytes);
}

/* At fixed addresses, since these are hashed. */
void *__real_os_map(size_t size);
void *__wrap_os_map(size_t size);
bool __wrap_os_unmap(void *p, size_t size);
static char *const MAPPINGS = (char *)((uintptr_t)1 << 40);
static const size_t MAPPING_BYTES = 4 * SUPERSLAB_BYTES;
void *__wrap_os_map(size_t size) {
  if (size < MAPPING_BYTES) return __real_os_map(size);
  for (size_t i = 0; size == MAPPING_BYTES && i <= THREADS_MAX; i++) {
    if (sim->is_mapped[i]) continue;
    sim->is_mapped[i] = true;
    return MAPPINGS + i * MAPPING_BYTES;
  }
  return NULL;
}
bool __wrap_os_unmap(void *p, size_t size) {
  if (size >= MAPPING_BYTES) sim->is_mapped[(size_t)((char *)p - MAPPINGS) / MAPPING_BYTES] = false;
  return true;
}

/* ---- workloads: one step of one thread; a step is so many operations */

static uint64_t seed = 1;
static uint64_t next_random(void) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return seed >> 33;
}
static size_t size_at_random(void) { return 16 + next_random() % 1009; }

static void *allocate(size_t n) {
  sim->op_count++;
  void *p = entry_malloc(n);
  if (p == NULL) model_fail("no memory", __FILE__, __LINE__);
  return p;
}
static void release(void *p) {
  if (p == NULL) return;
  sim->op_count++;
  entry_free(p);
}

/* What is freed is allocated again: always a hit, once the first round has filled the bin. */
static void hit(unsigned thread, unsigned threads) {
  (void)thread, (void)threads;
  release(allocate(64));
}
static void local(unsigned thread, unsigned threads) {
  (void)threads;
  void **slot = &sim->slot[thread][next_random() % SLOTS];
  release(*slot);
  *slot = allocate(size_at_random());
}
/* The object that any other thread put there is freed. */
static void handed_over(unsigned thread, unsigned threads) {
  (void)thread;
  void **slot = &sim->slot[next_random() % threads][next_random() % SLOTS];
  release(*slot);
  *slot = allocate(size_at_random());
}
/* Even threads allocate, odd ones free; a lone thread does both. */
static void produce(unsigned thread, unsigned threads, size_t n) {
  void **slot = sim->slot[threads == 1 ? 0 : thread & ~1u];
  for (size_t i = 0; i < SLOTS; i++) {
    if (thread % 2 == 0) slot[i] = allocate(n != 0 ? n : size_at_random());
    if (thread % 2 == 1 || threads == 1) {
      release(slot[i]);
      slot[i] = NULL;
    }
  }
}
static void produced(unsigned thread, unsigned threads) { produce(thread, threads, 0); }
/* Of these the frees alone are counted: the sender's side of a remote free. */
static void freed(unsigned thread, unsigned threads, size_t n) {
  bool is_counting = sim->is_counting;
  sim->is_counting = is_counting && thread % 2 == 1;
  uint64_t before = sim->op_count;
  produce(thread, threads, n);
  if (thread % 2 == 0) sim->op_count = before;
  sim->is_counting = is_counting;
}
static void freed_512(unsigned thread, unsigned threads) { freed(thread, threads, 512); }
static void freed_1024(unsigned thread, unsigned threads) { freed(thread, threads, 1024); }
static void freed_mixed(unsigned thread, unsigned threads) { freed(thread, threads, 0); }
/* Groups of four that allocate and one that frees what they did, an object of each in turn. Its
 * frees alone are counted, too. */
static void many_to_one(unsigned thread, unsigned threads, size_t n) {
  enum { GROUP = PRODUCERS + 1 };
  unsigned first = thread - thread % GROUP;
  bool is_counting = sim->is_counting, is_consumer = thread % GROUP == PRODUCERS;
  sim->is_counting = is_counting && is_consumer;
  uint64_t before = sim->op_count;
  for (size_t i = 0; i < SLOTS; i++) {
    if (!is_consumer) {
      sim->slot[thread][i] = allocate(n != 0 ? n : size_at_random());
    } else {
      for (unsigned t = first; t < first + PRODUCERS; t++) release(sim->slot[t][i]);
    }
  }
  if (!is_consumer) sim->op_count = before;
  sim->is_counting = is_counting;
  (void)threads;
}
static void four_to_one_512(unsigned thread, unsigned threads) {
  many_to_one(thread, threads, 512);
}
static void four_to_one_1024(unsigned thread, unsigned threads) {
  many_to_one(thread, threads, 1024);
}
static void four_to_one_mixed(unsigned thread, unsigned threads) {
  many_to_one(thread, threads, 0);
}
/* Above what slabs hold: chunks of the region, and mappings of their own. */
static void large(unsigned thread, size_t n) {
  void **slot = &sim->slot[thread][0];
  release(*slot);
  *slot = allocate(n);
}
static void runs(unsigned thread, unsigned threads) {
  (void)threads;
  large(thread, 4 * CHUNK_BYTES);
}
static void mappings(unsigned thread, unsigned threads) {
  (void)threads;
  large(thread, MAPPING_BYTES);
}
/* A thread starts, allocates and frees a few, and ends: its heap goes to the next. */
static void short_lived(unsigned thread, unsigned threads) {
  (void)thread, (void)threads;
  void *few[8];
  for (size_t i = 0; i < 8; i++) few[i] = allocate(size_at_random());
  for (size_t i = 0; i < 8; i++) release(few[i]);
  os_model_thread_ends();
}

struct workload {
  const char *name;
  void (*step)(unsigned thread, unsigned threads);
  unsigned steps; /* of each thread that are counted; as many before that are not */
  bool has_posts; /* frees alone are counted, and what they post is told */
};
static const struct workload workloads[] = {
    {"hit", hit, 4000, false},
    {"local", local, 4000, false},
    {"handed over", handed_over, 4000, false},
    {"producer, consumer", produced, 200, false},
    {"short threads", short_lived, 400, false},
    {"runs, 256 KiB", runs, 400, false},
    {"mappings, 8 MiB", mappings, 400, false},
    {"remote frees, 512 B", freed_512, 200, true},
    {"remote frees, 1,024 B", freed_1024, 200, true},
    {"remote frees, 16-1,024 B", freed_mixed, 200, true},
    {"four to one, 512 B", four_to_one_512, 100, true},
    {"four to one, 1,024 B", four_to_one_1024, 100, true},
    {"four to one, 16-1,024 B", four_to_one_mixed, 100, true},
};

static void print_rate(uint64_t count, double ops, int digits) {
  if (count == 0) {
    printf(" 0 |");
  } else {
    printf(" %.*f |", digits, (double)count / ops);
  }
}
static void print_row(const struct workload *w, unsigned threads, unsigned homes) {
  double ops = sim->op_count != 0 ? (double)sim->op_count : 1;
  printf("| %s | %u | %u |", w->name, threads, homes);
  print_rate(sim->rmw_count, ops, 4);
  print_rate(sim->transfer_count, ops, 3);
  printf("\n");
  if (!w->has_posts) return;
  printf("| %s | %u | %llu | %llu | %llu | %llu | %.1f |", w->name, threads,
         (unsigned long long)sim->op_count, (unsigned long long)sim->post_count,
         (unsigned long long)sim->part_full_count, (unsigned long long)sim->mix_count,
         (double)sim->posted_count / (double)sim->post_count);
  print_rate(sim->rmw_count, ops, 4);
  printf("\n");
}

static void run(const struct workload *w, unsigned threads, unsigned homes) {
  home_set_count(homes);
  for (unsigned part = 0; part < 2; part++) {
    sim->is_counting = part == 1;
    sim->rmw_count = sim->transfer_count = sim->op_count = 0;
    sim->post_count = sim->part_full_count = sim->mix_count = sim->posted_count = 0;
    for (unsigned i = 0; i < w->steps; i++) {
      for (unsigned t = 0; t < threads; t++) {
        switch_to(t);
        w->step(t, threads);
      }
    }
  }
  sim->is_counting = false;
  print_row(w, threads, homes);
}

/* Each run in a process of its own: structures as a program of that many threads has them. */
int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: sim_scaling WORKLOAD-NUMBER THREADS HOMES\n");
    return 2;
  }
  size_t number = strtoul(argv[1], NULL, 10);
  unsigned threads = (unsigned)strtoul(argv[2], NULL, 10);
  unsigned homes = (unsigned)strtoul(argv[3], NULL, 10);
  size_t count = sizeof workloads / sizeof *workloads;
  if (number >= count || threads == 0 || threads > THREADS_MAX || homes == 0) {
    fprintf(stderr, "sim_scaling: %s %s %s: workloads 0 to %zu, 1 to %d threads, 1 home or more\n",
            argv[1], argv[2], argv[3], count - 1, THREADS_MAX);
    return 2;
  }
  struct sim *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (s == MAP_FAILED) return 2;
  for (unsigned t = 0; t < THREADS_MAX; t++) memcpy(s->tls[t], __start_model_tls, tls_bytes());
  sim = s;
  model_allocator_init();
  run(&workloads[number], threads, homes);
  return 0;
}
