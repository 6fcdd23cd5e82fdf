/* rt_options.h — options: one table (knobs.def), read from the environment once.
 * Owns: names, defaults, ranges, parsing, the single warning for a bad name or value.
 * Constant after the first rt_options_init that found an environment; readers need no lock.
 */
#ifndef RT_OPTIONS_H
#define RT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

enum rt_option {
#define KNOB(name, type, def, min, max, doc) RT_OPTION_##name,
#include "knobs.def"
#undef KNOB
  RT_OPTION_COUNT
};

/* Read HAKMEM_<NAME> from the environment; true when it was there to read (or must be ignored:
 * AT_SECURE). Before libc is up there is none: call again. Later calls do nothing.
 * Called under the booting heap's lock or from the library's constructor: one thread. */
HAK_MUST_USE bool rt_options_init(void);
/* The value now: bytes, a count, or 0/1. */
uint64_t rt_option(enum rt_option option);
/* Value of the reserved HAKMEM_REPORT, or NULL when unset or empty. A copy made by rt_options_init:
 * programs that show a status in their title overwrite the environment they were started with. */
HAK_MUST_USE const char *rt_report_path(void);

#endif
