/* entry_signal.h — what a signal handler gets that interrupted a slow path of its own thread: no
 * lock can be had there. malloc serves a small static reserve, free parks the pointer until some
 * slow path ends. Everything here is async-signal-safe.
 * (A handler that interrupts a hot path is on its own, as with every allocator.)
 */
#ifndef ENTRY_SIGNAL_H
#define ENTRY_SIGNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "heap.h"

enum { SIGNAL_RESERVE_BYTES = 49152, PARKED_SLOTS = 64 };

/* n bytes, aligned to `align`, from the reserve, zeroed; NULL with ENOMEM once it is used up. */
HAK_MUST_USE void *entry_signal_alloc(size_t n, size_t align);
/* True when p lies in the reserve: freeing it does nothing, its bytes are not used again. */
HAK_MUST_USE bool entry_signal_owns(const void *p);
/* Bytes that may be used behind p, which the reserve owns. */
size_t entry_signal_bytes(const void *p);
/* Keep p for later; where all slots are full it leaks, and is counted. */
void entry_signal_park(void *p);
bool entry_signal_has_parked(void);
/* Free what handlers of any thread parked; the caller holds no lock. */
void entry_signal_free_parked(void);
/* Bytes of the reserve in use, and objects leaked because no slot was free. Any thread. */
size_t entry_signal_used_bytes(void);
size_t entry_signal_leaked_count(void);

#endif
