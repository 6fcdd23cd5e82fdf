/* base_mem.h — filling and copying memory. The compiler expands small sizes in place and calls the
 * C library for the rest; that call is never bound lazily.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base_attr.h"

HAK_INLINE void mem_fill(void *p, int byte, size_t n) { __builtin_memset(p, byte, n); }
/* The two do not overlap. */
HAK_INLINE void mem_copy(void *to, const void *from, size_t n) { __builtin_memcpy(to, from, n); }
/* The two may overlap. */
HAK_INLINE void mem_move(void *to, const void *from, size_t n) { __builtin_memmove(to, from, n); }

#endif
