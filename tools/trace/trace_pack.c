/* trace_pack: hakmem-trace-pack, which libhakmem-trace.so starts: takes the records out of the
 * shared ring (file descriptor argv[1]) and writes them to the trace file as zstd frames, until
 * the program says that it ends, or has ended. It is nobody's child, has no open file of the
 * program's, and reports through the ring. While it writes it holds a lock (flock) on the file. */
#define _GNU_SOURCE
#include "trace_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <zstd.h>

#define FRAME_UNITS ((size_t)1 << 16) /* 1 MiB: larger frames compress little better (measured) */
#define FRAME_BYTES (FRAME_UNITS * (size_t)16)
#define LEVEL 3
/* A frame is written early when nothing has come for so long: a killed packer loses little. */
#define FLUSH_NS UINT64_C(1000000000)
/* How long a record that a live thread has begun may take once recording has ended. Arbitrary. */
#define STRAGGLER_NS UINT64_C(1000000000)
/* Programs that follow one another in one process by exec. Arbitrary. */
#define IMAGES_MOST 99

static struct trace_ring *ring;
static int file = -1;
static int program = -1; /* pidfd; -1: it had gone before we looked */
static ZSTD_CCtx *context;
static unsigned char *frame, *packed;
static size_t frame_used;
static struct trace_trailer trailer;

_Noreturn static void fail(enum ring_step step, int error) {
  ring_fail(ring, step, error);
  exit(1);
}

/* ---- the file ---- */

static void write_all(const unsigned char *bytes, size_t count) {
  while (count > 0) {
    ssize_t done = write(file, bytes, count);
    if (done < 0 && errno != EINTR) fail(RING_STEP_WRITE, errno);
    if (done > 0) {
      bytes += done;
      count -= (size_t)done;
    }
  }
}

static void frame_flush(void) {
  if (frame_used == 0) return;
  size_t size = ZSTD_compress2(context, packed, ZSTD_compressBound(FRAME_BYTES), frame, frame_used);
  if (ZSTD_isError(size)) fail(RING_STEP_WRITE, ENOMEM);
  write_all(packed, size);
  frame_used = 0;
}

static void frame_add(const void *units, size_t bytes) {
  if (frame_used + bytes > FRAME_BYTES) frame_flush();
  memcpy(frame + frame_used, units, bytes);
  frame_used += bytes;
}

/* The path with each %p replaced by the program's process id. */
static void path_expand(char *to, size_t size) {
  size_t used = 0;
  for (const char *at = ring->path; *at != '\0'; at++) {
    int length = 1;
    if (at[0] == '%' && at[1] == 'p') {
      length = snprintf(to + used, size - used, "%d", ring->program_pid);
      at++;
    } else if (used + 1 < size) {
      to[used] = *at;
    }
    used += (size_t)length;
    if (used + 1 >= size) fail(RING_STEP_OPEN, ENAMETOOLONG);
  }
  to[used] = '\0';
}

static bool file_open(const char *path) {
  /* O_NONBLOCK: a FIFO that nobody reads is an error. */
  int opened = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  if (opened < 0) fail(RING_STEP_OPEN, errno);
  file = fcntl(opened, F_DUPFD_CLOEXEC, 3); /* let_go closes 0 to 2 */
  if (file < 0) fail(RING_STEP_OPEN, errno);
  close(opened);
  if (flock(file, LOCK_EX | LOCK_NB) == 0) {
    if (ftruncate(file, 0) == 0 || errno == EINVAL) return true; /* EINVAL: a device, a FIFO */
    fail(RING_STEP_OPEN, errno);
  }
  if (errno != EWOULDBLOCK) fail(RING_STEP_OPEN, errno);
  close(file);
  return false;
}

/* The path; when another packer is at work on that, FILE.PID: a program that a traced one has
 * started; or FILE.PID.2 and so on: one that has taken the place of another in the same process. */
static void file_choose(void) {
  static char path[sizeof ring->path];
  path_expand(path, sizeof path - 16); /* room for a process id and a number */
  size_t length = strlen(path);
  memcpy(ring->path, path, length + 1);
  if (file_open(ring->path)) return;
  size_t room = sizeof ring->path - length;
  snprintf(ring->path + length, room, ".%d", ring->program_pid);
  for (int image = 2; !file_open(ring->path); image++) {
    if (image > IMAGES_MOST) fail(RING_STEP_OPEN, EWOULDBLOCK);
    snprintf(ring->path + length, room, ".%d.%d", ring->program_pid, image);
  }
}

/* ---- the records ---- */

static void count(struct trace_record record) {
  /* Whether the reallocs that a thread is in began with an object, the innermost in bit 0: a signal
   * handler may make one within another. */
  static uint64_t has_old[TRACE_THREADS];
  bool is_object = trace_address(record) != 0;
  switch (trace_kind(record)) {
  case TRACE_MALLOC:
    trailer.mallocs++;
    trailer.live += is_object;
    break;
  case TRACE_CALLOC:
    trailer.callocs++;
    trailer.live += is_object;
    break;
  case TRACE_ALIGNED:
    trailer.aligned++;
    trailer.live += is_object;
    break;
  case TRACE_FREE:
    trailer.frees++;
    trailer.live -= is_object;
    break;
  case TRACE_REALLOC_FROM:
    has_old[trace_thread(record)] = has_old[trace_thread(record)] << 1 | is_object;
    break;
  case TRACE_REALLOC_TO:
    trailer.reallocs++;
    /* Failed (no address for some bytes): the old object lives on. */
    if (is_object || trace_bytes(record) == 0) {
      trailer.live += (uint64_t)is_object - (has_old[trace_thread(record)] & 1);
    }
    has_old[trace_thread(record)] >>= 1;
    break;
  default: /* a clock */
    break;
  }
  if (trace_thread(record) >= trailer.threads) trailer.threads = trace_thread(record) + 1u;
  trailer.records++;
}

/* Takes up to `most` records, in order, as far as they are whole. Returns how many. */
static uint64_t ring_take(uint64_t most) {
  uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
  uint64_t taken = 0;
  for (; taken < most; taken++) {
    struct trace_slot *slot = &ring->slot[(tail + taken) % RING_SLOTS];
    struct trace_record record;
    record.what = atomic_load_explicit(&slot->what, memory_order_acquire); /* with record_put */
    if (record.what == 0) break;
    record.where = atomic_load_explicit(&slot->where, memory_order_relaxed);
    atomic_store_explicit(&slot->what, 0, memory_order_relaxed);
    count(record);
    frame_add(&record, sizeof record);
  }
  if (taken == 0) return 0;
  atomic_store(&ring->tail, tail + taken);
  atomic_fetch_add(&ring->moves, 1);
  if (atomic_load(&ring->waiters) != 0) ring_wake(&ring->moves);
  return taken;
}

static bool program_is_gone(void) {
  struct pollfd watch = {program, POLLIN, 0};
  return program < 0 || poll(&watch, 1, 0) > 0;
}

/* How many records there will be at most, once recording has ended. */
static uint64_t tickets(void) {
  uint64_t head = atomic_load(&ring->head);
  return head < ring->max_records ? head : ring->max_records;
}

/* Until recording has ended or the program has; returns which. */
static enum trace_end follow(void) {
  uint64_t idle_since_ns = ring_now_ns();
  for (;;) {
    uint32_t seen = atomic_load(&ring->wake);
    enum trace_end end = atomic_load(&ring->end);
    bool is_gone = program_is_gone();
    /* A quarter of the ring at a time, so that who waits for room can go on. */
    if (ring_take(RING_SLOTS / 4) != 0) {
      idle_since_ns = ring_now_ns();
      continue;
    }
    if (end != 0) return end;
    if (is_gone) return TRACE_END_KILLED;
    if (ring_now_ns() - idle_since_ns > FLUSH_NS) {
      frame_flush();
      idle_since_ns = ring_now_ns();
    }
    ring_wait(&ring->wake, seen);
  }
}

/* What threads had begun when recording ended. */
static void take_stragglers(void) {
  uint64_t until = tickets(), begin_ns = ring_now_ns();
  while (atomic_load(&ring->tail) < until && !program_is_gone() &&
         ring_now_ns() - begin_ns < STRAGGLER_NS) {
    if (ring_take(until - atomic_load(&ring->tail)) == 0) sched_yield();
  }
  while (ring_take(RING_SLOTS) != 0) {
  }
}

/* ---- the life ---- */

/* Whatever ends this process, the kernel notes it in ring->packer_life. Where it knows no robust
 * futexes (emulators), the program finds out when the process is gone. */
static void life_announce(void) {
  static struct robust_list own;
  static struct robust_list_head list;
  own.next = &list.list;
  list.list.next = &own;
  list.futex_offset = (char *)&ring->packer_life - (char *)&own;
  atomic_store(&ring->packer_life, (uint32_t)getpid());
  syscall(SYS_set_robust_list, &list, sizeof list);
}

static void ring_map(const char *number) {
  int fd = atoi(number);
  if (fd < 3) exit(2);
  void *memory = mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) exit(2);
  close(fd); /* the program may allow few */
  ring = memory;
  life_announce();
  atomic_store(&ring->packer_pid, (uint32_t)getpid());
}

/* Lets go of the program's files and folder: nobody must wait for us to close them. */
static void let_go(void) {
  int null = open("/dev/null", O_RDWR);
  if (null < 0) fail(RING_STEP_OPEN, errno);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  int kept = file;
  if (kept != 3) dup3(kept, 3, O_CLOEXEC);
  file = 3;
  close_range(4, ~0u, 0);
  if (chdir("/") != 0) fail(RING_STEP_OPEN, errno);
}

static void prepare(void) {
  signal(SIGXFSZ, SIG_IGN); /* a limit is an error of write */
  context = ZSTD_createCCtx();
  frame = malloc(FRAME_BYTES);
  packed = malloc(ZSTD_compressBound(FRAME_BYTES));
  if (context == NULL || frame == NULL || packed == NULL) fail(RING_STEP_OPEN, ENOMEM);
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, LEVEL);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  file_choose();
  let_go();
  program = (int)syscall(SYS_pidfd_open, ring->program_pid, 0);
  if (program < 0 && errno != ESRCH) fail(RING_STEP_WATCH, errno);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fputs("hakmem-trace-pack: libhakmem-trace.so starts this; see docs/trace.md\n", stderr);
    return 2;
  }
  ring_map(argv[1]);
  prepare();
  frame_add(&ring->header, sizeof ring->header);
  frame_flush(); /* the file says what it is from the start */
  ring_stage_set(ring, RING_READY);
  enum trace_end end = follow();
  take_stragglers();
  frame_flush();
  trailer.end = trace_record_make(TRACE_END, 0, 0, 0, end);
  if (end == TRACE_END_KILLED) atomic_store(&ring->end_ns, ring_now_ns());
  trailer.duration_ns = atomic_load(&ring->end_ns) - ring->start_ns;
  trailer.lost = tickets() - trailer.records;
  frame_add(&trailer, sizeof trailer);
  frame_flush();
  if (close(file) != 0) fail(RING_STEP_WRITE, errno);
  ring_stage_set(ring, RING_FINISHED);
  return 0;
}
