/* Two threads free the same object. Found when the owner has taken its mail and flushed, at the
 * latest. Argument: owner-first, other-first, or others (two threads, neither of them the owner).
 */
#include <pthread.h>

#include "abuse.h"

static void *free_it(void *p) {
  free(p);
  return NULL;
}

static void free_in_another_thread(void *p) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, free_it, p) != 0) exit(2);
  pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
  const char *order = word_argument(argc, argv, 1);
  enum { BYTES = 64 };
  void *a = malloc(BYTES);
  announce(a, malloc_usable_size(a));
  if (strcmp(order, "owner-first") == 0) {
    free(a);
    free_in_another_thread(opaque(a));
  } else if (strcmp(order, "other-first") == 0) {
    free_in_another_thread(opaque(a));
    free(opaque(a));
  } else {
    free_in_another_thread(opaque(a));
    free_in_another_thread(opaque(a));
  }
  churn(BYTES);
  return 0;
}
