/* api_alias.h — the second, third … name of a function: one copy of machine code for all.
 * The hak_ names are the functions; malloc and its family are aliases of them, and only in builds
 * that take the C library's names (HAK_OVERRIDE).
 */
#ifndef API_ALIAS_H
#define API_ALIAS_H

#include "base_attr.h"

/* GCC warns of an alias with fewer attributes than its target; clang knows no `copy`. */
#if __has_attribute(copy)
#define API_COPY_ATTRIBUTES(target) __attribute__((copy(target)))
#else
#define API_COPY_ATTRIBUTES(target)
#endif

/* `target` is defined in the same file. */
#define API_TWIN(name, target)                                                                     \
  extern __typeof__(target) name __attribute__((alias(#target))) HAK_EXPORT API_COPY_ATTRIBUTES(   \
      target)

#if HAK_OVERRIDE
#define API_ALIAS(name, target) API_TWIN(name, target)
#else
#define API_ALIAS(name, target) _Static_assert(!HAK_OVERRIDE, #name " is left to the C library")
#endif

#endif
