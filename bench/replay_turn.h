/* replay_turn: whose turn it is with a slot, for replays on more than one thread. A waiter spins a
 * little, then sleeps; an unwatched hand-over costs one exchange. The order in which the plan deals
 * turns out is one that happened, so no two threads wait for each other. */
#ifndef REPLAY_TURN_H
#define REPLAY_TURN_H

#include <stddef.h>
#include <stdint.h>

/* Once, before the others: all slots at turn 0. */
void turns_make(size_t slot_count);
/* Back to 0; while no other thread is between operations. */
void turns_reset(void);
/* Until the slot's turn is `turn`: what was done before it was set has happened. */
void turn_wait(uint32_t slot, uint32_t turn);
void turn_set(uint32_t slot, uint32_t turn);

#endif
