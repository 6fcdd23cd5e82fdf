/* base_format.c — bounded text into the caller's buffer.
 * Owns: the writer and the edit distance. No state, no lock; async-signal-safe.
 */
#include "base_format.h"

#include "base_size.h"

/* Longest name that text_distance looks at; arbitrary, above every option's name. */
enum { DISTANCE_TEXT_MAX = 64 };

static void put_char(struct format_buf *f, char c) {
  if (f->length + 1 < f->capacity) {
    f->text[f->length++] = c;
    f->text[f->length] = '\0';
  }
}

void format_init(struct format_buf *f, char *text, size_t capacity) {
  f->text = text;
  f->capacity = capacity;
  f->length = 0;
  text[0] = '\0';
}

void format_text(struct format_buf *f, const char *s) {
  for (; *s != '\0'; s++) put_char(f, *s);
}

void format_bytes(struct format_buf *f, const char *s, size_t length) {
  for (size_t i = 0; i < length && s[i] != '\0'; i++) put_char(f, s[i]);
}

void format_u64(struct format_buf *f, uint64_t value) {
  char digits[20]; /* 2^64 - 1 has 20 */
  size_t count = 0;
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) put_char(f, digits[--count]);
}

static char hex_digit(unsigned value) { return "0123456789abcdef"[value & 15]; }

void format_hex(struct format_buf *f, uint64_t value) {
  char digits[16];
  size_t count = 0;
  do {
    digits[count++] = hex_digit((unsigned)value);
    value >>= 4;
  } while (value != 0);
  format_text(f, "0x");
  while (count > 0) put_char(f, digits[--count]);
}

/* An escape is written whole or not at all: half of one would make the JSON text invalid. */
static void put_escape(struct format_buf *f, const char *s) {
  if (f->length + text_length(s) < f->capacity) format_text(f, s);
}

void format_json_text(struct format_buf *f, const char *s) {
  for (; *s != '\0'; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      put_escape(f, (const char[]){'\\', (char)c, '\0'});
    } else if (c < 0x20) {
      put_escape(f, (const char[]){'\\', 'u', '0', '0', hex_digit(c >> 4), hex_digit(c), '\0'});
    } else {
      put_char(f, (char)c);
    }
  }
}

size_t text_length(const char *s) {
  size_t length = 0;
  while (s[length] != '\0') length++;
  return length;
}

int text_equal(const char *a, const char *b) {
  while (*a != '\0' && *a == *b) {
    a++;
    b++;
  }
  return *a == *b;
}

int text_starts_with(const char *s, const char *prefix) {
  while (*prefix != '\0' && *s == *prefix) {
    s++;
    prefix++;
  }
  return *prefix == '\0';
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

int text_equal_any_case(const char *a, const char *b) {
  while (*a != '\0' && lower(*a) == lower(*b)) {
    a++;
    b++;
  }
  return lower(*a) == lower(*b);
}

/* Levenshtein's distance by rows: row[j] is the cost of turning a[0..i) into b[0..j). O(|a| |b|),
 * at most 64 * 64 steps. */
unsigned text_distance(const char *a, const char *b, unsigned limit) {
  size_t a_length = text_length(a), b_length = text_length(b);
  if (a_length > DISTANCE_TEXT_MAX || b_length > DISTANCE_TEXT_MAX)
    return text_equal(a, b) ? 0 : limit + 1;
  unsigned row[DISTANCE_TEXT_MAX + 1];
  for (size_t j = 0; j <= b_length; j++) row[j] = (unsigned)j;
  for (size_t i = 1; i <= a_length; i++) {
    unsigned diagonal = row[0];
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= b_length; j++) {
      unsigned replaced = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
      diagonal = row[j];
      row[j] = (unsigned)size_min(replaced, size_min(row[j], row[j - 1]) + 1);
    }
  }
  return row[b_length] <= limit ? row[b_length] : limit + 1;
}
