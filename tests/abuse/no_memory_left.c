/* The message needs no memory: RLIMIT_AS is what the process has already. Argument: double or wild.
 */
#include <sys/resource.h>

#include "abuse.h"

int main(int argc, char **argv) {
  static _Alignas(64) char variable[64];
  const char *kind = word_argument(argc, argv, 1);
  struct rlimit limit = {0, 0};
  void *a = malloc(100);
  FILE *statm = fopen("/proc/self/statm", "r");
  unsigned long pages = 0;
  if (statm == NULL || fscanf(statm, "%lu", &pages) != 1) return 2;
  fclose(statm);
  limit.rlim_cur = limit.rlim_max = pages * (unsigned long)sysconf(_SC_PAGESIZE);
  if (strcmp(kind, "double") == 0)
    announce(a, malloc_usable_size(a));
  else
    announce(variable, 0);
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
  free(a);
  free(opaque(strcmp(kind, "double") == 0 ? (char *)a : variable));
  return 0;
}
