/* base_ms.h — how long ago something was, by a coarse clock (os_coarse_ms).
 */
#ifndef BASE_MS_H
#define BASE_MS_H

#include <stdint.h>

#include "base_attr.h"

/* Who read the clock a while ago may find what another thread has noted since: then no time has
 * passed. */
HAK_INLINE uint64_t ms_since(uint64_t then_ms, uint64_t now_ms) {
  return now_ms > then_ms ? now_ms - then_ms : 0;
}

/* The same of the low halves, which wrap around after 49 days: right for what is not older than
 * half of that. */
HAK_INLINE uint32_t ms_since_low(uint32_t then_ms, uint32_t now_ms) {
  uint32_t passed_ms = now_ms - then_ms;
  return passed_ms <= INT32_MAX ? passed_ms : 0;
}

#endif
