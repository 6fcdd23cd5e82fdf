/* hak_test_alloc.h — the allocation family under one set of names, so that a test can be built
 * twice: plain, where T_malloc is malloc and whichever allocator is preloaded answers; and with
 * HAK_TEST_DIRECT, where it is hak_malloc, for builds that do not replace malloc (the sanitizers
 * own it there). Compile plain users without builtins: the compiler may drop a malloc/free pair.
 */
#ifndef HAK_TEST_ALLOC_H
#define HAK_TEST_ALLOC_H

#include <stddef.h>

#ifdef HAK_TEST_DIRECT

#include "hakmem.h"

#define T_IS_DIRECT 1
#define T_malloc hak_malloc
#define T_free hak_free
#define T_calloc hak_calloc
#define T_realloc hak_realloc
#define T_reallocarray hak_reallocarray
#define T_aligned_alloc hak_aligned_alloc
#define T_posix_memalign hak_posix_memalign
#define T_memalign hak_memalign
#define T_valloc hak_valloc
#define T_pvalloc hak_pvalloc
#define T_usable_size hak_malloc_usable_size
#define T_trim hak_malloc_trim
#define T_mallinfo2 hak_mallinfo2
#define T_malloc_info hak_malloc_info
#define T_free_sized hak_free_sized
#define T_free_aligned_sized hak_free_aligned_sized

#else

#include <malloc.h>
#include <stdlib.h>

#define T_IS_DIRECT 0
#define T_malloc malloc
#define T_free free
#define T_calloc calloc
#define T_realloc realloc
#define T_reallocarray reallocarray
#define T_aligned_alloc aligned_alloc
#define T_posix_memalign posix_memalign
#define T_memalign memalign
#define T_valloc valloc
#define T_pvalloc pvalloc
#define T_usable_size malloc_usable_size
#define T_trim malloc_trim
#define T_mallinfo2 mallinfo2
#define T_malloc_info malloc_info

/* C23 names: no C library of today must have them, so they are weak and fall back to free. */
extern void free_sized(void *p, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *p, size_t align, size_t size) __attribute__((weak));

static inline void T_free_sized(void *p, size_t size) {
  if (free_sized) {
    free_sized(p, size);
  } else {
    free(p);
  }
}

static inline void T_free_aligned_sized(void *p, size_t align, size_t size) {
  if (free_aligned_sized) {
    free_aligned_sized(p, align, size);
  } else {
    free(p);
  }
}

#endif
#endif
