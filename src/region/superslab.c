/* superslab.c — see superslab.h. Owns: the word a superslab, the search hint, the counters.
 */
#include "superslab.h"

#include "base_atomic.h"
#include "base_bits.h"
#include "base_size.h"
#include "limit.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "purge.h"
#include "region.h"
#include "regret.h"
#include "superslab_word.h"

static _Atomic(uint64_t) *superslab_words; /* constant after init */
static _Atomic(size_t) superslab_count;    /* announced; only grows */
static _Atomic(size_t) announced_chunks;
static _Atomic(size_t) claimed_bytes;
_Atomic(size_t) superslab_peak;
static _Atomic(size_t) empty_count; /* superslabs that are empty and resident */
_Atomic(size_t) superslab_dirty_count;
static _Atomic(size_t) claim_count, warm_claim_count, release_count; /* ever */

/* Lowest superslab that may have a free chunk, below a version that each release bumps: a search
 * moves the hint up only if nothing was released meanwhile. Index in the low half. */
static _Atomic(uint64_t) search_hint;

size_t superslab_chunk_end(void) { return load_acquire(&superslab_count) * SUPERSLAB_CHUNKS; }

void superslab_recount(void) {
  size_t empty = 0, dirty = 0;
  for (size_t i = 0; i < load_acquire(&superslab_count); i++) {
    uint64_t word = load_relaxed(&superslab_words[i]);
    empty += word_is_empty_resident(word);
    dirty += (size_t)__builtin_popcount(word_dirty(word));
  }
  ASSERT(dirty * CHUNK_BYTES <= region_bytes());
  store_relaxed(&empty_count, empty);
  store_relaxed(&superslab_dirty_count, dirty);
  store_relaxed(&search_hint, ((load_relaxed(&search_hint) >> 32) + 1) << 32);
}

void superslab_init(void *words) { superslab_words = words; }

void superslab_announce(size_t index, uint32_t usable_chunks) {
  ASSERT(usable_chunks <= SUPERSLAB_CHUNKS);
  ASSERT(load_relaxed(&superslab_words[index]) == 0);
  uint64_t usable = usable_chunks == 0 ? 0 : word_of(bits32_run(0, usable_chunks), CHUNK_ZERO);
  store_release(&superslab_words[index], usable); /* pairs with a claim's CAS */
  add_relaxed(&announced_chunks, (size_t)usable_chunks);
  store_release(&superslab_count, index + 1); /* pairs with the searches */
}

static void count_transition(uint64_t from, uint64_t to) {
  if (word_is_empty_resident(from)) sub_relaxed(&empty_count, (size_t)1);
  if (word_is_empty_resident(to)) add_relaxed(&empty_count, (size_t)1);
  int more = __builtin_popcount(word_dirty(to)) - __builtin_popcount(word_dirty(from));
  if (more == 0) return;
  size_t now = add_relaxed(&superslab_dirty_count, (size_t)more) + (size_t)more;
  if (more < 0) purge_note_dirty(now);
}

static void count_claimed(size_t chunks, bool is_zero) {
  add_relaxed(&claim_count, (size_t)1);
  if (!is_zero) add_relaxed(&warm_claim_count, (size_t)1);
  size_t now = add_relaxed(&claimed_bytes, chunks * CHUNK_BYTES) + chunks * CHUNK_BYTES;
  size_t peak = load_relaxed(&superslab_peak);
  /* Not above the peak: there were pages for it once. */
  if (is_zero && now <= peak && HAK_UNLIKELY(regret_is_open()))
    regret_note_claim(chunks * CHUNK_BYTES, peak, os_coarse_ms());
  limit_note_growth(is_zero ? chunks * CHUNK_BYTES : 0);
  while (now > peak && !cas_acq_rel(&superslab_peak, &peak, now)) { /* ends: the peak only rises */
  }
}

bool superslab_take(size_t index, uint32_t mask, uint64_t *seen) {
  ASSERT(mask != 0 && index < load_relaxed(&superslab_count));
  uint64_t word = *seen;
  while ((word_free(word) & mask) == mask) { /* lock-free: a failure is another's success */
    uint64_t next = word & ~((uint64_t)mask << 32 | mask);
    if (cas_acq_rel(&superslab_words[index], &word, next)) {
      count_transition(word, next);
      *seen = word;
      return true;
    }
  }
  *seen = word;
  return false;
}

void superslab_give(size_t index, uint32_t mask, enum chunk_state state) {
  ASSERT(mask != 0 && index < load_relaxed(&superslab_count));
  uint64_t bits = word_of(mask, state);
  uint64_t word = load_relaxed(&superslab_words[index]);
  ASSERT((word_free(word) & mask) == 0);
  while (!cas_acq_rel(&superslab_words[index], &word, word | bits)) { /* lock-free */
  }
  count_transition(word, word | bits);
  ASSERT((word_free(word | bits) & mask) == mask);

  uint64_t hint = load_relaxed(&search_hint);
  uint64_t next;
  do { /* lock-free */
    uint64_t lowest = (uint32_t)hint < index ? (uint32_t)hint : index;
    next = ((hint >> 32) + 1) << 32 | lowest;
  } while (!cas_acq_rel(&search_hint, &hint, next));
}

/* `count` <= 32 chunks of one superslab at a multiple of `step`. */
static bool claim_in(size_t index, uint32_t count, uint32_t step, struct chunk_run *run) {
  uint64_t word = load_relaxed(&superslab_words[index]);
  for (;;) { /* ends: each failed attempt has fewer free bits or another's progress behind it */
    uint32_t at = bits32_find_run(word_free(word), count, step);
    if (at == BITS32_NONE) return false;
    uint32_t mask = bits32_run(at, count);
    if (!superslab_take(index, mask, &word)) continue;
    run->first = (uint32_t)(index * SUPERSLAB_CHUNKS + at);
    run->count = count;
    run->is_zero = (word_zero(word) & mask) == mask;
    return true;
  }
}

/* Nobody has written to what was zero when it was taken. */
static enum chunk_state state_of(bool is_zero) { return is_zero ? CHUNK_ZERO : CHUNK_DIRTY; }

/* `count` chunks from superslab `index` on, of the last what is wanted of it: the rest of that
 * stays as it is, untouched or not. Taken in address order, undone in reverse. */
static bool claim_whole(size_t index, uint32_t count, struct chunk_run *run) {
  *run = (struct chunk_run){(uint32_t)(index * SUPERSLAB_CHUNKS), count, true};
  size_t last = index + (count - 1) / SUPERSLAB_CHUNKS;
  ASSERT(count != 0 && last < load_relaxed(&superslab_count));
  for (size_t i = index; i <= last; i++) {
    uint32_t mask = i < last ? ALL_FREE : bits32_run(0, (count - 1) % SUPERSLAB_CHUNKS + 1);
    uint64_t word = load_relaxed(&superslab_words[i]);
    if (!superslab_take(i, mask, &word)) {
      while (i > index) superslab_give(--i, ALL_FREE, state_of(run->is_zero));
      return false;
    }
    run->is_zero = run->is_zero && (word_zero(word) & mask) == mask;
  }
  return true;
}

/* Lowest address first. Moves the hint past superslabs that have no free chunk at all. */
static bool claim_search(uint32_t count, uint32_t step, struct chunk_run *run) {
  uint64_t hint = load_acquire(&search_hint);
  size_t lowest = (uint32_t)hint;
  bool is_prefix_full = true;
  for (size_t i = lowest; i < load_acquire(&superslab_count); i++) {
    uint32_t free_now = word_free(load_relaxed(&superslab_words[i]));
    if (free_now != 0 && is_prefix_full) {
      is_prefix_full = false;
      if (i != lowest) {
        uint64_t seen = hint;
        /* A failure means that something was released below: the hint is another's now. */
        (void)cas_acq_rel(&search_hint, &seen, (hint >> 32) << 32 | i);
      }
    }
    if (free_now != 0 && claim_in(i, count, step, run)) return true;
  }
  return false;
}

static bool claim_search_whole(uint32_t count, struct chunk_run *run) {
  size_t whole = (count + SUPERSLAB_CHUNKS - 1) / SUPERSLAB_CHUNKS, length = 0;
  for (size_t i = (uint32_t)load_acquire(&search_hint); i < load_acquire(&superslab_count); i++) {
    length = word_free(load_relaxed(&superslab_words[i])) == ALL_FREE ? length + 1 : 0;
    if (length < whole) continue;
    if (claim_whole(i + 1 - whole, count, run)) return true;
    length = 0;
  }
  return false;
}

static void give_run(uint32_t first, uint32_t count, enum chunk_state state) {
  ASSERT(count != 0);
  ASSERT(first + count <= load_relaxed(&superslab_count) * SUPERSLAB_CHUNKS);
  ASSERT(load_relaxed(&claimed_bytes) >= (size_t)count * CHUNK_BYTES);
  sub_relaxed(&claimed_bytes, (size_t)count * CHUNK_BYTES);
  add_relaxed(&release_count, (size_t)1);
  while (count > 0) {
    uint32_t at = first % SUPERSLAB_CHUNKS;
    uint32_t here = count < SUPERSLAB_CHUNKS - at ? count : SUPERSLAB_CHUNKS - at;
    superslab_give(first / SUPERSLAB_CHUNKS, bits32_run(at, here), state);
    first += here;
    count -= here;
  }
}

/* A claim is counted, and given back where it is too much with what others have claimed at the same
 * instant. */
static bool claim_stands(const struct chunk_run *run) {
  count_claimed(run->count, run->is_zero);
  if (HAK_LIKELY(!limit_is_exceeded())) return true;
  give_run(run->first, run->count, state_of(run->is_zero));
  return false;
}

struct chunk_run superslab_claim(uint32_t count, uint32_t step, size_t preferred) {
  ASSERT(count != 0);
  ASSERT(step != 0 && step <= SUPERSLAB_CHUNKS && (step & (step - 1)) == 0);
  struct chunk_run run = {CHUNK_NONE, 0, false};
  if (HAK_UNLIKELY(limit_refuses((size_t)count * CHUNK_BYTES))) return run;
  bool is_whole = count > SUPERSLAB_CHUNKS;
  bool is_found = !is_whole && preferred < load_acquire(&superslab_count) &&
                  claim_in(preferred, count, step, &run);
  /* Others may take what we grew: each round grows by one superslab, up to the region's end. */
  while (!is_found) {
    is_found = is_whole ? claim_search_whole(count, &run) : claim_search(count, step, &run);
    if (!is_found && !region_grow()) break;
  }
  ASSERT(!is_found || run.count == count);
  if (!is_found || !claim_stands(&run)) run.first = CHUNK_NONE;
  return run;
}

bool superslab_claim_at(uint32_t first, uint32_t count, bool *is_zero) {
  size_t index = first / SUPERSLAB_CHUNKS;
  uint32_t at = first % SUPERSLAB_CHUNKS;
  if (count == 0 || at + count > SUPERSLAB_CHUNKS) return false;
  if (HAK_UNLIKELY(limit_refuses((size_t)count * CHUNK_BYTES))) return false;
  if (index >= load_acquire(&superslab_count)) return false;
  uint32_t mask = bits32_run(at, count);
  uint64_t word = load_relaxed(&superslab_words[index]);
  if (!superslab_take(index, mask, &word)) return false;
  *is_zero = (word_zero(word) & mask) == mask;
  return claim_stands(&(struct chunk_run){first, count, *is_zero});
}

void superslab_release(uint32_t first, uint32_t count) { give_run(first, count, CHUNK_DIRTY); }

uint64_t superslab_word(size_t index) {
  ASSERT(index < load_relaxed(&superslab_count));
  return load_relaxed(&superslab_words[index]);
}

size_t superslab_dirty_bytes(void) {
  size_t count = load_relaxed(&superslab_dirty_count);
  return count > SIZE_MAX / 2 ? 0 : count * CHUNK_BYTES;
}

size_t superslab_claimed_bytes(void) { return load_relaxed(&claimed_bytes); }
size_t superslab_announced_bytes(void) { return load_relaxed(&announced_chunks) * CHUNK_BYTES; }
size_t superslab_empty_bytes(void) { return load_relaxed(&empty_count) * SUPERSLAB_BYTES; }

struct superslab_events superslab_events(void) {
  return (struct superslab_events){
      .claim_count = load_relaxed(&claim_count),
      .warm_count = load_relaxed(&warm_claim_count),
      .release_count = load_relaxed(&release_count),
  };
}
