/* base_format.h — text without allocation, stdio or locale, for messages and reports.
 * Owns: a bounded writer over the caller's buffer. Invariant: length < capacity, always
 * NUL-terminated; what does not fit is cut. Thread-compatible: one writer, one thread.
 */
#ifndef BASE_FORMAT_H
#define BASE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

struct format_buf {
  char *text;
  size_t capacity; /* bytes of `text`, at least 1 */
  size_t length;   /* bytes written, without the NUL */
};

void format_init(struct format_buf *f, char *text, size_t capacity);
void format_text(struct format_buf *f, const char *s);
/* At most `length` bytes of s. */
void format_bytes(struct format_buf *f, const char *s, size_t length);
void format_u64(struct format_buf *f, uint64_t value);
/* 0x and lower-case hexadecimal without leading zeros. */
void format_hex(struct format_buf *f, uint64_t value);
/* s as the inside of a JSON string: quotes, backslashes and control characters escaped. */
void format_json_text(struct format_buf *f, const char *s);

/* String helpers that neither allocate nor depend on the locale. */
size_t text_length(const char *s);
HAK_MUST_USE int text_equal(const char *a, const char *b);
HAK_MUST_USE int text_equal_any_case(const char *a, const char *b);
HAK_MUST_USE int text_starts_with(const char *s, const char *prefix);
/* Edit distance of two names, case-insensitive; `limit` + 1 when it is larger than `limit`. */
unsigned text_distance(const char *a, const char *b, unsigned limit);

#endif
