/* tail.h — pages behind a block, in its run's last chunk, which nobody will use: where others had
 * been, they may be resident. Near the process's peak they go back, since there they would make it.
 * Owns: how much has gone back at the peak as it is.
 * Lock: none. Two relaxed atomics; a race between threads costs some calls more or less.
 */
#ifndef TAIL_H
#define TAIL_H

#include <stddef.h>

/* The run at p, for `bytes`, has just been claimed, and not as zero; only the caller knows it, and
 * holds no lock. */
void tail_trim(char *p, size_t bytes);

#endif
