/* os_thread.h — threads: identity, waiting, exit hooks, fork hooks.
 */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_attr.h"

/* Unique among the threads alive in this process, never 0, bit 0 clear, the same in a signal
 * handler and in the child of a fork; costs one instruction (the thread pointer). */
HAK_INLINE uintptr_t os_thread_self(void) { return (uintptr_t)__builtin_thread_pointer(); }

/* Sleep while *word == expected (low 32 bits of a lock word); may return early. */
void os_futex_wait(const void *word, uint32_t expected);
/* The same for `ms` at most. */
void os_futex_wait_ms(const void *word, uint32_t expected, uint32_t ms);
void os_futex_wake_all(const void *word);
void os_yield(void);

/* A key whose destructor runs at thread exit, PTHREAD_DESTRUCTOR_ITERATIONS times while it is set
 * again. False when the process has no key left. Call once. */
HAK_MUST_USE bool os_thread_key_create(void (*destructor)(void *));
/* Set this thread's value (non-NULL arms the destructor). Allocates for keys >= 32 (libc's second
 * level): call with a working heap and no lock. False when libc could not. */
HAK_MUST_USE bool os_thread_key_set(void *value);
/* Register fork handlers; may allocate. False when libc could not. */
HAK_MUST_USE bool os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
/* The __register_atfork that comes after this library's: libc's, or another's on its way. errno's
 * number; ENOMEM also where there is none. */
HAK_MUST_USE int os_register_atfork(void (*prepare)(void), void (*parent)(void),
                                    void (*child)(void), void *library);

/* glibc's since 2.32, not 0 while no thread but the first was ever started: pthread_create changes
 * it before it allocates. NULL: no C library that tells. */
extern HAK_HIDDEN const char *const os_alone_flag;
/* False also where the C library does not tell. */
HAK_INLINE bool os_is_alone(void) { return os_alone_flag != NULL && *os_alone_flag != 0; }

/* The lock of libc's list of streams, which its fork takes after all handlers: taken before a gate
 * is closed at which a thread that holds it would wait, since it may allocate meanwhile (a stream's
 * own functions under fflush(NULL), another thread whose stream it waits for). libc's fork then has
 * it before the lock of its list of handlers, which it lets go while it calls one: each fork of the
 * process must. False where nothing is taken: no other thread ever ran, or the C library is not
 * glibc. May be nested. */
HAK_MUST_USE bool os_streams_lock(void);
void os_streams_unlock(void);
/* In a child: whoever held it, it is free. */
void os_streams_reset(void);

/* Start a detached thread that takes no signal and is called `name` (15 bytes at most). False when
 * there can be none. Allocates, and takes libc's locks: hold none, and be in no malloc or free that
 * libc may have called while it holds them (docs/decisions/0028). One thread at a time. */
HAK_MUST_USE bool os_thread_start(void *(*fn)(void *), const char *name);
/* To what os_thread_start has started: true when the process waits for nothing but its end, main's
 * thread and all others having ended. It takes signals from then on, as its starter did. */
HAK_MUST_USE bool os_thread_is_last(void);

#endif
