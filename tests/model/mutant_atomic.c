/* mutant_atomic.c — which access goes wrong in a unit test (mutant_atomic.h): the file `mutant` in
 * the working folder names it, for the process and all that it starts.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mutant_atomic.h"

enum { WINDOW_YIELDS = 20 };

/* The linker's names; weak: a program may have no access at all. */
extern const struct mutant_place __start_mutant_places[] __attribute__((weak));
extern const struct mutant_place __stop_mutant_places[] __attribute__((weak));

long mutant_line = MUTANT_NO_LINE;
unsigned long mutant_bits;
static const char *mutant_file, *mutant_operand;
static const char *mark; /* a file to make once the access is reached: a script wants to know */

static const char *base_name(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash == NULL ? file : slash + 1;
}

static void list_places(void) {
  for (const struct mutant_place *at = __start_mutant_places; at != __stop_mutant_places; at++)
    printf("%s:%ld:%s:%s\n", base_name(at->file), at->line, at->access, at->operand);
  exit(0);
}

/* file:line:kind:operand, as the model has it (model_memory.c). The access says itself what going
 * wrong is, but that it stays right where only its order is to go: the processors that run this
 * need not show the difference. */
static void parse(const char *text) {
  static char file[64], kind[16], operand[128];
  long line;
  if (sscanf(text, "%63[^:]:%ld:%15[^:]:%127[^\n]", file, &line, kind, operand) != 4) {
    fprintf(stderr, "mutant: %s: expected file:line:kind:operand\n", text);
    exit(2);
  }
  if (strcmp(kind, "relaxed") == 0) return;
  if (strcmp(kind, "ones") == 0) mutant_bits = ~0ul;
  mutant_file = file;
  mutant_operand = operand;
  mutant_line = line;
}

/* Before the first call of the allocator, which a test makes in .preinit_array too, but behind
 * this: the linker has this file first. Not by the environment: tests make their children's own. */
static void mutant_init(void) {
  static char text[256];
  int fd = open("mutant", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  text[length < 0 ? 0 : length] = '\0';
  parse(text);
}
__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = mutant_init;

/* For the script: libc has an environment now. */
__attribute__((constructor(101))) static void script_init(void) {
  if (getenv("MUTANT_LIST") != NULL) list_places();
  mark = getenv("MUTANT_MARK");
}

_Bool mutant_is_here(const struct mutant_place *at) {
  if (strcmp(base_name(at->file), mutant_file) != 0) return 0;
  if (strcmp(at->operand, mutant_operand) != 0) return 0;
  if (mark != NULL) {
    int fd = open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
  }
  return 1;
}

void mutant_window(void) {
  for (int i = 0; i < WINDOW_YIELDS; i++) sched_yield();
}
