/* A library that registers fork handlers in its constructor, before main and with no allocation
 * before: what a mutex protects shall be whole in the child. Its child handler allocates. */
#include <pthread.h>
#include <stdlib.h>

pthread_mutex_t fork_library_mutex = PTHREAD_MUTEX_INITIALIZER;

static void prepare(void) { pthread_mutex_lock(&fork_library_mutex); }
static void parent(void) { pthread_mutex_unlock(&fork_library_mutex); }
static void child(void) {
  enum { OBJECTS = 64 };
  void *volatile object[OBJECTS];
  for (size_t i = 0; i < OBJECTS; i++) object[i] = malloc(5000);
  for (size_t i = 0; i < OBJECTS; i++) free(object[i]);
  pthread_mutex_unlock(&fork_library_mutex);
}

__attribute__((constructor)) static void begin(void) { pthread_atfork(prepare, parent, child); }
