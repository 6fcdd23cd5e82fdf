/* Memory that the program mapped itself. Arguments: operation, bytes. */
#include <sys/mman.h>

#include "abuse.h"

int main(int argc, char **argv) {
  size_t bytes = size_argument(argc, argv, 2);
  free(malloc(100));
  char *a = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (a == MAP_FAILED) return 2;
  announce(a, 0);
  misuse(word_argument(argc, argv, 1), a);
  return a[0];
}
