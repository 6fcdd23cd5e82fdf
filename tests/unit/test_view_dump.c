/* test_view_dump.c — lines of the dumps: their form, their sums, and what each figure follows. */
#include "unit_entry.h"

#include "view_dump.h"

enum { LINES_MAX = 128, LINE_MAX_BYTES = 512 };
static char lines[LINES_MAX][LINE_MAX_BYTES];
static size_t line_count;

static void keep(const struct format_buf *line) {
  assert_true(line_count < LINES_MAX && line->length + 1 < line->capacity);
  assert_int_equal(line->text[line->length - 1], '\n');
  snprintf(lines[line_count++], LINE_MAX_BYTES, "%s", line->text);
}

static void dump(void (*of)(const struct view_totals *, view_dump_line *)) {
  struct view_totals totals;
  view_stats_collect(&totals);
  line_count = 0;
  of(&totals, keep);
}

/* The number of `name` in a line. */
static size_t number(const char *line, const char *name) {
  char key[64];
  snprintf(key, sizeof key, " %s=", name);
  const char *at = strstr(line, key);
  assert_non_null(at);
  assert_null(strstr(at + 1, key));
  return strtoull(at + strlen(key), NULL, 10);
}

static const char *class_line(size_t size) {
  char head[64];
  snprintf(head, sizeof head, "hakmem tiny: class_bytes=%zu ", size);
  for (size_t i = 0; i < line_count; i++)
    if (strncmp(lines[i], head, strlen(head)) == 0) return lines[i];
  return NULL;
}

static void a_class_has_a_line_once_it_has_slabs(void **state) {
  (void)state;
  dump(view_dump_tiny);
  assert_null(class_line(24576));
  void *p = hak_malloc(24576), *q = hak_malloc(24576);
  dump(view_dump_tiny);
  const char *line = class_line(24576);
  assert_non_null(line);
  assert_int_equal(number(line, "live"), 2);
  hak_free(p);
  dump(view_dump_tiny);
  assert_int_equal(number(class_line(24576), "live"), 1);
  assert_int_equal(number(class_line(24576), "cached"), 1);
  hak_free(q);
}

static void the_total_is_the_sum(void **state) {
  (void)state;
  void *p[50];
  for (size_t i = 0; i < 50; i++) p[i] = hak_malloc(i * 40);
  dump(view_dump_tiny);
  const char *total = lines[line_count - 1];
  assert_memory_equal(total, "hakmem tiny: total ", 19);
  size_t slab_bytes = 0, live_bytes = 0, untouched_bytes = 0;
  for (size_t i = 0; i + 1 < line_count; i++) {
    slab_bytes += number(lines[i], "slab_bytes");
    live_bytes += number(lines[i], "live") * number(lines[i], "class_bytes");
    untouched_bytes += number(lines[i], "untouched_bytes");
  }
  assert_int_equal(number(total, "slab_bytes"), slab_bytes);
  assert_int_equal(number(total, "live_bytes"), live_bytes);
  assert_int_equal(number(total, "untouched_bytes"), untouched_bytes);
  assert_true(live_bytes >= 50 * 20 * 40 && untouched_bytes > 0);
  assert_int_equal(slab_bytes, live_bytes + number(total, "cached_bytes") +
                                   number(total, "free_bytes") + number(total, "slack_bytes"));
  for (size_t i = 0; i < 50; i++) hak_free(p[i]);
}

static void superslabs_are_slabs_runs_and_free_chunks(void **state) {
  (void)state;
  dump(view_dump_superslabs);
  size_t runs = number(lines[0], "run_bytes"), claims = number(lines[0], "claims");
  size_t releases = number(lines[0], "releases");
  void *run = hak_malloc(200000), *mapping = hak_malloc(20 * MIB);
  dump(view_dump_superslabs);
  assert_int_equal(line_count, 1);
  assert_int_equal(number(lines[0], "run_bytes"), runs + 4 * CHUNK_BYTES);
  assert_int_equal(number(lines[0], "claims"), claims + 1);
  assert_int_equal(number(lines[0], "mappings"), 1);
  assert_true(number(lines[0], "mapping_bytes") >= 20 * MIB);
  assert_int_equal(number(lines[0], "bytes"), number(lines[0], "slab_bytes") +
                                                  number(lines[0], "run_bytes") +
                                                  number(lines[0], "free_bytes"));
  hak_free(run);
  hak_free(mapping);
  dump(view_dump_superslabs);
  assert_int_equal(number(lines[0], "run_bytes"), runs);
  assert_int_equal(number(lines[0], "releases"), releases + 1);
}

static void freed_chunks_are_dirty_until_purged(void **state) {
  (void)state;
  void *run = hak_malloc(4 * MIB);
  NEED(run != NULL);
  dump(view_dump_warm);
  size_t dirty = number(lines[0], "dirty_bytes"), warm = number(lines[0], "warm_claims");
  size_t purges = number(lines[0], "purges");
  memset(run, 1, 4 * MIB);
  hak_free(run);
  dump(view_dump_warm);
  assert_int_equal(number(lines[0], "dirty_bytes"), dirty + 4 * MIB);
  assert_true(number(lines[0], "empty_superslabs") >= 2);
  hak_free(hak_malloc(4 * MIB));
  dump(view_dump_warm);
  assert_int_equal(number(lines[0], "warm_claims"), warm + 1);
  assert_true(entry_purge() != 0);
  dump(view_dump_warm);
  assert_int_equal(number(lines[0], "empty_bytes"), 0);
  assert_true(number(lines[0], "purges") >= purges + 2);
  assert_true(number(lines[0], "dirty_bytes") <= dirty);
  assert_int_equal(number(lines[0], "free_bytes"),
                   number(lines[0], "dirty_bytes") + number(lines[0], "clean_bytes"));
}

int main(void) {
  entry_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_class_has_a_line_once_it_has_slabs),
      cmocka_unit_test(the_total_is_the_sum),
      cmocka_unit_test(superslabs_are_slabs_runs_and_free_chunks),
      cmocka_unit_test(freed_chunks_are_dirty_until_purged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
