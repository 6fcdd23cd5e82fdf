/* a-a and a-b-a in each size class: found at once. One forked child a case, so that a crash is
 * seen. The classes are what hak_good_size says. */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "abuse_catch.h"

size_t hak_good_size(size_t bytes) __attribute__((weak));

static void check_class(size_t bytes, int with_another) {
  void *a = malloc(bytes);
  void *b = malloc(bytes);
  size_t class_bytes = malloc_usable_size(a);
  free(a);
  if (with_another) free(b);
  catch_misuse("free", a, "double free", NULL, class_bytes);
}

static int run_in_child(size_t bytes, int with_another) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    catch_start();
    check_class(bytes, with_another);
    _exit(0);
  }
  if (waitpid(child, &status, 0) != child) return 0;
  if (status != 0)
    fprintf(stderr, "%zu B, %s: status %x\n", bytes, with_another ? "a-b-a" : "a-a",
            (unsigned)status);
  return status == 0;
}

int main(void) {
  int class_count = 0;
  int good = 1;
  if (hak_good_size == NULL) return 1;
  for (size_t bytes = 1; bytes <= 32768; bytes = hak_good_size(bytes) + 1) {
    good = run_in_child(bytes, 0) && good;
    good = run_in_child(bytes, 1) && good;
    class_count++;
  }
  printf("%d classes\n", class_count);
  return good && class_count >= 20 ? 0 : 1;
}
