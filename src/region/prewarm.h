/* prewarm.h — memory of the heap that is touched before anybody needs it: option PREWARM. It is
 * free and dirty afterwards, and stays: as long as so much is neither in use nor free with pages,
 * no automatic purge takes any. Lock: purge (rank 2), as for a purge, of which it is the contrary.
 */
#ifndef PREWARM_H
#define PREWARM_H

#include <stddef.h>

#include "base_attr.h"

/* Give pages to the first `bytes` of the heap that are free and have none, as far as there is
 * memory, and no more than half of the machine's and three quarters of the nearest limit (limit.h).
 * Bytes touched. The caller holds no lock. */
size_t prewarm(size_t bytes);
/* What of free chunks no automatic purge takes for that reason. */
HAK_MUST_USE size_t prewarm_keep_bytes(void);

/* All that is free has gone back: nothing stays for that reason any more. */
void prewarm_forget(void);

#endif
