/* test_rt_options.c — names, values as text, profiles, and changes while the program runs.
 */
#include "unit_child.h"

#include "rt_conf.h"
#include "rt_lock.h"
#include "rt_options.h"

static const char *shown(enum rt_option option) {
  static char text[64];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  rt_option_format(&f, option);
  return text;
}

static void names_are_found_in_any_case(void **state) {
  (void)state;
  for (int i = 0; i < RT_OPTION_COUNT; i++)
    assert_int_equal(rt_option_find(rt_option_name((enum rt_option)i)), i);
  assert_int_equal(rt_option_find("profile"), RT_OPTION_PROFILE);
  assert_int_equal(rt_option_find("Depot_Bytes"), RT_OPTION_DEPOT_BYTES);
  assert_int_equal(rt_option_find("HAKMEM_DEPOT_BYTES"), RT_OPTION_DEPOT_BYTES);
  assert_int_equal(rt_option_find("hakmem_Depot_Bytes"), RT_OPTION_DEPOT_BYTES);
  assert_int_equal(rt_option_find("HAKMEM_"), RT_OPTION_COUNT);
  assert_int_equal(rt_option_find("HAKMEM"), RT_OPTION_COUNT);
  assert_int_equal(rt_option_find("HAKMEM_HAKMEM_DEPOT_BYTES"), RT_OPTION_COUNT);
  assert_int_equal(rt_option_find(""), RT_OPTION_COUNT);
  assert_int_equal(rt_option_find("DEPOT_BYTE"), RT_OPTION_COUNT);
  assert_string_equal(rt_option_nearest("DEPOT", NULL, 0), "DEPOT_BYTES");
  assert_string_equal(rt_option_nearest("HAEPS", NULL, 0), "HEAPS");
  assert_null(rt_option_nearest("SOMETHING_ELSE", NULL, 0));
  /* Up to one edit for three letters begun, and four in all. */
  assert_string_equal(rt_option_nearest("TP", NULL, 0), "THP");
  assert_null(rt_option_nearest("TPH", NULL, 0));
  assert_null(rt_option_nearest("HEXXX", NULL, 0));
  assert_null(rt_option_nearest("DEBUG", NULL, 0));
  assert_null(rt_option_nearest("BORXYZ", NULL, 0));
  assert_string_equal(rt_option_nearest("WARM_POOL_SIZE", NULL, 0), "WARM_POOL_BYTES");
  assert_null(rt_option_nearest("XXXXX_POOL_BYTES", NULL, 0));
  /* Of names that begin so the shortest, those of no option too. */
  static const char *const files[] = {"CONF", "CONF_FILE"};
  assert_string_equal(rt_option_nearest("CON", NULL, 0), "CONF_STRICT");
  assert_string_equal(rt_option_nearest("CON", files, 2), "CONF");
  assert_string_equal(rt_option_nearest("CONF_", files, 2), "CONF_FILE");
  assert_string_equal(rt_option_nearest("CONF_S", files, 2), "CONF_STRICT");
  static const char *const others[] = {"SOMETHING_LSE"};
  assert_string_equal(rt_option_nearest("SOMETHING_ELSE", others, 1), "SOMETHING_LSE");
}

static void values_are_shown_as_they_are_written(void **state) {
  (void)state;
  assert_true(rt_option_set(RT_OPTION_DEPOT_BYTES, "1536"));
  assert_string_equal(shown(RT_OPTION_DEPOT_BYTES), "1536");
  assert_true(rt_option_set(RT_OPTION_DEPOT_BYTES, "2048K"));
  assert_string_equal(shown(RT_OPTION_DEPOT_BYTES), "2M");
  assert_false(rt_option_set(RT_OPTION_DEPOT_BYTES, "2T"));
  assert_string_equal(shown(RT_OPTION_DEPOT_BYTES), "2M");
  assert_string_equal(shown(RT_OPTION_PROFILE), "balanced");
  assert_true(rt_option_set(RT_OPTION_PROFILE, "lean"));
  assert_string_equal(shown(RT_OPTION_PROFILE), "lean");
  assert_string_equal(shown(RT_OPTION_DEPOT_BYTES), "64K");
  assert_true(rt_option_set(RT_OPTION_PROFILE, "SPEED"));
  assert_string_equal(shown(RT_OPTION_PROFILE), "speed");
  assert_true(rt_option_set(RT_OPTION_PROFILE, "Mixed_TinyV3_C7_Balanced"));
  assert_string_equal(shown(RT_OPTION_PROFILE), "balanced");
  assert_true(rt_option_set(RT_OPTION_MEMORY_LIMIT, "Off"));
  assert_string_equal(shown(RT_OPTION_MEMORY_LIMIT), "off");
  assert_true(rt_option_set(RT_OPTION_MEMORY_LIMIT, "auto"));
  static const char *const bad[] = {"", "lea", "leann", "lean|", "LEA", "speed|balanced", "0", "2"};
  for (size_t i = 0; i < HAK_COUNT_OF(bad); i++)
    assert_false(rt_option_set(RT_OPTION_PROFILE, bad[i]));
  assert_true(rt_option_set(RT_OPTION_PROFILE, "balanced"));
}

/* Three words of each bundle that no other profile has. */
static bool is_whole_profile(void) {
  uint64_t depot = rt_option(RT_OPTION_DEPOT_BYTES), warm = rt_option(RT_OPTION_WARM_POOL_BYTES);
  bool is_lean = rt_option(RT_OPTION_SS_MEM_LEAN) != 0;
  switch (rt_option(RT_OPTION_PROFILE)) {
  case RT_PROFILE_SPEED:
    return depot == 1 * MIB && warm == 64 * MIB && !is_lean;
  case RT_PROFILE_BALANCED:
    return depot == 256 * KIB && warm == 16 * MIB && !is_lean;
  default:
    return depot == 64 * KIB && warm == 1 * MIB && is_lean;
  }
}

static void change_has_verdicts(void) {
  rt_options_init();
  NEED(rt_option_change("NO_SUCH", "1") == ENOENT);
  NEED(rt_option_change("depot_bytes", "1X") == EINVAL);
  NEED(rt_option_change("heaps", "1") == EPERM && rt_option(RT_OPTION_HEAPS) == 0);
  NEED(rt_option_change("heaps", "x") == EINVAL);
  NEED(rt_option_change("profile", "MIXED_TINYV3_C7_SAFE") == 0 && is_whole_profile());
  NEED(rt_option(RT_OPTION_PROFILE) == RT_PROFILE_SPEED);
  NEED(rt_option_change("ss_mem_lean", "0") == 0 && is_whole_profile());
  NEED(rt_option(RT_OPTION_PROFILE) == RT_PROFILE_SPEED);
  NEED(rt_option_change("ss_mem_lean", "1") == 0 && is_whole_profile());
  NEED(rt_option(RT_OPTION_PROFILE) == RT_PROFILE_LEAN);
  NEED(rt_option_change("ss_mem_lean", "0") == 0 && is_whole_profile());
  NEED(rt_option(RT_OPTION_PROFILE) == RT_PROFILE_BALANCED);
  NEED(rt_option_change("depot_bytes", "7") == 0 && rt_option(RT_OPTION_DEPOT_BYTES) == 7);
  NEED(rt_option_change("profile", "lean") == 0 && is_whole_profile());
}

static void changes_have_verdicts(void **state) {
  (void)state;
  run_child(change_has_verdicts);
}

static void call_beats_start(void) {
  rt_options_init();
  NEED(rt_option_change("depot_bytes", "7") == 0);
  NEED(rt_option_set(RT_OPTION_DEPOT_BYTES, "8") && rt_option(RT_OPTION_DEPOT_BYTES) == 7);
  NEED(rt_option_set(RT_OPTION_PROFILE, "lean"));
  NEED(rt_option(RT_OPTION_PROFILE) == RT_PROFILE_LEAN && rt_option(RT_OPTION_DEPOT_BYTES) == 7);
  NEED(rt_option_change("profile", "speed") == 0 && is_whole_profile());
  NEED(rt_option_set(RT_OPTION_PROFILE, "lean") && is_whole_profile());
  NEED(rt_option(RT_OPTION_PROFILE) == RT_PROFILE_SPEED);
}

static void a_call_beats_what_is_read_later(void **state) {
  (void)state;
  run_child(call_beats_start);
}

enum { THREADS = 4, ROUNDS = 2000 };

static void *changes_profiles(void *argument) {
  static const char *const words[] = {"speed", "balanced", "lean"};
  size_t first = (size_t)(uintptr_t)argument;
  for (size_t i = 0; i < ROUNDS; i++)
    NEED(rt_option_change("profile", words[(first + i) % 3]) == 0);
  return NULL;
}

static void many_change_at_once(void) {
  pthread_t threads[THREADS];
  rt_options_init();
  for (size_t i = 0; i < THREADS; i++)
    NEED(pthread_create(&threads[i], NULL, changes_profiles, (void *)(uintptr_t)i) == 0);
  for (size_t i = 0; i < THREADS; i++) NEED(pthread_join(threads[i], NULL) == 0);
  NEED(is_whole_profile());
}

static void profiles_are_set_whole(void **state) {
  (void)state;
  run_child(many_change_at_once);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_found_in_any_case),
      cmocka_unit_test(values_are_shown_as_they_are_written),
      cmocka_unit_test(changes_have_verdicts),
      cmocka_unit_test(a_call_beats_what_is_read_later),
      cmocka_unit_test(profiles_are_set_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
