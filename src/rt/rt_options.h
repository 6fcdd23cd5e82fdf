/* rt_options.h — options: two tables (knobs.def, profiles.def) and the values now.
 * Owns: names, ranges, parsing, what a profile sets. Does not own: where values come from at the
 * start (rt_conf.h), what an option does (whoever calls rt_option).
 * Values are atomic words: any thread reads them without a lock; rt_option_change takes one.
 */
#ifndef RT_OPTIONS_H
#define RT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_atomic.h"
#include "base_attr.h"
#include "base_format.h"

enum rt_option {
#define KNOB(name, type, def, min, max, when, words, doc) RT_OPTION_##name,
#include "knobs.def"
#undef KNOB
  RT_OPTION_COUNT
};

enum rt_profile { RT_PROFILE_SPEED, RT_PROFILE_BALANCED, RT_PROFILE_LEAN }; /* words of PROFILE */
enum rt_thp { RT_THP_AUTO, RT_THP_ALWAYS, RT_THP_NEVER };                   /* words of THP */

/* How near the process is to what it may have (limit.h), and what follows for what threads keep. */
enum rt_pressure {
  RT_PRESSURE_NONE,  /* options are as they are said */
  RT_PRESSURE_NEAR,  /* what a profile sets: a quarter of it, no less than lean's */
  RT_PRESSURE_CLOSE, /* as lean */
  RT_PRESSURE_TIGHT, /* as lean, and as TIGHT in profiles.def says */
};

/* On cache lines of their own: slow paths of all threads read them. */
enum { RT_OPTION_ROOM = (RT_OPTION_COUNT + 7) / 8 * 8 };
extern _Atomic(uint64_t) rt_option_values[RT_OPTION_ROOM] HAK_HIDDEN;

/* The value in force now: bytes, a count, 0/1, or the number of a choice. */
HAK_INLINE uint64_t rt_option(enum rt_option option) {
  return load_relaxed(&rt_option_values[option]);
}

/* What stands behind the prefix HAKMEM_, in any case; all of the name where there is none. */
HAK_MUST_USE const char *rt_option_without_prefix(const char *name);
/* The option of that name, in any case, with the prefix or without; RT_OPTION_COUNT when there is
 * none. */
HAK_MUST_USE enum rt_option rt_option_find(const char *name);
/* The option, or one of `count` other names, that `name` looks like; NULL: none is near. */
HAK_MUST_USE const char *rt_option_nearest(const char *name, const char *const *others,
                                           size_t count);
/* The same of a value: appends the word of the option that `text` looks like, after `before`.
 * False: none is near. */
HAK_MUST_USE bool rt_option_format_nearest(struct format_buf *f, const char *before,
                                           enum rt_option option, const char *text);
HAK_MUST_USE const char *rt_option_name(enum rt_option option);
/* True for PROFILE and SS_MEM_LEAN, which set others: a source applies them first. */
HAK_MUST_USE bool rt_option_is_profile(enum rt_option option);

/* Parse `text` and store it, with what a profile brings. False, and nothing changed, when the text
 * is no value of the option. Before other threads read options; later rt_option_change. */
HAK_MUST_USE bool rt_option_set(enum rt_option option, const char *text);
/* The same while the program runs, and kept against all that rt_option_set says later. 0; ENOENT:
 * no such name; EINVAL: no such value; EPERM: the option holds from the start; EBUSY: from a signal
 * handler, amid another change in this thread. Waits for other threads that change options, and for
 * a fork that is under way: hold no lock. */
HAK_MUST_USE int rt_option_change(const char *name, const char *text);

/* What holds from now on is what was said and what pressure makes of it; what is said later, too.
 * False, and nothing changed: another thread changes options. The caller holds no lock. */
HAK_MUST_USE bool rt_options_tighten(enum rt_pressure pressure);
HAK_MUST_USE enum rt_pressure rt_options_pressure(void);

/* The value said, as one would write it ("256K", "lean"), whatever pressure makes of it; and what
 * would be accepted. */
void rt_option_format(struct format_buf *f, enum rt_option option);
void rt_option_format_expected(struct format_buf *f, enum rt_option option);
/* Make fork know the lock. Once, at init. */
void rt_options_init(void);

#endif
