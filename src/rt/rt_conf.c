/* rt_conf.c — see rt_conf.h. Each source is walked once a pass.
 */
#include "rt_conf.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "base_format.h"
#include "base_size.h"
#include "os_mem.h"
#include "os_proc.h"
#include "rt_options.h"

#define PREFIX "HAKMEM_"
#define SYSTEM_FILE "/etc/hakmem.conf"
enum { PREFIX_BYTES = sizeof PREFIX - 1 };
enum { LINE_BYTES = 512 };   /* of a message */
enum { ITEM_BYTES = 256 };   /* a name or value; none that is right is longer */
enum { SHOWN_BYTES = 64 };   /* of a name or value in a message; arbitrary */
enum { PATH_BYTES = 4096 };  /* the kernel's PATH_MAX: what is longer cannot be opened */
enum { FILE_BYTES = 16384 }; /* arbitrary: every option with a page of comments */
enum { EXIT_CONFIG = 78 };   /* sysexits.h */

enum pass { PASS_STRICT, PASS_LEAN, PASS_PROFILE, PASS_VALUES, PASS_COUNT };

/* Where an item stands: in a message, "hakmem: " SOURCE [":" LINE] ": ". */
struct place {
  const char *source; /* NULL: the name with its prefix says it */
  uint64_t line;      /* 0: none */
};

struct file {
  const char *variable; /* that names it; NULL: nobody does */
  const char *path;
  char *text;
  long length; /* or -errno; text is not there then, or empty */
};

static bool is_read;
static bool is_wrong;  /* some line was printed */
static bool is_strict; /* CONF_STRICT, as all sources together have it; known before any line is */
static char *report_path; /* in pages of its own; NULL: none is wanted */

/* --- Messages --- */

/* A part of a message that others wrote: one line, not too long. */
static void format_shown(struct format_buf *f, const char *s) {
  size_t length = text_length(s);
  for (size_t i = 0; i < length && i < SHOWN_BYTES; i++) {
    bool is_control = (unsigned char)s[i] < 0x20 || s[i] == 0x7f;
    format_bytes(f, is_control ? "?" : s + i, 1);
  }
  if (length > SHOWN_BYTES) format_text(f, "...");
}

static void message_begin(struct format_buf *f, char *line, const struct place *at) {
  format_init(f, line, LINE_BYTES);
  format_text(f, "hakmem: ");
  if (at->source == NULL) return;
  format_shown(f, at->source);
  if (at->line != 0) {
    format_text(f, ":");
    format_u64(f, at->line);
  }
  format_text(f, ": ");
}

/* `outcome`: what follows from the fault where it does not end the process. */
static void message_end(struct format_buf *f, const char *outcome) {
  format_text(f, is_strict ? " (CONF_STRICT ends the process)" : outcome);
  format_text(f, "\n");
  os_write_stderr(f->text, f->length);
  is_wrong = true;
}

static const char *shown_prefix(const struct place *at) { return at->source == NULL ? PREFIX : ""; }

static void warn_value(enum rt_option option, const char *value, const struct place *at) {
  char line[LINE_BYTES];
  struct format_buf f;
  message_begin(&f, line, at);
  format_text(&f, shown_prefix(at));
  format_text(&f, rt_option_name(option));
  format_text(&f, "=");
  format_shown(&f, value);
  bool is_near = rt_option_format_nearest(&f, ", did you mean ", option, value);
  format_text(&f, is_near ? "? expected " : ": expected ");
  rt_option_format_expected(&f, option);
  if (!is_strict) {
    format_text(&f, "; keeping ");
    rt_option_format(&f, option);
  }
  message_end(&f, "");
}

static void warn_name(const char *name, const struct place *at) {
  static const char *const others[] = {"REPORT", "CONF", "CONF_FILE"}; /* of the environment */
  char line[LINE_BYTES];
  struct format_buf f;
  message_begin(&f, line, at);
  format_text(&f, "unknown option ");
  format_text(&f, shown_prefix(at));
  format_shown(&f, name);
  const char *nearest =
      rt_option_nearest(name, others, at->source == NULL ? HAK_COUNT_OF(others) : 0);
  if (nearest != NULL) {
    format_text(&f, ", did you mean ");
    format_text(&f, shown_prefix(at));
    format_text(&f, nearest);
    format_text(&f, "?");
  } else {
    format_text(&f, ", see hakmem --help");
  }
  message_end(&f, "");
}

/* Of text that is no item. */
static void warn_text(const struct place *at, const char *text, const char *what) {
  char line[LINE_BYTES];
  struct format_buf f;
  message_begin(&f, line, at);
  format_shown(&f, text);
  format_text(&f, what);
  message_end(&f, "; ignored");
}

static const char *why_unread(long error) {
  switch (error) {
  case ENOENT:
    return "no such file";
  case EACCES:
    return "no permission";
  case EISDIR:
    return "it is a directory";
  case ENODEV:
    return "it is a device";
  case EINVAL:
    return "it is no regular file";
  default:
    return NULL;
  }
}

/* Of a file none of whose options are set; `error`: an errno, or 0 where `what` says it all. */
static void warn_file(const struct file *file, const char *what, long error) {
  static const struct place at = {NULL, 0};
  char line[LINE_BYTES];
  struct format_buf f;
  message_begin(&f, line, &at);
  if (file->variable != NULL) {
    format_text(&f, file->variable);
    format_text(&f, "=");
  }
  format_shown(&f, file->path);
  format_text(&f, ": ");
  format_text(&f, what);
  const char *why = why_unread(error);
  if (why != NULL) {
    format_text(&f, why);
  } else if (error != 0) {
    format_text(&f, "errno ");
    format_u64(&f, (uint64_t)error);
  }
  message_end(&f, "; none of its options are set");
}

/* --- Items: name and value --- */

static enum pass pass_of(enum rt_option option) {
  if (option == RT_OPTION_SS_MEM_LEAN) return PASS_LEAN;
  return rt_option_is_profile(option) ? PASS_PROFILE : PASS_VALUES;
}

static void item_apply(enum pass pass, const char *name, const char *value,
                       const struct place *at) {
  enum rt_option option = rt_option_find(name);
  if (pass == PASS_STRICT) {
    if (option != RT_OPTION_CONF_STRICT || !rt_option_set(option, value)) return;
    is_strict = rt_option(option) != 0;
  } else if (option == RT_OPTION_COUNT) {
    if (pass == PASS_VALUES) warn_name(name, at);
  } else if (pass_of(option) == pass && !rt_option_set(option, value)) {
    warn_value(option, value, at);
  }
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The text from begin to end without the blanks around it, in out[ITEM_BYTES]. False: it was cut.
 */
static bool copy_trimmed(char *out, const char *begin, const char *end) {
  while (begin < end && is_blank(*begin)) begin++;
  while (end > begin && is_blank(end[-1])) end--;
  struct format_buf f;
  format_init(&f, out, ITEM_BYTES);
  format_bytes(&f, begin, (size_t)(end - begin));
  return end - begin < ITEM_BYTES;
}

/* `NAME=VALUE` with blanks around either; nothing, or a comment, is no item. */
static void item_read(enum pass pass, const char *begin, const char *end, const struct place *at) {
  char name[ITEM_BYTES], value[ITEM_BYTES];
  const char *equals = begin;
  while (equals < end && *equals != '=') equals++;
  bool is_whole = copy_trimmed(name, begin, equals);
  if (name[0] == '\0' && equals == end) return;
  const char *bare = rt_option_without_prefix(name);
  if (equals == end || bare[0] == '\0') {
    copy_trimmed(name, begin, end);
    if (pass == PASS_VALUES) warn_text(at, name, ": expected NAME=VALUE");
    return;
  }
  is_whole = copy_trimmed(value, equals + 1, end) && is_whole;
  if (!is_whole) {
    if (pass == PASS_VALUES) warn_text(at, name, ": longer than any name or value");
    return;
  }
  item_apply(pass, bare, value, at);
}

/* "name=value,name=value". */
static void list_read(enum pass pass, const char *text, const struct place *at) {
  while (*text != '\0') {
    const char *end = text;
    while (*end != '\0' && *end != ',') end++;
    item_read(pass, text, end, at);
    text = *end == ',' ? end + 1 : end;
  }
}

/* --- Sources --- */

static void symbol_read(enum pass pass) {
  static const struct place at = {"hak_conf", 0};
  const char *list = os_program_conf();
  if (list != NULL) list_read(pass, list, &at);
}

/* Lines `NAME=VALUE`, or comments that begin with #. */
static void lines_read(enum pass pass, const char *path, const char *text) {
  struct place at = {path, 1};
  for (; *text != '\0'; at.line++) {
    const char *end = text;
    while (*end != '\0' && *end != '\n') end++;
    const char *begin = text;
    while (begin < end && is_blank(*begin)) begin++;
    if (*begin != '#') item_read(pass, begin, end, &at);
    text = *end == '\n' ? end + 1 : end;
  }
}

static size_t file_bytes(void) { return size_round_up(FILE_BYTES, os_page_bytes()); }

/* A file that nobody named may be missing, or out of reach for a program in a sandbox, or a device:
 * that of /dev/null masks it. What is no file by mistake is there, for a line about it. */
static bool file_is_there(const char *path) {
  char probe[2];
  long length = os_read_file(path, probe, sizeof probe);
  return length >= 0 || length == -EISDIR || length == -EINVAL;
}

static void file_load(struct file *file, const char *variable, const char *path) {
  file->variable = variable;
  file->path = path;
  file->text = os_map(file_bytes());
  file->length = file->text != NULL ? os_read_file(path, file->text, FILE_BYTES) : -ENOMEM;
}

static void file_drop(const struct file *file) {
  if (file->text != NULL && !os_unmap(file->text, file_bytes()))
    return; /* its pages are gone at least */
}

static void file_read(enum pass pass, const struct file *file) {
  if (file->path == NULL) return;
  bool is_cut = file->length == FILE_BYTES - 1;
  bool is_text = file->length >= 0 && text_length(file->text) == (size_t)file->length;
  if (is_text && !is_cut) {
    lines_read(pass, file->path, file->text);
  } else if (pass == PASS_VALUES) {
    if (file->length < 0)
      warn_file(file, "cannot be read, ", -file->length);
    else
      warn_file(file, is_cut ? "longer than 16382 bytes" : "no text (a zero byte in it)", 0);
  }
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

/* Read by the benchmarks, the test library, the wrapper command, and the recorder of traces; and
 * the three that are no options. */
static bool name_is_reserved(const char *name) {
  static const char *const whole[] = {"LIB", "TRACE", "TRACE_MAX", "REPORT", "CONF", "CONF_FILE"};
  for (size_t i = 0; i < HAK_COUNT_OF(whole); i++) {
    if (text_equal(name, whole[i])) return true;
  }
  return text_starts_with(name, "BENCH_") || text_starts_with(name, "TWIN_");
}

/* HAKMEM_<NAME>=... in this case only, as all variables. */
static void environment_read(enum pass pass, char **environment) {
  static const struct place at = {NULL, 0};
  for (size_t i = 0; environment[i] != NULL; i++) {
    const char *entry = environment[i];
    if (HAK_LIKELY(!text_starts_with(entry, PREFIX))) continue;
    size_t length = entry_name_length(entry);
    if (length < PREFIX_BYTES || entry_is_repeated(environment, i, length)) continue;
    char name[LINE_BYTES];
    struct format_buf f;
    format_init(&f, name, sizeof name);
    format_bytes(&f, entry + PREFIX_BYTES, length - PREFIX_BYTES);
    if (name_is_reserved(name)) continue;
    if (name[0] == '\0') {
      if (pass == PASS_VALUES) warn_text(&at, entry, ": expected " PREFIX "NAME=VALUE");
      continue;
    }
    enum rt_option option = rt_option_find(name);
    bool is_known = option != RT_OPTION_COUNT && text_equal(name, rt_option_name(option));
    if (is_known)
      item_apply(pass, name, entry + length + 1, &at);
    else if (pass == PASS_VALUES)
      warn_name(name, &at);
  }
}

static bool has_variables(char **environment) {
  for (; *environment != NULL; environment++) {
    if (HAK_UNLIKELY(text_starts_with(*environment, PREFIX))) return true;
  }
  return false;
}

/* The value of the variable of that name, or NULL. */
static const char *variable(char **environment, const char *name) {
  for (size_t i = 0; environment[i] != NULL; i++) {
    if (HAK_LIKELY(!text_starts_with(environment[i], name))) continue;
    const char *rest = environment[i] + text_length(name);
    if (*rest == '=') return rest + 1;
  }
  return NULL;
}

static void report_read(const char *path) {
  if (path == NULL || *path == '\0') return;
  if (text_length(path) >= PATH_BYTES) return; /* half a path is another file */
  report_path = os_map(size_round_up(PATH_BYTES, os_page_bytes()));
  if (report_path == NULL) return;
  struct format_buf f;
  format_init(&f, report_path, PATH_BYTES);
  format_text(&f, path);
}

static void list_variable_read(enum pass pass, char **environment) {
  static const struct place at = {PREFIX "CONF", 0};
  const char *list = variable(environment, PREFIX "CONF");
  if (list != NULL) list_read(pass, list, &at);
}

static void sources_read(char **environment, const struct file *system, const struct file *named) {
  symbol_read(PASS_STRICT);
  file_read(PASS_STRICT, system);
  file_read(PASS_STRICT, named);
  list_variable_read(PASS_STRICT, environment);
  environment_read(PASS_STRICT, environment);
  for (int pass = PASS_LEAN; pass < PASS_COUNT; pass++) symbol_read((enum pass)pass);
  for (int pass = PASS_LEAN; pass < PASS_COUNT; pass++) file_read((enum pass)pass, system);
  for (int pass = PASS_LEAN; pass < PASS_COUNT; pass++) file_read((enum pass)pass, named);
  list_variable_read(PASS_LEAN, environment);
  list_variable_read(PASS_PROFILE, environment);
  environment_read(PASS_LEAN, environment);
  environment_read(PASS_PROFILE, environment);
  list_variable_read(PASS_VALUES, environment);
  environment_read(PASS_VALUES, environment);
}

bool rt_conf_init(void) {
  if (is_read) return true;
  char **environment = os_environ();
  if (environment == NULL) return os_is_secure();
  is_read = true;
  bool has_file = file_is_there(SYSTEM_FILE);
  bool has_source = has_file || os_program_conf() != NULL || has_variables(environment);
  if (HAK_LIKELY(!has_source)) return true; /* asking libc who we are maps pages of its code */
  if (os_is_secure()) return true;
  struct file system = {0}, named = {0};
  const char *path = variable(environment, PREFIX "CONF_FILE");
  if (has_file) file_load(&system, NULL, SYSTEM_FILE);
  if (path != NULL && path[0] != '\0') file_load(&named, PREFIX "CONF_FILE", path);
  report_read(variable(environment, PREFIX "REPORT"));
  sources_read(environment, &system, &named);
  file_drop(&system);
  file_drop(&named);
  if (is_wrong && is_strict) os_exit(EXIT_CONFIG);
  return true;
}

const char *rt_report_path(void) { return report_path; }
