/* os_check.h — the three checks.
 * ASSERT: we have a proof; debug builds only. CHECK: memory safety, always on, aborts with one
 * line. NEVER(x): believed not to happen, and handled: the condition, unlikely, asserted in debug.
 */
#ifndef OS_CHECK_H
#define OS_CHECK_H

#include "base_attr.h"

/* One line `hakmem: internal error: <what> (<file>:<line>)`, one write(2), then abort. */
HAK_NORETURN HAK_COLD void os_check_failed(const char *what, const char *file, int line);
/* A system call failed in a way its contract does not survive: call, errno, abort. */
HAK_NORETURN HAK_COLD void os_call_failed(const char *call, int err);

#define CHECK(x) (HAK_LIKELY(x) ? (void)0 : os_check_failed(#x, __FILE__, __LINE__))
#if HAK_DEBUG
#define ASSERT(x) CHECK(x)
#define NEVER(x) (HAK_UNLIKELY(x) ? (os_check_failed("never: " #x, __FILE__, __LINE__), 1) : 0)
#else
#define ASSERT(x) ((void)sizeof(x))
#define NEVER(x) HAK_UNLIKELY(x)
#endif

#endif
