/* unit_step.h — a thread that is stopped behind each instruction that changed the allocator's
 * memory, by the trap flag of x86-64. Watched: the program's variables, and what of the process is
 * anonymous, private, writable and not large: tables, metadata, heaps; no stack, no object.
 */
#ifndef UNIT_STEP_H
#define UNIT_STEP_H

#include "unit_child.h"

#include <fcntl.h>
#include <sys/mman.h>

#if defined(__x86_64__) && !UNIT_SANITIZED
#define UNIT_CAN_STEP 1
#else
#define UNIT_CAN_STEP 0
#endif

enum {
  STEP_RANGES = 64,
  STEP_WATCHED_MAX = 2 << 20,
  STEP_MAPPING_MAX = 1 << 20,
  STEP_TRAP_FLAG = 0x100,
};
enum { STEP_RUNS, STEP_STOPPED, STEP_ENDED };

/* In shared memory: not watched, and the same in a child. */
struct stepper {
  _Atomic(uint32_t) state;
  uint32_t range_count;
  uint32_t stops;
  struct {
    char *from;
    size_t bytes;
    char *copy;
  } range[STEP_RANGES];
  void (*prepare)(void);
  void (*operation)(void);
  char copies[STEP_WATCHED_MAX];
};
static struct stepper *stepper;

static inline void step_watch(char *from, char *to) {
  struct stepper *s = stepper;
  size_t bytes = (size_t)(to - from);
  uint32_t i = s->range_count++;
  NEED(i < STEP_RANGES);
  s->range[i].copy = i == 0 ? s->copies : s->range[i - 1].copy + s->range[i - 1].bytes;
  NEED(s->range[i].copy + bytes <= s->copies + STEP_WATCHED_MAX);
  s->range[i].from = from;
  s->range[i].bytes = bytes;
  memcpy(s->range[i].copy, from, bytes);
}

static inline void step_watch_all(void) {
  extern char __data_start[], _end[];
  static char text[64 << 10];
  size_t length = 0;
  ssize_t got;
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  NEED(fd >= 0);
  while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0) length += (size_t)got;
  NEED(close(fd) == 0);
  text[length] = '\0';
  stepper->range_count = 0;
  step_watch(__data_start, _end);
  for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
    char *rest;
    char *from = (char *)(uintptr_t)strtoull(line, &rest, 16);
    char *to = (char *)(uintptr_t)strtoull(rest + 1, &rest, 16);
    bool is_anonymous = strncmp(rest, " rw-p 00000000 00:00 0 ", 23) == 0;
    bool is_stack = memmem(rest, strcspn(rest, "\n"), "[stack", 6) != NULL;
    if (!is_anonymous || is_stack || to - from > STEP_MAPPING_MAX) continue;
    if (from >= _end || to <= __data_start) step_watch(from, to);
  }
}

static inline bool step_has_changed(void) {
  bool is_changed = false;
  for (uint32_t i = 0; i < stepper->range_count; i++) {
    if (memcmp(stepper->range[i].from, stepper->range[i].copy, stepper->range[i].bytes) == 0)
      continue;
    memcpy(stepper->range[i].copy, stepper->range[i].from, stepper->range[i].bytes);
    is_changed = true;
  }
  return is_changed;
}

static inline void step_trapped(int unused) {
  (void)unused;
  if (!step_has_changed()) return;
  step_set(&stepper->state, STEP_STOPPED);
  uint32_t now;
  while ((now = load_acquire(&stepper->state)) == STEP_STOPPED) os_futex_wait(&stepper->state, now);
}

/* Calls operation with a SIGTRAP behind each instruction; not at all where that is not possible. */
static inline void step_call(void (*operation)(void)) {
#if UNIT_CAN_STEP
  __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq %0, (%%rsp)\n\tpopfq\n\t"
                   "lea 128(%%rsp), %%rsp" ::"i"(STEP_TRAP_FLAG)
                   : "cc", "memory");
  operation();
  __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq %0, (%%rsp)\n\tpopfq\n\t"
                   "lea 128(%%rsp), %%rsp" ::"i"(~STEP_TRAP_FLAG)
                   : "cc", "memory");
#else
  (void)operation;
#endif
}

static volatile uint64_t step_instructions;
static inline void step_counted(int unused) {
  (void)unused;
  step_instructions++;
}

/* How many instructions operation takes; a system call is one. */
static inline uint64_t step_count(void (*operation)(void)) {
  NEED(signal(SIGTRAP, step_counted) != SIG_ERR);
  step_instructions = 0;
  step_call(operation);
  return step_instructions;
}

static inline void *step_thread(void *unused) {
  stepper->prepare();
  step_watch_all();
  step_call(stepper->operation);
  step_set(&stepper->state, STEP_ENDED);
  return unused;
}

/* A thread calls prepare, then operation. Whenever it has changed something there, a child of a
 * bare fork, which has the caller as its only thread, calls check. Returns the number of stops. */
static inline uint32_t step_through(void (*prepare)(void), void (*operation)(void),
                                    void (*check)(void)) {
  pthread_t thread;
  stepper = mmap(NULL, sizeof *stepper, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  NEED(stepper != MAP_FAILED && signal(SIGTRAP, step_trapped) != SIG_ERR);
  stepper->prepare = prepare;
  stepper->operation = operation;
  NEED(pthread_create(&thread, NULL, step_thread, NULL) == 0);
  for (;;) {
    uint32_t now = load_acquire(&stepper->state);
    if (now == STEP_ENDED) break;
    if (now == STEP_RUNS) {
      os_futex_wait(&stepper->state, now);
      continue;
    }
    stepper->stops++;
    pid_t pid = _Fork();
    if (pid == 0) {
      child_start();
      check();
      _exit(0);
    }
    child_wait(pid);
    step_set(&stepper->state, STEP_RUNS);
  }
  NEED(pthread_join(thread, NULL) == 0);
  return stepper->stops;
}

#endif
