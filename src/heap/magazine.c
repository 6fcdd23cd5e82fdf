/* magazine.c — see magazine.h. Owns: the stock. Lock: stock (rank 4), one a kind.
 */
#include "magazine.h"

#include "meta.h"
#include "os_check.h"
#include "rt_lock.h"

/* Cache lines of each kind: slots = 8 a line less the 4 of the header. */
static const uint8_t kind_lines[MAGAZINE_KIND_COUNT] = {1, 3, 5, 9, 17, 25, 33};

struct stock {
  struct rt_lock lock;
  struct magazine *first; /* under lock */
} HAK_CACHE_ALIGNED;
#define STOCK_INIT                                                                                 \
  { .lock = LOCK_INIT(LOCK_RANK_STOCK), .first = NULL }
static struct stock stocks[MAGAZINE_KIND_COUNT] = {STOCK_INIT, STOCK_INIT, STOCK_INIT, STOCK_INIT,
                                                   STOCK_INIT, STOCK_INIT, STOCK_INIT};

static uint32_t kind_slots(uint8_t kind) { return kind_lines[kind - 1] * 8u - 4u; }

uint8_t magazine_kind_for(uint32_t slots) {
  uint8_t kind = 1;
  while (kind_slots(kind) < slots) kind++;
  ASSERT(kind <= MAGAZINE_KIND_COUNT);
  return kind;
}

uint32_t magazine_room(const struct magazine *m) { return kind_slots(m->kind); }

void magazine_init(void) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++)
    size_classes[c].magazine_kind = magazine_kind_for(size_classes[c].magazine_capacity);
}

struct magazine *magazine_get(uint8_t kind) {
  ASSERT(kind >= 1 && kind <= MAGAZINE_KIND_COUNT);
  struct stock *stock = &stocks[kind - 1];
  lock_nested(&stock->lock);
  struct magazine *m = stock->first;
  if (m != NULL) stock->first = m->next;
  lock_leave(&stock->lock);
  if (m == NULL) {
    m = meta_alloc(kind_lines[kind - 1] * (size_t)HAK_CACHE_LINE_BYTES);
    if (m == NULL) return NULL;
    m->kind = kind;
  }
  ASSERT(m->kind == kind && m->zero == 0 && load_relaxed(&m->count) == 0);
  m->next = NULL;
  m->prev = NULL;
  return m;
}

void magazine_give(struct magazine *m) {
  ASSERT(load_relaxed(&m->count) == 0);
  struct stock *stock = &stocks[m->kind - 1];
  lock_nested(&stock->lock);
  m->next = stock->first;
  signal_fence(); /* docs/decisions/0005, as everywhere that a nested lock is held */
  stock->first = m;
  lock_leave(&stock->lock);
}
