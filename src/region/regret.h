/* regret.h — purges that came too early. Purged memory that is claimed again within a second would
 * better have stayed: for ten seconds then more may stay warm, the more of it came back.
 * Owns: how much. Does not own: what is empty, or its purge (superslab.h).
 * Lock: none. A few relaxed atomics; a race between threads costs one purge more or less.
 */
#ifndef REGRET_H
#define REGRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* Times are os_coarse_ms(). `bytes` were purged, empty_bytes are resident and empty still. */
void regret_note_purge(size_t bytes, size_t empty_bytes, uint64_t now_ms);
/* True when a claim of memory without pages may be a regret: then it is worth the clock. */
HAK_MUST_USE bool regret_is_open(void);
/* `bytes` without pages were claimed where the process had pages before; peak_bytes is what it held
 * at most: no more will stay. */
void regret_note_claim(size_t bytes, size_t peak_bytes, uint64_t now_ms);
/* Bytes of empty superslabs that may stay for this reason; 0 mostly. */
size_t regret_keep_bytes(uint64_t now_ms);

#endif
