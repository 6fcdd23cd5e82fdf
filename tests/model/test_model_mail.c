/* test_model_mail.c — objects sent to a heap's inbox arrive, each once, whatever the order of
 * steps: while the owner empties it, while other senders do, and while it ends or another thread
 * takes it over.
 */
#include "model_heap.h"
#include "model_atomic.h"

#include "flush.h"
#include "heap.h"
#include "mail.h"
#include "outbox.h"
#include "refill.h"
#include "view_stats.h"

enum { CLASS = 3, OBJECTS = 4 };

static struct heap *owner, *sender[2];
static void *object[OBJECTS];
static bool is_sent[OBJECTS];
static struct heap *adopted;

static void begin(void) {
  model_allocator_init();
  owner = heap_take();
  sender[0] = heap_take();
  sender[1] = heap_take();
  adopted = NULL;
  enter(owner);
  for (size_t i = 0; i < OBJECTS; i++)
    MODEL_NEED((object[i] = refill_take_one(owner, CLASS)) != NULL);
  lock_leave(&owner->lock);
  for (size_t s = 0; s < 2; s++) { /* a magazine at hand each */
    enter(sender[s]);
    MODEL_NEED(outbox_restock(sender[s], CLASS));
    lock_leave(&sender[s]->lock);
  }
}

/* Everything that was sent is back in its bitmap, and nothing else. */
static void all_arrived(void) {
  struct heap *h = adopted != NULL ? adopted : owner;
  uint32_t sent = 0;
  for (size_t i = 0; i < OBJECTS; i++) sent += is_sent[i];
  enter(h);
  mail_drain_to_bitmaps(h);
  MODEL_NEED(h->cls[CLASS].taken_count == OBJECTS - sent && h->fault.kind == FAULT_NONE);
  MODEL_NEED(load_relaxed(&h->inbox) == NULL && heap_is_valid(h));
  lock_leave(&h->lock);
  for (size_t s = 0; s < 2; s++) MODEL_NEED(sender[s]->mail_fault.kind == FAULT_NONE);
}

static void send(struct heap *h, size_t first, size_t end) {
  heap_current = h;
  uint32_t entry = map_load(chunk_index(object[first]));
  MODEL_NEED(entry == heap_entry(owner, CLASS));
  for (size_t i = first; i < end; i++) {
    MODEL_NEED(outbox_collect(h, entry, object[i]));
    is_sent[i] = true;
  }
  enter(h);
  outbox_send_all(h);
  lock_leave(&h->lock);
}
static void sends_first(void) { send(sender[0], 0, 2); }
static void sends_second(void) { send(sender[1], 2, 4); }

/* Mail that has waited too long: each sender sorts some of it, while the owner is awake. */
static void begin_overdue(void) {
  begin();
  model_clock_set(1);
  send(sender[1], 3, 4);
  enter(sender[1]);
  MODEL_NEED(outbox_restock(sender[1], CLASS));
  lock_leave(&sender[1]->lock);
  model_clock_set(1000);
}
static void sends_one_more(void) { send(sender[1], 2, 3); }

static void owner_drains(void) {
  heap_current = owner;
  enter(owner);
  if (mail_is_waiting(owner)) mail_drain_to_bitmaps(owner);
  lock_leave(&owner->lock);
}

/* The thread ends. What comes later its sender brings to the bitmaps: nobody else would. */
static void owner_ends(void) {
  heap_busy_begin(); /* as entry/ does it */
  struct magazine *strays;
  MODEL_NEED(home_abandon(owner, &strays).kind == FAULT_NONE);
}
/* It falls asleep, as entry_thread_idle has it: from then on its senders do that, too. */
static void owner_sleeps(void) {
  heap_current = owner;
  do {
    enter(owner);
    if (owner->is_asleep) home_wake(owner);
    mail_drain_to_bitmaps(owner);
    home_fall_asleep(owner);
    lock_leave(&owner->lock);
  } while (home_has_mail(owner));
}
static void owner_sleeps_and_wakes(void) {
  owner_sleeps();
  enter(owner);
  home_wake(owner);
  lock_leave(&owner->lock);
  owner_sleeps();
}
static void first_arrived_by_itself(void) {
  MODEL_NEED(load_relaxed(&owner->inbox) == NULL && owner->cls[CLASS].taken_count == OBJECTS - 2);
  all_arrived();
}
static void all_arrived_by_themselves(void) {
  MODEL_NEED(load_relaxed(&owner->inbox) == NULL && owner->cls[CLASS].taken_count == 0);
  all_arrived();
}

/* Statistics look at an inbox, too. */
static void counts(void) {
  heap_current = sender[1];
  struct view_totals t;
  view_stats_collect(&t);
  MODEL_NEED(t.cls[CLASS].live_count <= OBJECTS);
}

/* Another thread takes the heap over, and drains when it gets to it. */
static void a_thread_starts(void) {
  struct heap *h = heap_take();
  if (h == owner) adopted = h;
}

static const struct model_scenario scenarios[] = {
    {"send_send", begin, {sends_first, sends_second}, all_arrived},
    {"send_drain", begin, {sends_first, owner_drains}, all_arrived},
    {"send_end", begin, {sends_first, owner_ends}, first_arrived_by_itself},
    {"send_sleep", begin, {sends_first, owner_sleeps}, first_arrived_by_itself},
    {"send_sleep_wake", begin, {sends_first, owner_sleeps_and_wakes}, first_arrived_by_itself},
    {"send_count", begin, {sends_first, counts}, all_arrived},
    {"send_send_drain", begin, {sends_first, sends_second, owner_drains}, all_arrived},
    {"send_send_end", begin, {sends_first, sends_second, owner_ends}, all_arrived_by_themselves},
    {"send_overdue", begin_overdue, {sends_first, owner_drains}, all_arrived},
    {"send_send_overdue", begin_overdue, {sends_first, sends_one_more}, all_arrived},
    {"send_end_adopt", begin, {sends_first, owner_ends, a_thread_starts}, all_arrived},
};

int main(int argc, char **argv) {
  return model_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios,
                    (struct model_bounds){2, 1, 200000}, (struct model_bounds){3, 2, 1000000});
}
