/* replay_table: the live objects by address, while a trace is planned: open addressing with linear
 * probing, at most half full, no tombstones. Its memory is bench_map's. */
#ifndef REPLAY_TABLE_H
#define REPLAY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct replay_object {
  uint64_t bytes;
  uint32_t slot;
};

/* Once, before the others. */
void table_make(void);
/* False: there is an object already. address is not 0. */
bool table_put(uint64_t address, struct replay_object object);
/* Takes it out; false: there is none. */
bool table_take(uint64_t address, struct replay_object *object);

#endif
