/* guard_verdict.h — what is wrong with a pointer, said in one line, then abort.
 * Owns: the verdicts' words. Does not own: finding them (entry/, heap/). No lock, no allocation.
 */
#ifndef GUARD_VERDICT_H
#define GUARD_VERDICT_H

#include <stddef.h>

#include "base_attr.h"

enum verdict {
  VERDICT_NONE, /* nothing wrong: never reported */
  VERDICT_INVALID_FREE,
  VERDICT_INTERIOR,
  VERDICT_DOUBLE_FREE,
  VERDICT_INVALID_REALLOC,
  VERDICT_INVALID_USABLE_SIZE,
  VERDICT_FREED_REALLOC, /* as the two above, of a block that was ours once: no foreign memory */
  VERDICT_FREED_USABLE_SIZE,
  VERDICT_SIZE_MISMATCH,
  VERDICT_CORRUPTED_BIN,
  VERDICT_COUNT
};

/* Report and abort. `class_bytes` is the size of the pointer's class, 0 for none. */
HAK_NORETURN HAK_COLD void guard_abort(enum verdict verdict, const void *p, size_t class_bytes);

#endif
