/* test_mail.c — objects freed by others reach their owner: nothing lost, nothing twice, and nothing
 * stranded where the owner is gone.
 */
#include "unit_heap.h"

#include <fcntl.h>

#include "home.h"
#include "mail.h"
#include "os_proc.h"
#include "outbox.h"
#include "refill.h"

enum { OBJECTS = 5000, THREADS = 4, ROUNDS = 60, EACH = 500 };

static void *objects[OBJECTS];

static void *frees_all(void *count) {
  for (size_t i = 0; i < (uintptr_t)count; i++) hak_free(objects[i]);
  return NULL;
}
static void fill_objects(size_t n) {
  for (size_t i = 0; i < OBJECTS; i++) NEED((objects[i] = hak_malloc(n)) != NULL);
}

/* Full magazines go to the depot as they are, the rest to the bitmaps; all at once where asked. */
static void to_the_owner(void) {
  struct heap *own = heap_own();
  for (size_t n = 1; n <= CLASS_SIZE_MAX; n = n * 3 + 20) {
    fill_objects(n);
    uint32_t c = object_class(objects[0]);
    uint64_t start_ms = os_coarse_ms();
    thread_run(frees_all, (void *)(uintptr_t)OBJECTS); /* its end posts everything */
    /* Else, or after a while, the sender has sorted some of it. */
    bool is_all_waiting = OBJECTS * n < 200000 && os_coarse_ms() - start_ms <= 10;
    if (is_all_waiting) {
      NEED(mail_is_waiting(own));
      for (size_t i = 0; i < OBJECTS; i++) NEED(!object_is_in_bitmap(objects[i]));
    }
    struct heap *h = enter();
    if (n % 2 == 0) {
      mail_drain(h);
      NEED((h->cls[c].depot_count != 0 || !is_all_waiting) && !mail_is_waiting(h));
      NEED(heap_is_valid(h));
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

static size_t size_of_entry(uint32_t entry) { return size_classes[map_entry_class(entry)].size; }

/* An owner that does nothing: its senders sort its mail themselves, but for what may wait. */
enum { MANY = 60000, MANY_BYTES = 1000 };
enum { INBOX_LEAST_BYTES = 256 * 1024, INBOX_SHARE = 100, INBOX_TIMES = 4 };
static void *many[MANY];
static void *frees_many(void *unused) {
  for (size_t i = 0; i < MANY; i++) hak_free(many[i]);
  return unused;
}
/* What waits for h. The caller is its only reader: nobody but who holds h's lock takes any out. */
static size_t inbox_bytes(struct heap *h) {
  size_t bytes = 0;
  struct magazine *first = load_acquire(&h->inbox); /* pairs with inbox_push */
  for (struct magazine *m = first; m != NULL; m = m->next)
    bytes += load_relaxed(&m->count) * (size_t)MANY_BYTES;
  return bytes;
}
static void to_a_sleeper(void) {
  struct heap *own = heap_own();
  for (size_t i = 0; i < MANY; i++) NEED((many[i] = hak_malloc(MANY_BYTES)) != NULL);
  size_t peak = superslab_claimed_bytes();
  thread_run(frees_many, NULL);
  size_t waiting = inbox_bytes(own);
  NEED(waiting != 0 && waiting < peak / INBOX_SHARE);
  NEED(superslab_claimed_bytes() < peak / 20);
  struct heap *h = enter();
  NEED(h == own && heap_is_valid(h) && h->fault.kind == FAULT_NONE);
  flush_owner_magazines(h);
  mail_drain_to_bitmaps(h);
  NEED(taken_of(h) == 0);
  entry_leave(h);
}
static void a_sleeping_owner_is_helped(void **state) {
  (void)state;
  run_child(to_a_sleeper);
}

/* Of two senders one may find the owner's lock taken, and goes on: up to four times the bound. Here
 * it is the owner itself that has it, until both wait for it. */
enum { SENDERS = 2 };
static size_t sent_count;
static _Atomic(int) sender_tid[SENDERS];
static _Atomic(uint32_t) senders_done;

static void *frees_its_share(void *number) {
  (void)heap_own();
  store_release(&sender_tid[(uintptr_t)number], (int)gettid());
  for (size_t i = (uintptr_t)number; i < sent_count; i += SENDERS) hak_free(many[i]);
  add_relaxed(&senders_done, 1u);
  return NULL;
}
/* All locks but the owner's are held by who runs, so two that sleep at once wait for that. */
static bool are_asleep(void) {
  for (size_t i = 0; i < SENDERS; i++) {
    char path[64], text[128];
    int tid = load_acquire(&sender_tid[i]);
    if (tid == 0) return false;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *state = strrchr(text, ')');
    if (state == NULL || strncmp(state, ") S", 3) != 0) return false;
  }
  return true;
}
static void two_send(size_t count) {
  enum { POLL_US = 1000, POLLS_ALIKE = 5 };
  home_set_count(UINT32_MAX); /* each thread its own */
  (void)heap_own();
  sent_count = count;
  for (size_t i = 0; i < count; i++) NEED((many[i] = hak_malloc(MANY_BYTES)) != NULL);
  uint32_t c = object_class(many[0]);
  size_t magazine = size_classes[c].magazine_capacity * (size_t)size_classes[c].size;
  struct heap *own = enter();
  size_t bound = size_max(INBOX_LEAST_BYTES, load_relaxed(&own->slab_bytes) / INBOX_SHARE);
  pthread_t senders[SENDERS];
  for (size_t i = 0; i < SENDERS; i++)
    NEED(pthread_create(&senders[i], NULL, frees_its_share, (void *)(uintptr_t)i) == 0);
  size_t waiting = 0;
  for (int alike = 0; alike < POLLS_ALIKE; usleep(POLL_US)) {
    NEED(load_relaxed(&senders_done) == 0);
    size_t now = inbox_bytes(own);
    alike = are_asleep() && now == waiting ? alike + 1 : 0;
    waiting = now;
  }
  NEED(waiting > (INBOX_TIMES - 1) * bound && waiting <= INBOX_TIMES * bound + SENDERS * magazine);
  entry_leave(own);
  for (size_t i = 0; i < SENDERS; i++) NEED(pthread_join(senders[i], NULL) == 0);
  NEED(enter() == own && own->fault.kind == FAULT_NONE);
  NEED(inbox_bytes(own) <= INBOX_TIMES * bound + SENDERS * magazine);
  flush_owner_magazines(own);
  mail_drain_to_bitmaps(own);
  NEED(taken_of(own) == 0 && heap_is_valid(own));
  entry_leave(own);
}
static void two_send_much(void) { two_send(MANY); } /* the bound is the share */
static void two_send_less(void) { two_send(MANY / 6); }
static void two_senders_wait_at_four_times_the_bound(void **state) {
  (void)state;
  run_child(two_send_much);
  run_child(two_send_less);
}

/* What its mail has wrong is found by whoever sorts it, and reported by them. */
static int frees_twice_behind_its_back(void *victim) {
  (void)heap_own();
  for (size_t i = 0; i < MANY; i++) {
    if (i == MANY / 2) hak_free(victim); /* the newest mail is sorted first */
    hak_free(many[i]);
  }
  return 0;
}
static void *double_free_by_mail(void *unused) {
  return (void *)(uintptr_t)frees_twice_behind_its_back(unused);
}
static int reports_for_a_sleeper(void *victim) {
  thread_run(double_free_by_mail, victim);
  return 0;
}
static void a_sender_reports_what_it_finds(void **state) {
  (void)state;
  if (HAK_FLAVOUR_MINIMAL) skip();
  (void)heap_own();
  void *victim = hak_malloc(MANY_BYTES);
  for (size_t i = 0; i < MANY; i++) NEED((many[i] = hak_malloc(MANY_BYTES)) != NULL);
  struct heap *h = enter();
  flush_slots(h, object_class(victim), &victim, 1);
  entry_leave(h);
  expect_verdict(reports_for_a_sleeper, victim, "double free", victim,
                 size_of_entry(object_entry(victim)));
  (void)frees_many(NULL);
}

static struct heap *dead;
static void *allocates_and_ends(void *unused) {
  fill_objects(64);
  dead = heap_current;
  return unused;
}
/* Who posts to an orphan empties its inbox. */
static void to_an_orphan(void) {
  (void)heap_own();
  thread_run(allocates_and_ends, NULL);
  NEED(load_relaxed(&dead->absence) == HEAP_ORPHAN && taken_of(dead) == OBJECTS);
  (void)frees_all((void *)(uintptr_t)OBJECTS);
  NEED(!mail_is_waiting(dead) && taken_of(dead) < OBJECTS / 4); /* but for what we still hold */
  struct heap *h = enter();
  outbox_send_all(h);
  entry_leave(h);
  NEED(taken_of(dead) == 0 && heap_is_valid(dead));
  for (size_t i = 0; i < OBJECTS; i++) NEED(object_is_in_bitmap(objects[i]));
}
static void an_orphan_is_drained_by_the_sender(void **state) {
  (void)state;
  run_child(to_an_orphan);
}

static void *frees_one(void *p) {
  hak_free(p);
  return NULL;
}
/* Nor has one that said it would be idle anything to sort, until it is awake again. */
static void to_an_idle_thread(void) {
  (void)heap_own();
  fill_objects(64);
  struct heap *h = heap_current;
  entry_thread_idle();
  NEED(load_relaxed(&h->absence) == HEAP_ASLEEP && taken_of(h) == OBJECTS);
  thread_run(frees_all, (void *)(uintptr_t)(OBJECTS / 2));
  NEED(!mail_is_waiting(h) && taken_of(h) == OBJECTS / 2 && heap_is_valid(h));
  void *p = hak_malloc(64);
  NEED(load_relaxed(&h->absence) == HEAP_PRESENT);
  size_t taken = taken_of(h);
  thread_run(frees_one, p);
  NEED(mail_is_waiting(h) && taken_of(h) == taken); /* that is ours again */
}
static void an_idle_threads_mail_is_sorted_by_the_sender(void **state) {
  (void)state;
  run_child(to_an_idle_thread);
}

/* Its lock taken by another: whoever has it looks again; here it is us, by hand. */
static void to_a_locked_orphan(void) {
  (void)heap_own();
  thread_run(allocates_and_ends, NULL);
  (void)frees_all((void *)(uintptr_t)OBJECTS);
  struct heap *h = enter();
  NEED(lock_try_second(&dead->lock)); /* the sender's own thread, so that its try fails */
  outbox_send_all(h);
  NEED(mail_is_waiting(dead) && taken_of(dead) != 0);
  lock_leave(&dead->lock);
  entry_leave(h);
  struct magazine *strays = NULL;
  mail_redrain(dead, false, &strays);
  NEED(!mail_is_waiting(dead) && taken_of(dead) == 0 && strays == NULL);
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
      cmocka_unit_test(a_sleeping_owner_is_helped),
      cmocka_unit_test(two_senders_wait_at_four_times_the_bound),
      cmocka_unit_test(a_sender_reports_what_it_finds),
      cmocka_unit_test(an_orphan_is_drained_by_the_sender),
      cmocka_unit_test(an_idle_threads_mail_is_sorted_by_the_sender),
      cmocka_unit_test(nothing_is_stranded_at_a_locked_orphan),
      cmocka_unit_test(all_counts_add_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
