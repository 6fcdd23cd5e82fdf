/* test_pull.c — a heap that needs a slab gets a hardly used one of a heap that has too many; the
 * objects in it live on, and what the old owner's magazines hold of it finds its way.
 */
#include "unit_heap.h"

#include <pthread.h>
#include <semaphore.h>

#include "outbox.h"
#include "pull.h"

enum { COUNT = 20000, BYTES = 200, KEPT_ONE_OF = 50 };

/* A thread that has freed most of much, and then does as it is told. */
static struct donor {
  sem_t is_ready, may_go_on;
  struct heap *heap;
  void (*order)(void);
} donor;
static void *objects[COUNT];

/* The class that was split off early is what most of them are of. */
static uint32_t class_of_most(void) { return object_class(objects[COUNT - 1]); }
static bool is_kept(size_t i) { return i % KEPT_ONE_OF == 0; }
static void stamp_kept(void) {
  for (size_t i = 0; i < COUNT; i += KEPT_ONE_OF) memset(objects[i], (int)(i % 251), BYTES);
}
static bool kept_are_intact(void) {
  for (size_t i = 0; i < COUNT; i += KEPT_ONE_OF)
    for (size_t k = 0; k < BYTES; k++)
      if (((unsigned char *)objects[i])[k] != i % 251) return false;
  return true;
}

static void *donates(void *unused) {
  donor.heap = heap_own();
  allocate_all(objects, COUNT, BYTES);
  stamp_kept();
  for (size_t i = 0; i < COUNT; i++)
    if (!is_kept(i)) hak_free(objects[i]);
  for (;;) {
    sem_post(&donor.is_ready);
    sem_wait(&donor.may_go_on);
    if (donor.order == NULL) return unused;
    donor.order();
  }
}
static pthread_t donor_start(void) {
  pthread_t thread;
  sem_init(&donor.is_ready, 0, 0);
  sem_init(&donor.may_go_on, 0, 0);
  NEED(pthread_create(&thread, NULL, donates, NULL) == 0);
  sem_wait(&donor.is_ready);
  return thread;
}
static void donor_does(void (*order)(void)) {
  donor.order = order;
  sem_post(&donor.may_go_on);
  if (order != NULL) sem_wait(&donor.is_ready);
}

/* Kept objects of the class in slabs of h, or of anyone. */
static uint32_t kept_of(const struct heap *h) {
  uint32_t count = 0, c = class_of_most();
  for (size_t i = 0; i < COUNT; i += KEPT_ONE_OF)
    count += object_class(objects[i]) == c && (h == NULL || object_owner(objects[i]) == h);
  return count;
}
static void free_kept(void) {
  for (size_t i = 0; i < COUNT; i += KEPT_ONE_OF) hak_free(objects[i]);
}

static uint32_t offered(const struct heap *h) {
  return load_relaxed(pull_offer_word(class_of_most(), heap_id(h)));
}

/* One object, and with it a slab of the donor's. */
static void *pull_one(void) {
  struct heap *own = heap_own();
  uint32_t c = class_of_most(), before = donor.heap->cls[c].taken_count;
  size_t slab_bytes = slab_class_bytes(c);
  NEED(offered(donor.heap) == heap_id(donor.heap) && own->cls[c].slabs == NULL);
  void *p = hak_malloc(BYTES);
  NEED(object_class(p) == c && object_owner(p) == own && slab_class_bytes(c) == slab_bytes);
  NEED(kept_of(own) != 0 && donor.heap->cls[c].taken_count < before);
  struct heap *h = enter();
  NEED(heap_is_valid(h));
  entry_leave(h);
  return p;
}

/* What a thread keeps at hand of slabs that are no longer its own is freed once more. */
static void donor_gives_all_back(void) { hak_thread_idle(); }
static void pulled(void) {
  pthread_t thread = donor_start();
  uint32_t c = class_of_most();
  void *p = pull_one();
  NEED(kept_are_intact() && live_objects(c) == kept_of(NULL) + 1);
  donor_does(donor_gives_all_back);
  donor_does(donor_gives_all_back); /* posts what the first one had to free once more */
  NEED(donor.heap->strays == NULL && donor.heap->stray_lost_count == 0);
  NEED(kept_are_intact() && live_objects(c) == kept_of(NULL) + 1);
  hak_free(p);
  donor_does(free_kept); /* some are ours by now */
  donor_does(donor_gives_all_back);
  hak_thread_idle();
  NEED(live_objects(c) == 0 && donor.heap->cls[c].taken_count == 0);
  NEED(heap_own()->cls[c].taken_count == 0);
  donor_does(NULL);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_hardly_used_slab_is_pulled(void **state) {
  (void)state;
  run_child(pulled);
}

/* The donor ends: its magazines' strays go to their owner there and then. */
static void ends(void) {
  pthread_t thread = donor_start();
  uint32_t c = class_of_most();
  void *p = pull_one();
  uint32_t kept = kept_of(heap_own());
  donor_does(NULL);
  NEED(pthread_join(thread, NULL) == 0);
  NEED(load_relaxed(&donor.heap->absence) == HEAP_ORPHAN && donor.heap->strays == NULL);
  NEED(donor.heap->cls[c].taken_count == kept_of(NULL) - kept);
  hak_free(p);
  hak_thread_idle();
  NEED(heap_own()->cls[c].taken_count == kept && kept_are_intact());
  free_kept();
  hak_thread_idle();
  NEED(live_objects(c) == 0);
}
static void strays_of_a_thread_that_ends_arrive(void **state) {
  (void)state;
  run_child(ends);
}

/* Mail for the old owner, collected before the pull. */
static void old_mail(void) {
  pthread_t thread = donor_start();
  uint32_t c = class_of_most();
  struct heap *own = heap_own();
  free_kept(); /* into our outbox, or posted already */
  NEED(own->outbox_room != OUTBOX_BYTES);
  void *p = hak_malloc(BYTES);
  NEED(object_owner(p) == own);
  hak_thread_idle(); /* posts the rest to who owned it */
  donor_does(donor_gives_all_back);
  donor_does(donor_gives_all_back);
  hak_free(p);
  hak_thread_idle();
  NEED(live_objects(c) == 0 && own->cls[c].taken_count == 0);
  NEED(donor.heap->cls[c].taken_count == 0 && donor.heap->strays == NULL);
  donor_does(NULL);
  NEED(pthread_join(thread, NULL) == 0);
}
static void mail_to_the_old_owner_arrives(void **state) {
  (void)state;
  run_child(old_mail);
}

/* Not from who holds its lock, not without an offer, not where the surplus is small. */
static void not_pulled(void) {
  pthread_t thread = donor_start();
  uint32_t c = class_of_most();
  struct heap *own = enter();
  NEED(lock_try_second(&donor.heap->lock)); /* our own: a try finds it taken */
  NEED(pull_slab(own, c) == NULL && offered(donor.heap) == heap_id(donor.heap));
  size_t taken_bytes = donor.heap->taken_bytes;
  donor.heap->taken_bytes = load_relaxed(&donor.heap->slab_bytes) - PULL_SURPLUS_BYTES;
  lock_leave(&donor.heap->lock);
  NEED(pull_slab(own, c) == NULL && offered(donor.heap) == 0); /* no longer true */
  donor.heap->taken_bytes = taken_bytes;
  NEED(pull_slab(own, c) == NULL);
  pull_offer(donor.heap, c);
  struct slab *s = pull_slab(own, c);
  NEED(s != NULL && own->cls[c].slabs == s && map_load(slab_chunk(s)) == heap_entry(own, c));
  store_relaxed(pull_offer_word(c, heap_id(donor.heap)), 0u);
  store_relaxed(pull_offer_word(c, heap_id(own)), heap_id(own));
  NEED(pull_slab(own, c) == NULL && offered(own) == heap_id(own)); /* from itself */
  NEED(heap_id(own) % 2 != heap_id(donor.heap) % 2);
  pull_offer(donor.heap, c); /* which its own does not hide */
  NEED(pull_slab(own, c) != NULL && offered(own) == heap_id(own));
  entry_leave(own);
  donor_does(free_kept);
  donor_does(NULL);
  NEED(pthread_join(thread, NULL) == 0);
}
static void a_heap_keeps_what_it_may(void **state) {
  (void)state;
  run_child(not_pulled);
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hardly_used_slab_is_pulled),
      cmocka_unit_test(strays_of_a_thread_that_ends_arrive),
      cmocka_unit_test(mail_to_the_old_owner_arrives),
      cmocka_unit_test(a_heap_keeps_what_it_may),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
