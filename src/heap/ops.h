/* ops.h — operations of the program, counted by where the object lies. Observe flavour only: in the
 * others the inline functions are empty and ops.c is not part of the library.
 * Counted where a pointer passes to or from the program (api/), so that no hot path knows of it.
 * Lock: none. The counters are atomic, in shards by heap, so that threads seldom share a line.
 */
#ifndef OPS_H
#define OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"
#include "size_class.h"

/* Kinds 0 .. CLASS_COUNT-1 are classes. */
enum {
  OPS_RUN = CLASS_COUNT, /* a run of chunks */
  OPS_OUTSIDE,           /* outside the region: own mappings, and a signal handler's reserve */
  OPS_KIND_COUNT,
  OPS_NONE = OPS_KIND_COUNT, /* of NULL */
};

struct ops_totals {
  size_t out_count[OPS_KIND_COUNT];  /* objects given to the program */
  size_t back_count[OPS_KIND_COUNT]; /* objects taken from it */
  size_t stay_count;                 /* reallocs that left the object where it was */
};

/* Kind of object p; OPS_NONE for NULL. p is live, or what free will refuse. */
uint32_t ops_kind_of(const void *p);
void ops_count_out(const void *p);
void ops_count_back(const void *p);
/* realloc made an object of kind `old` into p, at the same address if is_same. */
void ops_count_resize(uint32_t old, const void *p, bool is_same);
/* Sums of all threads since the start, those of a fork's parent included. Exact at rest. */
void ops_collect(struct ops_totals *out);

/* p, on its way to the program. */
HAK_INLINE void *ops_out(void *p) {
  if (HAK_FLAVOUR_OBSERVE) ops_count_out(p);
  return p;
}
/* p, on its way from the program; before it is freed. */
HAK_INLINE void ops_back(const void *p) {
  if (HAK_FLAVOUR_OBSERVE) ops_count_back(p);
}

#endif
