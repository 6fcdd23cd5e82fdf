/* replay_table: see replay_table.h. */
#include "replay_table.h"

#include <stddef.h>
#include <sys/mman.h>

#include "bench_common.h"

#define FIRST_CAPACITY ((size_t)1 << 16) /* a power of two; arbitrary */

struct entry {
  uint64_t address; /* 0: empty */
  struct replay_object object;
};

static struct entry *entries;
static size_t capacity, used;

static size_t home(uint64_t address) {
  return (size_t)((address * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (capacity - 1);
}

/* The entry of the address, or the empty one where it belongs. */
static size_t find(uint64_t address) {
  size_t at = home(address);
  while (entries[at].address != 0 && entries[at].address != address) {
    at = (at + 1) & (capacity - 1);
  }
  return at;
}

void table_make(void) {
  capacity = FIRST_CAPACITY;
  entries = bench_map(capacity * sizeof *entries);
}

static void grow(void) {
  struct entry *old = entries;
  size_t old_capacity = capacity;
  capacity *= 2;
  entries = bench_map(capacity * sizeof *entries);
  for (size_t i = 0; i < old_capacity; i++) {
    if (old[i].address != 0) {
      entries[find(old[i].address)] = old[i];
    }
  }
  munmap(old, old_capacity * sizeof *old);
}

bool table_put(uint64_t address, struct replay_object object) {
  if (used * 2 >= capacity) {
    grow();
  }
  size_t at = find(address);
  if (entries[at].address != 0) {
    return false;
  }
  entries[at] = (struct entry){address, object};
  used++;
  return true;
}

/* Closes the gap: what had probed past it moves up. */
bool table_take(uint64_t address, struct replay_object *object) {
  size_t gap = find(address);
  if (entries[gap].address == 0) {
    return false;
  }
  *object = entries[gap].object;
  used--;
  for (size_t at = (gap + 1) & (capacity - 1); entries[at].address != 0;
       at = (at + 1) & (capacity - 1)) {
    size_t from_home = (at - home(entries[at].address)) & (capacity - 1);
    if (from_home >= ((at - gap) & (capacity - 1))) {
      entries[gap] = entries[at];
      gap = at;
    }
  }
  entries[gap].address = 0;
  return true;
}
