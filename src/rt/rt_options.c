/* rt_options.c — see rt_options.h. Owns: the tables, parsing, the values and who may change them.
 */
#include "rt_options.h"

#include <errno.h>

#include "base_size.h"
#include "os_check.h"
#include "rt_lock.h"

enum option_type { TYPE_bool, TYPE_count, TYPE_bytes, TYPE_choice };
enum option_when { WHEN_live, WHEN_start };

struct option {
  const char *name;  /* without the prefix */
  const char *words; /* of a choice, between bars; of bytes: for 0, 1 and on, below `min` */
  enum option_type type;
  enum option_when when;
  uint64_t preset, min, max;
};

static const struct option options[RT_OPTION_COUNT] = {
#define KNOB(name, type, def, min, max, when, words, doc)                                          \
  {#name, words, TYPE_##type, WHEN_##when, def, min, max},
#include "knobs.def"
#undef KNOB
};

HAK_CACHE_ALIGNED _Atomic(uint64_t) rt_option_values[RT_OPTION_ROOM] = {
#define KNOB(name, type, def, min, max, when, words, doc) def,
#include "knobs.def"
#undef KNOB
};

#define KNOB(name, type, def, min, max, when, words, doc)                                          \
  _Static_assert(((uint64_t)(min) <= (def) || sizeof(words) > 1) && (def) <= (max),                \
                 #name ": default outside its range");
#include "knobs.def"
#undef KNOB

#define PROFILE(name, speed, lean)
#define PROFILE_ALIAS(name, profile)
#define TIGHT(name, value)

static const struct bundle {
  enum rt_option option;
  uint64_t speed, lean;
} bundles[] = {
#undef PROFILE
#define PROFILE(name, speed, lean) {RT_OPTION_##name, speed, lean},
#include "profiles.def"
#undef PROFILE
#define PROFILE(name, speed, lean)
};

static const struct tight {
  enum rt_option option;
  uint64_t value;
} tights[] = {
#undef TIGHT
#define TIGHT(name, value) {RT_OPTION_##name, value},
#include "profiles.def"
#undef TIGHT
#define TIGHT(name, value)
};

static const struct alias {
  const char *name;
  enum rt_profile profile;
} aliases[] = {
#undef PROFILE_ALIAS
#define PROFILE_ALIAS(name, profile) {#name, RT_PROFILE_##profile},
#include "profiles.def"
#undef PROFILE
#undef PROFILE_ALIAS
#undef TIGHT
};

enum { CUT_NAME_MIN = 3 }; /* letters from which the start of a name is taken for it */
enum { NAME_BYTES = 64 };  /* more than any name has */
enum { NEAR_SHARE = 4 };   /* of what is said, that stays at RT_PRESSURE_NEAR; arbitrary */
enum { NAME_DISTANCE = 4, NAME_SHARE = 3 }; /* edits of a misspelling, at most; letters for each */

static struct rt_lock options_lock = LOCK_INIT(LOCK_RANK_OPTIONS);
/* As they were said; rt_option_values has what pressure makes of them. */
static _Atomic(uint64_t) said_values[RT_OPTION_COUNT] = {
#define KNOB(name, type, def, min, max, when, words, doc) def,
#include "knobs.def"
#undef KNOB
};
static _Atomic(uint32_t) pressure_now; /* enum rt_pressure */
/* Set by a call: what is read at the start, later than such a call, leaves it alone. */
static _Atomic(bool) is_called[RT_OPTION_COUNT];

void rt_options_init(void) { lock_register_once(&options_lock); }

/* --- Names --- */

const char *rt_option_without_prefix(const char *name) {
  static const char prefix[] = "HAKMEM_";
  char start[sizeof prefix] = "";
  for (size_t i = 0; i < sizeof prefix - 1 && name[i] != '\0'; i++) start[i] = name[i];
  return text_equal_any_case(start, prefix) ? name + (sizeof prefix - 1) : name;
}

enum rt_option rt_option_find(const char *name) {
  size_t i = 0;
  name = rt_option_without_prefix(name);
  while (i < RT_OPTION_COUNT && !text_equal_any_case(name, options[i].name)) i++;
  return (enum rt_option)i;
}

static bool is_near(unsigned distance, size_t length) {
  return distance <= NAME_DISTANCE && NAME_SHARE * distance < length + NAME_SHARE;
}

static bool is_start_of(const char *s, const char *whole) {
  size_t length = text_length(s);
  char start[NAME_BYTES];
  struct format_buf f;
  format_init(&f, start, sizeof start);
  format_bytes(&f, whole, length);
  return f.length == length && text_equal_any_case(s, start);
}

const char *rt_option_nearest(const char *name, const char *const *others, size_t count) {
  const char *best = NULL;
  size_t length = text_length(name), best_rank = SIZE_MAX;
  for (size_t i = 0; i < RT_OPTION_COUNT + count; i++) {
    const char *candidate = i < RT_OPTION_COUNT ? options[i].name : others[i - RT_OPTION_COUNT];
    unsigned distance = text_distance(name, candidate, NAME_DISTANCE);
    /* Of what starts so the shortest; a name cut short is nearer than any misspelling. */
    bool is_cut = length >= CUT_NAME_MIN && is_start_of(name, candidate);
    size_t rank = is_cut ? text_length(candidate) : NAME_BYTES + (size_t)distance;
    if ((is_cut || is_near(distance, length)) && rank < best_rank) {
      best_rank = rank;
      best = candidate;
    }
  }
  return best;
}

const char *rt_option_name(enum rt_option option) { return options[option].name; }

bool rt_option_is_profile(enum rt_option option) {
  return option == RT_OPTION_PROFILE || option == RT_OPTION_SS_MEM_LEAN;
}

/* --- Values to and from text --- */

static const char *word_end(const char *word) {
  while (*word != '\0' && *word != '|') word++;
  return word;
}

/* Word number `index` of a choice. */
static const char *word_at(const struct option *o, uint64_t index) {
  const char *word = o->words;
  for (; index > 0 && *word_end(word) != '\0'; index--) word = word_end(word) + 1;
  return word;
}

/* 0 where there are none. */
static uint64_t word_count(const struct option *o) {
  uint64_t count = *o->words != '\0';
  for (const char *s = o->words; *s != '\0'; s++) count += *s == '|';
  return count;
}

static bool word_parse(const struct option *o, const char *text, uint64_t *out) {
  for (uint64_t i = 0; i < word_count(o); i++) {
    const char *word = word_at(o, i);
    size_t length = (size_t)(word_end(word) - word);
    if (text_length(text) != length || !is_start_of(text, word)) continue;
    *out = i;
    return true;
  }
  if (o != &options[RT_OPTION_PROFILE]) return false;
  for (size_t i = 0; i < HAK_COUNT_OF(aliases); i++) {
    if (!text_equal_any_case(text, aliases[i].name)) continue;
    *out = aliases[i].profile;
    return true;
  }
  return false;
}

bool rt_option_format_nearest(struct format_buf *f, const char *before, enum rt_option option,
                              const char *text) {
  const struct option *o = &options[option];
  char best[NAME_BYTES], word[NAME_BYTES];
  unsigned best_distance = NAME_DISTANCE + 1;
  for (uint64_t i = 0; i < word_count(o); i++) {
    struct format_buf b;
    format_init(&b, word, sizeof word);
    format_bytes(&b, word_at(o, i), (size_t)(word_end(word_at(o, i)) - word_at(o, i)));
    unsigned distance = text_distance(text, word, NAME_DISTANCE);
    if (distance >= best_distance || !is_near(distance, text_length(text))) continue;
    best_distance = distance;
    format_init(&b, best, sizeof best);
    format_text(&b, word);
  }
  if (best_distance > NAME_DISTANCE) return false;
  format_text(f, before);
  format_text(f, best);
  return true;
}

static uint64_t suffix_factor(char c) {
  switch (c) {
  case 'K':
  case 'k':
    return KIB;
  case 'M':
  case 'm':
    return MIB;
  case 'G':
  case 'g':
    return GIB;
  default:
    return 0;
  }
}

/* A word; or decimal digits, for bytes with one suffix; both in any case. False for all else and
 * what does not fit. */
static bool value_parse(const struct option *o, const char *text, uint64_t *out) {
  if (word_parse(o, text, out)) return true;
  if (o->type == TYPE_choice) return false;
  uint64_t value = 0;
  const char *s = text;
  for (; *s >= '0' && *s <= '9'; s++) {
    if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
      return false;
  }
  if (s == text) return false;
  if (*s != '\0' && o->type == TYPE_bytes) {
    uint64_t factor = suffix_factor(*s++);
    if (factor == 0 || __builtin_mul_overflow(value, factor, &value)) return false;
  }
  *out = value;
  return *s == '\0' && value >= o->min && value <= o->max;
}

/* As one would write it: 16384G, not 17592186044416. */
static void format_value(struct format_buf *f, const struct option *o, uint64_t value) {
  static const char suffixes[] = {'K', 'M', 'G'};
  if (value < word_count(o)) {
    const char *word = word_at(o, value);
    format_bytes(f, word, (size_t)(word_end(word) - word));
    return;
  }
  size_t i = 0;
  if (o->type == TYPE_bytes && value != 0) {
    for (; i < sizeof suffixes && value % KIB == 0; i++) value /= KIB;
  }
  format_u64(f, value);
  if (i > 0) format_bytes(f, &suffixes[i - 1], 1);
}

void rt_option_format(struct format_buf *f, enum rt_option option) {
  format_value(f, &options[option], load_relaxed(&said_values[option]));
}

void rt_option_format_expected(struct format_buf *f, enum rt_option option) {
  static const char *const type_words[] = {"bool", "count", "bytes with suffix K, M or G,"};
  const struct option *o = &options[option];
  format_text(f, o->words);
  if (o->type == TYPE_choice) return;
  if (*o->words != '\0') format_text(f, "|");
  format_text(f, type_words[o->type]);
  format_text(f, " ");
  format_value(f, o, o->min);
  format_text(f, "..");
  format_value(f, o, o->max);
}

/* --- Changes --- */

/* A quarter of it, no less than lean has, and then as lean; what lean has more of, as lean then. */
static uint64_t towards_lean(const struct bundle *b, uint64_t value, enum rt_pressure pressure) {
  if (b->lean > b->speed) return value >= b->lean || pressure == RT_PRESSURE_NEAR ? value : b->lean;
  if (value <= b->lean) return value;
  uint64_t share = pressure == RT_PRESSURE_NEAR ? value / NEAR_SHARE : 0;
  return share > b->lean ? share : b->lean;
}

static uint64_t under_pressure(enum rt_option option, uint64_t value, enum rt_pressure pressure) {
  if (pressure == RT_PRESSURE_NONE) return value;
  for (size_t i = 0; i < HAK_COUNT_OF(bundles); i++)
    if (bundles[i].option == option) value = towards_lean(&bundles[i], value, pressure);
  if (pressure != RT_PRESSURE_TIGHT) return value;
  for (size_t i = 0; i < HAK_COUNT_OF(tights); i++)
    if (tights[i].option == option && tights[i].value < value) value = tights[i].value;
  return value;
}

static void apply(enum rt_option option) {
  enum rt_pressure pressure = (enum rt_pressure)load_relaxed(&pressure_now);
  uint64_t value = under_pressure(option, load_relaxed(&said_values[option]), pressure);
  store_relaxed(&rt_option_values[option], value);
}

static void put(enum rt_option option, uint64_t value, bool is_call) {
  ASSERT(value <= options[option].max);
  if (!is_call && load_relaxed(&is_called[option])) return;
  if (is_call) store_relaxed(&is_called[option], true);
  store_relaxed(&said_values[option], value);
  apply(option);
}

static void put_profile(enum rt_profile profile, bool is_call) {
  put(RT_OPTION_PROFILE, profile, is_call);
  put(RT_OPTION_SS_MEM_LEAN, profile == RT_PROFILE_LEAN, is_call);
  for (size_t i = 0; i < HAK_COUNT_OF(bundles); i++) {
    const struct bundle *b = &bundles[i];
    uint64_t value = profile == RT_PROFILE_SPEED  ? b->speed
                     : profile == RT_PROFILE_LEAN ? b->lean
                                                  : options[b->option].preset;
    put(b->option, value, is_call);
  }
}

static void put_any(enum rt_option option, uint64_t value, bool is_call) {
  bool is_lean = rt_option(RT_OPTION_PROFILE) == RT_PROFILE_LEAN; /* pressure leaves it alone */
  if (option == RT_OPTION_PROFILE) {
    put_profile((enum rt_profile)value, is_call);
  } else if (option != RT_OPTION_SS_MEM_LEAN) {
    put(option, value, is_call);
  } else if (value != 0 || is_lean) {
    put_profile(value != 0 ? RT_PROFILE_LEAN : RT_PROFILE_BALANCED, is_call);
  }
}

bool rt_option_set(enum rt_option option, const char *text) {
  uint64_t value;
  if (!value_parse(&options[option], text, &value)) return false;
  put_any(option, value, false);
  return true;
}

int rt_option_change(const char *name, const char *text) {
  enum rt_option option = rt_option_find(name);
  uint64_t value;
  if (option == RT_OPTION_COUNT) return ENOENT;
  if (!value_parse(&options[option], text, &value)) return EINVAL;
  if (options[option].when == WHEN_start) return EPERM;
  if (!lock_enter(&options_lock)) return EBUSY;
  put_any(option, value, true);
  lock_leave(&options_lock);
  return 0;
}

enum rt_pressure rt_options_pressure(void) { return (enum rt_pressure)load_relaxed(&pressure_now); }

bool rt_options_tighten(enum rt_pressure pressure) {
  ASSERT(pressure <= RT_PRESSURE_TIGHT);
  if (!lock_try_enter(&options_lock)) return false;
  store_relaxed(&pressure_now, (uint32_t)pressure);
  for (size_t i = 0; i < RT_OPTION_COUNT; i++) apply((enum rt_option)i);
  lock_leave(&options_lock);
  return true;
}
