/* unit_tree.h — a folder that the twin takes for the root of /proc and /sys (HAKMEM_TWIN_ROOT).
 */
#ifndef UNIT_TREE_H
#define UNIT_TREE_H

#include "unit_child.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

static char tree[] = "/tmp/hakmem-tree-XXXXXX";

/* A file and the folders above it; text NULL: no such file any more. */
static inline void tree_put(const char *path, const char *text) {
  char whole[4096];
  snprintf(whole, sizeof whole, "%s%s", tree, path);
  if (text == NULL) {
    NEED(unlink(whole) == 0);
    return;
  }
  for (char *slash = whole + sizeof tree; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    NEED(mkdir(whole, 0755) == 0 || errno == EEXIST);
    *slash = '/';
  }
  FILE *file = fopen(whole, "w");
  NEED(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* The process is in a control group of version 2, with that limit and use. */
__attribute__((unused)) static void group_set(uint64_t limit_bytes, uint64_t used_bytes) {
  char text[32];
  tree_put("/proc/self/cgroup", "0::/\n");
  snprintf(text, sizeof text, "%llu\n", (unsigned long long)limit_bytes);
  tree_put("/sys/fs/cgroup/memory.max", text);
  snprintf(text, sizeof text, "%llu\n", (unsigned long long)used_bytes);
  tree_put("/sys/fs/cgroup/memory.current", text);
}

static inline int tree_remove_one(const char *path, const struct stat *unused, int kind,
                                  struct FTW *place) {
  (void)unused, (void)kind, (void)place;
  return remove(path);
}

/* fn in a child, with a tree of its own. */
static inline void run_child_in_tree(void (*fn)(void)) {
  snprintf(tree, sizeof tree, "/tmp/hakmem-tree-XXXXXX");
  assert_non_null(mkdtemp(tree));
  assert_int_equal(setenv("HAKMEM_TWIN_ROOT", tree, 1), 0);
  run_child(fn);
  assert_int_equal(unsetenv("HAKMEM_TWIN_ROOT"), 0);
  assert_int_equal(nftw(tree, tree_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
