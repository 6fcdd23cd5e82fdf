/* os_limit.h — what the machine lets this process have, and how short of memory it is.
 * Read anew each time from /proc and /sys/fs/cgroup, some ten system calls a call: for ticks. What
 * is not there, or not as expected, is as if nothing were limited. Nothing here allocates, locks or
 * changes errno; 5 KiB of stack.
 */
#ifndef OS_LIMIT_H
#define OS_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base_attr.h"

struct os_room {
  uint64_t limit_bytes;
  uint64_t used_bytes; /* without what the kernel can take back at once; may exceed the limit */
  /* Of the limits that kill who exceeds them (hard ones, where nothing can be swapped out): the one
   * that leaves least, and how much. deadly_limit_bytes is 0: there is none. */
  uint64_t deadly_limit_bytes, deadly_left_bytes;
};

/* The limit of memory that this process is nearest to, of its control group and all above it
 * (version 2: memory.max and memory.high, version 1: memory.limit_in_bytes). False: none. */
HAK_MUST_USE bool os_group_room(struct os_room *nearest);
/* RLIMIT_AS and the address space in use. False: no limit, or not to be read. */
HAK_MUST_USE bool os_address_room(struct os_room *room);

/* Pressure stall information: the share of the last ten seconds, in percent, in which some task
 * (all tasks at once) waited for memory; of the control group, or of the machine. 0 if unknown. */
struct os_stall {
  unsigned some_percent, full_percent;
};
HAK_MUST_USE struct os_stall os_memory_stall(void);

#endif
