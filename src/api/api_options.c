/* api_options.c — options while the program runs. No state; rt/ has the values.
 */
#include <errno.h>

#include "api_alias.h"
#include "base_format.h"
#include "entry.h"
#include "hakmem.h"
#include "rt_options.h"

enum { VALUE_BYTES = 64 }; /* the longest has 20 digits, or is a word */

int hak_option_set(const char *name, const char *value) { return entry_option_set(name, value); }

int hak_limit_callback(size_t soft_bytes,
                       void (*call)(size_t used_bytes, size_t limit_bytes, void *context),
                       void *context) {
  return entry_limit_callback(soft_bytes, call, context);
}

int hak_option_get(const char *name, char *value, size_t capacity) {
  entry_init();
  enum rt_option option = rt_option_find(name);
  if (option == RT_OPTION_COUNT) return ENOENT;
  char text[VALUE_BYTES];
  struct format_buf whole, out;
  format_init(&whole, text, sizeof text);
  rt_option_format(&whole, option);
  if (capacity <= whole.length) return ERANGE;
  format_init(&out, value, capacity);
  format_text(&out, text);
  return 0;
}
