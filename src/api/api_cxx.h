/* api_cxx.h — C++'s operators new and delete, written in C: the mangled names are assembler labels
 * (Itanium C++ ABI, LP64: size_t is `m`). Builds that leave malloc to the C library leave these to
 * libstdc++ too, and have the functions under their C names.
 * A nothrow tag is a reference (never read); align_val_t is passed as a size_t.
 */
#ifndef API_CXX_H
#define API_CXX_H

#include <stddef.h>

#include "base_attr.h"

#if HAK_OVERRIDE
#define API_CXX_LABEL(mangled) __asm__(mangled) HAK_EXPORT
#else
#define API_CXX_LABEL(mangled)
#endif

/* Throw std::bad_alloc where there is no memory and no new-handler, or none that helps. */
HAK_MUST_USE void *api_cxx_new(size_t n) API_CXX_LABEL("_Znwm");
HAK_MUST_USE void *api_cxx_new_aligned(size_t n, size_t align)
    API_CXX_LABEL("_ZnwmSt11align_val_t");
/* NULL instead. */
HAK_MUST_USE void *api_cxx_new_nothrow(size_t n, const void *tag)
    API_CXX_LABEL("_ZnwmRKSt9nothrow_t");
HAK_MUST_USE void *api_cxx_new_aligned_nothrow(size_t n, size_t align, const void *tag)
    API_CXX_LABEL("_ZnwmSt11align_val_tRKSt9nothrow_t");

void api_cxx_delete(void *p) API_CXX_LABEL("_ZdlPv");
/* A size that p was not requested with ends the process (not in minimal). */
void api_cxx_delete_sized(void *p, size_t n) API_CXX_LABEL("_ZdlPvm");
void api_cxx_delete_sized_aligned(void *p, size_t n, size_t align)
    API_CXX_LABEL("_ZdlPvmSt11align_val_t");

#endif
