/* The start, the middle and the end of each mapping of the process but the one that holds our
 * objects: code, data, stack, vdso, the library's own metadata. None may be freed, none may crash.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/wait.h>

#include "abuse_catch.h"

enum { MAPPINGS_MAX = 512 };

struct mapping {
  uintptr_t from, to;
};

static struct mapping mappings[MAPPINGS_MAX];
static char text[256 << 10];

/* Read without stdio: it would allocate, and the list would change while it is read. */
static size_t mappings_read(void) {
  size_t length = 0;
  size_t count = 0;
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) exit(2);
  for (;;) {
    ssize_t got = read(fd, text + length, sizeof text - 1 - length);
    if (got <= 0) break;
    length += (size_t)got;
  }
  close(fd);
  text[length] = '\0';
  for (char *line = text; *line != '\0' && count < MAPPINGS_MAX; line = strchr(line, '\n') + 1) {
    char *dash = NULL;
    mappings[count].from = strtoull(line, &dash, 16);
    mappings[count].to = strtoull(dash + 1, NULL, 16);
    count++;
  }
  return count;
}

static int run_in_child(uintptr_t address) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    catch_start();
    catch_misuse("free", (void *)address, "invalid free", NULL, 0);
    catch_misuse("realloc", (void *)address, "invalid realloc", NULL, 0);
    catch_misuse("usable", (void *)address, "invalid usable_size", NULL, 0);
    _exit(0);
  }
  return waitpid(child, &status, 0) == child && status == 0;
}

static int is_ours(const struct mapping *mapping, void *const *objects, size_t count) {
  for (size_t i = 0; i < count; i++)
    if ((uintptr_t)objects[i] >= mapping->from && (uintptr_t)objects[i] < mapping->to) return 1;
  return 0;
}

int main(void) {
  void *objects[] = {malloc(16), malloc(500), malloc(9000), malloc(100000), malloc(5 << 20)};
  size_t object_count = sizeof objects / sizeof *objects;
  size_t count = mappings_read();
  size_t tried = 0;
  int good = 1;
  for (size_t i = 0; i < count; i++) {
    const struct mapping *mapping = &mappings[i];
    if (is_ours(mapping, objects, object_count)) continue;
    uintptr_t middle = (mapping->from + (mapping->to - mapping->from) / 2) & ~(uintptr_t)15;
    uintptr_t addresses[] = {mapping->from, mapping->from + 64, middle, mapping->to - 16};
    for (size_t j = 0; j < 4; j++, tried++) good = run_in_child(addresses[j]) && good;
  }
  for (size_t i = 0; i < object_count; i++) free(objects[i]);
  printf("%zu addresses in %zu mappings\n", tried, count);
  return good && tried >= 40 ? 0 : 1;
}
