/* window.c — see window.h.
 */
#include "window.h"

#include "base_mem.h"
#include "base_size.h"
#include "flush.h"
#include "os_check.h"

enum {
  FIRST_BYTES = 1024,
  FIRST_MAX = 8,
  VICTIMS = 2, /* classes that shrink at once; measured: docs/decisions/0023 */
  LOOKS = 8,   /* classes looked at for them */
  SWEEP = (CLASS_COUNT - CLASS_TINY_COUNT + LOOKS - 1) / LOOKS, /* calls that look at each class */
};

void window_open(struct heap *h, uint32_t c) {
  if (HAK_LIKELY(h->cls[c].window != 0)) return;
  uint32_t w = FIRST_BYTES / size_classes[c].size;
  uint32_t most = window_max(h, c);
  if (most > FIRST_MAX) most = FIRST_MAX;
  h->cls[c].window = (uint16_t)(w < 1 ? 1 : w > most ? most : w);
}

void window_load(struct heap *h, uint32_t c, struct magazine *m, uint32_t count) {
  ASSERT(m->entry == heap_entry(h, c) && count <= size_classes[c].magazine_capacity);
  struct bin *b = &h->bin[c];
  uint32_t room = h->cls[c].window > count ? h->cls[c].window : count;
  ASSERT(room <= magazine_room(m));
  store_relaxed(&h->cls[c].loaded, m);
  void **sp = m->slot + count - 1; /* of none: the header's last word, which is NULL */
  store_relaxed(&b->sp, sp);
  m->zero = 0; /* a handler that freed amid a pop wrote there: bin.h */
  b->top = *sp;
  if (c >= CLASS_FIXED_COUNT) heap_bin_fit(h, c);
  b->hi = m->slot + room - 1;
}

void window_shrink(struct heap *h, uint32_t c) {
  struct magazine *loaded = load_relaxed(&h->cls[c].loaded);
  uint32_t count = heap_bin_count(h, c), rest = count / 2;
  struct magazine *previous = load_relaxed(&h->cls[c].previous);
  ASSERT(loaded != NULL && loaded != previous && lock_is_mine(&h->home->lock));
  if (previous != NULL) {
    store_relaxed(&h->cls[c].previous, NULL);
    flush_magazine(h->home, previous);
    flush_magazine_give(h->home, previous);
  }
  uint32_t half = h->cls[c].window / 2 > rest ? h->cls[c].window / 2 : rest;
  uint32_t bound = window_bound(c); /* once: BIN_BYTES may change at any moment */
  h->cls[c].window = (uint16_t)(half < bound ? half : bound);
  h->cls[c].is_underflowed = false;
  if (count != 0) heap_bin_spill(h, c);
  flush_slots(h->home, c, loaded->slot, count - rest);
  if (rest != 0) {
    mem_move(loaded->slot, loaded->slot + (count - rest), rest * sizeof *loaded->slot);
    window_load(h, c, loaded, rest);
    return;
  }
  heap_bin_reset(h, c);
  store_relaxed(&loaded->count, (uint16_t)0);
  flush_magazine_give(h->home, loaded);
}

void window_note_overflow(struct heap *h, uint32_t c) {
  ASSERT(lock_is_mine(&h->home->lock));
  if (HAK_LIKELY(h->overflow_run < WINDOW_OVERFLOW_RUN)) {
    h->overflow_run++;
    return;
  }
  if (h->overflow_run == WINDOW_OVERFLOW_RUN + SWEEP) return;
  bool is_again = h->overflow_class == c;
  h->overflow_class = c;
  uint32_t run = h->overflow_run + 1, shrunk = 0;
  for (uint32_t i = 0; i < LOOKS && shrunk < VICTIMS; i++) {
    h->window_victim = h->window_victim >= CLASS_TINY_COUNT && h->window_victim + 1 < CLASS_COUNT
                           ? h->window_victim + 1
                           : CLASS_TINY_COUNT;
    if (load_relaxed(&h->cls[h->window_victim].loaded) == NULL) continue;
    run = WINDOW_OVERFLOW_RUN;
    if (h->window_victim == c && is_again) continue;
    window_shrink(h, h->window_victim);
    shrunk++;
  }
  h->overflow_run = run;
}
