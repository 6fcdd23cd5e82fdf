/* os_proc.h — the process: environment, privilege, writing, ending.
 * Nothing here allocates, locks or changes errno; everything is async-signal-safe.
 */
#ifndef OS_PROC_H
#define OS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* The environment block as libc has it now, or NULL before libc has set it up. */
HAK_MUST_USE char **os_environ(void);
/* In between os_environ answers `block`, what a constructor was given, before libc has its own. */
void os_environ_begin(char **block);
void os_environ_end(void);
/* The options that the program brings, its symbol `hak_conf` ("name=value,..."), or NULL. */
HAK_MUST_USE const char *os_program_conf(void);
/* True in a set-user-ID or otherwise privileged process: no option may be honoured. */
bool os_is_secure(void);
HAK_MUST_USE int os_pid(void);
/* Milliseconds since some moment, to within some 4 ms: costs a few instructions. 0 where the kernel
 * has no such clock. */
HAK_MUST_USE uint64_t os_coarse_ms(void);
/* Microseconds since some moment, exactly: a read of the processor's clock. 0 where the kernel
 * answers no such question. */
HAK_MUST_USE uint64_t os_clock_us(void);
/* Short name of the program (as the kernel has it: comm), always NUL-terminated. */
void os_program_name(char *out, size_t capacity);
/* One write(2) to stderr; a short or failed write is not repeated: there is nowhere to say so. */
void os_write_stderr(const char *text, size_t length);
/* Append to a file with one write(2) (O_APPEND|O_CREAT|O_CLOEXEC, 0644). 0 or an errno. */
HAK_MUST_USE int os_append_file(const char *path, const char *text, size_t length);
/* Read up to capacity-1 bytes of a file, NUL-terminated. Bytes read, or -errno; -EISDIR, -ENODEV
 * or -EINVAL for what is no regular file: a directory, a device, or else. */
HAK_MUST_USE long os_read_file(const char *path, char *out, size_t capacity);
/* _exit(2): ends all threads at once, runs no destructor. */
HAK_NORETURN HAK_COLD void os_exit(int status);
/* abort(3): never returns, runs no destructor. */
HAK_NORETURN HAK_COLD void os_abort(void);

#endif
