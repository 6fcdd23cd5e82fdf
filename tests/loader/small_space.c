/* Under ulimit -v 65536: the program starts, gets most of the space, sees ENOMEM at the end of it,
 * and after it has freed all gets as much again. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "api/check_that.h"

struct node {
  struct node *next;
};

static size_t fill(struct node **list, size_t bytes) {
  size_t got_bytes = 0;
  for (;;) {
    errno = 0;
    struct node *node = malloc(bytes);
    if (node == NULL) {
      CHECK_THAT(errno == ENOMEM);
      return got_bytes;
    }
    memset(node, 1, bytes);
    node->next = *list;
    *list = node;
    got_bytes += bytes;
  }
}

/* Sized, where the library has it: what is served from elsewhere in a small space must pass. */
void free_sized(void *p, size_t n) __attribute__((weak));

static void drain(struct node **list, size_t bytes) {
  while (*list != NULL) {
    struct node *next = (*list)->next;
    if (free_sized != NULL) {
      free_sized(*list, bytes);
    } else {
      free(*list);
    }
    *list = next;
  }
}

int main(void) {
  static const size_t SIZES[] = {64, 1000, 9000, 20000, 200000, 3 << 20};
  struct rlimit limit;
  CHECK_THAT(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur == 65536ul * 1024);
  struct node *list = NULL;
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    size_t first_bytes = fill(&list, SIZES[i]);
    drain(&list, SIZES[i]);
    malloc_trim(0);
    size_t second_bytes = fill(&list, SIZES[i]);
    drain(&list, SIZES[i]);
    malloc_trim(0);
    printf("%zu B: %zu KiB, then %zu KiB\n", SIZES[i], first_bytes >> 10, second_bytes >> 10);
    CHECK_THAT(first_bytes >= (size_t)40 << 20);
    CHECK_THAT(second_bytes >= first_bytes / 100 * 99);
  }
  return 0;
}
