/* test_base_format.c — the bounded writer, JSON escapes, the edit distance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base_format.h"

static void numbers_are_as_printf_writes_them(void **state) {
  (void)state;
  static const uint64_t values[] = {
      0, 1, 9, 10, 99, 4294967295, 1000000000000000000u, UINT64_MAX, 0xdeadbeef};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    char text[64], expected[64];
    struct format_buf f;
    format_init(&f, text, sizeof text);
    format_u64(&f, values[i]);
    format_text(&f, " ");
    format_hex(&f, values[i]);
    snprintf(expected, sizeof expected, "%llu 0x%llx", (unsigned long long)values[i],
             (unsigned long long)values[i]);
    assert_string_equal(text, expected);
    assert_int_equal(f.length, strlen(expected));
  }
}

static void what_does_not_fit_is_cut(void **state) {
  (void)state;
  for (size_t capacity = 1; capacity < 16; capacity++) {
    char text[32];
    memset(text, '#', sizeof text);
    struct format_buf f;
    format_init(&f, text, capacity);
    format_text(&f, "ab");
    format_u64(&f, 12345);
    format_bytes(&f, "xyz", 2);
    format_hex(&f, 0xf);
    static const char whole[] = "ab12345xy0xf";
    size_t expected = capacity - 1 < strlen(whole) ? capacity - 1 : strlen(whole);
    assert_int_equal(f.length, expected);
    assert_memory_equal(text, whole, expected);
    assert_int_equal(text[expected], '\0');
    assert_int_equal(text[capacity], '#');
  }
}

static void bytes_stop_at_the_length_or_the_nul(void **state) {
  (void)state;
  char text[16];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_bytes(&f, "abc", 2);
  format_bytes(&f, "de\0f", 4);
  format_bytes(&f, "g", 0);
  assert_string_equal(text, "abde");
}

static void json_text_is_escaped(void **state) {
  (void)state;
  char text[64];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_json_text(&f, "a\"b\\c\n\x1f\xc3\xa9");
  assert_string_equal(text, "a\\\"b\\\\c\\u000a\\u001f\xc3\xa9");
}

static void json_escapes_are_never_cut_in_two(void **state) {
  (void)state;
  for (size_t capacity = 1; capacity <= 12; capacity++) {
    char text[16];
    struct format_buf f;
    format_init(&f, text, capacity);
    format_json_text(&f, "\n\n");
    assert_int_equal(f.length % 6, 0);
    assert_true(f.length < capacity && capacity - f.length <= 6);
  }
}

static void texts_compare(void **state) {
  (void)state;
  assert_int_equal(text_length(""), 0);
  assert_int_equal(text_length("four"), 4);
  assert_true(text_equal("", ""));
  assert_true(text_equal("ab", "ab"));
  assert_false(text_equal("ab", "abc"));
  assert_false(text_equal("abc", "ab"));
  assert_false(text_equal("ab", "Ab"));
}

static void distance_counts_edits(void **state) {
  (void)state;
  static const struct {
    const char *a, *b;
    unsigned distance;
  } cases[] = {{"", "", 0},
               {"", "abc", 3},
               {"abc", "", 3},
               {"kitten", "sitting", 3},
               {"REGION", "region", 0},
               {"ab", "ba", 2},
               {"WARM_BYTES", "WARM_BYTE", 1},
               {"flaw", "lawn", 2},
               {"abcdef", "uvwxyz", 6}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    unsigned d = cases[i].distance;
    assert_int_equal(text_distance(cases[i].a, cases[i].b, 10), d);
    assert_int_equal(text_distance(cases[i].b, cases[i].a, 10), d);
    assert_int_equal(text_distance(cases[i].a, cases[i].b, d), d);
    if (d > 0) assert_int_equal(text_distance(cases[i].a, cases[i].b, d - 1), d);
  }
}

static void case_does_not_matter_where_asked(void **state) {
  (void)state;
  assert_true(text_equal_any_case("", ""));
  assert_true(text_equal_any_case("Depot_Bytes", "DEPOT_BYTES"));
  assert_false(text_equal_any_case("depot", "DEPOT_BYTES"));
  assert_false(text_equal_any_case("depot_bytes", "DEPOT"));
  assert_false(text_equal_any_case("@", "`")); /* 32 apart, as letters are */
}

static void a_start_is_a_start(void **state) {
  (void)state;
  assert_true(text_starts_with("", ""));
  assert_true(text_starts_with("abc", ""));
  assert_true(text_starts_with("abc", "ab"));
  assert_true(text_starts_with("abc", "abc"));
  assert_false(text_starts_with("abc", "abcd"));
  assert_false(text_starts_with("abc", "b"));
  assert_false(text_starts_with("abc", "AB"));
}

static void distance_of_long_names_is_bounded(void **state) {
  (void)state;
  char longest[65], longer[66];
  memset(longest, 'a', 64);
  longest[64] = '\0';
  memset(longer, 'a', 65);
  longer[65] = '\0';
  assert_int_equal(text_distance(longest, longest, 4), 0);
  assert_int_equal(text_distance(longest, longer, 4), 5);
  assert_int_equal(text_distance(longer, longer, 4), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_as_printf_writes_them),
      cmocka_unit_test(what_does_not_fit_is_cut),
      cmocka_unit_test(bytes_stop_at_the_length_or_the_nul),
      cmocka_unit_test(json_text_is_escaped),
      cmocka_unit_test(json_escapes_are_never_cut_in_two),
      cmocka_unit_test(texts_compare),
      cmocka_unit_test(distance_counts_edits),
      cmocka_unit_test(a_start_is_a_start),
      cmocka_unit_test(case_does_not_matter_where_asked),
      cmocka_unit_test(distance_of_long_names_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
