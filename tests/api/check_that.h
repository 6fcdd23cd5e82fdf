/* check_that.h: a test program's checks; the first that fails is named and ends it with status 1.
 * They hold no state and allocate nothing before they fail. C and C++. */
#ifndef CHECK_THAT_H
#define CHECK_THAT_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_THAT(condition)                                                                      \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                              \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

#define CHECK_SAME(a, b)                                                                           \
  do {                                                                                             \
    size_t a_ = (a);                                                                               \
    size_t b_ = (b);                                                                               \
    if (a_ != b_) {                                                                                \
      fprintf(stderr, "%s:%d: %s is %zu, %s is %zu\n", __FILE__, __LINE__, #a, a_, #b, b_);        \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

#endif
