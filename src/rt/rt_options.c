/* rt_options.c — the options: one table made of knobs.def, filled from the environment once.
 * Owns: parsing and the warnings. Does not own: what an option does (whoever calls rt_option).
 * No lock: rt_options_init runs in one thread at a time; the values are atomic because threads may
 * read defaults while they are filled in.
 */
#include "rt_options.h"

#include "base_atomic.h"
#include "base_format.h"
#include "base_size.h"
#include "os_proc.h"

enum option_type { TYPE_bool, TYPE_count, TYPE_bytes };
static const char *const type_words[] = {"bool", "count", "bytes with suffix K, M or G,"};

struct option {
  const char *name; /* without the prefix */
  enum option_type type;
  uint64_t preset, min, max;
};

static const struct option options[RT_OPTION_COUNT] = {
#define KNOB(name, type, def, min, max, doc) {#name, TYPE_##type, def, min, max},
#include "knobs.def"
#undef KNOB
};

static _Atomic(uint64_t) values[RT_OPTION_COUNT] = {
#define KNOB(name, type, def, min, max, doc) def,
#include "knobs.def"
#undef KNOB
};

#define KNOB(name, type, def, min, max, doc)                                                       \
  _Static_assert((uint64_t)(min) <= (def) && (def) <= (max), #name ": default outside its range");
#include "knobs.def"
#undef KNOB

#define PREFIX "HAKMEM_"
enum { PREFIX_BYTES = sizeof PREFIX - 1 };
enum { LINE_BYTES = 512 };
enum { SHOWN_BYTES = 64 };  /* of a name or value in a warning; arbitrary */
enum { CUT_NAME_MIN = 3 };  /* letters from which the start of a name is taken for it */
enum { NAME_DISTANCE = 4 }; /* edits up to which a name is taken for another's misspelling */
enum { PATH_BYTES = 4096 }; /* the kernel's PATH_MAX: what is longer cannot be opened */

static bool is_read;
static char report_path[PATH_BYTES] HAK_LARGE_BSS;

/* Text of the environment in a message: one line, not too long. */
static void format_shown(struct format_buf *f, const char *s, size_t length) {
  for (size_t i = 0; i < length && i < SHOWN_BYTES; i++) {
    bool is_control = (unsigned char)s[i] < 0x20 || s[i] == 0x7f;
    format_bytes(f, is_control ? "?" : s + i, 1);
  }
  if (length > SHOWN_BYTES) format_text(f, "...");
}

/* As one would write it: 16384G, not 17592186044416. */
static void format_value(struct format_buf *f, const struct option *o, uint64_t value) {
  static const char suffixes[] = {'K', 'M', 'G'};
  size_t i = 0;
  if (o->type == TYPE_bytes && value != 0) {
    for (; i < sizeof suffixes && value % KIB == 0; i++) value /= KIB;
  }
  format_u64(f, value);
  if (i > 0) format_bytes(f, &suffixes[i - 1], 1);
}

static void warn_value(const struct option *o, const char *value) {
  char line[LINE_BYTES];
  struct format_buf f;
  format_init(&f, line, sizeof line);
  format_text(&f, "hakmem: " PREFIX);
  format_text(&f, o->name);
  format_text(&f, "=");
  format_shown(&f, value, text_length(value));
  format_text(&f, ": expected ");
  format_text(&f, type_words[o->type]);
  format_text(&f, " ");
  format_value(&f, o, o->min);
  format_text(&f, "..");
  format_value(&f, o, o->max);
  format_text(&f, "; keeping ");
  format_value(&f, o, o->preset);
  format_text(&f, "\n");
  os_write_stderr(line, f.length);
}

static bool starts_with(const char *s, const char *prefix) {
  while (*prefix != '\0' && *s == *prefix) {
    s++;
    prefix++;
  }
  return *prefix == '\0';
}

/* The option or reserved name that `name` looks like, or NULL. */
static const char *nearest_name(const char *name) {
  const char *best = NULL;
  unsigned best_distance = NAME_DISTANCE + 1;
  if (text_length(name) >= CUT_NAME_MIN) { /* a name cut short is nearer than a misspelling */
    for (size_t i = 0; i < RT_OPTION_COUNT; i++)
      if (starts_with(options[i].name, name)) return options[i].name;
  }
  for (size_t i = 0; i <= RT_OPTION_COUNT; i++) {
    const char *candidate = i < RT_OPTION_COUNT ? options[i].name : "REPORT";
    unsigned distance = text_distance(name, candidate, NAME_DISTANCE);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

static void warn_name(const char *name) {
  char line[LINE_BYTES];
  struct format_buf f;
  format_init(&f, line, sizeof line);
  format_text(&f, "hakmem: unknown option " PREFIX);
  format_shown(&f, name, text_length(name));
  const char *nearest = nearest_name(name);
  if (nearest != NULL) {
    format_text(&f, ", did you mean " PREFIX);
    format_text(&f, nearest);
    format_text(&f, "?");
  }
  format_text(&f, "\n");
  os_write_stderr(line, f.length);
}

static uint64_t suffix_factor(char c) {
  switch (c) {
  case 'K':
    return KIB;
  case 'M':
    return MIB;
  case 'G':
    return GIB;
  default:
    return 0;
  }
}

/* Decimal digits, for bytes with one suffix; false for anything else and for what does not fit. */
static bool value_parse(const struct option *o, const char *text, uint64_t *out) {
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

/* Read by the benchmarks, the test library, the wrapper command, and the recorder of traces. */
static bool name_is_reserved(const char *name) {
  return starts_with(name, "BENCH_") || starts_with(name, "TWIN_") || text_equal(name, "LIB") ||
         text_equal(name, "TRACE") || text_equal(name, "TRACE_MAX");
}

static void option_read(const char *name, const char *value) {
  if (text_equal(name, "REPORT")) {
    if (text_length(value) >= PATH_BYTES) return; /* half a path would be another file */
    struct format_buf f;
    format_init(&f, report_path, sizeof report_path);
    format_text(&f, value);
    return;
  }
  for (size_t i = 0; i < RT_OPTION_COUNT; i++) {
    if (!text_equal(name, options[i].name)) continue;
    uint64_t parsed;
    if (value_parse(&options[i], value, &parsed))
      store_relaxed(&values[i], parsed);
    else
      warn_value(&options[i], value);
    return;
  }
  if (!name_is_reserved(name)) warn_name(name);
}

/* Length of the name of `NAME=value`, or 0. */
static size_t entry_name_length(const char *entry) {
  size_t length = 0;
  while (entry[length] != '\0' && entry[length] != '=') length++;
  return entry[length] == '=' ? length : 0;
}

/* A name may stand in the environment more than once; getenv finds the first. */
static bool entry_is_repeated(char **environment, size_t index, size_t name_length) {
  for (size_t i = 0; i < index; i++) {
    size_t k = 0;
    while (k <= name_length && environment[i][k] == environment[index][k]) k++;
    if (k > name_length) return true;
  }
  return false;
}

bool rt_options_init(void) {
  if (is_read) return true;
  char **environment = os_environ();
  if (environment == NULL) return os_is_secure();
  is_read = true;
  if (os_is_secure()) return true;
  for (size_t i = 0; environment[i] != NULL; i++) {
    const char *entry = environment[i];
    size_t name_length = entry_name_length(entry);
    if (name_length <= PREFIX_BYTES || !starts_with(entry, PREFIX) ||
        entry_is_repeated(environment, i, name_length))
      continue;
    char name[LINE_BYTES];
    struct format_buf f;
    format_init(&f, name, sizeof name);
    format_bytes(&f, entry + PREFIX_BYTES, name_length - PREFIX_BYTES);
    option_read(name, entry + name_length + 1);
  }
  return true;
}

uint64_t rt_option(enum rt_option option) { return load_relaxed(&values[option]); }

const char *rt_report_path(void) { return report_path[0] != '\0' ? report_path : NULL; }
