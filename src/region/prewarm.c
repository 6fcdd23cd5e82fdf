/* prewarm.c — see prewarm.h. Owns: how much was touched.
 */
#include "prewarm.h"

#include "base_atomic.h"
#include "base_bits.h"
#include "base_size.h"
#include "limit.h"
#include "os_check.h"
#include "os_mem.h"
#include "os_proc.h"
#include "purge.h"
#include "region.h"
#include "superslab.h"
#include "superslab_word.h"

static _Atomic(size_t) touched_bytes; /* ever */

/* So that it does not tighten options by itself, nor takes what the machine needs. */
static size_t within_limit(size_t bytes) {
  bytes = size_min(bytes, (size_t)(os_ram_bytes() / 2));
  limit_look(os_coarse_ms());
  struct limit_room room = limit_nearest();
  if (room.limit_bytes == 0) return bytes;
  size_t most = room.limit_bytes / 4 * 3;
  ASSERT(most <= room.limit_bytes);
  return size_min(bytes, most - size_min(most, room.used_bytes));
}

/* Up to `most` zero chunks of a superslab. Chunks touched; *is_refused: by the kernel. */
static uint32_t touch_superslab(size_t index, uint32_t most, bool *is_refused) {
  uint64_t word = superslab_word(index);
  uint32_t zero = word_zero(word), done = 0;
  while (zero != 0 && done < most && !*is_refused) { /* each round: one run less */
    uint32_t low = (uint32_t)__builtin_ctz(zero), end = low;
    while (end < SUPERSLAB_CHUNKS && end - low < most - done && (zero >> end & 1) != 0) end++;
    uint32_t mask = bits32_run(low, end - low);
    ASSERT(end > low && (zero & mask) == mask);
    zero &= ~mask;
    if (!superslab_take(index, mask, &word)) continue;
    *is_refused = !os_populate(chunk_address(index * SUPERSLAB_CHUNKS + low),
                               (size_t)(end - low) * CHUNK_BYTES);
    superslab_give(index, mask, CHUNK_DIRTY); /* some of it may have pages even if refused */
    if (!*is_refused) done += end - low;
  }
  return done;
}

size_t prewarm(size_t bytes) {
  size_t left = within_limit(bytes) / CHUNK_BYTES, touched = 0;
  bool is_refused = false;
  if (left == 0 || !purge_begin(true)) return 0;
  for (size_t i = 0; left != 0 && !is_refused; i++) {
    if (i * SUPERSLAB_CHUNKS >= superslab_chunk_end() && !region_grow()) break;
    uint32_t done = touch_superslab(i, (uint32_t)size_min(left, SUPERSLAB_CHUNKS), &is_refused);
    ASSERT(done <= left);
    left -= done;
    touched += done;
  }
  purge_end(0, false);
  add_relaxed(&touched_bytes, touched * CHUNK_BYTES);
  if (touched != 0) limit_look(os_coarse_ms()); /* what is left now */
  return touched * CHUNK_BYTES;
}

void prewarm_forget(void) { store_relaxed(&touched_bytes, (size_t)0); }

size_t prewarm_keep_bytes(void) {
  size_t touched = load_relaxed(&touched_bytes), used = superslab_claimed_bytes();
  return touched - size_min(touched, used);
}
