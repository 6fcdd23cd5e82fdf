/* stress_maps.c — the process has as many mappings as the kernel grants (vm.max_map_count): the
 * program has eaten them. What needs none is served all the same: small objects, blocks of up to
 * 4 MiB, while the heap grows, and larger ones in the heap; free, malloc_trim and realloc do
 * without. With --tight the heap's address space is small (HAKMEM_REGION_BYTES): larger blocks are
 * refused with ENOMEM, and served again once the program has given back its mappings. Then all of
 * it once more. No byte of an object changes meanwhile. stress_maps [--tight] [--rounds N] [--seed
 * N] Before that: a fragmented heap has few mappings, at most one per 8 MiB that it had objects in.
 * Exit 77 where the kernel does not say how many it grants, or grants too many to eat them.
 */
#define _GNU_SOURCE 1
#include "stress_util.h"

#include <sys/mman.h>

enum {
  GRANTED_MOST = 1 << 20, /* mappings that are eaten in a second or two */
  EXTRA_MOST = 256,
  HEAP_MIB = 128,
  MIB_A_MAPPING = 8,
  KEEP = 64, /* one object of so many */
  OBJECTS_MOST = 1 << 20,
  SMALL_MIB = 32, /* by which the heap grows while there is no mapping left */
  RUNS = 12,      /* blocks of the heap, of RUN_SIZE */
  RUN_SIZE = 3 * 1024 * 1024,
  BLOCKS = 16, /* with mappings, which the kernel makes one where they are neighbours */
  FREED_BLOCKS = BLOCKS / 4,
  BLOCK_SIZE = 8 * 1024 * 1024,
  WHOLE_SIZE = 64 * 1024 * 1024, /* more than is kept of mappings */
  WHOLES = 8,
  LEFT_MOST_MIB = 4,
};

/* --- Mappings --- */

static char text[1 << 16];

/* The file's bytes up to `most`, in `text`; 0: there is none. Nothing is allocated. */
static size_t read_some(int fd, size_t most) {
  ssize_t got = read(fd, text, most);
  REQUIRE(got >= 0, "read: errno %d", errno);
  return (size_t)got;
}

static uint64_t granted(void) {
  int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  text[read_some(fd, 64)] = '\0';
  close(fd);
  return strtoull(text, NULL, 10);
}

static size_t mapping_count(void) {
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0, "/proc/self/maps: errno %d", errno);
  size_t lines = 0, got;
  while ((got = read_some(fd, sizeof text)) != 0)
    for (size_t i = 0; i < got; i++) lines += text[i] == '\n';
  close(fd);
  return lines;
}

/* Pages of a reservation, each second one of which is opened: two mappings more. Then single ones,
 * in turns no neighbours of the same kind. */
static char *eaten;
static size_t page_bytes, eaten_bytes, eaten_next;
static void *extra[EXTRA_MOST];
static size_t extra_count;

static void mappings_eat(void) {
  for (; eaten_next + page_bytes < eaten_bytes; eaten_next += 2 * page_bytes)
    if (mprotect(eaten + eaten_next + page_bytes, page_bytes, PROT_READ) != 0) break;
  for (;;) {
    int access = extra_count % 2 == 0 ? PROT_READ : PROT_NONE;
    void *p = mmap(NULL, page_bytes, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) break;
    REQUIRE(extra_count < EXTRA_MOST, "mappings without end: %zu now", mapping_count());
    extra[extra_count++] = p;
  }
  REQUIRE(errno == ENOMEM, "mmap: errno %d", errno);
}

static void mappings_reserve(size_t most) {
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  eaten_bytes = 2 * most * page_bytes;
  eaten_next = extra_count = 0;
  eaten = mmap(NULL, eaten_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(eaten != MAP_FAILED, "mmap of %zu bytes: errno %d", eaten_bytes, errno);
}

static void mappings_give_back(void) {
  REQUIRE(munmap(eaten, eaten_bytes) == 0, "munmap: errno %d", errno);
  while (extra_count > 0)
    REQUIRE(munmap(extra[--extra_count], page_bytes) == 0, "munmap: errno %d", errno);
}

/* --- Objects --- */

static void **object;
static size_t object_count;

static void object_add(size_t size, struct rng *rng) {
  REQUIRE(object_count < OBJECTS_MOST, "too many objects");
  object[object_count] = tagged_new(size, rng_next(rng));
  REQUIRE(object[object_count] != NULL, "no %zu bytes after %zu objects", size, object_count);
  object_count++;
}

static size_t size_pick(struct rng *rng) {
  size_t size = size_mixed(rng), least = sizeof(struct tagged);
  return size < least ? least : size < RUN_SIZE ? size : RUN_SIZE;
}

static void objects_add(size_t bytes, struct rng *rng) {
  for (size_t size, had = 0; had < bytes; had += size) {
    size = size_pick(rng);
    object_add(size, rng);
  }
}

static void objects_free(size_t keep) {
  size_t kept = 0;
  for (size_t i = 0; i < object_count; i++) {
    if (keep != 0 && i % keep == 0)
      object[kept++] = object[i];
    else
      tagged_free(object[i]);
  }
  object_count = kept;
}

/* --- The two tests --- */

static void few(struct rng *rng) {
  T_free(T_malloc(1)); /* what the library maps for its own sake is no part of the heap's */
  size_t before = mapping_count();
  objects_add(HEAP_MIB * MIB, rng);
  objects_free(KEEP);
  T_trim(0);
  size_t after = mapping_count();
  printf("stress_maps: %zu mappings, %zu with a heap of %d MiB of which one object in %d is left\n",
         before, after, HEAP_MIB, KEEP);
  fflush(stdout);
  REQUIRE(after <= before + HEAP_MIB / MIB_A_MAPPING, "too many mappings");
  objects_free(0);
}

static void *whole(void) {
  errno = 0;
  void *p = T_malloc(WHOLE_SIZE);
  REQUIRE(p != NULL || errno == ENOMEM, "malloc(%d): errno %d", WHOLE_SIZE, errno);
  return p;
}

/* Each gets a mapping, or else a part of the heap: in a tight one soon neither. */
static void wholes(bool is_tight) {
  void *held[WHOLES];
  size_t count = 0;
  for (; count < WHOLES && (held[count] = whole()) != NULL; count++) mappings_eat();
  REQUIRE(is_tight == (count < WHOLES), "%zu blocks of %d bytes without a mapping", count,
          WHOLE_SIZE);
  while (count > 0) T_free(held[--count]);
  mappings_eat();
}

/* Larger where that needs no mapping, or refused and as it was. */
static void *block_grow(void *block, uint64_t key) {
  struct tagged *t = block;
  errno = 0;
  struct tagged *larger = T_realloc(t, 2 * (size_t)BLOCK_SIZE);
  REQUIRE(larger != NULL || errno == ENOMEM, "realloc: errno %d", errno);
  if (larger == NULL) return t;
  size_t bytes = BLOCK_SIZE - sizeof *t;
  REQUIRE(larger->key == key && pattern_check(larger + 1, bytes, key, bytes) == SIZE_MAX,
          "changed by realloc");
  larger->size_check = BLOCK_SIZE ^ (key * PATTERN_STEP); /* what is known of it is that much */
  return larger;
}

static void full(uint64_t most, bool is_tight, struct rng *rng) {
  void *block[BLOCKS];
  mappings_reserve(most);
  for (size_t i = 0; i < BLOCKS; i++) {
    block[i] = tagged_new(BLOCK_SIZE, 16 * i); /* such a key: written to whole */
    REQUIRE(block[i] != NULL, "no block %zu, with all mappings to be had", i);
  }
  mappings_eat();
  size_t mappings = mapping_count(), resident = anonymous_bytes();
  REQUIRE(mappings >= most - EXTRA_MOST, "only %zu mappings", mappings);
  wholes(is_tight);
  for (size_t i = 0; i < RUNS; i++) object_add(RUN_SIZE, rng);
  objects_add(SMALL_MIB * MIB, rng);
  size_t grown = anonymous_bytes() - resident;
  for (size_t i = 1; i < BLOCKS; i += 4) block[i] = block_grow(block[i], 16 * i);
  for (size_t i = 2; i < BLOCKS; i += 4) tagged_free(block[i]); /* amid others: a mapping more */
  objects_free(3);
  T_trim(0);
  mappings_eat(); /* what the blocks have given back */
  wholes(is_tight);
  objects_add(SMALL_MIB * MIB / 2, rng);
  printf("stress_maps: %zu mappings of %llu; the heap grew by %zu KiB meanwhile\n", mappings,
         (unsigned long long)most, grown / KIB);
  fflush(stdout);
  mappings_give_back();
  void *p = whole();
  REQUIRE(p != NULL, "no %d bytes, though mappings can be had again", WHOLE_SIZE);
  T_free(p);
  for (size_t i = 0; i < BLOCKS; i++)
    if (i % 4 != 2) tagged_free(block[i]);
  objects_free(0);
  T_trim(0);
}

int main(int argc, char **argv) {
  stress_name = "stress_maps";
  options_check(argc, argv, 1, "stress_maps [--tight] [--rounds N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  uint64_t rounds = option_u64(argc, argv, "--rounds", 2), most = granted();
  bool is_tight = option_has(argc, argv, "--tight");
  option_range("--rounds", rounds, 1, 1000);
  if (most == 0 || most > GRANTED_MOST) {
    printf("SKIP: /proc/sys/vm/max_map_count: %llu mappings, none or too many to eat them\n",
           (unsigned long long)most);
    return 77;
  }
  struct rng rng = rng_stream(1);
  object = mmap(NULL, OBJECTS_MOST * sizeof *object, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(object != MAP_FAILED, "mmap: errno %d", errno);
  few(&rng);
  size_t before = mapping_count(), resident = anonymous_bytes();
  for (uint64_t round = 0; round < rounds; round++) full(most, is_tight, &rng);
  size_t after = mapping_count(), left = anonymous_bytes();
  printf("stress_maps: %zu mappings, %zu before; KiB resident %zu, %zu before\n", after, before,
         left / KIB, resident / KIB);
  fflush(stdout);
  /* Where the kernel may not split a mapping, its pages go back and the addresses stay. */
  REQUIRE(after <= before + (rounds + 2) * FREED_BLOCKS, "mappings are left");
  REQUIRE(left <= resident + LEFT_MOST_MIB * MIB, "memory is left");
  return 0;
}
