/* Each entry point as the first call of a new thread, and with an argument as the first call of the
 * process. The C++ operators are called by their linker names. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/check_that.h"

void free_sized(void *p, size_t bytes) __attribute__((weak));
void free_aligned_sized(void *p, size_t alignment, size_t bytes) __attribute__((weak));
void *hak_malloc(size_t bytes) __attribute__((weak));
void hak_free(void *p) __attribute__((weak));
size_t hak_good_size(size_t bytes) __attribute__((weak));
struct mallinfo2 hak_mallinfo2(void) __attribute__((weak));
void *libc_malloc(size_t bytes) __asm__("__libc_malloc");
void *libc_calloc(size_t count, size_t bytes) __asm__("__libc_calloc");
void *libc_realloc(void *p, size_t bytes) __asm__("__libc_realloc");
void *libc_memalign(size_t alignment, size_t bytes) __asm__("__libc_memalign");
void libc_free(void *p) __asm__("__libc_free");
void *operator_new(size_t bytes) __asm__("_Znwm") __attribute__((weak));
void *operator_new_aligned(size_t bytes, size_t alignment) __asm__("_ZnwmSt11align_val_t")
    __attribute__((weak));
void *operator_new_nothrow(size_t bytes, const void *tag) __asm__("_ZnwmRKSt9nothrow_t")
    __attribute__((weak));
void operator_delete(void *p) __asm__("_ZdlPv") __attribute__((weak));
void operator_delete_sized(void *p, size_t bytes) __asm__("_ZdlPvm") __attribute__((weak));

static void *prepared; /* an object of the main thread, for the calls that take one */
static FILE *sink;

static void keep(void *p) {
  CHECK_THAT(p != NULL);
  memset(p, 1, 100);
  free(p);
}

static void first_malloc(void) { keep(malloc(100)); }
static void first_malloc_large(void) { keep(malloc(100000)); }
static void first_malloc_huge(void) { keep(malloc(10 << 20)); }
static void first_malloc_zero(void) { free(malloc(0)); }
static void first_calloc(void) { keep(calloc(10, 10)); }
static void first_realloc_null(void) { keep(realloc(NULL, 100)); }
static void first_realloc(void) { keep(realloc(prepared, 5000)); }
static void first_realloc_shrink(void) { keep(realloc(prepared, 100)); }
static void first_realloc_zero(void) { CHECK_THAT(realloc(prepared, 0) == NULL); }
static void first_reallocarray(void) { keep(reallocarray(prepared, 30, 100)); }
static void first_free(void) { free(prepared); }
static void first_free_null(void) { free(NULL); }
static void first_free_sized(void) { free_sized(prepared, 200); }
static void first_free_aligned_sized(void) { free_aligned_sized(prepared, 16, 200); }
static void first_aligned_alloc(void) { keep(aligned_alloc(64, 128)); }
static void first_posix_memalign(void) {
  void *p = NULL;
  CHECK_THAT(posix_memalign(&p, 4096, 100) == 0);
  keep(p);
}
static void first_memalign(void) { keep(memalign(1 << 20, 100)); }
static void first_valloc(void) { keep(valloc(100)); }
static void first_pvalloc(void) { keep(pvalloc(100)); }
static void first_usable_size(void) { CHECK_THAT(malloc_usable_size(prepared) >= 200); }
static void first_usable_size_null(void) { CHECK_THAT(malloc_usable_size(NULL) == 0); }
static void first_trim(void) { CHECK_THAT((unsigned)malloc_trim(0) <= 1); }
static void first_mallinfo2(void) { CHECK_THAT(mallinfo2().uordblks <= mallinfo2().arena); }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void first_mallinfo(void) { CHECK_THAT(mallinfo().uordblks >= 0); }
#pragma GCC diagnostic pop
static void first_malloc_info(void) { CHECK_THAT(malloc_info(0, sink) == 0); }
static void first_malloc_stats(void) { malloc_stats(); }
static void first_mallopt(void) { CHECK_THAT(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1); }
static void first_libc_malloc(void) { keep(libc_malloc(100)); }
static void first_libc_calloc(void) { keep(libc_calloc(1, 100)); }
static void first_libc_realloc(void) { keep(libc_realloc(NULL, 100)); }
static void first_libc_memalign(void) { keep(libc_memalign(64, 100)); }
static void first_libc_free(void) { libc_free(prepared); }
static void first_new(void) { keep(operator_new(100)); }
static void first_new_aligned(void) { keep(operator_new_aligned(100, 64)); }
static void first_new_nothrow(void) { keep(operator_new_nothrow(100, "")); }
static void first_delete(void) { operator_delete(prepared); }
static void first_delete_sized(void) { operator_delete_sized(prepared, 200); }
static void first_hak_malloc(void) { keep(hak_malloc(100)); }
static void first_hak_free(void) { hak_free(prepared); }
static void first_hak_good_size(void) { CHECK_THAT(hak_good_size(100) >= 100); }
static void first_hak_mallinfo2(void) {
  CHECK_THAT(hak_mallinfo2().arena >= hak_mallinfo2().uordblks);
}

struct entry {
  const char *name;
  void (*call)(void);
  int takes_object; /* uses the prepared object */
  int consumes;     /* and it is gone afterwards */
};

#define ENTRY(name, takes, consumes)                                                               \
  { #name, first_##name, takes, consumes }
static const struct entry ENTRIES[] = {
    ENTRY(malloc, 0, 0),
    ENTRY(malloc_large, 0, 0),
    ENTRY(malloc_huge, 0, 0),
    ENTRY(malloc_zero, 0, 0),
    ENTRY(calloc, 0, 0),
    ENTRY(realloc_null, 0, 0),
    ENTRY(realloc, 1, 1),
    ENTRY(realloc_shrink, 1, 1),
    ENTRY(realloc_zero, 1, 1),
    ENTRY(reallocarray, 1, 1),
    ENTRY(free, 1, 1),
    ENTRY(free_null, 0, 0),
    ENTRY(free_sized, 1, 1),
    ENTRY(free_aligned_sized, 1, 1),
    ENTRY(aligned_alloc, 0, 0),
    ENTRY(posix_memalign, 0, 0),
    ENTRY(memalign, 0, 0),
    ENTRY(valloc, 0, 0),
    ENTRY(pvalloc, 0, 0),
    ENTRY(usable_size, 1, 0),
    ENTRY(usable_size_null, 0, 0),
    ENTRY(trim, 0, 0),
    ENTRY(mallinfo2, 0, 0),
    ENTRY(mallinfo, 0, 0),
    ENTRY(malloc_info, 0, 0),
    ENTRY(malloc_stats, 0, 0),
    ENTRY(mallopt, 0, 0),
    ENTRY(libc_malloc, 0, 0),
    ENTRY(libc_calloc, 0, 0),
    ENTRY(libc_realloc, 0, 0),
    ENTRY(libc_memalign, 0, 0),
    ENTRY(libc_free, 1, 1),
    ENTRY(new, 0, 0),
    ENTRY(new_aligned, 0, 0),
    ENTRY(new_nothrow, 0, 0),
    ENTRY(delete, 1, 1),
    ENTRY(delete_sized, 1, 1),
    ENTRY(hak_malloc, 0, 0),
    ENTRY(hak_free, 1, 1),
    ENTRY(hak_good_size, 0, 0),
    ENTRY(hak_mallinfo2, 0, 0),
};
#define ENTRY_COUNT (sizeof ENTRIES / sizeof *ENTRIES)

static void *thread_body(void *argument) {
  const struct entry *entry = argument;
  entry->call();
  return NULL;
}

static void *thread_body_twice(void *argument) {
  thread_body(argument);
  keep(malloc(100));
  return NULL;
}

static void run_in_thread(const struct entry *entry, void *(*body)(void *)) {
  pthread_t thread;
  if (entry->takes_object) prepared = malloc(200);
  CHECK_THAT(pthread_create(&thread, NULL, body, (void *)entry) == 0);
  CHECK_THAT(pthread_join(thread, NULL) == 0);
  if (entry->takes_object && !entry->consumes) free(prepared);
}

/* Without an argument each entry in threads; "list" names those that need no object, and a name
 * makes that one the first call of the process. */
int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "list") == 0) {
    for (size_t i = 0; i < ENTRY_COUNT; i++)
      if (!ENTRIES[i].takes_object && ENTRIES[i].call != first_malloc_info) puts(ENTRIES[i].name);
    return 0;
  }
  if (argc > 1) {
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
      if (strcmp(argv[1], ENTRIES[i].name) != 0) continue;
      ENTRIES[i].call();
      keep(malloc(100));
      return 0;
    }
    return 2;
  }
  CHECK_THAT(free_sized != NULL && operator_new != NULL && hak_malloc != NULL);
  sink = fopen("/dev/null", "w");
  CHECK_THAT(sink != NULL);
  for (size_t i = 0; i < ENTRY_COUNT; i++) {
    run_in_thread(&ENTRIES[i], thread_body);
    run_in_thread(&ENTRIES[i], thread_body_twice);
  }
  fclose(sink);
  printf("%zu entries\n", ENTRY_COUNT);
  return 0;
}
