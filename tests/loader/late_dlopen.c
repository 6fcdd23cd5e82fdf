/* The library is opened late, by a program that has its malloc already: both heaps work, also when
 * static TLS is all but used up, and dlclose does not unload it. Arguments: library, folder of the
 * TLS eaters (none: static TLS is left alone). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/check_that.h"

static void *(*late_malloc)(size_t);
static void (*late_free)(void *);
static void *(*late_realloc)(void *, size_t);

static void *use_late_heap(void *unused) {
  void *many[1000];
  for (size_t i = 0; i < 1000; i++) {
    many[i] = late_malloc(i * 11);
    CHECK_THAT(many[i] != NULL);
    memset(many[i], 1, i * 11);
  }
  for (size_t i = 0; i < 1000; i += 2) many[i] = late_realloc(many[i], 50000);
  for (size_t i = 0; i < 1000; i++) late_free(many[i]);
  free(malloc(100));
  return unused;
}

static void use_in_threads(void) {
  use_late_heap(NULL);
  for (size_t i = 0; i < 4; i++) {
    pthread_t thread;
    CHECK_THAT(pthread_create(&thread, NULL, use_late_heap, NULL) == 0);
    CHECK_THAT(pthread_join(thread, NULL) == 0);
  }
}

static pthread_barrier_t around_close;

/* Has a heap, and ends, with the library's destructor for it, when the library has been closed. */
static void *live_across_close(void *unused) {
  use_late_heap(NULL);
  (void)pthread_barrier_wait(&around_close);
  (void)pthread_barrier_wait(&around_close);
  return unused;
}

static void open_and_use(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  late_malloc = (void *(*)(size_t))dlsym(library, "hak_malloc");
  late_free = (void (*)(void *))dlsym(library, "hak_free");
  late_realloc = (void *(*)(void *, size_t))dlsym(library, "hak_realloc");
  CHECK_THAT(late_malloc != NULL && late_free != NULL && late_realloc != NULL);
  void *before = malloc(1000);
  use_in_threads();
  free(before);
  pthread_t thread;
  CHECK_THAT(pthread_barrier_init(&around_close, NULL, 2) == 0);
  CHECK_THAT(pthread_create(&thread, NULL, live_across_close, NULL) == 0);
  (void)pthread_barrier_wait(&around_close);
  CHECK_THAT(dlclose(library) == 0);
  (void)pthread_barrier_wait(&around_close);
  CHECK_THAT(pthread_join(thread, NULL) == 0);
  CHECK_THAT(dlopen(path, RTLD_NOW | RTLD_NOLOAD) != NULL);
  use_in_threads();
}

static int eater_loads(const char *folder, int bytes, char copy) {
  char path[4096];
  snprintf(path, sizeof path, "%s/libtls_eater_%d%c.so", folder, bytes, copy);
  return dlopen(path, RTLD_NOW) != NULL;
}

/* Loads static TLS blocks of falling size until not even one of `floor_bytes` fits. */
static int eat_static_tls(const char *folder, int floor_bytes) {
  int eaten_bytes = 0;
  for (int bytes = 1024; bytes >= floor_bytes; bytes /= 2) {
    if (eater_loads(folder, bytes, 'a')) eaten_bytes += bytes;
    if (eater_loads(folder, bytes, 'b')) eaten_bytes += bytes;
  }
  return eaten_bytes;
}

static int run_in_child(int (*body)(const char *, int, const char *), const char *folder,
                        int floor_bytes, const char *path) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) _exit(body(folder, floor_bytes, path));
  CHECK_THAT(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int is_room_for_eight(const char *folder, int floor_bytes, const char *path) {
  (void)path;
  eat_static_tls(folder, floor_bytes);
  return eater_loads(folder, 8, 'a');
}

static int open_after_eating(const char *folder, int floor_bytes, const char *path) {
  int eaten_bytes = eat_static_tls(folder, floor_bytes);
  CHECK_THAT(eaten_bytes >= 512);
  open_and_use(path);
  return 0;
}

int main(int argc, char **argv) {
  CHECK_THAT(argc >= 2);
  if (argc == 2) {
    open_and_use(argv[1]);
    return 0;
  }
  /* The tightest state in which 8 bytes still fit. */
  for (int floor_bytes = 8; floor_bytes <= 64; floor_bytes *= 2) {
    if (!run_in_child(is_room_for_eight, argv[2], floor_bytes, NULL)) continue;
    printf("blocks of %d B and more no longer fit\n", floor_bytes);
    return run_in_child(open_after_eating, argv[2], floor_bytes, argv[1]);
  }
  fputs("static TLS could not be brought near its end\n", stderr);
  return 1;
}
