/* malloc and free when all is nearly over: in atexit handlers, destructors, destructors of
 * thread_local objects and of pthread keys, in each of the rounds that they get; in a thread that
 * ends by pthread_exit, in the main thread and after main has left by pthread_exit. Each place
 * frees what an earlier one allocated. */
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/check_that.h"

/* What C++ registers for a thread_local with a destructor. */
int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

enum { KEY_COUNT = 8, BLOCK_COUNT = 200 };

struct bundle {
  char *blocks[BLOCK_COUNT];
  pthread_key_t key;
  int rounds_left;
};

static pthread_key_t keys[KEY_COUNT];
static int key_rounds;
static int tls_destructors;

static struct bundle *bundle_new(void) {
  struct bundle *bundle = malloc(sizeof *bundle);
  CHECK_THAT(bundle != NULL);
  for (size_t i = 0; i < BLOCK_COUNT; i++) {
    bundle->blocks[i] = malloc(i * 23 + 1);
    CHECK_THAT(bundle->blocks[i] != NULL);
    memset(bundle->blocks[i], (int)i, i * 23 + 1);
  }
  return bundle;
}

static void bundle_delete(struct bundle *bundle) {
  for (size_t i = 0; i < BLOCK_COUNT; i++) {
    CHECK_THAT(bundle->blocks[i][i * 23] == (char)i);
    free(bundle->blocks[i]);
  }
  free(bundle);
}

static void key_destructor(void *value) {
  struct bundle *old = value;
  __atomic_add_fetch(&key_rounds, 1, __ATOMIC_RELAXED);
  if (old->rounds_left > 0) {
    struct bundle *next = bundle_new();
    next->key = old->key;
    next->rounds_left = old->rounds_left - 1;
    CHECK_THAT(pthread_setspecific(old->key, next) == 0);
  }
  bundle_delete(old);
}

static void tls_destructor(void *value) {
  __atomic_add_fetch(&tls_destructors, 1, __ATOMIC_RELAXED);
  bundle_delete(value);
  bundle_delete(bundle_new());
}

static void arm_thread(void) {
  for (size_t i = 0; i < KEY_COUNT; i++) {
    struct bundle *bundle = bundle_new();
    bundle->key = keys[i];
    bundle->rounds_left = PTHREAD_DESTRUCTOR_ITERATIONS - 1;
    CHECK_THAT(pthread_setspecific(keys[i], bundle) == 0);
  }
  CHECK_THAT(__cxa_thread_atexit_impl(tls_destructor, bundle_new(), &__dso_handle) == 0);
}

static void *thread_body(void *leaves_by_exit) {
  arm_thread();
  bundle_delete(bundle_new());
  if (leaves_by_exit != NULL) pthread_exit(NULL);
  return bundle_new();
}

static struct bundle *for_atexit;
static struct bundle *for_destructor;

static void at_exit(void) {
  bundle_delete(for_atexit);
  for_destructor = bundle_new();
}

__attribute__((destructor)) static void destruct(void) {
  static const char LAST_WORDS[] = "the end\n";
  bundle_delete(for_destructor);
  bundle_delete(bundle_new());
  if (write(STDOUT_FILENO, LAST_WORDS, sizeof LAST_WORDS - 1) < 0) _exit(1);
}

static pthread_t main_thread;

static void *outlive_main(void *unused) {
  CHECK_THAT(pthread_join(main_thread, NULL) == 0);
  bundle_delete(bundle_new());
  exit(0);
  return unused;
}

int main(int argc, char **argv) {
  for (size_t i = 0; i < KEY_COUNT; i++)
    CHECK_THAT(pthread_key_create(&keys[i], key_destructor) == 0);
  for_atexit = bundle_new();
  CHECK_THAT(atexit(at_exit) == 0);
  for (uintptr_t i = 0; i < 40; i++) {
    pthread_t thread;
    void *result = NULL;
    CHECK_THAT(pthread_create(&thread, NULL, thread_body, (void *)(i % 2)) == 0);
    CHECK_THAT(pthread_join(thread, &result) == 0);
    if (i % 2 == 0) bundle_delete(result);
  }
  CHECK_SAME((size_t)key_rounds, 40 * KEY_COUNT * PTHREAD_DESTRUCTOR_ITERATIONS);
  CHECK_SAME((size_t)tls_destructors, 40);
  arm_thread();
  if (argc > 1 && strcmp(argv[1], "pthread_exit") == 0) {
    pthread_t thread;
    main_thread = pthread_self();
    CHECK_THAT(pthread_create(&thread, NULL, outlive_main, NULL) == 0);
    pthread_exit(NULL);
  }
  return 0;
}
