/* size_class.c — see size_class.h. Owns: the class constants and the request table.
 */
#include "size_class.h"

#include "base_size.h"
#include "os_check.h"

enum {
  COARSE_PER_DOUBLING = 4,
  /* Magazines: 16 KiB of objects, 8 to 256 of them, up to 2 KiB; above, where a class of few
   * objects swings by a larger part of itself, 1 MiB, 16 to 64 (docs/decisions/0011). */
  MAGAZINE_BYTES = 16384,
  MAGAZINE_MIN = 8,
  MAGAZINE_MAX = 256,
  MAGAZINE_BYTES_MEDIUM = 1048576,
  MAGAZINE_MIN_MEDIUM = 16,
  MAGAZINE_MAX_MEDIUM = 64,
  PREVIOUS_SIZE_MAX = 2048,
  TAILOR_SHARE = 48,      /* of a class's size, which a tailored one must save */
  SLAB_1_SIZE_MAX = 8192, /* one chunk up to here, 8 objects or more; two above, 4 or more. Four
                           * would leave less over, but the 32-bit reciprocal of 30,720 is exact up
                           * to 184,318 only. What is left over is never touched. */
};

struct size_class size_classes[CLASS_COUNT];
struct size_class_table size_class_table;
_Atomic(uint32_t) size_class_split_count;
static _Atomic(uint32_t) tailored_count; /* whose values are there to read */
static _Atomic(bool) is_tailoring;       /* a thread is at the next one */

static uint32_t size_of_id(uint32_t c) {
  if (c >= CLASS_FIXED_COUNT) return CLASS_SIZE_MAX; /* for now */
  if (c < CLASS_TINY_COUNT) return (c + 1) << CLASS_GRAIN_SHIFT;
  uint32_t doubling = (c - CLASS_TINY_COUNT) / CLASS_MEDIUM_PER_DOUBLING;
  uint32_t step = (c - CLASS_TINY_COUNT) % CLASS_MEDIUM_PER_DOUBLING;
  return (TINY_MAX + (step + 1) * (TINY_MAX / CLASS_MEDIUM_PER_DOUBLING)) << doubling;
}

/* The smallest class of all that holds n bytes. */
static uint32_t finest_id(size_t n) {
  if (n <= 16) return 0;
  if (n <= TINY_MAX) return (uint32_t)((n + 15) >> CLASS_GRAIN_SHIFT) - 1;
  uint32_t doubling = 63 - (uint32_t)__builtin_clzl(n - 1) - 10; /* 1024 = 2^10 */
  size_t step = (n - 1 - ((size_t)TINY_MAX << doubling)) >> (CLASS_MEDIUM_GRAIN_SHIFT + doubling);
  return CLASS_TINY_COUNT + doubling * CLASS_MEDIUM_PER_DOUBLING + (uint32_t)step;
}

/* The smallest size >= n with COARSE_PER_DOUBLING sizes a doubling, multiples of 16. */
static size_t coarse_size(size_t n) {
  if (n <= 128) return size_round_up(size_max(n, 1), 16);
  size_t below = size_pow2_up(n) / 2;
  return size_round_up(n, below / COARSE_PER_DOUBLING);
}

static uint32_t clamp(uint32_t value, uint32_t low, uint32_t high) {
  return value < low ? low : value > high ? high : value;
}

static void class_set_size(struct size_class *k, uint32_t size) {
  k->size = size;
  k->reciprocal = (uint32_t)((((uint64_t)1 << 32) + size - 1) / size);
  k->slab_chunks = size <= SLAB_1_SIZE_MAX ? 1 : 2;
  uint32_t slab_bytes = (uint32_t)k->slab_chunks * CHUNK_BYTES;
  k->high_mask = ~(slab_bytes - 1);
  k->slab_objects = (uint16_t)(slab_bytes / size);
  k->slack = slab_bytes - k->slab_objects * size;
}

static void class_init(uint32_t c) {
  struct size_class *k = &size_classes[c];
  class_set_size(k, size_of_id(c));
  k->has_previous = k->size <= PREVIOUS_SIZE_MAX;
  k->magazine_capacity =
      (uint16_t)(k->has_previous ? clamp(MAGAZINE_BYTES / k->size, MAGAZINE_MIN, MAGAZINE_MAX)
                                 : clamp(MAGAZINE_BYTES_MEDIUM / k->size, MAGAZINE_MIN_MEDIUM,
                                         MAGAZINE_MAX_MEDIUM));
}

static uint16_t scaled(uint32_t c) { return (uint16_t)(c * MAP_CLASS_SCALE); }

void size_class_init(void) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) class_init(c);
  for (size_t i = 0; i < HAK_COUNT_OF(size_class_table.tiny); i++)
    store_relaxed(&size_class_table.tiny[i],
                  scaled(finest_id(coarse_size(i << CLASS_GRAIN_SHIFT))));
  for (size_t i = 0; i < HAK_COUNT_OF(size_class_table.medium); i++)
    store_relaxed(&size_class_table.medium[i],
                  scaled(finest_id(coarse_size(i << CLASS_GRAIN_SHIFT))));
}

uint32_t size_class_of_aligned(size_t n, size_t align) {
  ASSERT(size_is_pow2(align));
  size_t wanted = size_max(n, 1);
  while (wanted <= CLASS_SIZE_MAX) { /* at most one step a class */
    uint32_t c = size_class_of(wanted);
    if (size_classes[c].size % align == 0) return c;
    wanted = size_classes[c].size + 1;
  }
  return CLASS_COUNT;
}

size_t size_class_finest(size_t n) {
  ASSERT(n <= CLASS_SIZE_MAX);
  uint32_t size = size_classes[finest_id(n)].size;
  for (uint32_t c = CLASS_FIXED_COUNT; c < size_class_count(); c++) {
    uint32_t tailored = size_classes[c].size; /* below the same fixed class if it is between */
    if (tailored >= n && tailored < size) size = tailored;
  }
  return size;
}

uint32_t size_class_below(uint32_t c) {
  uint32_t below = 0;
  for (uint32_t other = 0; other < size_class_count(); other++) {
    uint32_t size = size_classes[other].size;
    if (size < size_classes[c].size && size > below) below = size;
  }
  return below;
}

uint32_t size_class_half_used_max(uint32_t c) {
  ASSERT(c < CLASS_COUNT);
  uint32_t size = size_classes[c].size;
  uint32_t step = size <= 128 ? 16 : (uint32_t)size_pow2_up(size) / 2 / COARSE_PER_DOUBLING;
  return 2 * (size - step + 1);
}

bool size_class_could_hold(uint32_t c, size_t n, size_t align) {
  ASSERT(c < CLASS_COUNT && size_is_pow2(align));
  size_t size = size_classes[c].size;
  if (n > size || size % align != 0) return false;
  if (n >= size / 2) return true; /* realloc leaves an object where it is down to that */
  size_t most = coarse_size(n);
  while (most % align != 0 && most < size) most = coarse_size(most + 1); /* a step a class */
  return most >= size;
}

/* Those requests of class c that fit class `finer` go there; false when none does any more. Two
 * threads may do this at once: every value stored names a class that is large enough. */
static bool redirect(uint32_t c, uint32_t finer) {
  _Atomic(uint16_t) *table = c < CLASS_TINY_COUNT ? size_class_table.tiny : size_class_table.medium;
  size_t top = size_class_request(size_classes[finer].size);
  if (load_relaxed(&table[top]) != scaled(c)) return false;
  for (size_t i = top; i > 0 && load_relaxed(&table[i]) == scaled(c); i--)
    store_release(&table[i], scaled(finer)); /* what is known of `finer` comes first */
  return true;
}

bool size_class_split(uint32_t c) {
  ASSERT(c < CLASS_COUNT);
  size_t size = size_classes[c].size;
  if (size <= 128 || c >= CLASS_FIXED_COUNT || coarse_size(size) != size) return false;
  size_t width = size_pow2_up(size) / 2 / COARSE_PER_DOUBLING;
  uint32_t finer = finest_id(size - width / 2);
  ASSERT(finer < c && size_classes[finer].size >= size / 2);
  if (!redirect(c, finer)) return false;
  add_release(&size_class_split_count, 1u);
  return true;
}

bool size_class_tailor(uint32_t c, size_t n) {
  ASSERT(c >= CLASS_TINY_COUNT && c < CLASS_FIXED_COUNT && n <= size_classes[c].size);
  uint32_t size = (uint32_t)size_round_up(n, (size_t)1 << CLASS_GRAIN_SHIFT);
  if (size_classes[c].size - size < size_classes[c].size / TAILOR_SHARE) return false;
  if (load_relaxed(&size_class_table.medium[size_class_request(size)]) != scaled(c)) return false;
  if (swap_acq_rel(&is_tailoring, true)) return false; /* another's turn: there will be others */
  uint32_t finer = size_class_count();
  bool has_room = finer < CLASS_COUNT;
  if (has_room) {
    struct size_class *k = &size_classes[finer];
    *k = size_classes[c];
    class_set_size(k, size);
    ASSERT(k->slab_chunks == size_classes[c].slab_chunks);
    store_release(&tailored_count, finer + 1 - CLASS_FIXED_COUNT); /* with size_class_count */
  }
  store_release(&is_tailoring, false);
  return has_room && redirect(c, finer);
}

uint32_t size_class_count(void) { return CLASS_FIXED_COUNT + load_acquire(&tailored_count); }

uint32_t size_class_wider(uint32_t c) {
  ASSERT(c < CLASS_COUNT);
  bool is_tailored = c >= CLASS_FIXED_COUNT && c < CLASS_COUNT;
  if (!is_tailored) return c + 1;
  size_t size = size_classes[c].size;
  return size == CLASS_SIZE_MAX ? CLASS_FIXED_COUNT : finest_id(size + 1);
}
