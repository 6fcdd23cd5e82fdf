/* magazine.c — see magazine.h. Owns: the stock. Lock: stock (rank 5), one a kind.
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
  return m;
}

void magazine_give_chain(struct magazine *first) {
  ASSERT(first->kind >= 1 && first->kind <= MAGAZINE_KIND_COUNT);
  struct stock *stock = &stocks[first->kind - 1];
  struct magazine *last = first;
  while (last->next != NULL) last = last->next;
  lock_nested(&stock->lock);
  last->next = stock->first;
  signal_fence(); /* docs/decisions/0005, as everywhere that a nested lock is held */
  stock->first = first;
  lock_leave(&stock->lock);
}

void magazine_give(struct magazine *m) {
  ASSERT(load_relaxed(&m->count) == 0);
  m->next = NULL;
  magazine_give_chain(m);
}

enum { SHELF_FETCH_MAX = 8, SHELF_FETCH_BYTES = 4096 };

/* Magazines that a visit to the stock brings: of the large kinds fewer. */
static uint32_t fetch_count(uint8_t kind) {
  uint32_t n = SHELF_FETCH_BYTES / (kind_lines[kind - 1] * (uint32_t)HAK_CACHE_LINE_BYTES);
  ASSERT(n >= 1);
  return n < SHELF_FETCH_MAX ? n : SHELF_FETCH_MAX;
}

struct magazine *shelf_take(struct magazine_shelf *shelf, uint8_t kind) {
  ASSERT((shelf->first[kind - 1] == NULL) == (shelf->count[kind - 1] == 0));
  struct magazine *m = shelf->first[kind - 1];
  if (m == NULL) return NULL;
  ASSERT(m->kind == kind && m->zero == 0 && load_relaxed(&m->count) == 0);
  shelf->first[kind - 1] = m->next;
  shelf->count[kind - 1]--;
  m->next = NULL;
  return m;
}

void shelf_put(struct magazine_shelf *shelf, struct magazine *m) {
  ASSERT(load_relaxed(&m->count) == 0 && shelf->count[m->kind - 1] < UINT8_MAX);
  m->next = shelf->first[m->kind - 1];
  shelf->first[m->kind - 1] = m;
  shelf->count[m->kind - 1]++;
}

bool shelf_is_full(const struct magazine_shelf *shelf, uint8_t kind) {
  return shelf->count[kind - 1] >= 2 * fetch_count(kind);
}

/* `count` new ones, cut from one piece. */
static bool shelf_make(struct magazine_shelf *shelf, uint8_t kind, uint32_t count) {
  ASSERT(count != 0 && count <= SHELF_FETCH_MAX);
  size_t bytes = kind_lines[kind - 1] * (size_t)HAK_CACHE_LINE_BYTES;
  char *piece = meta_alloc(count * bytes);
  if (piece == NULL) return false;
  for (uint32_t i = 0; i < count; i++) {
    struct magazine *m = (struct magazine *)(void *)(piece + i * bytes);
    m->kind = kind;
    shelf_put(shelf, m);
  }
  return true;
}

/* Where the stock has few, the rest is made: they circulate from then on, and each later visit
 * brings as many as this one. */
bool shelf_fetch(struct magazine_shelf *shelf, uint8_t kind) {
  struct stock *stock = &stocks[kind - 1];
  uint32_t n = 0, want = fetch_count(kind);
  lock_nested(&stock->lock);
  for (; n < want && stock->first != NULL; n++) {
    struct magazine *m = stock->first;
    stock->first = m->next;
    signal_fence(); /* docs/decisions/0005: lost at worst, never in both places */
    shelf_put(shelf, m);
  }
  lock_leave(&stock->lock);
  return n == want || shelf_make(shelf, kind, want - n) || n != 0;
}

void shelf_clear(struct magazine_shelf *shelf) {
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) {
    struct magazine *first = shelf->first[i];
    shelf->first[i] = NULL;
    shelf->count[i] = 0;
    if (first != NULL) magazine_give_chain(first);
  }
}
