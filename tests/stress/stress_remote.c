/* stress_remote.c — objects freed by threads that did not allocate them; threads come and go.
 *   stress_remote PATTERN [--ops N] [--threads N] [--seed N] [--growth-kib N]
 *   pair     one allocates, one frees        fan-in     N allocate, one frees
 *   fan-out  one allocates, N free           ring       each frees what its left one allocated
 *   exchange all swap through one table      churn      owners exit first, others free later
 *   late     in key and TLS destructors      free-only  a thread that never allocates
 *   short    very many short threads
 * Every object describes itself and is checked by who frees it; in the end none is live. In late,
 * free-only and short, memory is held to --growth-kib from the middle of the run on: to its end,
 * but for short, which then goes on in another way, and is held more tightly where it is trimmed.
 */
#define _GNU_SOURCE 1
#include "stress_util.h"

enum {
  THREADS_MAX = 64,
  BATCH = 16,
  CHANNEL_ITEMS = 16 * BATCH,
  TABLE_SLOTS = 512,
};

static uint64_t ops;
static uint64_t threads;
static uint64_t growth_kib;
static _Atomic uint64_t keys_sent, keys_received, objects_freed;

/* --- objects ---------------------------------------------------------------------------------- */

static void *object_new(struct rng *rng) {
  size_t size = rng_next(rng) & 1 ? 64 : sizeof(struct tagged) + size_mixed(rng);
  size = size < TAGGED_SIZE_MAX ? size : TAGGED_SIZE_MAX;
  void *p = tagged_new(size, rng_next(rng));
  REQUIRE(p != NULL, "out of memory at %zu bytes", size);
  return p;
}

static void *object_new_small(struct rng *rng) {
  size_t size = sizeof(struct tagged) + size_between(rng, 1, 8 * KIB);
  void *p = tagged_new(size, rng_next(rng));
  REQUIRE(p != NULL, "out of memory at %zu bytes", size);
  return p;
}

static void object_free(void *object) {
  tagged_free(object);
  atomic_fetch_add_explicit(&objects_freed, 1, memory_order_relaxed);
}

static size_t live_at_start;

/* At rest: what is live is what was, to the byte. No free was lost on its way, none came twice. */
static void live_check(size_t before) {
  size_t now = T_mallinfo2().uordblks;
  REQUIRE(now == before, "%zu bytes are live, %zu were", now, before);
}

static pthread_barrier_t all_started;

static void *started_thread(void *unused) {
  pthread_barrier_wait(&all_started);
  return unused;
}

/* What libc itself keeps is there before anything is counted: stdout's buffer, and for each stack
 * that it has for threads to come a vector of 320 bytes. It keeps 40 MiB of stacks: of this size,
 * all that are ever in use at once. */
static void libc_warm_up(void) {
  enum { STACK_BYTES = 256 * 1024 };
  static char buffer[4096];
  pthread_t ids[THREADS_MAX];
  unsigned count = (unsigned)threads + 1; /* the most that a pattern has at once */
  REQUIRE(setvbuf(stdout, buffer, _IOFBF, sizeof buffer) == 0, "setvbuf");
  if (!STRESS_SANITIZED) { /* these have large frames, and allocations that are not counted */
    pthread_attr_t attr;
    REQUIRE(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, STACK_BYTES) == 0 &&
                pthread_setattr_default_np(&attr) == 0,
            "pthread_attr");
    pthread_attr_destroy(&attr);
  }
  barrier_init(&all_started, count);
  for (unsigned i = 0; i < count; i++) ids[i] = thread_start(started_thread, NULL);
  for (unsigned i = 0; i < count; i++) thread_join(ids[i]);
}

/* --- a bounded channel ------------------------------------------------------------------------ */

struct channel {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned senders;
  size_t first, count;
  void *item[CHANNEL_ITEMS];
};

static void channel_init(struct channel *c, unsigned senders) {
  memset(c, 0, sizeof *c);
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->changed, NULL);
  c->senders = senders;
}

static void channel_send(struct channel *c, void **batch, size_t count) {
  uint64_t keys = 0;
  for (size_t i = 0; i < count; i++) {
    keys += ((struct tagged *)batch[i])->key;
  }
  atomic_fetch_add(&keys_sent, keys);
  pthread_mutex_lock(&c->lock);
  while (c->count + count > CHANNEL_ITEMS) {
    pthread_cond_wait(&c->changed, &c->lock);
  }
  for (size_t i = 0; i < count; i++) {
    c->item[(c->first + c->count++) % CHANNEL_ITEMS] = batch[i];
  }
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

static void channel_close(struct channel *c) {
  pthread_mutex_lock(&c->lock);
  c->senders--;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
}

/* Up to BATCH objects; 0 once every sender has closed and all is read. */
static size_t channel_receive(struct channel *c, void **batch) {
  pthread_mutex_lock(&c->lock);
  while (c->count == 0 && c->senders != 0) {
    pthread_cond_wait(&c->changed, &c->lock);
  }
  size_t count = c->count < BATCH ? c->count : BATCH;
  uint64_t keys = 0;
  for (size_t i = 0; i < count; i++) {
    batch[i] = c->item[c->first];
    c->first = (c->first + 1) % CHANNEL_ITEMS;
    keys += ((struct tagged *)batch[i])->key;
  }
  c->count -= count;
  pthread_cond_broadcast(&c->changed);
  pthread_mutex_unlock(&c->lock);
  atomic_fetch_add(&keys_received, keys);
  return count;
}

struct worker {
  uint64_t number;
  uint64_t ops;
  struct channel *in, *out;
};

static struct channel channels[THREADS_MAX];
static struct worker workers[THREADS_MAX];

static void send_batch(struct channel *out, struct rng *rng, void *(*make)(struct rng *)) {
  void *batch[BATCH];
  for (size_t i = 0; i < BATCH; i++) {
    batch[i] = make(rng);
  }
  channel_send(out, batch, BATCH);
}

static size_t receive_batch(struct channel *in) {
  void *batch[BATCH];
  size_t count = channel_receive(in, batch);
  for (size_t i = 0; i < count; i++) {
    object_free(batch[i]);
  }
  return count;
}

static void *allocator_thread(void *arg) {
  struct worker *w = arg;
  struct rng rng = rng_stream(w->number);
  for (uint64_t i = 0; i < w->ops; i += BATCH) {
    send_batch(w->out, &rng, object_new);
  }
  channel_close(w->out);
  return NULL;
}

static void *freer_thread(void *arg) {
  struct worker *w = arg;
  while (receive_batch(w->in) != 0) {
  }
  return NULL;
}

/* One batch out for each batch in: with room for two in a channel the ring cannot block. */
static void *ring_thread(void *arg) {
  struct worker *w = arg;
  struct rng rng = rng_stream(w->number);
  for (uint64_t i = 0; i < w->ops; i += BATCH) {
    send_batch(w->out, &rng, object_new);
    receive_batch(w->in);
  }
  channel_close(w->out);
  return freer_thread(arg);
}

static void workers_run(void *(*const *bodies)(void *), unsigned count) {
  pthread_t ids[THREADS_MAX];
  for (unsigned i = 0; i < count; i++) {
    ids[i] = thread_start(bodies[i], &workers[i]);
  }
  for (unsigned i = 0; i < count; i++) {
    thread_join(ids[i]);
  }
  REQUIRE(keys_sent == keys_received, "objects were lost or came twice");
}

/* ALLOCATORS and FREERS on one channel. */
static void pattern_channel(unsigned allocators, unsigned freers) {
  void *(*bodies[THREADS_MAX])(void *);
  channel_init(&channels[0], allocators);
  for (unsigned i = 0; i < allocators + freers; i++) {
    workers[i] = (struct worker){i, ops / allocators, &channels[0], &channels[0]};
    bodies[i] = i < allocators ? allocator_thread : freer_thread;
  }
  workers_run(bodies, allocators + freers);
}

static void pattern_ring(void) {
  void *(*bodies[THREADS_MAX])(void *);
  for (unsigned i = 0; i < threads; i++) {
    channel_init(&channels[i], 1);
    workers[i] = (struct worker){i, ops / threads, &channels[i], &channels[(i + 1) % threads]};
    bodies[i] = ring_thread;
  }
  workers_run(bodies, (unsigned)threads);
}

/* --- the exchange table ----------------------------------------------------------------------- */

static _Atomic(void *) table[TABLE_SLOTS];

static void *table_swap(struct rng *rng, void *object) {
  return atomic_exchange(&table[rng_below(rng, TABLE_SLOTS)], object);
}

static void table_put(struct rng *rng, void *object) {
  void *old = table_swap(rng, object);
  if (old != NULL) {
    object_free(old);
  }
}

static void table_empty(void) {
  for (size_t i = 0; i < TABLE_SLOTS; i++) {
    void *old = atomic_exchange(&table[i], NULL);
    if (old != NULL) {
      object_free(old);
    }
  }
}

static void *exchange_thread(void *arg) {
  struct worker *w = arg;
  struct rng rng = rng_stream(w->number);
  for (uint64_t i = 0; i < w->ops; i++) {
    void *old = table_swap(&rng, object_new(&rng));
    if (old == NULL) {
      continue;
    }
    if (rng_below(&rng, 8) == 0) { /* a foreign object grows or shrinks in this thread's hands */
      size_t size = tagged_check(old);
      size_t other = sizeof(struct tagged) + rng_below(&rng, 2 * size);
      other = other < TAGGED_SIZE_MAX ? other : TAGGED_SIZE_MAX;
      struct tagged head = *(struct tagged *)old;
      struct tagged *moved = T_realloc(old, other);
      REQUIRE(moved != NULL, "realloc to %zu bytes: errno %d", other, errno);
      size_t limit = (other < size ? other : size) - sizeof head;
      size_t bad = pattern_check(moved + 1, size - sizeof head, head.key, limit);
      REQUIRE(bad == SIZE_MAX && memcmp(moved, &head, sizeof head) == 0,
              "realloc from %zu to %zu bytes changed contents", size, other);
      T_free(moved);
    } else {
      object_free(old);
    }
  }
  return NULL;
}

static void pattern_exchange(void) {
  void *(*bodies[THREADS_MAX])(void *);
  for (unsigned i = 0; i < threads; i++) {
    workers[i] = (struct worker){i, ops / threads, NULL, NULL};
    bodies[i] = exchange_thread;
  }
  workers_run(bodies, (unsigned)threads);
  table_empty();
}

/* --- threads that come and go ----------------------------------------------------------------- */

/* Runs COUNT threads of BODY, at most `threads` at once, numbered from FIRST. */
static void waves_run(void *(*body)(void *), uint64_t first, uint64_t count) {
  pthread_t ids[THREADS_MAX];
  for (uint64_t done = 0; done < count;) {
    uint64_t wave = count - done < threads ? count - done : threads;
    for (uint64_t i = 0; i < wave; i++) {
      ids[i] = thread_start(body, (void *)(uintptr_t)(first + done + i));
    }
    for (uint64_t i = 0; i < wave; i++) {
      thread_join(ids[i]);
    }
    done += wave;
  }
}

/* Leaves objects behind in the table and frees those of threads that are gone. */
static void *churn_thread(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  void *own[64] = {NULL};
  for (unsigned i = 0; i < 512; i++) {
    void **slot = &own[rng_below(&rng, 64)];
    if (*slot != NULL) {
      table_put(&rng, *slot);
    }
    *slot = object_new(&rng);
  }
  for (unsigned i = 0; i < 64; i++) {
    if (own[i] != NULL && i % 2 == 0) {
      object_free(own[i]);
    } else if (own[i] != NULL) {
      table_put(&rng, own[i]);
    }
  }
  return NULL;
}

static pthread_barrier_t full_house;
static bool is_full_house; /* a wave's threads wait for each other; constant while threads run */

/* The first call of a short thread goes through every entry point in turn. */
static void *short_thread(void *arg) {
  uint64_t number = (uintptr_t)arg;
  struct rng rng = rng_stream(number);
  void *own[40];
  void *foreign = table_swap(&rng, NULL);
  void *first = NULL;
  if (foreign != NULL && number % 8 == 0) {
    object_free(foreign);
    foreign = NULL;
  } else if (foreign != NULL && number % 8 == 1) {
    REQUIRE(T_usable_size(foreign) >= tagged_check(foreign), "usable size below the request");
  } else if (foreign != NULL && number % 8 == 2) {
    size_t size = tagged_check(foreign);
    foreign = T_realloc(foreign, size); /* the same size: contents must stay */
    REQUIRE(foreign != NULL && tagged_check(foreign) == size, "realloc to the same size");
  } else if (number % 8 == 3) {
    first = T_calloc(3, 100);
  } else if (number % 8 == 4) {
    first = T_realloc(NULL, 77);
  } else if (number % 8 == 5) {
    first = T_memalign(64, 200);
  } else if (number % 8 == 6) {
    REQUIRE(T_posix_memalign(&first, 4096, 100) == 0, "posix_memalign");
  } else {
    T_free(NULL);
  }
  for (size_t i = 0; i < 40; i++) {
    own[i] = object_new_small(&rng);
  }
  if (is_full_house) {
    pthread_barrier_wait(&full_house);
  }
  for (size_t i = 0; i < 40; i++) {
    if (i % 8 == 0) {
      table_put(&rng, own[i]);
    } else {
      object_free(own[i]);
    }
  }
  if (foreign != NULL) {
    object_free(foreign);
  }
  T_free(first);
  return NULL;
}

/* For the last line of output, which alone goes into the file of results. */
static char growth_text[300];

static void growth_check(const char *what, size_t before, size_t after, uint64_t limit_kib) {
  long long growth = ((long long)after - (long long)before) / 1024;
  size_t used = strlen(growth_text);
  snprintf(growth_text + used, sizeof growth_text - used, "; growth %lld KiB (of %llu%s) after %s",
           growth, (unsigned long long)limit_kib, STRESS_SANITIZED ? ", not held here" : "", what);
  printf("stress_remote: resident %zu KiB, then %zu KiB after %s: growth %lld KiB\n", before / 1024,
         after / 1024, what, growth);
  fflush(stdout); /* the figure is wanted most when it is too large */
  REQUIRE(STRESS_SANITIZED || growth <= (long long)limit_kib, "grew by %lld KiB, limit %llu",
          growth, (unsigned long long)limit_kib);
}

/* Resident memory follows the highest demand that there ever was. Left to the scheduler, how many
 * threads meet, the fullest moment comes at any time, and is a step of up to 2 MiB that tells
 * nothing about a leak. So in three quarters of the run the threads of a wave hold all of their
 * objects at the same time. It is the third of these that is judged. It begins trimmed, as the
 * first did, and what a trim leaves after it may hardly be more than before: that is the judge of
 * leaks. Untrimmed, what is resident goes up and down by half a MiB from one look to the next, so
 * that --growth-kib, which this is held to, has to be above that: it sees what a trim would mend.
 * In the last quarter threads start while others exit: the step may come, and what is live stays
 * what it was. */
enum { SHORT_STEP_KIB = 2048, SHORT_TRIMMED_KIB = 32 };

static size_t trimmed_bytes(void) {
  T_trim(0);
  return anonymous_bytes();
}

/* What lies on the table decides what a wave needs besides: from empty to full, ten times. Returns
 * the most that was resident after any of these, since it goes up and down by 500 KiB where a busy
 * machine keeps an owner from its mail: a leak lifts the highest as it lifts the last. */
static size_t short_waves(uint64_t first, uint64_t count) {
  uint64_t part = count / 10 / threads * threads;
  size_t most = 0;
  for (uint64_t i = 0; i < 10; i++) {
    waves_run(short_thread, first + i * part, i < 9 ? part : count - 9 * part);
    table_empty();
    size_t now = anonymous_bytes();
    most = now > most ? now : most;
  }
  return most;
}

static void pattern_short(void) {
  barrier_init(&full_house, (unsigned)threads);
  uint64_t quarter = ops / 4 / threads * threads; /* whole waves */
  is_full_house = true;
  size_t before = short_waves(0, 2 * quarter);
  size_t live = T_mallinfo2().uordblks;
  size_t trimmed = trimmed_bytes();
  size_t after = short_waves(2 * quarter, quarter);
  growth_check("the third quarter", before, after, growth_kib);
  growth_check("it, trimmed", trimmed, trimmed_bytes(), SHORT_TRIMMED_KIB);
  is_full_house = false;
  size_t last = short_waves(3 * quarter, ops - 3 * quarter);
  uint64_t step_kib = growth_kib > SHORT_STEP_KIB ? growth_kib : SHORT_STEP_KIB;
  growth_check("threads that meet by chance", after, last, step_kib);
  live_check(live);
}

/* One freeing thread for the whole run; allocators come and go, so that it frees for the living
 * and for the dead, and never allocates. Twice: what the first half needs is enough for both. */
static void *generation_thread(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  for (unsigned i = 0; i < 64; i++) {
    send_batch(&channels[0], &rng, object_new_small);
  }
  return NULL;
}

static void pattern_free_only(void) {
  channel_init(&channels[0], 1);
  workers[0] = (struct worker){.in = &channels[0]};
  pthread_t freer = thread_start(freer_thread, &workers[0]);
  uint64_t half = ops / (64 * BATCH) / 2;
  waves_run(generation_thread, 0, half);
  size_t before = resident_bytes();
  waves_run(generation_thread, half, half);
  channel_close(&channels[0]);
  thread_join(freer);
  REQUIRE(keys_sent == keys_received, "objects were lost or came twice");
  growth_check("the second half", before, resident_bytes(), growth_kib);
}

/* --- late destructors ------------------------------------------------------------------------- */

/* More keys than fit into the thread's first-level block, so that setting them allocates. Rounds:
 * PTHREAD_DESTRUCTOR_ITERATIONS; in the last of them a sanitizer has left the thread already. */
enum { LATE_KEYS = 40, LATE_ROUNDS = STRESS_SANITIZED ? 3 : 4 };

static pthread_key_t late_keys[LATE_KEYS];
static _Atomic uint64_t late_calls;
static _Thread_local unsigned late_rounds[LATE_KEYS];

struct late_value {
  unsigned index;
  void *object;
};

static _Thread_local struct late_value late_values[LATE_KEYS];

static void late_work(struct rng *rng) {
  void *own[100];
  for (size_t i = 0; i < 100; i++) {
    own[i] = object_new_small(rng);
  }
  for (size_t i = 0; i < 99; i++) {
    object_free(own[i]);
  }
  table_put(rng, own[99]);
  atomic_fetch_add(&late_calls, 1);
}

/* Comes back in every destructor iteration: the last is after the allocator's own. */
static void late_key_destructor(void *value) {
  struct late_value *v = value;
  struct rng rng = rng_stream(((struct tagged *)v->object)->key);
  object_free(v->object);
  late_work(&rng);
  if (++late_rounds[v->index] < LATE_ROUNDS) {
    v->object = object_new_small(&rng);
    REQUIRE(pthread_setspecific(late_keys[v->index], v) == 0, "pthread_setspecific");
  }
}

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

/* What C++ calls for a thread_local with a destructor. */
static void late_tls_destructor(void *object) {
  struct rng rng = rng_stream(((struct tagged *)object)->key);
  object_free(object);
  late_work(&rng);
}

static void *late_thread(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  for (unsigned i = 0; i < LATE_KEYS; i += 13) { /* first and last, and between */
    late_values[i] = (struct late_value){i, object_new_small(&rng)};
    REQUIRE(pthread_setspecific(late_keys[i], &late_values[i]) == 0, "pthread_setspecific");
  }
  REQUIRE(__cxa_thread_atexit_impl(late_tls_destructor, object_new_small(&rng), &__dso_handle) == 0,
          "__cxa_thread_atexit_impl");
  return NULL;
}

static void late_atexit(void) {
  struct rng rng = rng_stream(THREADS_MAX);
  late_work(&rng);
  table_empty();
  live_check(live_at_start);
}

static void pattern_late(void) {
  for (unsigned i = 0; i < LATE_KEYS; i++) {
    REQUIRE(pthread_key_create(&late_keys[i], late_key_destructor) == 0, "pthread_key_create");
  }
  REQUIRE(atexit(late_atexit) == 0, "atexit");
  waves_run(late_thread, 0, ops / 2);
  size_t before = resident_bytes();
  waves_run(late_thread, ops / 2, ops - ops / 2);
  growth_check("the second half", before, resident_bytes(), growth_kib);
  uint64_t expected = ops * (4 * LATE_ROUNDS + 1);
  REQUIRE(late_calls == expected, "%llu destructor calls, not %llu", (unsigned long long)late_calls,
          (unsigned long long)expected);
}

int main(int argc, char **argv) {
  const char *pattern = argc > 1 ? argv[1] : "";
  stress_name = "stress_remote";
  options_check(
      argc, argv, 2,
      "stress_remote PATTERN [--ops N] [--threads N] [--seed N] [--growth-kib N]; PATTERN: "
      "pair, fan-in, fan-out, ring, exchange, churn, late, free-only, short");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  ops = option_u64(argc, argv, "--ops", 100000);
  threads = option_u64(argc, argv, "--threads", 6);
  growth_kib = option_u64(argc, argv, "--growth-kib", 4096);
  option_range("--threads", threads, 1, THREADS_MAX - 1);
  libc_warm_up();
  live_at_start = T_mallinfo2().uordblks;
  if (strcmp(pattern, "pair") == 0) {
    pattern_channel(1, 1);
  } else if (strcmp(pattern, "fan-in") == 0) {
    pattern_channel((unsigned)threads, 1);
  } else if (strcmp(pattern, "fan-out") == 0) {
    pattern_channel(1, (unsigned)threads);
  } else if (strcmp(pattern, "ring") == 0) {
    pattern_ring();
  } else if (strcmp(pattern, "exchange") == 0) {
    pattern_exchange();
  } else if (strcmp(pattern, "churn") == 0) {
    waves_run(churn_thread, 0, ops);
    table_empty();
  } else if (strcmp(pattern, "free-only") == 0) {
    pattern_free_only();
  } else if (strcmp(pattern, "late") == 0) {
    pattern_late();
  } else if (strcmp(pattern, "short") == 0) {
    pattern_short();
  } else {
    option_refuse("pattern", pattern, "unknown");
  }
  REQUIRE(objects_freed > 0, "nothing was done");
  if (strcmp(pattern, "late") != 0) { /* which has not done yet */
    live_check(live_at_start);
  }
  printf("stress_remote %s: %llu objects freed, seed %llu%s\n", pattern,
         (unsigned long long)objects_freed, (unsigned long long)stress_seed, growth_text);
  return 0;
}
