/* A pointer of another allocator: the malloc of a second C library, which dlmopen loaded.
 * Arguments: operation, bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "abuse.h"

int main(int argc, char **argv) {
  void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  if (library == NULL) return 2;
  void *(*their_malloc)(size_t) = (void *(*)(size_t))dlsym(library, "malloc");
  if (their_malloc == NULL || their_malloc == malloc) return 2;
  void *a = their_malloc(size_argument(argc, argv, 2));
  announce(a, 0);
  misuse(word_argument(argc, argv, 1), a);
  return 0;
}
