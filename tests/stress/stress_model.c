/* stress_model.c — random operations of the whole malloc family held against a shadow map:
 * contents, alignment, overlap with any live object of any thread, a stable usable size, zeroing,
 * errno.
 *   stress_model [--ops N] [--threads N] [--slots N] [--seed N]
 * Each thread owns slots of records; now and then it swaps one with a table that all share, so
 * that objects are checked, resized and freed by threads that did not allocate them.
 */
#include <sys/mman.h>

#include "stress_util.h"

enum { THREADS_MAX = 64, SHARED_SLOTS = 512 };

/* What the model knows of one object; address NULL: none. */
struct record {
  unsigned char *address;
  size_t requested;
  size_t usable;
  size_t filled; /* bytes under the pattern: requested or usable */
  uint64_t key;
  size_t alignment; /* 0 when it is not of the aligned family */
};

/* One bit for each 16 bytes of the address space, set while a live object covers them. Relaxed
 * on purpose: a stronger order would hide from TSan that the allocator itself fails to order a
 * free before the malloc that gets the memory next. */
#define SHADOW_GRANULE_SHIFT 4
#define SHADOW_WINDOW_SHIFT 34 /* one bitmap a 16 GiB window, mapped when first met */
#define SHADOW_WINDOWS ((size_t)1 << (48 - SHADOW_WINDOW_SHIFT))
#define SHADOW_WINDOW_WORDS ((size_t)1 << (SHADOW_WINDOW_SHIFT - SHADOW_GRANULE_SHIFT - 6))

static _Atomic(_Atomic uint64_t *) shadow_window[SHADOW_WINDOWS];
static _Atomic(struct record *) shared[SHARED_SLOTS];
static uint64_t ops_per_thread;
static size_t slots_per_thread;
static size_t live_max_bytes; /* a thread's bound on what it holds */
static pthread_barrier_t start;

static void *pages_new(size_t bytes) {
  void *p =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(p != MAP_FAILED, "mmap of %zu bytes for the model: errno %d", bytes, errno);
  return p;
}

static _Atomic uint64_t *shadow_of(uintptr_t address) {
  size_t index = address >> SHADOW_WINDOW_SHIFT;
  REQUIRE(index < SHADOW_WINDOWS, "address %#lx out of user space", (unsigned long)address);
  _Atomic uint64_t *words = atomic_load(&shadow_window[index]);
  if (words == NULL) {
    _Atomic uint64_t *fresh = pages_new(SHADOW_WINDOW_WORDS * 8);
    if (atomic_compare_exchange_strong(&shadow_window[index], &words, fresh)) {
      return fresh;
    }
    munmap(fresh, SHADOW_WINDOW_WORDS * 8);
  }
  return words;
}

/* Sets (or clears) the bits of an object; all of them must have been clear (set) before. */
static void shadow_mark(const struct record *r, bool live) {
  uintptr_t granule = (uintptr_t)r->address >> SHADOW_GRANULE_SHIFT;
  uintptr_t end =
      ((uintptr_t)r->address + (r->usable ? r->usable : 1) + 15) >> SHADOW_GRANULE_SHIFT;
  while (granule < end) {
    _Atomic uint64_t *words = shadow_of(granule << SHADOW_GRANULE_SHIFT);
    unsigned bit = granule & 63;
    uint64_t count = end - granule < 64 - bit ? end - granule : 64 - bit;
    uint64_t mask = (count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1) << bit;
    _Atomic uint64_t *word = &words[(granule >> 6) % SHADOW_WINDOW_WORDS];
    uint64_t before = live ? atomic_fetch_or_explicit(word, mask, memory_order_relaxed)
                           : atomic_fetch_and_explicit(word, ~mask, memory_order_relaxed);
    REQUIRE((before & mask) == (live ? 0 : mask), "%p of %zu usable bytes overlaps a live object",
            (void *)r->address, r->usable);
    granule += count;
  }
}

/* Fills the pattern into a new or resized object, over the whole usable size now and then. */
static void record_fill(struct record *r, struct rng *rng) {
  r->key = rng_next(rng);
  r->filled = rng_below(rng, 4) == 0 ? r->usable : r->requested;
  pattern_fill(r->address, r->filled, r->key);
}

static void record_verify(const struct record *r, size_t limit) {
  size_t bad = pattern_check(r->address, r->filled, r->key, limit);
  REQUIRE(bad == SIZE_MAX, "%p (requested %zu, usable %zu) changed at offset %zu",
          (void *)r->address, r->requested, r->usable, bad);
}

/* Takes a fresh answer of the allocator into the model. */
static void record_set(struct record *r, void *p, size_t requested, size_t alignment,
                       const char *call) {
  REQUIRE(p != NULL, "%s of %zu bytes, alignment %zu: NULL, errno %d", call, requested, alignment,
          errno);
  size_t mask = (alignment > 16 ? alignment : 16) - 1;
  REQUIRE(((uintptr_t)p & mask) == 0, "%s of %zu bytes, alignment %zu: %p", call, requested,
          alignment, p);
  r->address = p;
  r->requested = requested;
  r->alignment = alignment;
  r->usable = T_usable_size(p);
  REQUIRE(r->usable >= requested, "%s(%zu) = %p: usable size %zu", call, requested, p, r->usable);
  shadow_mark(r, true);
}

static void record_allocate_aligned(struct record *r, struct rng *rng, size_t size) {
  /* 8 B to 64 KiB, seldom to 4 MiB */
  unsigned shift =
      rng_below(rng, 64) == 0 ? 17 + (unsigned)rng_below(rng, 6) : 3 + (unsigned)rng_below(rng, 14);
  size_t alignment = (size_t)1 << shift;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void *p = NULL;
  switch (rng_below(rng, 8)) {
  case 0:
    record_set(r, T_valloc(size), size, page, "valloc");
    return;
  case 1:
    record_set(r, T_pvalloc(size), (size + page - 1) & ~(page - 1), page, "pvalloc");
    return;
  case 2:
  case 3: {
    int error = T_posix_memalign(&p, alignment, size);
    REQUIRE(error == 0, "posix_memalign(%zu, %zu): %d", alignment, size, error);
    record_set(r, p, size, alignment, "posix_memalign");
    return;
  }
  case 4:
  case 5:
    record_set(r, T_memalign(alignment, size), size, alignment, "memalign");
    return;
  default:
    record_set(r, T_aligned_alloc(alignment, size), size, alignment, "aligned_alloc");
  }
}

static void record_allocate(struct record *r, struct rng *rng) {
  size_t size = size_mixed(rng);
  uint64_t pick = rng_below(rng, 16);
  if (pick < 9) {
    record_set(r, T_malloc(size), size, 0, "malloc");
  } else if (pick < 13) {
    size_t count = 1 + rng_below(rng, 8);
    void *p = T_calloc(count, (size + count - 1) / count);
    size = (size + count - 1) / count * count;
    record_set(r, p, size, 0, "calloc");
    /* reading a huge one whole would fault all its pages: one in four */
    size_t seen = size > PATTERN_WHOLE_MAX && rng_below(rng, 4) != 0 ? PATTERN_END_BYTES : size;
    size_t bad = nonzero_at(p, seen);
    bad = bad == SIZE_MAX ? nonzero_at((char *)p + size - seen, seen) : bad;
    REQUIRE(bad == SIZE_MAX, "calloc of %zu bytes = %p not zero at %zu", size, p, bad);
  } else if (pick < 14) {
    record_set(r, T_realloc(NULL, size), size, 0, "realloc(NULL)");
  } else {
    record_allocate_aligned(r, rng, size);
  }
  record_fill(r, rng);
}

static void record_resize(struct record *r, struct rng *rng) {
  /* half of them near the old size: growing in place, shrinking a little */
  size_t size =
      rng_next(rng) & 1 ? size_mixed(rng) : r->requested / 2 + rng_below(rng, r->requested + 16);
  size = size == 0 ? 1 : size; /* realloc(p, 0) frees */
  record_verify(r, SIZE_MAX);
  shadow_mark(r, false);
  size_t kept = r->requested < size ? r->requested : size;
  struct record old = *r;
  void *p = rng_next(rng) & 1 ? T_realloc(old.address, size) : T_reallocarray(old.address, 1, size);
  record_set(r, p, size, 0, "realloc");
  r->key = old.key;
  r->filled = old.filled;
  record_verify(r, kept);
  record_fill(r, rng);
}

static void record_free(struct record *r, struct rng *rng) {
  record_verify(r, SIZE_MAX);
  REQUIRE(T_usable_size(r->address) == r->usable, "usable size of %p went from %zu to %zu",
          (void *)r->address, r->usable, T_usable_size(r->address));
  shadow_mark(r, false);
  errno = 4242;
  if (rng_below(rng, 4) != 0) {
    T_free(r->address);
  } else if (r->alignment == 0) {
    T_free_sized(r->address, r->requested);
  } else {
    T_free_aligned_sized(r->address, r->alignment, r->requested);
  }
  REQUIRE(errno == 4242, "free changed errno to %d", errno);
  r->address = NULL;
}

static void *model_thread(void *arg) {
  uint64_t number = (uint64_t)(uintptr_t)arg;
  struct rng rng = rng_stream(number);
  struct record *records = pages_new(slots_per_thread * sizeof *records);
  struct record **slots = pages_new(slots_per_thread * sizeof *slots);
  size_t live_bytes = 0;
  for (size_t i = 0; i < slots_per_thread; i++) {
    slots[i] = &records[i];
  }
  pthread_barrier_wait(&start);
  for (uint64_t op = 0; op < ops_per_thread; op++) {
    struct record **slot = &slots[rng_below(&rng, slots_per_thread)];
    struct record *r = *slot;
    uint64_t pick = rng_below(&rng, 32);
    if (pick < 2) {
      live_bytes -= r->address ? r->usable : 0;
      *slot = r = atomic_exchange(&shared[rng_below(&rng, SHARED_SLOTS)], r);
      live_bytes += r->address ? r->usable : 0;
    } else if (r->address == NULL) {
      if (live_bytes < live_max_bytes) {
        record_allocate(r, &rng);
        live_bytes += r->usable;
      }
    } else if (pick < 8 && live_bytes < live_max_bytes) {
      live_bytes -= r->usable;
      record_resize(r, &rng);
      live_bytes += r->usable;
    } else if (pick < 10) {
      record_verify(r, SIZE_MAX);
    } else {
      live_bytes -= r->usable;
      record_free(r, &rng);
    }
  }
  pthread_barrier_wait(&start); /* nobody swaps any more */
  for (size_t i = 0; i < slots_per_thread; i++) {
    if (slots[i]->address) {
      record_free(slots[i], &rng);
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  stress_name = "stress_model";
  options_check(argc, argv, 1, "stress_model [--ops N] [--threads N] [--slots N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t threads = option_u64(argc, argv, "--threads", 1);
  uint64_t ops = option_u64(argc, argv, "--ops", 1000000);
  option_range("--threads", threads, 1, THREADS_MAX);
  ops_per_thread = ops / threads;
  slots_per_thread = option_u64(argc, argv, "--slots", 8000) / threads;
  live_max_bytes = 256 * MIB / threads;
  struct record *parked = pages_new(SHARED_SLOTS * sizeof *parked);
  for (size_t i = 0; i < SHARED_SLOTS; i++) {
    atomic_store(&shared[i], &parked[i]);
  }
  barrier_init(&start, (unsigned)threads);
  pthread_t ids[THREADS_MAX];
  for (uint64_t i = 1; i < threads; i++) {
    ids[i] = thread_start(model_thread, (void *)(uintptr_t)i);
  }
  model_thread((void *)0);
  for (uint64_t i = 1; i < threads; i++) {
    thread_join(ids[i]);
  }
  struct rng rng = rng_stream(THREADS_MAX);
  for (size_t i = 0; i < SHARED_SLOTS; i++) {
    struct record *r = atomic_load(&shared[i]);
    if (r->address) {
      record_free(r, &rng); /* the main thread frees what others left */
    }
  }
  printf("stress_model: %llu operations, %llu threads, seed %llu: every object as expected\n",
         (unsigned long long)(ops_per_thread * threads), (unsigned long long)threads,
         (unsigned long long)stress_seed);
  return 0;
}
