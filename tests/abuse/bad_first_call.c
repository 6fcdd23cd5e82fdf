/* A wild pointer as the very first call of a process and of a thread. Arguments: operation, where.
 */
#include <pthread.h>

#include "abuse.h"

static const char *operation;

static void *misuse_it(void *p) {
  misuse(operation, p);
  return NULL;
}

int main(int argc, char **argv) {
  static _Alignas(64) char variable[64];
  pthread_t thread;
  operation = word_argument(argc, argv, 1);
  announce(variable, 0);
  if (strcmp(word_argument(argc, argv, 2), "process") == 0) {
    misuse_it(variable);
    return 0;
  }
  if (pthread_create(&thread, NULL, misuse_it, variable) != 0) return 2;
  pthread_join(thread, NULL);
  return 0;
}
