/* replay_read: reads a trace file, checks its frame and its counts, and has it planned. */
#define _GNU_SOURCE
#include "replay_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#define HEADER_UNITS (sizeof(struct trace_header) / sizeof(struct trace_record))
#define TRAILER_UNITS (sizeof(struct trace_trailer) / sizeof(struct trace_record))
/* The recorder writes 1 MiB; a frame that claims much more is not its own. Arbitrary. */
#define FRAME_BYTES_MAX (UINT64_C(1) << 26)

struct input {
  const char *path;
  const unsigned char *file;
  size_t file_bytes;
  struct trace_record *units;
  size_t unit_count;
  bool is_truncated;
};

noreturn static void corrupt(const struct input *in, size_t offset, const char *what) {
  bench_fail("%s: byte %zu: %s: the file is damaged, or no trace", in->path, offset, what);
}

static void file_map(struct input *in) {
  int fd = open(in->path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) {
    bench_fail("cannot open %s: %s", in->path, strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    bench_fail("%s is not a regular file", in->path);
  }
  if (status.st_size == 0) {
    bench_fail("%s is empty: not a trace", in->path);
  }
  in->file_bytes = (size_t)status.st_size;
  in->file = mmap(NULL, in->file_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (in->file == MAP_FAILED) {
    bench_fail("cannot read %s: %s", in->path, strerror(errno));
  }
  close(fd);
}

/* The compressed size of the frame at the offset; 0: the file ends within it. */
static size_t frame_size(const struct input *in, size_t offset) {
  size_t left = in->file_bytes - offset;
  uint32_t magic;
  if (left >= sizeof magic) {
    memcpy(&magic, in->file + offset, sizeof magic);
    if (magic != ZSTD_MAGICNUMBER) {
      corrupt(in, offset, "no zstd frame begins here");
    }
  }
  size_t size = ZSTD_findFrameCompressedSize(in->file + offset, left);
  if (!ZSTD_isError(size)) {
    return size;
  }
  if (ZSTD_getErrorCode(size) != ZSTD_error_srcSize_wrong) {
    corrupt(in, offset, ZSTD_getErrorName(size));
  }
  return 0;
}

static uint64_t frame_content_bytes(const struct input *in, size_t offset) {
  uint64_t bytes = ZSTD_getFrameContentSize(in->file + offset, in->file_bytes - offset);
  if (bytes > FRAME_BYTES_MAX || bytes % sizeof(struct trace_record) != 0) {
    corrupt(in, offset, "a frame of a size that no recorder writes");
  }
  return bytes;
}

/* Calls `visit` for each whole frame: its offset, compressed size and decompressed size. */
static void frames_visit(struct input *in, void (*visit)(struct input *in, size_t offset,
                                                         size_t size, uint64_t bytes)) {
  size_t size;
  in->unit_count = 0;
  for (size_t offset = 0; offset < in->file_bytes; offset += size) {
    size = frame_size(in, offset);
    if (size == 0) {
      in->is_truncated = true;
      return;
    }
    uint64_t bytes = frame_content_bytes(in, offset);
    if (visit != NULL) {
      visit(in, offset, size, bytes);
    }
    in->unit_count += bytes / sizeof(struct trace_record);
  }
}

static void frame_decode(struct input *in, size_t offset, size_t size, uint64_t bytes) {
  size_t got = ZSTD_decompress(in->units + in->unit_count, bytes, in->file + offset, size);
  if (ZSTD_isError(got)) {
    corrupt(in, offset, ZSTD_getErrorName(got));
  }
}

static void header_check(const struct input *in, struct replay_plan *plan) {
  struct trace_header header;
  if (in->unit_count < HEADER_UNITS) {
    bench_fail("%s: no whole frame: the recording was cut short at its start, or it is no trace",
               in->path);
  }
  memcpy(&header, in->units, sizeof header);
  if (memcmp(header.magic, TRACE_MAGIC, sizeof header.magic) != 0) {
    bench_fail("%s: no trace: it does not begin with " TRACE_MAGIC, in->path);
  }
  if (header.version != TRACE_VERSION) {
    bench_fail("%s: a trace of version %u: this program reads version %u", in->path, header.version,
               TRACE_VERSION);
  }
  memcpy(plan->program, header.program, sizeof plan->program - 1);
}

/* The records before the trailer. */
static size_t trailer_take(const struct input *in, struct replay_plan *plan,
                           struct trace_trailer *trailer) {
  size_t count = in->unit_count - HEADER_UNITS;
  plan->is_truncated = true;
  if (in->is_truncated || count < TRAILER_UNITS) {
    return count;
  }
  memcpy(trailer, in->units + in->unit_count - TRAILER_UNITS, sizeof *trailer);
  if (trace_kind(trailer->end) != TRACE_END) {
    return count;
  }
  plan->is_truncated = false;
  plan->end = (uint32_t)trace_bytes(trailer->end);
  plan->duration_ns = trailer->duration_ns;
  plan->lost = trailer->lost;
  return count - TRAILER_UNITS;
}

static void trailer_check(const struct input *in, const struct replay_plan *plan,
                          const struct trace_trailer *trailer, size_t records) {
  const uint64_t *counts = plan->kind_count;
  if (trailer->records != records || trailer->mallocs != counts[REPLAY_MALLOC] ||
      trailer->callocs != counts[REPLAY_CALLOC] || trailer->aligned != counts[REPLAY_ALIGNED] ||
      trailer->frees != counts[REPLAY_FREE] || trailer->reallocs != counts[REPLAY_REALLOC] ||
      trailer->live != plan->live_count - plan->foreign || plan->end == 0 ||
      plan->end >= TRACE_ENDS) {
    bench_fail("%s: the trailer's counts are not those of the records: the file is damaged",
               in->path);
  }
}

static size_t plan_bytes(size_t units) {
  size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  size_t ops_bytes = units * sizeof(struct replay_op) + BENCH_THREADS_MAX * page_bytes;
  return (sizeof(struct replay_plan) + 2 * page_bytes + ops_bytes) & ~(page_bytes - 1);
}

/* In the child. */
static void file_plan(const char *path, uint64_t threads, int plan_fd) {
  struct input in = {.path = path};
  file_map(&in);
  frames_visit(&in, NULL);
  size_t bytes = plan_bytes(in.unit_count);
  struct replay_plan *plan = MAP_FAILED;
  if (ftruncate(plan_fd, (off_t)bytes) == 0) {
    plan = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, plan_fd, 0);
  }
  if (plan == MAP_FAILED) {
    bench_fail("no shared memory of %zu bytes for the %zu records of %s: %s%s", bytes,
               in.unit_count, path, strerror(errno),
               errno == EFBIG ? ": raise the limit of file size (ulimit -f), which counts" : "");
  }
  plan->bytes = bytes;
  size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  plan->ops_offset = (sizeof *plan + page_bytes - 1) & ~(page_bytes - 1);
  in.units = bench_map(in.unit_count * sizeof *in.units + 1);
  frames_visit(&in, frame_decode);
  header_check(&in, plan);
  struct trace_trailer trailer;
  size_t count = trailer_take(&in, plan, &trailer);
  replay_plan_make(plan, path, in.units + HEADER_UNITS, count, threads);
  if (!plan->is_truncated) {
    trailer_check(&in, plan, &trailer, count);
  }
}

const struct replay_plan *replay_read(const char *path, uint64_t threads) {
  int plan_fd = memfd_create("bench_replay", MFD_CLOEXEC);
  pid_t child = plan_fd >= 0 ? fork() : -1;
  if (child < 0) {
    bench_fail("cannot start a process to read %s: %s", path, strerror(errno));
  }
  if (child == 0) {
    file_plan(path, threads, plan_fd);
    _exit(0); /* no exit handlers: the child is no process of the allocator's report */
  }
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status)) {
    bench_fail("the process that read %s died of signal %d", path, WTERMSIG(status));
  }
  if (WEXITSTATUS(status) != 0) {
    _exit(WEXITSTATUS(status)); /* the child has said why */
  }
  struct stat made;
  const struct replay_plan *plan = MAP_FAILED;
  if (fstat(plan_fd, &made) == 0) {
    plan = mmap(NULL, (size_t)made.st_size, PROT_READ, MAP_SHARED, plan_fd, 0);
  }
  if (plan == MAP_FAILED) {
    bench_fail("cannot map the plan of %s: %s", path, strerror(errno));
  }
  close(plan_fd);
  return plan;
}
