/* os_check.c — the last words of a process whose allocator is broken.
 * Owns: the form of the line. One write(2), then abort; no lock, no allocation.
 */
#include "os_check.h"

#include <stddef.h>

#include "base_format.h"
#include "os_proc.h"

enum { LINE_BYTES = 512 };

void os_check_failed(const char *what, const char *file, int line) {
  char text[LINE_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text - 1); /* room for the newline, should the line be cut */
  format_text(&f, "hakmem: internal error: ");
  format_text(&f, what);
  format_text(&f, " (");
  format_text(&f, file);
  format_text(&f, ":");
  format_u64(&f, (uint64_t)line);
  format_text(&f, ")");
  text[f.length] = '\n';
  os_write_stderr(text, f.length + 1);
  os_abort();
}

void os_call_failed(const char *call, int err) {
  char text[LINE_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text - 1);
  format_text(&f, "hakmem: internal error: ");
  format_text(&f, call);
  format_text(&f, " failed with errno ");
  format_u64(&f, (uint64_t)err);
  text[f.length] = '\n';
  os_write_stderr(text, f.length + 1);
  os_abort();
}
