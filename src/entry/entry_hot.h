/* entry_hot.h — malloc and free, as far as they are hot. Each leaves for the cold by tail calls
 * only. The golden counts of tests/golden hold the budgets.
 */
#ifndef ENTRY_HOT_H
#define ENTRY_HOT_H

#include "entry.h"
#include "size_class.h"
#include "slab_map.h"

/* budget: 16 instructions */
HAK_HOT HAK_MUST_USE void *entry_malloc(size_t n) {
  if (HAK_UNLIKELY(n > TINY_MAX)) return entry_malloc_medium(n);
  struct heap *h = heap_current;
  struct bin *b = heap_bin(h, h->request[size_class_request(n)]);
  void *p = bin_try_pop(b);
  return HAK_LIKELY(p != NULL) ? p : entry_malloc_slow(n);
}

/* budget: 20 instructions in minimal; 32 with the two checks of the other flavours: p is the start
 * of an object, and was not freed last or last but one */
HAK_HOT void entry_free(void *p) {
  size_t i = chunk_index(p);
  if (HAK_UNLIKELY(i >= region_chunk_count)) return entry_free_foreign(p);
  struct heap *h = heap_current;
  uint32_t scaled = map_load(i) ^ h->key;
  if (HAK_UNLIKELY(scaled >= CLASS_COUNT * MAP_CLASS_SCALE)) return entry_free_slow(p, i);
  struct bin *b = heap_bin(h, scaled);
  if (!HAK_FLAVOUR_MINIMAL && HAK_UNLIKELY(!bin_is_slot(b, p))) return entry_free_slow(p, i);
  void **sp = load_relaxed(&b->sp);
  if (HAK_UNLIKELY(sp >= b->hi)) return entry_free_flush(p, b);
  if (!HAK_FLAVOUR_MINIMAL && HAK_UNLIKELY(bin_has_on_top(b, sp, p))) return entry_free_slow(p, i);
  bin_push(b, sp, p);
}

#endif
