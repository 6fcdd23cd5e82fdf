/* test_limit.c — how near the limit is, what is refused, and when the next look is due; on the
 * twin, whose tree has the control group.
 */
#include "unit_region.h"
#include "unit_tree.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "limit.h"
#include "os_proc.h"
#include "region.h"

/* Beyond the machine's own: no look is too old but where a case says so. */
static uint64_t clock_ms = (uint64_t)1 << 40;

static enum rt_pressure look_after(uint64_t ms) {
  clock_ms += ms;
  NEED(limit_tick(clock_ms) || !limit_is_due()); /* what it found is the question */
  return limit_pressure();
}

/* As who asks for memory. */
static bool look(void) {
  limit_look(clock_ms);
  return true;
}

/* Fresh memory of this process's own, written to. */
static void own_grow(size_t bytes) {
  struct chunk_run run = claim_chunks(0, (uint32_t)(bytes / CHUNK_BYTES), 1, 0);
  NEED(run.first != CHUNK_NONE && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);
}

/* The same, and no tick is due for what was before. */
static bool look_and_tick(void) { return look() && !limit_tick(clock_ms) && !limit_is_due(); }

/* Most of what the group uses is ours, and not yet looked at. */
static void group_begin(void) {
  layers_init(512 * MIB);
  group_set(100 * MIB, 10 * MIB);
  own_grow(7 * MIB);
}

static void steps(void) {
  group_begin();
  NEED(look_after(100000) == RT_PRESSURE_NONE && limit_nearest().limit_bytes == 0);
  limit_look_soon(); /* a small program has not looked */
  NEED(look_after(1) == RT_PRESSURE_NONE && limit_nearest().limit_bytes == 100 * MIB);
  static const struct {
    unsigned used_mib;
    enum rt_pressure pressure;
  } expected[] = {{79, RT_PRESSURE_NONE},  {80, RT_PRESSURE_NEAR},  {89, RT_PRESSURE_NEAR},
                  {90, RT_PRESSURE_CLOSE}, {95, RT_PRESSURE_TIGHT}, {200, RT_PRESSURE_TIGHT},
                  {93, RT_PRESSURE_TIGHT}, {91, RT_PRESSURE_CLOSE}, {88, RT_PRESSURE_CLOSE},
                  {86, RT_PRESSURE_NEAR},  {78, RT_PRESSURE_NEAR},  {76, RT_PRESSURE_NONE}};
  for (size_t i = 0; i < HAK_COUNT_OF(expected); i++) {
    group_set(100 * MIB, expected[i].used_mib * MIB);
    NEED(look_after(10001) == expected[i].pressure);
    NEED(limit_nearest().used_bytes == expected[i].used_mib * MIB);
  }
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "off"));
  group_set(100 * MIB, 99 * MIB);
  NEED(look_after(10001) == RT_PRESSURE_NONE && limit_nearest().limit_bytes == 0);
}
static void each_step_has_its_share_and_is_left_later(void **state) {
  (void)state;
  run_child_in_tree(steps);
}

static void times(void) {
  group_begin();
  limit_look_soon();
  NEED(limit_tick(clock_ms) && !limit_tick(clock_ms + 9999));
  NEED(limit_tick(clock_ms += 10000)); /* others may have grown */
  group_set(100 * MIB, 90 * MIB);
  NEED(limit_tick(clock_ms += 10000) && !limit_tick(clock_ms + 499));
  NEED(limit_tick(clock_ms += 500));
  /* A quarter of what is left may go before the next look. */
  group_set(100 * MIB, 20 * MIB);
  NEED(limit_tick(clock_ms += 500));
  own_grow(14 * MIB); /* as much as the group uses */
  NEED(limit_tick(clock_ms += 10000) && !limit_is_due());
  struct chunk_run run = claim_chunks(0, 9 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && !limit_is_due());
  struct chunk_run more = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(more.first != CHUNK_NONE && limit_is_due());
  NEED(limit_tick(clock_ms) && !limit_is_due());
  superslab_release(run.first, run.count); /* memory that has pages is no growth */
  for (int i = 0; i < 20; i++) {
    run = claim_chunks(0, 5 * SUPERSLAB_CHUNKS, 1, 0);
    superslab_release(run.first, run.count);
  }
  NEED(!limit_is_due());
}
static void looks_are_due_by_time_and_by_growth(void **state) {
  (void)state;
  run_child_in_tree(times);
}

static void shared(void) {
  group_begin();
  own_grow(13 * MIB);
  group_set(100 * MIB, 40 * MIB);
  NEED(look_and_tick());
  /* Two have as much: each takes an eighth, and a MiB of the other's may not be written to yet. */
  NEED(!limit_refuses_written(55 * MIB) && limit_refuses_written(56 * MIB));
  NEED(claim_chunks(0, 3 * SUPERSLAB_CHUNKS, 1, 0).first != CHUNK_NONE && !limit_is_due());
  NEED(claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0).first != CHUNK_NONE && limit_is_due());
}
static void others_share_what_is_left(void **state) {
  (void)state;
  run_child_in_tree(shared);
}

/* It looks with its first growth, once; so does a child of its own. */
static void child_grows(int generations_left) {
  NEED(claim_chunks(0, 1, 1, 0).first != CHUNK_NONE && limit_is_due());
  NEED(limit_tick(clock_ms) && !limit_is_due());
  NEED(claim_chunks(0, 1, 1, 0).first != CHUNK_NONE && !limit_is_due()); /* it has looked */
  if (generations_left == 0) return;
  pid_t child = fork();
  NEED(child >= 0);
  if (child == 0) {
    child_grows(generations_left - 1);
    _exit(0);
  }
  int status;
  NEED(waitpid(child, &status, 0) == child && status == 0);
}
/* What the parent has is used once, however many have it: its children look for themselves. */
static void inherited(void) {
  group_begin();
  own_grow(53 * MIB);
  group_set(100 * MIB, 60 * MIB);
  NEED(look_and_tick() && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE && !limit_is_due());
  pid_t child = fork();
  NEED(child >= 0);
  if (child == 0) {
    child_grows(1);
    NEED(claim_chunks(0, 16, 1, 0).first != CHUNK_NONE && limit_is_due());
    _exit(0);
  }
  int status;
  NEED(waitpid(child, &status, 0) == child && status == 0);
  NEED(claim_chunks(0, 4 * SUPERSLAB_CHUNKS, 1, 0).first != CHUNK_NONE && !limit_is_due());
}

/* One whose parent has not looked does so long before 8 MiB of each sibling could add up. */
static void unseen(void) {
  layers_init(512 * MIB);
  group_set(100 * MIB, 10 * MIB);
  own_grow(2 * MIB);
  pid_t child = fork();
  NEED(child >= 0);
  if (child == 0) {
    NEED(claim_chunks(0, 15, 1, 0).first != CHUNK_NONE && !limit_is_due());
    NEED(claim_chunks(0, 1, 1, 0).first != CHUNK_NONE && limit_is_due());
    _exit(0);
  }
  int status;
  NEED(waitpid(child, &status, 0) == child && status == 0);
  NEED(claim_chunks(0, 32, 1, 0).first != CHUNK_NONE && !limit_is_due());
}
static void a_child_of_fork_shares_with_its_siblings(void **state) {
  (void)state;
  run_child_in_tree(inherited);
  run_child_in_tree(unseen);
}

static void old(void) {
  group_begin();
  NEED(look_and_tick() && claim_chunks(0, 4, 1, 0).first != CHUNK_NONE && !limit_is_due());
  clock_ms = 0; /* then it was: long ago */
  NEED(look_and_tick() && claim_chunks(0, 3, 1, 0).first != CHUNK_NONE && !limit_is_due());
  NEED(claim_chunks(0, 1, 1, 0).first != CHUNK_NONE && limit_is_due());
  group_set(1ul << 50, 10 * MIB); /* none that kills */
  NEED(look_and_tick() && claim_chunks(0, 4, 1, 0).first != CHUNK_NONE && !limit_is_due());
}
static void who_grows_goes_by_no_old_look(void **state) {
  (void)state;
  run_child_in_tree(old);
}

static void kills(void) {
  group_begin();
  NEED(!limit_refuses(1000 * MIB)); /* nothing is known yet */
  group_set(100 * MIB, 60 * MIB);
  own_grow(50 * MIB);
  NEED(look());
  /* Left: 40 MiB without a 32nd of the limit; a large request counts an eighth. */
  NEED(!limit_refuses(36 * MIB) && !limit_refuses(1000 * MIB));
  NEED(!limit_refuses_written(36 * MIB) && limit_refuses_written(37 * MIB));
  struct chunk_run run = claim_chunks(0, 10 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(!limit_refuses(16 * MIB) && limit_refuses(17 * MIB) && limit_refuses(1000 * MIB));
  group_set(100 * MIB, 80 * MIB);
  NEED(look()); /* the run is written to now */
  NEED(!limit_refuses(1000 * MIB));
  group_set(100 * MIB, 90 * MIB);
  NEED(look() && limit_refuses(1000 * MIB) && !limit_refuses(6 * MIB));
  group_set(100 * MIB, 99 * MIB);
  NEED(look() && limit_refuses(1));
  NEED(claim_chunks(0, 1, 1, 0).first == CHUNK_NONE);
  bool is_zero;
  NEED(!superslab_claim_at(run.first + run.count, 1, &is_zero));
  tree_put("/proc/meminfo", "SwapFree: 99 kB\n");
  NEED(look() && !limit_refuses(1000 * MIB));
  NEED(limit_pressure() == RT_PRESSURE_TIGHT);
  NEED(claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);
}
static void what_would_kill_is_refused(void **state) {
  (void)state;
  run_child_in_tree(kills);
}

/* What a slow path looks at has not been written to: it counts still. */
static void unwritten(void) {
  group_begin();
  NEED(look());
  struct chunk_run run = claim_chunks(0, 25 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && limit_is_due());
  NEED(limit_tick(clock_ms) && !limit_refuses(1000 * MIB)); /* it may want addresses */
  NEED(claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);       /* but who goes on counts whole */
  NEED(limit_refuses(37 * MIB) && !limit_refuses(36 * MIB));
  NEED(look() && !limit_refuses(86 * MIB)); /* who asks anew has written */
}
static void what_was_just_handed_out_counts(void **state) {
  (void)state;
  run_child_in_tree(unwritten);
}

/* Another thread's counts for a tenth of a second, whoever asks. */
static void *claims(void *unused) {
  NEED(claim_chunks(1, 10 * SUPERSLAB_CHUNKS, 1, 0).first != CHUNK_NONE);
  return unused;
}
static void unwritten_by_another(void) {
  group_begin();
  clock_ms = os_coarse_ms();
  NEED(look());
  thread_run(claims, NULL);
  clock_ms--; /* who has read the clock before looks */
  NEED(look() && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);
  NEED(limit_refuses(86 * MIB) && !limit_refuses(85 * MIB));
  clock_ms = os_coarse_ms();
  NEED(look() && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);
  NEED(limit_refuses(86 * MIB) && !limit_refuses(85 * MIB)); /* a MiB of it */
  clock_ms += 200;
  NEED(look() && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE && !limit_refuses(86 * MIB));
}
static void what_another_was_just_handed_counts_too(void **state) {
  (void)state;
  if (UNIT_TSAN) skip(); /* a thread after a fork */
  run_child_in_tree(unwritten_by_another);
}

/* Of two whose addresses lead to the same place each has one, and keeps it. */
enum { PLACES = 16, CLAIMS = 2, ENDS = 100 }; /* the first as in limit.c */
static struct standby {
  _Atomic(uint32_t) step; /* odd: it waits for the next */
  uintptr_t self;
} standbys[PLACES + 1];
static void *stands_by(void *place) {
  struct standby *s = place;
  s->self = os_thread_self();
  for (uint32_t step = 1; step < 2 * CLAIMS + 2; step += 2) {
    step_set(&s->step, step);
    step_wait(&s->step, step + 1);
    if (load_acquire(&s->step) == ENDS) return NULL;
    NEED(claim_chunks(1, MIB / CHUNK_BYTES, 1, 0).first != CHUNK_NONE);
  }
  return NULL;
}
static void claims_next(struct standby *s) {
  uint32_t step = load_acquire(&s->step);
  step_set(&s->step, step + 1);
  step_wait(&s->step, step + 2);
}
static uint32_t place_of(const struct standby *s) {
  return (uint32_t)((uint64_t)s->self * 0x9E3779B97F4A7C15u >> 32) % PLACES;
}
static void unwritten_by_two(void) {
  pthread_t threads[PLACES + 1];
  struct standby *first = NULL, *second = NULL;
  group_begin();
  for (size_t i = 0; i <= PLACES; i++)
    NEED(pthread_create(&threads[i], NULL, stands_by, &standbys[i]) == 0);
  for (size_t i = 0; i <= PLACES; i++) step_wait(&standbys[i].step, 1);
  for (size_t i = 0; i <= PLACES && second == NULL; i++) {
    for (size_t k = 0; k < i && second == NULL; k++) {
      if (place_of(&standbys[i]) != place_of(&standbys[k])) continue;
      first = &standbys[k];
      second = &standbys[i];
    }
  }
  NEED(second != NULL); /* there are more threads than places */
  clock_ms = os_coarse_ms();
  NEED(look());
  claims_next(first);
  claims_next(second);
  NEED(look() && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);
  NEED(limit_refuses(85 * MIB) && !limit_refuses(84 * MIB)); /* a MiB of each */
  claims_next(second);
  NEED(look() && claim_chunks(0, 1, 1, 0).first != CHUNK_NONE);
  NEED(limit_refuses(85 * MIB) && !limit_refuses(84 * MIB));
  for (size_t i = 0; i <= PLACES; i++) step_set(&standbys[i].step, ENDS);
  for (size_t i = 0; i <= PLACES; i++) NEED(pthread_join(threads[i], NULL) == 0);
}
static void what_two_were_handed_counts_once_each(void **state) {
  (void)state;
  if (UNIT_TSAN) skip(); /* threads after a fork */
  run_child_in_tree(unwritten_by_two);
}

/* The filter traps what opens a file: the handler is amid a look, and what openat seems to answer
 * is no descriptor. */
static int opened;
static void opens(int unused) {
  (void)unused;
  opened++;
  NEED(limit_is_mine());
  limit_look_soon();
  limit_look(clock_ms); /* neither waits for what its own thread holds */
  NEED(!limit_tick(clock_ms) && limit_is_due());
}
static void looks_under_lock(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {HAK_COUNT_OF(filter), filter};
  layers_init(64 * MIB);
  NEED(signal(SIGSYS, opens) != SIG_ERR && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  NEED(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  NEED(look() && opened != 0 && !limit_is_mine());
  opened = 0;
  NEED(limit_tick(clock_ms) && opened != 0 && !limit_is_mine());
}
static void no_fork_copies_an_open_file(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* they open files of their own */
  run_child_in_tree(looks_under_lock);
}

static void own_bytes(void) {
  layers_init(256 * MIB);
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "20M"));
  size_t tables = region_meta_bytes();
  NEED(limit_held_bytes() == tables && !limit_refuses(20 * MIB - tables));
  NEED(limit_refuses(20 * MIB - tables + 1) && limit_refuses(SIZE_MAX));
  NEED(!limit_refuses_written(20 * MIB - tables));
  NEED(limit_refuses_written(20 * MIB - tables + 1));
  struct chunk_run run = claim_chunks(0, 6 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && limit_held_bytes() == 12 * MIB + region_meta_bytes());
  NEED(claim_chunks(0, 5 * SUPERSLAB_CHUNKS, 1, 0).first == CHUNK_NONE);
  limit_look_soon();
  NEED(look_after(1) == RT_PRESSURE_NONE && limit_nearest().limit_bytes == 20 * MIB);
  struct chunk_run more = claim_chunks(0, 3 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(more.first != CHUNK_NONE && limit_is_due() && look_after(1) == RT_PRESSURE_CLOSE);
  chunks_stamp(more, 1);
  superslab_release(more.first, more.count); /* resident: it counts for the steps alone */
  limit_look_soon();
  NEED(look_after(1) == RT_PRESSURE_CLOSE && !limit_refuses(6 * MIB));
  NEED(rt_option_set(RT_OPTION_MEMORY_LIMIT, "off") && !limit_refuses(SIZE_MAX));
}
static void a_number_limits_our_own_bytes(void **state) {
  (void)state;
  run_child_in_tree(own_bytes);
}

static void stalls(void) {
  layers_init(64 * MIB);
  tree_put("/proc/pressure/memory", "some avg10=9.99 total=9\nfull avg10=9.99 total=1\n");
  limit_look_soon();
  NEED(look_after(1) == RT_PRESSURE_NONE);
  tree_put("/proc/pressure/memory", "some avg10=10.00 total=9\nfull avg10=1.00 total=1\n");
  NEED(look_after(10000) == RT_PRESSURE_NEAR);
  tree_put("/proc/pressure/memory", "some avg10=10.00 total=9\nfull avg10=10.00 total=1\n");
  NEED(look_after(500) == RT_PRESSURE_CLOSE && !limit_refuses(SIZE_MAX));
}
static void stalls_count_before_any_limit(void **state) {
  (void)state;
  run_child_in_tree(stalls);
}

static void watched(void) {
  layers_init(64 * MIB);
  limit_watch(limit_held_bytes() + 12 * MIB);
  NEED(limit_is_due() && look_after(1) == RT_PRESSURE_NONE && !limit_is_due());
  struct chunk_run run = claim_chunks(0, 5 * SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && !limit_is_due());
  run = claim_chunks(0, SUPERSLAB_CHUNKS, 1, 0);
  NEED(run.first != CHUNK_NONE && limit_is_due());
}
static void who_watches_is_told_in_time(void **state) {
  (void)state;
  run_child_in_tree(watched);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_step_has_its_share_and_is_left_later),
      cmocka_unit_test(looks_are_due_by_time_and_by_growth),
      cmocka_unit_test(others_share_what_is_left),
      cmocka_unit_test(a_child_of_fork_shares_with_its_siblings),
      cmocka_unit_test(who_grows_goes_by_no_old_look),
      cmocka_unit_test(what_would_kill_is_refused),
      cmocka_unit_test(what_was_just_handed_out_counts),
      cmocka_unit_test(what_another_was_just_handed_counts_too),
      cmocka_unit_test(what_two_were_handed_counts_once_each),
      cmocka_unit_test(no_fork_copies_an_open_file),
      cmocka_unit_test(a_number_limits_our_own_bytes),
      cmocka_unit_test(stalls_count_before_any_limit),
      cmocka_unit_test(who_watches_is_told_in_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
