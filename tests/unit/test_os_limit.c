/* test_os_limit.c — limits and stalls as a tree of files says them, on the twin; the machine's own
 * at the end.
 */
#define _GNU_SOURCE 1
#include "unit_tree.h"

#include <sys/resource.h>

#include "os_limit.h"

#define V1 "/sys/fs/cgroup/memory"
#define V2 "/sys/fs/cgroup"

static void nothing_there(void) {
  struct os_room room;
  struct os_stall stall = os_memory_stall();
  NEED(!os_group_room(&room));
  NEED(stall.some_percent == 0 && stall.full_percent == 0);
  struct rlimit limit = {1ul << 40, RLIM_INFINITY};
  NEED(setrlimit(RLIMIT_AS, &limit) == 0);
  NEED(!os_address_room(&room)); /* used is not known */
}
static void without_files_nothing_is_limited(void **state) {
  (void)state;
  run_child_in_tree(nothing_there);
}

static void version_2(void) {
  struct os_room room;
  tree_put("/proc/self/cgroup", "0::/a/b\n");
  tree_put(V2 "/a/b/memory.max", "max\n");
  tree_put(V2 "/a/b/memory.high", "max\n");
  tree_put(V2 "/a/b/memory.current", "4096\n");
  NEED(!os_group_room(&room));
  tree_put(V2 "/a/memory.max", "104857600\n"); /* the parent's is the limit */
  tree_put(V2 "/a/memory.current", "52428800\n");
  NEED(os_group_room(&room) && room.limit_bytes == 100 * MIB && room.used_bytes == 50 * MIB);
  NEED(room.deadly_limit_bytes == 100 * MIB && room.deadly_left_bytes == 50 * MIB);
  tree_put(V2 "/a/memory.stat", "anon 1\nfile 12582912\nshmem 1048576\n"
                                "inactive_file 9437184\nactive_file 1048576\n");
  NEED(os_group_room(&room) && room.used_bytes == 40 * MIB);
  tree_put(V2 "/a/b/memory.max", "44040192\n"); /* 42 MiB, nearer */
  NEED(os_group_room(&room) && room.limit_bytes == 42 * MIB && room.used_bytes == 4096);
  tree_put(V2 "/a/b/memory.high", "8192\n"); /* throttles, does not kill */
  NEED(os_group_room(&room) && room.limit_bytes == 8192 && room.used_bytes == 4096);
  NEED(room.deadly_limit_bytes == 42 * MIB); /* and hides none that does */
  NEED(room.deadly_left_bytes == 42 * MIB - 4096);
  tree_put(V2 "/a/memory.current", "106954752\n"); /* 102 MiB, of files 10: 8 are left */
  NEED(os_group_room(&room) && room.limit_bytes == 8192);
  NEED(room.deadly_limit_bytes == 100 * MIB && room.deadly_left_bytes == 8 * MIB);
}
static void version_2_has_the_nearest_of_all_above(void **state) {
  (void)state;
  run_child_in_tree(version_2);
}

static void version_1(void) {
  struct os_room room;
  tree_put("/proc/self/cgroup", "5:cpu,memoryx:/x\n4:hugetlb,memory,pids:/g\n0::/\n");
  tree_put(V1 "/g/memory.limit_in_bytes", "9223372036854771712\n");
  tree_put(V1 "/g/memory.usage_in_bytes", "1\n");
  NEED(!os_group_room(&room));
  tree_put(V1 "/g/memory.limit_in_bytes", "67108864\n");
  tree_put(V1 "/g/memory.usage_in_bytes", "33554432\n");
  tree_put(V1 "/g/memory.stat",
           "cache 9\ninactive_file 99\ntotal_cache 1048576\ntotal_inactive_file 1048576\n");
  NEED(os_group_room(&room) && room.limit_bytes == 64 * MIB && room.used_bytes == 31 * MIB);
  NEED(room.deadly_limit_bytes == 64 * MIB);
  tree_put(V1 "/g/memory.usage_in_bytes", "4\n"); /* less than what is reclaimable: they race */
  NEED(os_group_room(&room) && room.used_bytes == 0);
}
static void version_1_is_found_by_its_controller(void **state) {
  (void)state;
  run_child_in_tree(version_1);
}

/* Pages without a file are on the files' lists after MADV_FREE, free or in use again. */
static void freed_lazily(void) {
  struct os_room room;
  tree_put("/proc/self/cgroup", "0::/\n");
  tree_put(V2 "/memory.max", "104857600\n");
  tree_put(V2 "/memory.current", "94371840\n"); /* 90 MiB */
  tree_put(V2 "/memory.stat", "anon 90000000\nfile 3145728\nshmem 1048576\n"
                              "inactive_file 83886080\nactive_file 1048576\n");
  NEED(os_group_room(&room) && room.used_bytes == 88 * MIB);
  tree_put("/proc/self/cgroup", "4:memory:/\n");
  tree_put(V1 "/memory.limit_in_bytes", "104857600\n");
  tree_put(V1 "/memory.usage_in_bytes", "94371840\n");
  tree_put(V1 "/memory.stat", "cache 1\nshmem 1\ntotal_cache 3145728\ntotal_shmem 1048576\n"
                              "total_inactive_file 83886080\ntotal_active_file 1048576\n");
  NEED(os_group_room(&room) && room.used_bytes == 88 * MIB);
  NEED(room.deadly_left_bytes == 12 * MIB);
}
static void what_has_no_file_is_in_use(void **state) {
  (void)state;
  run_child_in_tree(freed_lazily);
}

/* A container sees its own group as the root, and the host's path. */
static void container(void) {
  struct os_room room;
  tree_put("/proc/self/cgroup", "4:memory:/docker/0123\n");
  tree_put(V1 "/memory.limit_in_bytes", "1048576\n");
  tree_put(V1 "/memory.usage_in_bytes", "2097152\n");
  NEED(os_group_room(&room) && room.limit_bytes == MIB && room.used_bytes == 2 * MIB);
  char line[3000] = "4:memory:/"; /* longer than any path that is looked at */
  memset(line + strlen(line), 'x', 1500);
  tree_put("/proc/self/cgroup", strcat(line, "\n"));
  NEED(os_group_room(&room) && room.limit_bytes == MIB);
  char lines[4000] = ""; /* more than is read, before its line */
  for (int i = 0; i < 30; i++) {
    strcat(lines, "9:cpu:/");
    memset(lines + strlen(lines), 'y', 100);
    strcat(lines, "\n");
  }
  tree_put("/proc/self/cgroup", strcat(lines, "4:memory:/docker/0123\n"));
  NEED(os_group_room(&room) && room.limit_bytes == MIB);
}
static void what_is_not_there_has_a_parent(void **state) {
  (void)state;
  run_child_in_tree(container);
}

static void swap(void) {
  struct os_room room;
  tree_put("/proc/self/cgroup", "0::/\n");
  tree_put(V2 "/memory.max", "1048576\n");
  tree_put(V2 "/memory.current", "1048576\n");
  tree_put("/proc/meminfo", "MemTotal:  9 kB\nSwapTotal:  9 kB\nSwapFree:   12 kB\n");
  NEED(os_group_room(&room) && room.deadly_limit_bytes == 0);
  tree_put(V2 "/memory.swap.max", "0\n");
  NEED(os_group_room(&room) && room.deadly_limit_bytes != 0);
  tree_put(V2 "/memory.swap.max", "max\n");
  NEED(os_group_room(&room) && room.deadly_limit_bytes == 0);
  tree_put("/proc/self/cgroup", "0::/g\n"); /* every group above has a say */
  tree_put(V2 "/g/memory.swap.max", "0\n");
  NEED(os_group_room(&room) && room.deadly_limit_bytes != 0);
  tree_put("/proc/self/cgroup", "0::/\n");
  NEED(os_group_room(&room) && room.deadly_limit_bytes == 0);
  tree_put("/proc/meminfo", "SwapFree:   0 kB\n");
  NEED(os_group_room(&room) && room.deadly_limit_bytes != 0);
}
static void who_can_swap_is_not_killed(void **state) {
  (void)state;
  run_child_in_tree(swap);
}

static void malformed(void) {
  static const char *const texts[] = {
      "", "\n", ":", "4:", "4:memory", "4:memory:", "x", "0::", "0:memory", "::", "\n\n::\n"};
  struct os_room room;
  for (size_t i = 0; i < HAK_COUNT_OF(texts); i++) {
    tree_put("/proc/self/cgroup", texts[i]);
    NEED(!os_group_room(&room));
  }
  static const char *const numbers[] = {"", "-1", "x", "99999999999999999999999", " 5"};
  tree_put("/proc/self/cgroup", "0::/\n");
  tree_put(V2 "/memory.current", "1\n");
  for (size_t i = 0; i < HAK_COUNT_OF(numbers); i++) {
    tree_put(V2 "/memory.max", numbers[i]);
    NEED(!os_group_room(&room));
    tree_put("/proc/pressure/memory", numbers[i]);
    NEED(os_memory_stall().some_percent == 0);
  }
}
static void nonsense_is_no_limit(void **state) {
  (void)state;
  run_child_in_tree(malformed);
}

static void stalls(void) {
  tree_put("/proc/pressure/memory", "some avg10=12.34 avg60=1.00 avg300=0.00 total=9\n"
                                    "full avg10=3.00 avg60=0.00 avg300=0.00 total=1\n");
  struct os_stall stall = os_memory_stall();
  NEED(stall.some_percent == 12 && stall.full_percent == 3);
  tree_put("/proc/self/cgroup", "0::/g\n"); /* the group's own before the machine's */
  tree_put(V2 "/g/memory.pressure", "some avg10=0.99 avg60=1.00 avg300=0.00 total=9\n");
  stall = os_memory_stall();
  NEED(stall.some_percent == 0 && stall.full_percent == 0);
  tree_put(V2 "/g/memory.pressure", NULL);
  NEED(os_memory_stall().some_percent == 12);
}
static void stalls_are_the_groups_or_the_machines(void **state) {
  (void)state;
  run_child_in_tree(stalls);
}

/* Of this very process: no tree. */
static void own(void) {
  struct os_room room;
  struct rlimit limit = {1ul << 46, RLIM_INFINITY};
  NEED(setrlimit(RLIMIT_AS, &limit) == 0);
  NEED(os_address_room(&room) && room.limit_bytes == limit.rlim_cur);
  NEED(room.used_bytes > MIB && room.used_bytes < room.limit_bytes && room.deadly_limit_bytes == 0);
  uint64_t before = room.used_bytes;
  void *more = os_map(64 * MIB);
  NEED(more != NULL && os_address_room(&room) && room.used_bytes >= before + 64 * MIB);
}
static void address_space_is_what_the_kernel_says(void **state) {
  (void)state;
  if (UNIT_SANITIZED) skip(); /* they have taken more already */
  run_child(own);
}

int main(void) {
  os_mem_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_files_nothing_is_limited),
      cmocka_unit_test(version_2_has_the_nearest_of_all_above),
      cmocka_unit_test(version_1_is_found_by_its_controller),
      cmocka_unit_test(what_has_no_file_is_in_use),
      cmocka_unit_test(what_is_not_there_has_a_parent),
      cmocka_unit_test(who_can_swap_is_not_killed),
      cmocka_unit_test(nonsense_is_no_limit),
      cmocka_unit_test(stalls_are_the_groups_or_the_machines),
      cmocka_unit_test(address_space_is_what_the_kernel_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
