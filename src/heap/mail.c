/* mail.c — see mail.h.
 */
#include "mail.h"

#include "base_ms.h"
#include "base_size.h"
#include "depot.h"
#include "flush.h"
#include "os_check.h"
#include "os_proc.h"

typedef bool lock_try(struct rt_lock *);

enum {
  /* An inbox may hold so much before senders take a hand: 256 KiB, or a hundredth of the owner's
   * slabs. Arbitrary, as the next two: little beside what the owner has, much beside a magazine. */
  INBOX_LEAST_KIB = 256,
  INBOX_SHARE = 100,
  INBOX_LEAST_COUNT = 4,
  INBOX_WAIT_MS = 10,
  SENDER_DRAINS = 4,       /* magazines that a sender empties while it holds the owner's lock */
  INBOX_TIMES_AT_MOST = 4, /* so many times the above: then senders wait for the owner's lock */
  HELP_ROUNDS = 1024,      /* of SENDER_DRAINS: all that may wait there */
};

/* What waits in an inbox, as its newest magazine's link says: KiB, magazines (not above 255), and
 * since when (coarse clock). A sender reads the link of a magazine that may have been taken out
 * meanwhile and be anywhere: then its own push fails, or, where that one is the newest again, the
 * figures are those of another time, which makes a sender empty too much or too little once. */
struct waiting {
  uint32_t since_ms;
  uint32_t count;
  uint32_t kib;
};

static uint64_t waiting_pack(struct waiting w) {
  uint64_t count = w.count < UINT8_MAX ? w.count : UINT8_MAX;
  uint64_t kib = w.kib < 0xFFFFFF ? w.kib : 0xFFFFFF;
  return w.since_ms | count << 32 | kib << 40;
}
static struct waiting waiting_unpack(uint64_t link) {
  return (struct waiting){(uint32_t)link, link >> 32 & UINT8_MAX, (uint32_t)(link >> 40)};
}

/* A magazine of `bytes` goes to the inbox. Returns what waits there then. */
static struct waiting inbox_push(struct heap *owner, struct magazine *m, uint32_t bytes,
                                 uint32_t now_ms) {
  struct magazine *head = load_relaxed(&owner->inbox);
  struct waiting w;
  do { /* lock-free */
    w = (struct waiting){now_ms, 1, bytes / 1024 + 1};
    if (head != NULL) {
      struct waiting before = waiting_unpack(load_relaxed(&head->link));
      w = (struct waiting){before.since_ms, before.count + 1, before.kib + w.kib};
    }
    store_relaxed(&m->link, waiting_pack(w));
    m->next = head;
  } while (!cas_seq(&owner->inbox, &head, m));
  return w;
}

static struct magazine *inbox_take_all(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  return swap_seq(&h->inbox, NULL);
}

/* Empty magazines on their way to the stock: one lock for many of a kind. */
static void give_chains(struct magazine *chains[MAGAZINE_KIND_COUNT]) {
  for (size_t i = 0; i < MAGAZINE_KIND_COUNT; i++) {
    if (chains[i] != NULL) magazine_give_chain(chains[i]);
  }
}
static void chain_add(struct magazine *chains[MAGAZINE_KIND_COUNT], struct magazine *m) {
  m->next = chains[m->kind - 1];
  chains[m->kind - 1] = m;
}

void mail_drain_to_bitmaps(struct heap *h) {
  struct magazine *chains[MAGAZINE_KIND_COUNT] = {NULL};
  struct magazine *m = inbox_take_all(h);
  while (m != NULL) {
    struct magazine *next = m->next;
    flush_magazine(h, m);
    chain_add(chains, m);
    m = next;
  }
  give_chains(chains);
}

static bool is_worthy(const struct magazine *m, uint32_t count) {
  ASSERT(count != 0);
  return !magazine_is_mix(m) &&
         count * MAIL_WORTHY_SHARE >= size_classes[map_entry_class(m->entry)].magazine_capacity;
}

void mail_drain(struct heap *h) {
  struct magazine *chains[MAGAZINE_KIND_COUNT] = {NULL};
  struct magazine *m = inbox_take_all(h);
  while (m != NULL) {
    struct magazine *next = m->next;
    if (is_worthy(m, load_relaxed(&m->count))) {
      depot_put(h, map_entry_class(m->entry), m);
    } else {
      flush_magazine(h, m);
      chain_add(chains, m);
    }
    m = next;
  }
  give_chains(chains);
}

static lock_try *try_of(bool is_inside) { return is_inside ? lock_try_second : lock_try_enter; }

void mail_redrain(struct heap *away, bool is_inside, struct magazine **strays) {
  /* seq_cst: a sender pushes, then tries the lock; its holder unlocks, then looks. Each round
   * empties it. */
  while (load_seq(&away->inbox) != NULL && heap_is_away(away)) {
    if (!try_of(is_inside)(&away->lock)) return;
    mail_drain_to_bitmaps(away);
    flush_empty_slab(away);
    if (strays != NULL) flush_take_strays(away, strays);
    lock_leave(&away->lock);
  }
}

static bool is_more_than(struct waiting w, struct heap *owner, uint32_t times) {
  size_t share_kib = load_relaxed(&owner->slab_bytes) / INBOX_SHARE / 1024;
  return w.count >= INBOX_LEAST_COUNT && w.kib > size_max(INBOX_LEAST_KIB, share_kib) * times;
}

static bool is_overdue(struct heap *owner, struct waiting w, uint32_t now_ms) {
  return ms_since_low(w.since_ms, now_ms) > INBOX_WAIT_MS || is_more_than(w, owner, 1);
}

/* The newest magazine. Only who holds the lock takes any out, so the one seen cannot leave, and
 * come back with another below it, before the exchange. */
static struct magazine *inbox_pop(struct heap *h) {
  ASSERT(lock_is_mine(&h->lock));
  struct magazine *m = load_seq(&h->inbox);
  while (m != NULL && !cas_seq(&h->inbox, &m, m->next)) { /* lock-free: others only push */
  }
  return m;
}

/* A few of what waits to the bitmaps. */
static void empty_some(struct heap *h, struct heap *owner) {
  ASSERT(lock_is_mine(&owner->lock) && owner != h->home);
  for (uint32_t i = 0; i < SENDER_DRAINS; i++) {
    struct magazine *m = inbox_pop(owner);
    if (m == NULL) return;
    flush_magazine(owner, m);
    if (shelf_is_full(&h->shelf, m->kind)) {
      magazine_give(m);
    } else {
      shelf_put(&h->shelf, m);
    }
  }
}

/* False when somebody else is at it: the owner, or another sender. */
static bool help(struct heap *h, struct heap *owner, bool is_inside, lock_try *try_lock) {
  if (!try_lock(&owner->lock)) return false;
  empty_some(h, owner);
  flush_take_strays(owner, &h->to_free);
  if (HAK_UNLIKELY(owner->fault.kind != FAULT_NONE)) h->mail_fault = owner->fault;
  lock_leave(&owner->lock);
  /* Another sender may have found the lock taken, and left its mail to us. */
  if (HAK_UNLIKELY(heap_is_away(owner))) mail_redrain(owner, is_inside, &h->to_free);
  return true;
}

void mail_post(struct heap *h, struct heap *owner, struct magazine *m, uint32_t bytes) {
  ASSERT(owner != h->home && m->entry / MAP_CLASS_SCALE != 0 && load_relaxed(&m->count) != 0);
  bool is_inside = lock_is_mine(&h->home->lock);
  uint32_t now_ms = (uint32_t)os_coarse_ms();
  struct waiting w = inbox_push(owner, m, bytes, now_ms);
  if (HAK_UNLIKELY(heap_is_away(owner))) {
    mail_redrain(owner, is_inside, &h->to_free);
    return;
  }
  if (HAK_LIKELY(!is_overdue(owner, w, now_ms))) return;
  /* Senders post faster than one of them sorts: where much waits, each has to do its share. */
  bool must_wait = !is_inside && is_more_than(w, owner, INBOX_TIMES_AT_MOST);
  (void)help(h, owner, is_inside, HAK_UNLIKELY(must_wait) ? lock_enter : try_of(is_inside));
}

void mail_help(struct heap *h, struct heap *owner) {
  ASSERT(owner != h->home && lock_is_mine(&h->home->lock));
  for (int i = 0; i < HELP_ROUNDS && load_relaxed(&owner->inbox) != NULL; i++) {
    if (!help(h, owner, true, lock_try_second)) return;
  }
}
