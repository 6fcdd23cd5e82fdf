/* test_regret.c — when purged memory comes back soon, and how much stays warm then. Times are the
 * test's own. */
#include "unit_child.h"

#include "regret.h"

static const size_t PEAK = 64 * MIB;

static void nothing_stays_without_a_purge(void) {
  NEED(!regret_is_open());
  NEED(regret_keep_bytes(0) == 0 && regret_keep_bytes(1000000) == 0);
}

static void what_comes_back_soon_stays(void) {
  regret_note_purge(8 * MIB, 4 * MIB, 5000);
  NEED(regret_is_open() && regret_keep_bytes(5000) == 0);
  regret_note_claim(2 * MIB, PEAK, 5100);
  NEED(regret_keep_bytes(5100) == 4 * MIB); /* twice what came back */
  regret_note_claim(6 * MIB, PEAK, 5200);
  NEED(regret_keep_bytes(5200) == 15 * MIB); /* all that would have been empty, and a quarter */
  NEED(regret_keep_bytes(15200) == 15 * MIB && regret_keep_bytes(15201) == 0);
}

static void what_comes_back_by_an_older_clock_stays(void) {
  regret_note_purge(8 * MIB, 4 * MIB, 5000);
  regret_note_claim(2 * MIB, PEAK, 4999);
  NEED(regret_keep_bytes(5000) == 4 * MIB);
  regret_note_purge(8 * MIB, 0, 4998);
  NEED(regret_is_open());
  regret_note_claim(14 * MIB, PEAK, 5001); /* both count */
  NEED(!regret_is_open());
}

static void what_comes_back_late_was_rightly_purged(void) {
  regret_note_purge(8 * MIB, 4 * MIB, 5000);
  regret_note_claim(2 * MIB, PEAK, 6001);
  NEED(regret_keep_bytes(6001) == 0 && !regret_is_open());
}

static void what_came_back_counts_once(void) {
  regret_note_purge(8 * MIB, 0, 5000);
  regret_note_purge(4 * MIB, 0, 5500); /* within a second: 12 would have been empty */
  regret_note_claim(6 * MIB, PEAK, 5600);
  NEED(regret_keep_bytes(5600) == 12 * MIB);
  regret_note_claim(6 * MIB, PEAK, 5700);
  NEED(regret_keep_bytes(15700) == 15 * MIB && !regret_is_open()); /* all is back */
  regret_note_purge(4 * MIB, 4 * MIB, 5800);                       /* less than 12 */
  regret_note_claim(MIB, PEAK, 5900);
  NEED(regret_keep_bytes(5900) == 15 * MIB);
  regret_note_purge(1 * MIB, 3 * MIB, 7000); /* what was earlier is forgotten, but no less stays */
  regret_note_claim(MIB, PEAK, 7100);
  NEED(regret_keep_bytes(7100) == 15 * MIB && regret_keep_bytes(17100) == 15 * MIB);
  regret_note_purge(3 * MIB, 3 * MIB, 20000);
  regret_note_claim(3 * MIB, PEAK, 20000);
  NEED(regret_keep_bytes(20000) == 6 * MIB); /* its time was over */
}

/* Of several purges in a row the most that stood empty counts, and each until it has come back. */
static void purges_in_a_row_add_up(void) {
  regret_note_purge(8 * MIB, 8 * MIB, 5000);
  regret_note_purge(MIB, 0, 5001);
  regret_note_claim(4 * MIB, PEAK, 5002);
  NEED(regret_keep_bytes(5002) == 8 * MIB && regret_is_open());
  regret_note_claim(4 * MIB, PEAK, 5003);
  NEED(regret_keep_bytes(5003) == 16 * MIB && regret_is_open());
  regret_note_claim(MIB, PEAK, 5004);
  NEED(regret_keep_bytes(5004) == 18 * MIB && !regret_is_open());
}

static void there_is_a_most(void) {
  regret_note_purge(GIB, GIB, 5000);
  regret_note_claim(GIB / 2, PEAK, 5000);
  NEED(regret_keep_bytes(5000) == PEAK);
}

/* Who frees all and goes on with a little keeps a little. */
static void a_little_is_a_small_regret(void) {
  regret_note_purge(16 * MIB, 100 * MIB, 5000);
  regret_note_claim(MIB / 2, PEAK, 5100);
  regret_note_purge(16 * MIB, 0, 5200);
  regret_note_claim(MIB / 2, PEAK, 5300);
  NEED(regret_keep_bytes(5300) == 2 * MIB && regret_is_open());
  regret_note_purge(16 * MIB, 0, 30000); /* that was long ago */
  regret_note_claim(MIB / 2, PEAK, 30100);
  NEED(regret_keep_bytes(30100) == MIB);
}

static void a_clock_that_stands_still_does_no_harm(void) {
  regret_note_purge(MIB, 3 * MIB, 0);
  regret_note_claim(2 * MIB, PEAK, 0);
  NEED(regret_keep_bytes(0) == 4 * MIB && !regret_is_open());
}

#define IN_CHILD(name)                                                                             \
  static void test_##name(void **state) {                                                          \
    (void)state;                                                                                   \
    run_child(name);                                                                               \
  }
IN_CHILD(nothing_stays_without_a_purge)
IN_CHILD(what_comes_back_soon_stays)
IN_CHILD(what_comes_back_by_an_older_clock_stays)
IN_CHILD(what_comes_back_late_was_rightly_purged)
IN_CHILD(what_came_back_counts_once)
IN_CHILD(purges_in_a_row_add_up)
IN_CHILD(there_is_a_most)
IN_CHILD(a_little_is_a_small_regret)
IN_CHILD(a_clock_that_stands_still_does_no_harm)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_stays_without_a_purge),
      cmocka_unit_test(test_what_comes_back_soon_stays),
      cmocka_unit_test(test_what_comes_back_by_an_older_clock_stays),
      cmocka_unit_test(test_what_comes_back_late_was_rightly_purged),
      cmocka_unit_test(test_what_came_back_counts_once),
      cmocka_unit_test(test_purges_in_a_row_add_up),
      cmocka_unit_test(test_there_is_a_most),
      cmocka_unit_test(test_a_little_is_a_small_regret),
      cmocka_unit_test(test_a_clock_that_stands_still_does_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
