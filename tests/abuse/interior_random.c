/* Random interior pointers of each size class and of larger blocks: each is refused with the right
 * words. Arguments: operation, pointers a class. One child process a class. */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "abuse_catch.h"

size_t hak_good_size(size_t bytes) __attribute__((weak));

enum { OBJECT_COUNT = 64 };

static void check_class(const char *operation, size_t bytes, size_t pointer_count) {
  static char *objects[OBJECT_COUNT];
  /* Blocks behind the classes have no class to name. */
  int is_large = bytes > 32768;
  size_t object_count = is_large ? 4 : OBJECT_COUNT;
  for (size_t i = 0; i < object_count; i++) objects[i] = malloc(bytes);
  size_t usable_bytes = malloc_usable_size(objects[0]);
  for (size_t i = 0; i < pointer_count; i++) {
    char *object = objects[random_next() % object_count];
    char *inside = object + 1 + random_next() % (malloc_usable_size(object) - 1);
    catch_misuse(operation, inside, "interior pointer", NULL, is_large ? SIZE_MAX : usable_bytes);
  }
  for (size_t i = 0; i < object_count; i++) free(objects[i]);
}

static int run_in_child(const char *operation, size_t bytes, size_t pointer_count) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    random_state += bytes;
    catch_start();
    check_class(operation, bytes, pointer_count);
    _exit(0);
  }
  if (waitpid(child, &status, 0) != child) return 0;
  if (status != 0) fprintf(stderr, "%zu B: status %x\n", bytes, (unsigned)status);
  return status == 0;
}

int main(int argc, char **argv) {
  const char *operation = word_argument(argc, argv, 1);
  size_t pointer_count = size_argument(argc, argv, 2);
  static const size_t LARGE[] = {40000, 100000, 1 << 20, 3 << 20, 5 << 20, 64 << 20};
  int class_count = 0;
  int good = 1;
  if (hak_good_size == NULL) return 1;
  for (size_t bytes = 1; bytes <= 32768; bytes = hak_good_size(bytes) + 1, class_count++)
    good = run_in_child(operation, bytes, pointer_count) && good;
  for (size_t i = 0; i < sizeof LARGE / sizeof *LARGE; i++)
    good = run_in_child(operation, LARGE[i], pointer_count) && good;
  printf("%d classes, %zu pointers each\n", class_count, pointer_count);
  return good && class_count >= 20 ? 0 : 1;
}
