/* abuse_catch.h: misuses without number in one process. A handler of SIGABRT jumps out of abort(),
 * which the C library allows, and stderr is a pipe, so that the message of each is seen. As few
 * system calls as can be: a long run makes a hundred million misuses.
 * Only for misuses that are found in free itself, before the library takes a lock. */
#ifndef ABUSE_CATCH_H
#define ABUSE_CATCH_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include "abuse.h"

static sigjmp_buf catch_point;
static int catch_log_fd = -1; /* the end of fd 2's pipe to read from; never blocks */
static int catch_real_fd = -1;

static void catch_abort(int signal_number) {
  (void)signal_number;
  siglongjmp(catch_point, 1);
}

static void catch_start(void) {
  /* SA_NODEFER: the handler blocks nothing, so the jump has no signal mask to put back. */
  struct sigaction action = {.sa_handler = catch_abort, .sa_flags = SA_NODEFER};
  int ends[2];
  sigaction(SIGABRT, &action, NULL);
  catch_real_fd = dup(STDERR_FILENO);
  if (pipe2(ends, O_NONBLOCK) != 0 || dup2(ends[1], STDERR_FILENO) < 0) exit(2);
  catch_log_fd = ends[0];
}

static void catch_fail(const char *what, const void *p, const char *message) {
  dprintf(catch_real_fd, "%s: pointer 0x%zx, message: %s\n", what, (size_t)(uintptr_t)p, message);
  _exit(1);
}

/* Does it, and ends the process with a line unless it aborted with `verdict` (or `other_verdict`)
 * for exactly this pointer and with one line. `class_bytes` 0: none; SIZE_MAX: not looked at. */
static void catch_misuse(const char *operation, void *p, const char *verdict,
                         const char *other_verdict, size_t class_bytes) {
  char message[512];
  if (sigsetjmp(catch_point, 0) == 0) {
    misuse(operation, p);
    catch_fail("came back", p, "");
  }
  ssize_t got = read(catch_log_fd, message, sizeof message - 1);
  if (got <= 0) catch_fail("no message", p, "");
  message[got] = '\0';
  char *newline = strchr(message, '\n');
  if (newline == NULL || newline[1] != '\0') catch_fail("not one line", p, message);
  char head[160];
  const char *verdicts[] = {verdict, other_verdict};
  for (size_t i = 0; i < 2 && verdicts[i] != NULL; i++) {
    int length = snprintf(head, sizeof head, "hakmem: %s: pointer 0x%zx, class ", verdicts[i],
                          (size_t)(uintptr_t)p);
    if (strncmp(message, head, (size_t)length) != 0) continue;
    const char *class_text = message + length;
    char wanted[40] = "none: ";
    if (class_bytes == SIZE_MAX) return;
    if (class_bytes != 0) snprintf(wanted, sizeof wanted, "%zu B: ", class_bytes);
    if (strncmp(class_text, wanted, strlen(wanted)) == 0) return;
    catch_fail("wrong class", p, message);
  }
  catch_fail("wrong verdict or pointer", p, message);
}

/* xorshift64*: the same pointers in each run. */
static uint64_t random_state = 88172645463325252u;

static inline uint64_t random_next(void) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 2685821657736338717u;
}

#endif
