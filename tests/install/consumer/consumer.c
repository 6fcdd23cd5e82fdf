// A user's program: allocates through malloc, and asks hakmem whether it knows the result.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hakmem.h>

enum { COUNT = 5000 };

int main(void) {
  static char *kept[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    kept[i] = malloc(i + 1);
    if (kept[i] == NULL || hak_malloc_usable_size(kept[i]) < i + 1) {
      fprintf(stderr, "malloc(%zu) is not hakmem's\n", i + 1);
      return 1;
    }
    memset(kept[i], (int)i, i + 1);
  }
  for (size_t i = 0; i < COUNT; i++) {
    if (kept[i][i] != (char)i) {
      fprintf(stderr, "object %zu has changed\n", i);
      return 1;
    }
    free(kept[i]);
  }
  printf("hakmem %s\n", hak_version());
  return 0;
}
