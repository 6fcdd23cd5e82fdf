/* os_proc.c — environment, privilege, files and the end of the process, by raw system calls.
 * Owns: nothing. No lock, no state; errno is left as it was.
 */
#define _GNU_SOURCE 1
#include "os_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base_format.h"
#include "os_syscall.h"

enum { STDERR_FD = 2, FILE_MODE = 0644 };
enum { COMM_BYTES = 16 }; /* the kernel's TASK_COMM_LEN, the NUL included */

static char **early_environ; /* until libc has its own */
char **os_environ(void) { return environ != NULL ? environ : early_environ; }
void os_environ_begin(char **block) {
#ifdef __GLIBC__ /* others' constructors have no arguments */
  early_environ = block;
#else
  (void)block;
#endif
}
void os_environ_end(void) { early_environ = NULL; }

/* An array, since a pointer could be read before the loader has set it. */
extern const char hak_conf[] __attribute__((weak));
const char *os_program_conf(void) { return hak_conf; }

/* getauxval. ENOENT (no such entry; never seen): it answers 0, as libc's own start would take it.
 */
bool os_is_secure(void) {
  int kept = errno;
  bool is_secure = getauxval(AT_SECURE) != 0;
  errno = kept;
  return is_secure;
}

/* getpid cannot fail. libc's own may be cached in a child made by a raw clone. */
int os_pid(void) { return (int)os_syscall3(SYS_getpid, 0, 0, 0); }

/* clock_gettime. EINVAL (no such clock), EPERM (a filter): 0, as if no time went by. */
static uint64_t clock_us(clockid_t clock) {
  int kept = errno;
  struct timespec now;
  bool is_told = clock_gettime(clock, &now) == 0;
  errno = kept;
  return is_told ? (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 : 0;
}

uint64_t os_coarse_ms(void) { return clock_us(CLOCK_MONOTONIC_COARSE) / 1000; }
uint64_t os_clock_us(void) { return clock_us(CLOCK_MONOTONIC); }

/* libc's copy of the name, since a thread may have renamed itself and PR_GET_NAME names the caller.
 * prctl: any errno: the empty name. */
void os_program_name(char *out, size_t capacity) {
  struct format_buf f;
  format_init(&f, out, capacity);
  if (program_invocation_short_name != NULL && program_invocation_short_name[0] != '\0') {
    format_text(&f, program_invocation_short_name);
    return;
  }
  char comm[COMM_BYTES] = "";
  if (os_syscall6(SYS_prctl, PR_GET_NAME, (long)comm, 0, 0, 0, 0) == 0)
    format_bytes(&f, comm, sizeof comm);
}

/* write. Any errno (EBADF: closed; EPIPE, ENOSPC, EINTR): the text is lost. */
void os_write_stderr(const char *text, size_t length) {
  (void)os_syscall3(SYS_write, STDERR_FD, (long)text, (long)length); /* nowhere to report it */
}

static long file_open(const char *path, int flags) {
  return os_syscall6(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC | O_NOCTTY, FILE_MODE, 0,
                     0);
}

/* close. Any errno: Linux has released the descriptor all the same. */
static void file_close(long fd) { (void)os_syscall3(SYS_close, fd, 0, 0); /* see above */ }

/* openat, write. Any errno: handed to the caller; a short write is EIO. */
int os_append_file(const char *path, const char *text, size_t length) {
  long fd = file_open(path, O_WRONLY | O_APPEND | O_CREAT);
  if (fd < 0) return (int)-fd;
  long written = os_syscall3(SYS_write, fd, (long)text, (long)length);
  file_close(fd);
  if (written < 0) return (int)-written;
  return (size_t)written == length ? 0 : EIO;
}

/* 0 for a file; else why not: anything else (a FIFO, a terminal) may have nothing to say, for ever.
 */
static long why_unreadable(long fd) {
  struct stat s = {0};
  long error = os_syscall3(SYS_fstat, fd, (long)&s, 0);
  if (error < 0) return error;
  if (S_ISREG(s.st_mode)) return 0;
  if (S_ISDIR(s.st_mode)) return -EISDIR;
  return S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode) ? -ENODEV : -EINVAL;
}

/* openat, fstat, read. Any errno: handed to the caller. Each round reads at least one byte. */
long os_read_file(const char *path, char *out, size_t capacity) {
  out[0] = '\0';
  long fd = file_open(path, O_RDONLY | O_NONBLOCK); /* else opening a FIFO waits for a writer */
  if (fd < 0) return fd;
  long error = why_unreadable(fd);
  if (error != 0) {
    file_close(fd);
    return error;
  }
  size_t length = 0;
  long got = 1;
  while (got > 0 && length + 1 < capacity) {
    got = os_syscall3(SYS_read, fd, (long)(out + length), (long)(capacity - 1 - length));
    if (got > 0) length += (size_t)got;
  }
  file_close(fd);
  out[length] = '\0';
  return got < 0 ? got : (long)length;
}

/* exit_group does not return. */
void os_exit(int status) {
  for (;;) (void)os_syscall3(SYS_exit_group, status, 0, 0);
}

void os_abort(void) { abort(); }
