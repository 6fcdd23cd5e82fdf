/* test_mail.c — objects freed by others reach their owner: nothing lost, nothing twice, and nothing
 * stranded where the owner is gone.
 */
#include "unit_entry.h"

#include "flush.h"
#include "mail.h"
#include "refill.h"

enum { OBJECTS = 5000, THREADS = 4, ROUNDS = 60, EACH = 500 };

static void *objects[OBJECTS];
static struct heap *enter(void) {
  struct heap *h = entry_enter();
  NEED(h != NULL);
  return h;
}
static size_t taken_of(struct heap *h) {
  size_t taken = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) taken += h->cls[c].taken_count;
  return taken;
}

static void *frees_all(void *count) {
  for (size_t i = 0; i < (uintptr_t)count; i++) hak_free(objects[i]);
  return NULL;
}
static void allocate_all(size_t n) {
  for (size_t i = 0; i < OBJECTS; i++) NEED((objects[i] = hak_malloc(n)) != NULL);
}

/* Full magazines go to the depot as they are, the rest to the bitmaps; all at once where asked. */
static void to_the_owner(void) {
  struct heap *own = heap_own();
  for (size_t n = 1; n <= CLASS_SIZE_MAX; n = n * 3 + 20) {
    allocate_all(n);
    thread_run(frees_all, (void *)(uintptr_t)OBJECTS); /* its end posts everything */
    NEED(mail_is_waiting(own));
    for (size_t i = 0; i < OBJECTS; i++) NEED(!object_is_in_bitmap(objects[i]));
    struct heap *h = enter();
    uint32_t c = object_class(objects[0]);
    if (n % 2 == 0) {
      mail_drain(h);
      NEED(h->cls[c].depot_count != 0 && !mail_is_waiting(h) && heap_is_valid(h));
    } else {
      mail_drain_to_bitmaps(h);
      NEED(!mail_is_waiting(h) && heap_is_valid(h));
      for (size_t i = 0; i < OBJECTS; i++) NEED(object_is_in_bitmap(objects[i]));
    }
    flush_owner_magazines(h);
    NEED(taken_of(h) == 0 && h->fault.kind == FAULT_NONE);
    entry_leave(h);
  }
}
static void mail_reaches_its_owner(void **state) {
  (void)state;
  run_child(to_the_owner);
}

/* A magazine is of one owner and one class, and never above its capacity. */
static void *collects_in_its_outbox(void *unused) {
  struct heap *own = heap_own();
  size_t waiting = 0;
  for (size_t i = 0; i < 300; i++) hak_free(objects[i]);
  for (uint32_t s = 0; s < OUTBOX_SLOTS; s++) {
    struct outbox_slot *slot = &own->outbox[s];
    struct magazine *m = load_relaxed(&slot->objects);
    NEED((slot->entry != 0) == (m != NULL));
    if (m == NULL) continue;
    uint32_t count = load_relaxed(&m->count);
    NEED(m->entry == slot->entry && count != 0 && mail_slot(own, slot->entry) == slot);
    NEED(count <= size_classes[map_entry_class(slot->entry)].magazine_capacity);
    for (uint32_t i = 0; i < count; i++) NEED(object_entry(m->slot[i]) == slot->entry);
    waiting += count;
  }
  NEED(waiting > 0 && waiting <= 300);
  struct heap *h = enter();
  mail_send_all(h);
  for (uint32_t s = 0; s < OUTBOX_SLOTS; s++) NEED(own->outbox[s].entry == 0);
  entry_leave(h);
  return unused;
}
static void outbox(void) {
  struct heap *own = heap_own();
  for (size_t i = 0; i < 300; i++) objects[i] = hak_malloc(i * 109 % CLASS_SIZE_MAX);
  thread_run(collects_in_its_outbox, NULL);
  size_t mailed = 0;
  for (struct magazine *m = load_relaxed(&own->inbox); m != NULL; m = m->next) {
    NEED(map_entry_id(m->entry) == heap_id(own));
    mailed += load_relaxed(&m->count);
  }
  NEED(mailed == 300);
}
static void an_outbox_sorts_by_owner_and_class(void **state) {
  (void)state;
  run_child(outbox);
}

/* Of one tiny class, of one medium one, and of all. */
static void bytes_are_counted(struct heap *own) {
  size_t bytes = 0;
  for (uint32_t s = 0; s < OUTBOX_SLOTS; s++) {
    struct magazine *m = load_relaxed(&own->outbox[s].objects);
    if (m == NULL) continue;
    bytes += load_relaxed(&m->count) * (size_t)size_classes[map_entry_class(m->entry)].size;
  }
  NEED(bytes <= OUTBOX_BYTES && bytes == OUTBOX_BYTES - own->outbox_room);
}
static void *frees_within_the_bound(void *count) {
  struct heap *own = heap_own();
  size_t held_max = 0;
  for (size_t i = 0; i < (uintptr_t)count; i++) {
    hak_free(objects[i]);
    bytes_are_counted(own);
    held_max = size_max(held_max, OUTBOX_BYTES - own->outbox_room);
  }
  NEED(held_max >= size_min(OUTBOX_BYTES - CLASS_SIZE_MAX, 12000)); /* and it is made use of */
  return NULL;
}
static void within_the_bound(void) {
  static const size_t sizes[] = {48, 1000, 5000, 32768, 0};
  enum { COUNT = 1200 };
  struct heap *own = heap_own();
  for (size_t s = 0; s < HAK_COUNT_OF(sizes); s++) {
    for (size_t i = 0; i < COUNT; i++) {
      size_t n = sizes[s] != 0 ? sizes[s] : i * 109 % CLASS_SIZE_MAX;
      NEED((objects[i] = hak_malloc(n)) != NULL);
    }
    thread_run(frees_within_the_bound, (void *)(uintptr_t)COUNT);
    struct heap *h = enter();
    mail_drain_to_bitmaps(h);
    for (size_t i = 0; i < COUNT; i++) NEED(object_is_in_bitmap(objects[i]));
    flush_owner_magazines(h);
    NEED(h == own && taken_of(h) == 0 && h->fault.kind == FAULT_NONE && heap_is_valid(h));
    entry_leave(h);
  }
}
static void an_outbox_stays_within_its_bound(void **state) {
  (void)state;
  run_child(within_the_bound);
}

static struct heap *dead;
static void *allocates_and_ends(void *unused) {
  allocate_all(64);
  dead = heap_current;
  return unused;
}
/* Who posts to an orphan empties its inbox. */
static void to_an_orphan(void) {
  (void)heap_own();
  thread_run(allocates_and_ends, NULL);
  NEED(load_relaxed(&dead->is_orphan) && taken_of(dead) == OBJECTS);
  (void)frees_all((void *)(uintptr_t)OBJECTS);
  NEED(!mail_is_waiting(dead) && taken_of(dead) < OBJECTS / 4); /* but for what we still hold */
  struct heap *h = enter();
  mail_send_all(h);
  entry_leave(h);
  NEED(taken_of(dead) == 0 && heap_is_valid(dead));
  for (size_t i = 0; i < OBJECTS; i++) NEED(object_is_in_bitmap(objects[i]));
}
static void an_orphan_is_drained_by_the_sender(void **state) {
  (void)state;
  run_child(to_an_orphan);
}

/* Its lock taken by another: whoever has it looks again; here it is us, by hand. */
static void to_a_locked_orphan(void) {
  (void)heap_own();
  thread_run(allocates_and_ends, NULL);
  (void)frees_all((void *)(uintptr_t)OBJECTS);
  struct heap *h = enter();
  NEED(lock_try_second(&dead->lock)); /* the sender's own thread, so that its try fails */
  mail_send_all(h);
  NEED(mail_is_waiting(dead) && taken_of(dead) != 0);
  lock_leave(&dead->lock);
  entry_leave(h);
  mail_redrain_orphan(dead);
  NEED(!mail_is_waiting(dead) && taken_of(dead) == 0);
}
static void nothing_is_stranded_at_a_locked_orphan(void **state) {
  (void)state;
  run_child(to_a_locked_orphan);
}

/* Everyone frees everyone's, while threads come and go. Objects travel through `exchange`, and
 * each is stamped with its own size, so that one given out twice is noticed. */
static _Atomic(unsigned char *) exchange[THREADS * EACH];

static void check_and_free(unsigned char *p) {
  if (p == NULL) return;
  size_t n = 16 + p[0] * 4u;
  NEED(has_stamp(p + 1, n - 1, p[0]));
  memset(p, 0, n);
  hak_free(p);
}
static void *exchanges(void *number) {
  uint64_t seed = (uintptr_t)number * 77 + 1;
  for (int i = 0; i < 8 * EACH; i++) {
    size_t n = random_next(&seed) % 120;
    unsigned char *p = hak_malloc(16 + n * 4);
    NEED(p != NULL);
    p[0] = (unsigned char)n;
    stamp(p + 1, 15 + n * 4, (unsigned)n);
    check_and_free(swap_acq_rel(&exchange[random_next(&seed) % HAK_COUNT_OF(exchange)], p));
  }
  return NULL;
}
static void everyone(void) {
  (void)heap_own();
  for (int round = 0; round < ROUNDS / (UNIT_SANITIZED ? 6 : 1); round++) {
    if (round % 3 == 0) (void)exchanges((void *)(uintptr_t)round);
    threads_run(THREADS, exchanges);
  }
  for (size_t i = 0; i < HAK_COUNT_OF(exchange); i++) check_and_free(load_relaxed(&exchange[i]));
  (void)hak_malloc_trim(0);
  size_t taken = 0;
  for (uint32_t id = HEAP_ID_FIRST; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    NEED(lock_enter(&h->lock));
    NEED(heap_is_valid(h) && h->fault.kind == FAULT_NONE && !mail_is_waiting(h));
    taken += taken_of(h);
    lock_leave(&h->lock);
  }
  NEED(taken == 0);
}
static void all_counts_add_up(void **state) {
  (void)state;
  run_child(everyone);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mail_reaches_its_owner),
      cmocka_unit_test(an_outbox_sorts_by_owner_and_class),
      cmocka_unit_test(an_outbox_stays_within_its_bound),
      cmocka_unit_test(an_orphan_is_drained_by_the_sender),
      cmocka_unit_test(nothing_is_stranded_at_a_locked_orphan),
      cmocka_unit_test(all_counts_add_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
