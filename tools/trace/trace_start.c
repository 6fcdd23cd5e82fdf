/* trace_start: makes the ring, starts hakmem-trace-pack, and ends the recording at exit.
 *
 * The packer is a grandchild: its parent ends as soon as it is ready or has ended, so that the
 * program never has a child that it did not start, and no SIGCHLD. Both are made by the bare system
 * call: the program's fork handlers do not run, and between it and execve only system calls are
 * made. The program keeps no file descriptor: the ring is mapped, and may close what it likes. */
#define _GNU_SOURCE
#include "trace_emit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* 32 Mi records: half a GiB before compression, about a tenth of that in the file. Arbitrary. */
#define MAX_RECORDS_DEFAULT (UINT64_C(1) << 25)
#define MAX_RECORDS_MOST (UINT64_C(1) << 32)
#define CLOCK_EVERY 1024u
/* Waiting for the packer to start, and to write what it still has. Arbitrary. */
#define START_NS UINT64_C(10000000000)
#define FINISH_IDLE_NS UINT64_C(10000000000)
#define PACKER "hakmem-trace-pack"

/* One line, whole or not at all. Two more texts than the first may follow it. */
static void say(const char *what, const char *about, const char *more) {
  char line[PATH_MAX + 256];
  int length = snprintf(line, sizeof line, "hakmem-trace: %s%s%s\n", what, about, more);
  if (length > 0 && (size_t)length < sizeof line &&
      write(STDERR_FILENO, line, (size_t)length) < 0) {
    return; /* no stderr: nobody is listening */
  }
}

/* What the packer said it could not do. */
static void say_failed(struct trace_ring *ring, const char *outcome) {
  static const char *const texts[] = {
      [RING_STEP_NONE] = "the packer " PACKER " ended or does not answer",
      [RING_STEP_EXEC] = "cannot start " PACKER " beside the library",
      [RING_STEP_STAY] = "the packer " PACKER " ended before it was ready",
      [RING_STEP_OPEN] = "cannot write ",
      [RING_STEP_WATCH] = "cannot watch the program",
      [RING_STEP_WRITE] = "cannot go on writing ",
  };
  char about[PATH_MAX + 128];
  uint32_t step = atomic_load(&ring->failed_step);
  int error = (int)atomic_load(&ring->failed_errno);
  const char *reason = error != 0 ? strerrordesc_np(error) : NULL;
  bool has_path = step == RING_STEP_OPEN || step == RING_STEP_WRITE;
  snprintf(about, sizeof about, "%s%s%s", has_path ? ring->path : "", reason != NULL ? ": " : "",
           reason != NULL ? reason : "");
  say(texts[step], about, outcome);
}

static const char untraced[] = "; the program runs untraced";

static bool max_records_read(uint64_t *max_records) {
  const char *text = secure_getenv("HAKMEM_TRACE_MAX");
  *max_records = MAX_RECORDS_DEFAULT;
  if (text == NULL) return true;
  char *end = NULL;
  errno = 0;
  *max_records = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
  if (end != NULL && *end == '\0' && errno == 0 && *max_records >= 1 &&
      *max_records <= MAX_RECORDS_MOST) {
    return true;
  }
  say("HAKMEM_TRACE_MAX must be a whole number from 1 to 4294967296, not '", text,
      "'; the program runs untraced");
  return false;
}

/* The limit counts for memory files as well, and what is above it is a SIGXFSZ to the program. */
static bool ring_is_allowed(void) {
  struct rlimit most;
  return getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur >= sizeof(struct trace_ring);
}

static struct trace_ring *ring_make(int *fd) {
  if (!ring_is_allowed()) {
    errno = EFBIG;
    return NULL;
  }
  *fd = memfd_create("hakmem-trace", MFD_CLOEXEC);
  if (*fd < 0) return NULL;
  void *ring = MAP_FAILED;
  if (ftruncate(*fd, sizeof(struct trace_ring)) == 0) {
    ring = mmap(NULL, sizeof(struct trace_ring), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  }
  if (ring != MAP_FAILED) return ring;
  close(*fd);
  return NULL;
}

static void ring_fill(struct trace_ring *ring, const char *path, uint64_t max_records) {
  snprintf(ring->path, sizeof ring->path, "%s", path);
  ring->max_records = max_records;
  ring->start_ns = ring_now_ns();
  ring->program_pid = getpid();
  ring->header = (struct trace_header){
      .magic = TRACE_MAGIC,
      .version = TRACE_VERSION,
      .page_bytes = (uint32_t)sysconf(_SC_PAGESIZE),
      .clock_every = CLOCK_EVERY,
  };
  snprintf(ring->header.program, sizeof ring->header.program, "%s", program_invocation_short_name);
}

static struct trace_state *state_make(struct trace_ring *ring) {
  size_t page_bytes = ring->header.page_bytes;
  void *page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, page_bytes, MADV_WIPEONFORK) != 0) {
    munmap(page, page_bytes);
    return NULL;
  }
  struct trace_state *state = page;
  state->whole = ring;
  return state;
}

static long clone_bare(unsigned long exit_signal) {
  return syscall(SYS_clone, exit_signal, 0ul, 0ul, 0ul, 0ul);
}

static void packer_become(struct trace_ring *ring, int fd, const char *path) {
  /* Not 0 to 2, which the packer gives away; and open across execve. */
  int ring_fd = fcntl(fd, F_DUPFD, 3);
  if (ring_fd < 0) {
    ring_fail(ring, RING_STEP_EXEC, errno);
    return;
  }
  char number[16];
  snprintf(number, sizeof number, "%d", ring_fd);
  char name[] = PACKER;
  char *argv[] = {name, number, NULL};
  char *env[] = {NULL}; /* no LD_PRELOAD, no HAKMEM_TRACE */
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execve(path, argv, env);
  ring_fail(ring, RING_STEP_EXEC, errno);
}

/* The packer's path, beside this library. */
static bool packer_find(char *path, size_t size) {
  Dl_info info;
  if (dladdr((const void *)&trace_start, &info) == 0 || info.dli_fname == NULL) return false;
  const char *slash = strrchr(info.dli_fname, '/');
  int folder = slash != NULL ? (int)(slash - info.dli_fname) + 1 : 0;
  int length = snprintf(path, size, "%.*s" PACKER, folder, info.dli_fname);
  return length > 0 && (size_t)length < size;
}

/* The packer has its time to start. */
static bool is_starting(const struct trace_ring *ring) {
  return atomic_load(&ring->stage) == RING_STARTING && ring_now_ns() - ring->start_ns < START_NS;
}

/* In the packer's parent, which alone learns of any end: until it is ready or has ended. */
static void packer_watch(struct trace_ring *ring, pid_t packer) {
  pid_t ended = 0;
  while (ended == 0 && is_starting(ring)) {
    ring_wait(&ring->stage, RING_STARTING);
    int status;
    ended = waitpid(packer, &status, WNOHANG); /* -1: SIGCHLD is ignored, and it has ended */
  }
  if (ended != 0 && atomic_load(&ring->stage) == RING_STARTING) ring_fail(ring, RING_STEP_STAY, 0);
}

/* False: no child, errno says why. What becomes of the packer, the ring says. */
static bool packer_start(struct trace_ring *ring, int fd) {
  char path[PATH_MAX];
  if (!packer_find(path, sizeof path)) {
    errno = ENOENT;
    return false;
  }
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before); /* no handler of the program runs in the children */
  long child = clone_bare(0);
  if (child == 0) {
    setsid(); /* a terminal's signals are for the program */
    long grandchild = clone_bare(SIGCHLD);
    if (grandchild == 0) {
      packer_become(ring, fd, path);
    } else if (grandchild < 0) {
      ring_fail(ring, RING_STEP_EXEC, errno);
    } else {
      atomic_store(&ring->packer_pid, (uint32_t)grandchild);
      packer_watch(ring, (pid_t)grandchild);
    }
    _exit(0);
  }
  int error = errno;
  sigprocmask(SIG_SETMASK, &before, NULL);
  int status;
  while (child > 0 && waitpid((pid_t)child, &status, __WCLONE) < 0 && errno == EINTR) {
  }
  errno = error;
  return child > 0;
}

static bool packer_is_ready(struct trace_ring *ring) {
  while (is_starting(ring) && !trace_packer_is_gone(ring)) { /* its parent may be killed */
    ring_wait(&ring->stage, RING_STARTING);
  }
  return atomic_load(&ring->stage) == RING_READY;
}

/* After the program's own exit handlers and destructors, see trace_start. Until the file is
 * complete, so that who waits for the program can read it. */
static void finish(int status, void *unused) {
  (void)status;
  (void)unused;
  struct trace_state *state = atomic_load(&trace_state);
  struct trace_ring *ring = state->whole;
  if (ring == NULL) return; /* a forked child */
  trace_stop(ring, TRACE_END_EXIT);
  uint64_t last_tail = 0, moved_ns = ring_now_ns();
  while (atomic_load(&ring->stage) == RING_READY && ring_now_ns() - moved_ns < FINISH_IDLE_NS &&
         !trace_packer_is_gone(ring)) {
    ring_wait(&ring->stage, RING_READY);
    uint64_t tail = atomic_load(&ring->tail);
    if (tail != last_tail) {
      last_tail = tail;
      moved_ns = ring_now_ns();
    }
  }
  if (atomic_load(&ring->stage) != RING_FINISHED) say_failed(ring, "; the trace is cut short");
}

static void start(const char *path) {
  uint64_t max_records;
  if (!max_records_read(&max_records)) return;
  if (strlen(path) + 16 >= PATH_MAX) {
    say("HAKMEM_TRACE is longer than a path can be", untraced, "");
    return;
  }
  int fd;
  struct trace_ring *ring = ring_make(&fd);
  if (ring == NULL) {
    say("cannot make shared memory: ", strerrordesc_np(errno), untraced);
    return;
  }
  ring_fill(ring, path, max_records);
  struct trace_state *state = state_make(ring);
  bool is_ready = false;
  if (state == NULL || !packer_start(ring, fd)) {
    say(state == NULL ? "cannot have memory emptied at fork: " : "cannot start " PACKER ": ",
        strerrordesc_np(errno), untraced);
  } else {
    is_ready = packer_is_ready(ring);
    if (!is_ready) say_failed(ring, untraced);
  }
  close(fd);
  if (!is_ready) {
    munmap(ring, sizeof *ring);
    return;
  }
  atomic_store(&trace_state, state);
  atomic_store(&state->ring, ring);
  /* Belongs to no library, and is there before the C library's own handler that runs the
   * destructors of all: so it runs after them. */
  on_exit(finish, NULL);
}

void trace_start(void) {
  static _Atomic bool is_tried;
  if (environ == NULL || atomic_exchange(&is_tried, true)) return;
  int saved_errno = errno;
  const char *path = secure_getenv("HAKMEM_TRACE");
  if (path != NULL && path[0] != '\0') start(path);
  errno = saved_errno;
}
