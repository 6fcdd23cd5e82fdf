/* slab.c — see slab.h. Owns: records, side bitmaps and their free lists (lock: stock, nested), the
 * slab bytes a class and with them the moment when a class is split.
 */
#include "slab.h"

#include "base_size.h"
#include "meta.h"
#include "os_check.h"
#include "os_mem.h"
#include "rt_lock.h"
#include "rt_options.h"
#include "superslab.h"

enum {
  SIDE_KIND_COUNT = 4,
  /* A class gets a tailored one beside it when it has twice what it is split at, and so many
   * requests in a row were all smaller. Where sizes are drawn at random, that of 64 none is in the
   * upper quarter of a class happens once in 10^8 times. */
  TAILOR_TIMES = 2,
  SAMPLE_REQUESTS = 64,
};
/* 64-byte lines of a side bitmap, odd so that neighbours start in different cache sets. */
static const uint8_t side_lines[SIDE_KIND_COUNT] = {1, 3, 5, 9};

static struct rt_lock side_lock = LOCK_INIT(LOCK_RANK_STOCK);
static _Atomic(uint64_t) *side_free[SIDE_KIND_COUNT]; /* under side_lock; linked through word 0 */

static _Atomic(size_t) class_bytes[CLASS_COUNT];

size_t slab_class_bytes(uint32_t c) { return load_relaxed(&class_bytes[c]); }

static uint32_t words_of(const struct size_class *k) { return (k->slab_objects + 63u) / 64u; }

static uint32_t side_kind(uint32_t words) {
  uint32_t kind = 0;
  while (side_lines[kind] * 8u < words) kind++;
  ASSERT(kind < SIDE_KIND_COUNT);
  return kind;
}

static _Atomic(uint64_t) *side_get(uint32_t kind) {
  lock_nested(&side_lock);
  _Atomic(uint64_t) *bits = side_free[kind];
  if (bits != NULL) side_free[kind] = (_Atomic(uint64_t) *)(uintptr_t)load_relaxed(&bits[0]);
  lock_leave(&side_lock);
  return bits != NULL ? bits : meta_alloc(side_lines[kind] * (size_t)HAK_CACHE_LINE_BYTES);
}

static void side_put(_Atomic(uint64_t) *bits, uint32_t kind) {
  lock_nested(&side_lock);
  store_relaxed(&bits[0], (uint64_t)(uintptr_t)side_free[kind]);
  signal_fence(); /* docs/decisions/0005 */
  side_free[kind] = bits;
  lock_leave(&side_lock);
}

uint32_t slab_chunk(const struct slab *s) {
  return (uint32_t)(((uintptr_t)s - (uintptr_t)region_record(0)) / RECORD_BYTES);
}

bool slab_is_valid(const struct slab *s) {
  if (s->state != SLAB_STATE_SLAB || s->class_index >= CLASS_COUNT) return false;
  const struct size_class *k = &size_classes[s->class_index];
  if (s->free_count > k->slab_objects || s->carved_count > k->slab_objects) return false;
  uint32_t count = 0;
  for (uint32_t w = 0; w < words_of(k); w++) {
    uint64_t bits = load_relaxed(&s->bits[w]);
    if (w < slab_hint(s) && bits != 0) return false;
    count += (uint32_t)__builtin_popcountll(bits);
  }
  return count == s->free_count;
}

/* A coarse class is split once the process holds REFINE_BYTES of it. Early, because what the wider
 * class holds by then is of no use to the finer one: later is worse (docs/decisions/0003). */
static void count_bytes(uint32_t c, size_t slab_bytes) {
  size_t now = add_relaxed(&class_bytes[c], slab_bytes) + slab_bytes;
  if (HAK_LIKELY(now < rt_option(RT_OPTION_REFINE_BYTES))) return;
  /* Where address space is scarce, half-used slabs of few objects cost more than rounding. */
  bool is_dear = c >= CLASS_TINY_COUNT && region_is_scarce();
  if (rt_option(RT_OPTION_CLASS_REFINE) == 0 || is_dear) return;
  (void)size_class_split(c);
}

/* Requests of one medium class that found no object at hand, lately. Each thread may overwrite
 * what another has counted: a sample. */
static struct sample {
  _Atomic(uint16_t) count;
  _Atomic(uint16_t) largest;
} samples[CLASS_FIXED_COUNT - CLASS_TINY_COUNT];

void slab_note_request(uint32_t c, size_t n) {
  if (c - CLASS_TINY_COUNT >= HAK_COUNT_OF(samples)) return;
  struct sample *s = &samples[c - CLASS_TINY_COUNT];
  uint32_t count = load_relaxed(&s->count) + 1u;
  if (n > load_relaxed(&s->largest)) store_relaxed(&s->largest, (uint16_t)n);
  if (HAK_LIKELY(count < SAMPLE_REQUESTS)) {
    store_relaxed(&s->count, (uint16_t)count);
    return;
  }
  size_t largest = load_relaxed(&s->largest);
  store_relaxed(&s->count, (uint16_t)0);
  store_relaxed(&s->largest, (uint16_t)0);
  if (largest > size_classes[c].size || rt_option(RT_OPTION_CLASS_REFINE) == 0) return;
  bool is_much = slab_class_bytes(c) >= TAILOR_TIMES * rt_option(RT_OPTION_REFINE_BYTES);
  if (is_much && !region_is_scarce()) (void)size_class_tailor(c, largest);
}

struct slab *slab_new(uint32_t heap_id, uint32_t c, size_t preferred) {
  ASSERT(c < CLASS_COUNT);
  const struct size_class *k = &size_classes[c];
  ASSERT(k->slab_objects != 0 && k->magazine_kind != 0); /* both inits have run */
  uint32_t words = words_of(k);
  _Atomic(uint64_t) *side = NULL;
  if (words > SLAB_INLINE_WORDS && (side = side_get(side_kind(words))) == NULL) return NULL;
  struct chunk_run run = superslab_claim(k->slab_chunks, k->slab_chunks, preferred);
  if (run.first == CHUNK_NONE) {
    if (side != NULL) side_put(side, side_kind(words));
    return NULL;
  }
  ASSERT(run.count == k->slab_chunks && run.first % k->slab_chunks == 0);
  struct slab *s = region_record(run.first);
  ASSERT(s->state == SLAB_STATE_NONE || s->next == NULL);
  s->next = NULL;
  s->prev = NULL;
  s->free_count = k->slab_objects;
  s->carved_count = run.is_zero ? 0 : k->slab_objects; /* chunks that were in use are resident */
  s->class_index = (uint8_t)c;
  s->chunk_count = k->slab_chunks;
  s->hint = 0;
  s->bits = side != NULL ? side : s->inline_bits;
  for (uint32_t w = 0; w < words; w++) store_relaxed(&s->bits[w], UINT64_MAX);
  uint32_t last_bits = k->slab_objects % 64;
  if (last_bits != 0) store_relaxed(&s->bits[words - 1], ((uint64_t)1 << last_bits) - 1);
  s->state = SLAB_STATE_SLAB;
  ASSERT(slab_is_valid(s));
  count_bytes(c, (size_t)k->slab_chunks * CHUNK_BYTES);
  map_store(run.first, run.count, map_entry(heap_id, c));
  return s;
}

void slab_release(struct slab *s) {
  ASSERT(slab_is_valid(s));
  const struct size_class *k = &size_classes[s->class_index];
  ASSERT(s->free_count == k->slab_objects);
  ASSERT(s->next == NULL && s->prev == NULL); /* on no list */
  uint32_t first = slab_chunk(s);
  _Atomic(uint64_t) *side = s->bits != s->inline_bits ? s->bits : NULL;
  map_store(first, s->chunk_count, map_entry(HEAP_ID_FREED, s->class_index));
  sub_relaxed(&class_bytes[s->class_index], (size_t)s->chunk_count * CHUNK_BYTES);
  s->state = SLAB_STATE_NONE;
  if (side != NULL) side_put(side, side_kind(words_of(k)));
  superslab_release(first, s->chunk_count);
}

uint32_t slab_take_limit(const struct slab *s, uint32_t want) {
  const struct size_class *k = &size_classes[s->class_index];
  uint32_t resident = slab_resident_free(s, k);
  if (resident != 0) return want < resident ? want : resident;
  uint32_t page = (uint32_t)os_page_bytes();
  uint32_t from = k->slack + s->carved_count * k->size;
  uint32_t end = (from + k->size + page - 1) & ~(page - 1); /* of the page that an object ends in */
  uint32_t fresh = (end - from) / k->size;
  return want < fresh ? want : fresh;
}

uint32_t slab_take(struct slab *s, void **slots, uint32_t want) {
  ASSERT(slab_is_valid(s));
  const struct size_class *k = &size_classes[s->class_index];
  uint32_t taken = want < s->free_count ? want : s->free_count;
  const size_t size = k->size;
  char *first = (char *)chunk_address(slab_chunk(s)) + k->slack;
  void **slot = slots + taken;
  uint32_t word = slab_hint(s);
  while (slot != slots) { /* free_count says that the bits are there */
    uint64_t bits = load_relaxed(&s->bits[word]);
    while (bits != 0 && slot != slots) {
      uint32_t low = (uint32_t)__builtin_ctzll(bits);
      uint64_t ones = bits >> low; /* a run of neighbours begins here */
      size_t run = ones == UINT64_MAX ? 64 : (size_t)__builtin_ctzll(~ones);
      if (run > (size_t)(slot - slots)) run = (size_t)(slot - slots);
      bits &= ~(UINT64_MAX >> (64 - run) << low);
      char *at = first + ((size_t)word * 64 + low) * size;
      for (void **end = slot - run; slot != end; at += size) *--slot = at;
    }
    store_relaxed(&s->bits[word], bits);
    if (bits == 0) word++;
  }
  s->hint = (uint8_t)word;
  s->free_count = (uint16_t)(s->free_count - taken);
  uint32_t top = taken == 0 ? 0 : slab_index(k, slots[0]) + 1;
  if (top > s->carved_count) s->carved_count = (uint16_t)top;
  ASSERT(slab_is_valid(s));
  return taken;
}
