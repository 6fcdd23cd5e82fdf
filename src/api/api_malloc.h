/* api_malloc.h — what the C++ operators share with the C family.
 */
#ifndef API_MALLOC_H
#define API_MALLOC_H

#include <stddef.h>

#include "base_attr.h"

/* n bytes at a multiple of `align`, a power of two. NULL with errno ENOMEM, also where the two
 * together exceed PTRDIFF_MAX. */
HAK_MUST_USE void *api_aligned(size_t align, size_t n);
/* Free p, which was requested with n bytes at a multiple of `align` (1: none in particular). */
void api_free_sized(void *p, size_t n, size_t align);

#endif
