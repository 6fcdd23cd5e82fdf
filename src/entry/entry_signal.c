/* entry_signal.c — see entry_signal.h. Owns: the reserve. No locks.
 */
#include "entry_signal.h"

#include <errno.h>
#include <stdint.h>

#include "base_size.h"
#include "entry.h"

/* Before each object. */
struct reserve_header {
  size_t size;     /* bytes of the object */
  uintptr_t check; /* the object's address, inverted: tells an object from what lies between */
};
enum { HEADER_BYTES = sizeof(struct reserve_header) };

static char reserve[SIGNAL_RESERVE_BYTES] HAK_CACHE_ALIGNED HAK_LARGE_BSS;
static _Atomic(size_t) reserve_used;
static _Atomic(size_t) leaked_count;
static _Atomic(void *) parked[PARKED_SLOTS]; /* of all threads: rarely more than one or two */
static _Atomic(bool) has_parked;

static struct reserve_header *header_of(const void *p) {
  return (struct reserve_header *)(void *)((uintptr_t)p - HEADER_BYTES);
}

void *entry_signal_alloc(size_t n, size_t align) {
  size_t step = size_max(align, HEADER_BYTES);
  if (n <= SIGNAL_RESERVE_BYTES && step <= SIGNAL_RESERVE_BYTES) {
    size_t size = size_round_up(size_max(n, 1), HEADER_BYTES);
    /* With a large alignment the object is placed inside what was taken. */
    size_t need = HEADER_BYTES + size + (step - HEADER_BYTES);
    size_t at = load_relaxed(&reserve_used);
    while (need <= SIGNAL_RESERVE_BYTES - at) { /* lock-free: a failure is another's success */
      if (!cas_acq_rel(&reserve_used, &at, at + need)) continue;
      uintptr_t p = size_round_up((uintptr_t)reserve + at + HEADER_BYTES, step);
      *header_of((void *)p) = (struct reserve_header){size, ~p};
      return (void *)p;
    }
  }
  errno = ENOMEM;
  return NULL;
}

bool entry_signal_owns(const void *p) {
  size_t offset = (uintptr_t)p - (uintptr_t)reserve;
  return offset >= HEADER_BYTES && offset < load_relaxed(&reserve_used) &&
         offset % HEADER_BYTES == 0 && header_of(p)->check == ~(uintptr_t)p;
}

size_t entry_signal_bytes(const void *p) { return header_of(p)->size; }

void entry_signal_park(void *p) {
  for (size_t i = 0; i < PARKED_SLOTS; i++) {
    void *empty = NULL;
    if (cas_acq_rel(&parked[i], &empty, p)) {
      store_relaxed(&has_parked, true);
      return;
    }
  }
  add_relaxed(&leaked_count, (size_t)1);
}

bool entry_signal_has_parked(void) { return load_relaxed(&has_parked); }

void entry_signal_free_parked(void) {
  store_relaxed(&has_parked, false); /* first: a handler that parks from now on sets it again */
  for (size_t i = 0; i < PARKED_SLOTS; i++) {
    void *p = swap_acq_rel(&parked[i], NULL);
    if (p != NULL) entry_free_locked(p);
  }
}

size_t entry_signal_used_bytes(void) { return load_relaxed(&reserve_used); }
size_t entry_signal_leaked_count(void) { return load_relaxed(&leaked_count); }
