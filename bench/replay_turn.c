/* replay_turn: see replay_turn.h. */
#define _GNU_SOURCE
#include "replay_turn.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench_common.h"

/* About the time of a hand-over between two running cores. Arbitrary. */
#define SPINS 200

static _Atomic uint32_t *turns;
static size_t turn_count;
/* Threads that sleep or are about to; on any slot. */
static _Alignas(128) _Atomic uint32_t sleepers;

void turns_make(size_t slot_count) {
  turns = bench_map(slot_count * sizeof *turns + 1);
  turn_count = slot_count;
}

void turns_reset(void) {
  for (size_t i = 0; i < turn_count; i++) {
    atomic_store_explicit(&turns[i], 0, memory_order_relaxed);
  }
}

static void turn_sleep(_Atomic uint32_t *word, uint32_t turn) {
  atomic_fetch_add(&sleepers, 1); /* before the look at the word: see turn_set */
  uint32_t seen;
  while ((seen = atomic_load(word)) != turn) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  }
  atomic_fetch_sub(&sleepers, 1);
}

void turn_wait(uint32_t slot, uint32_t turn) {
  _Atomic uint32_t *word = &turns[slot];
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load_explicit(word, memory_order_acquire) == turn) {
      return;
    }
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
  turn_sleep(word, turn);
}

void turn_set(uint32_t slot, uint32_t turn) {
  _Atomic uint32_t *word = &turns[slot];
  /* Sequentially consistent, as turn_sleep's two: either it sees this turn, or this sees it. */
  atomic_store(word, turn);
  if (atomic_load(&sleepers) != 0) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
  }
}
