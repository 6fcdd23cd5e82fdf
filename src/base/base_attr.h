/* base_attr.h — compiler attributes and the build's constants.
 * Owns: HAK_* attribute macros. Does not own: checks (os/os_check.h), atomics (base_atomic.h).
 */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#if !defined(__linux__) || !defined(__LP64__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "hakmem supports 64-bit little-endian Linux only (x86-64, aarch64)"
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "hakmem supports x86-64 and aarch64 only: add the system calls of this machine to src/os"
#endif
#if !defined(HAK_FLAVOUR_MINIMAL) || !defined(HAK_FLAVOUR_OBSERVE) || !defined(HAK_DEBUG) ||       \
    !defined(HAK_OVERRIDE) || !defined(HAK_OS_TWIN)
#error "the build must define HAK_FLAVOUR_{MINIMAL,OBSERVE}, HAK_{DEBUG,OVERRIDE,OS_TWIN} as 0 or 1"
#endif
/* The build's constants are 0 or 1. Overriding or not goes with all; so does DEBUG, but that the
 * twin is for tests: it injects failures, and the asserts are to find what comes of them. */
_Static_assert(HAK_FLAVOUR_MINIMAL == 0 || HAK_FLAVOUR_MINIMAL == 1, "HAK_FLAVOUR_MINIMAL: 0 or 1");
_Static_assert(HAK_FLAVOUR_OBSERVE == 0 || (HAK_FLAVOUR_OBSERVE == 1 && !HAK_FLAVOUR_MINIMAL),
               "HAK_FLAVOUR_OBSERVE: 0, or 1 where HAK_FLAVOUR_MINIMAL is 0");
_Static_assert(HAK_DEBUG == 0 || HAK_DEBUG == 1, "HAK_DEBUG: 0 or 1");
_Static_assert(HAK_OVERRIDE == 0 || HAK_OVERRIDE == 1, "HAK_OVERRIDE: 0 or 1");
_Static_assert(HAK_OS_TWIN == 0 ||
                   (HAK_OS_TWIN == 1 && HAK_DEBUG && !HAK_FLAVOUR_MINIMAL && !HAK_FLAVOUR_OBSERVE),
               "HAK_OS_TWIN: 0, or 1 in the standard flavour with HAK_DEBUG");

#define HAK_INLINE static inline __attribute__((always_inline))
/* A hot function: lives in a header, states its instruction budget, leaves only by tail calls. */
#define HAK_HOT static inline __attribute__((always_inline))
/* What programs call to get there: starts a cache line, so that a hit touches one line of code for
 * malloc and two for free. */
#define HAK_HOT_ENTRY __attribute__((aligned(64)))
/* The cold side of a hot function: kept out of its cache lines. */
#define HAK_COLD __attribute__((cold, noinline))
#define HAK_NOINLINE __attribute__((noinline))
#define HAK_MUST_USE __attribute__((warn_unused_result))
#define HAK_EXPORT __attribute__((visibility("default")))
/* For variables that hot paths read: one operand, no detour through the offset table. */
#define HAK_HIDDEN __attribute__((visibility("hidden")))
/* For zeroed variables of kilobytes of which little is touched, if anything: the linker puts them
 * behind all others, which then share few pages (cmake/HakLibrary.cmake). */
#define HAK_LARGE_BSS __attribute__((section(".bss.large")))
/* x, in the register that functions return pointers in: what is returned later on a hot path needs
 * no move then. */
#if defined(__x86_64__)
#define HAK_AS_RESULT(x)                                                                           \
  __extension__({                                                                                  \
    __typeof__(x) result_ = (x);                                                                   \
    __asm__("" : "+a"(result_));                                                                   \
    result_;                                                                                       \
  })
#else
#define HAK_AS_RESULT(x) (x)
#endif
#define HAK_NORETURN __attribute__((noreturn))
#define HAK_LIKELY(x) __builtin_expect(!!(x), 1)
#define HAK_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HAK_CACHE_LINE_BYTES 64
#define HAK_CACHE_ALIGNED __attribute__((aligned(HAK_CACHE_LINE_BYTES)))
#define HAK_COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#endif
