/* hakmem.h — the API of hakmem beyond the C library's own names.
 *
 * A program linked with libhakmem, or started with it preloaded, needs nothing of this: malloc and
 * its family are hakmem's. The hak_ names are the same functions on the same heap, for those who
 * must be sure to call hakmem's: what malloc returned, hak_free may free, and the other way round.
 * Sizes are in bytes. Every function may be called from any thread at any time; from a signal
 * handler with the limits that SECURITY.md names.
 *
 * A pointer that hakmem did not return, or that was freed before, ends the process with one line on
 * stderr wherever it is recognised.
 */
#ifndef HAKMEM_H
#define HAKMEM_H

#include <malloc.h> /* struct mallinfo2, where the C library has it */
#include <stddef.h>
#include <stdio.h>

#define HAK_VERSION_MAJOR 0
#define HAK_VERSION_MINOR 1
#define HAK_VERSION_PATCH 0
/* Grows with every release: 100 for 0.1.0. */
#define HAK_VERSION_NUMBER (HAK_VERSION_MAJOR * 10000 + HAK_VERSION_MINOR * 100 + HAK_VERSION_PATCH)

#ifdef __cplusplus
#define HAK_NOTHROW noexcept
extern "C" {
#else
#define HAK_NOTHROW __attribute__((nothrow))
#endif

#define HAK_ALLOCATES __attribute__((malloc, warn_unused_result))

#pragma GCC visibility push(default)

/* --- Allocate. The caller owns the result and gives it back with hak_free. It is aligned to 16 at
 * least, and no two live ones overlap; n may be 0. NULL with errno ENOMEM when there is no memory,
 * or the size (the product, the size with its alignment) exceeds PTRDIFF_MAX. */

/* n bytes, not cleared. */
void *hak_malloc(size_t n) HAK_NOTHROW HAK_ALLOCATES __attribute__((alloc_size(1)));
/* count * size bytes, all zero. */
void *hak_calloc(size_t count, size_t size) HAK_NOTHROW HAK_ALLOCATES
    __attribute__((alloc_size(1, 2)));
/* n bytes at a multiple of `align`. One that is no power of two is rounded up to the next; errno is
 * EINVAL where there is none (align > 2^63). */
void *hak_aligned_alloc(size_t align, size_t n) HAK_NOTHROW HAK_ALLOCATES
    __attribute__((alloc_size(2)));
void *hak_memalign(size_t align, size_t n) HAK_NOTHROW HAK_ALLOCATES __attribute__((alloc_size(2)));
/* At a multiple of the page size; hak_pvalloc also rounds n up to one. */
void *hak_valloc(size_t n) HAK_NOTHROW HAK_ALLOCATES __attribute__((alloc_size(1)));
void *hak_pvalloc(size_t n) HAK_NOTHROW HAK_ALLOCATES;
/* 0 and the block in *out; EINVAL unless `align` is a power of two and a multiple of
 * sizeof(void *); ENOMEM. On an error *out is untouched; errno always is. */
int hak_posix_memalign(void **out, size_t align, size_t n) HAK_NOTHROW
    __attribute__((warn_unused_result));

/* --- Change the size of p, which hakmem returned, to n (to count * size) bytes; what both sizes
 * share is kept, and the alignment falls back to 16. The block may move: p is then no longer valid.
 * NULL with errno ENOMEM: p is untouched and still the caller's. With p NULL as hak_malloc. With
 * p and a size of 0, p is freed and the result NULL, errno untouched. */
void *hak_realloc(void *p, size_t n) HAK_NOTHROW __attribute__((warn_unused_result, alloc_size(2)));
void *hak_reallocarray(void *p, size_t count, size_t size) HAK_NOTHROW
    __attribute__((warn_unused_result, alloc_size(2, 3)));

/* --- Free p, which hakmem returned; nothing for NULL. They never fail and keep errno. */

void hak_free(void *p) HAK_NOTHROW;
/* The same, by the name of old C libraries. */
void hak_cfree(void *p) HAK_NOTHROW;
/* n: what p was requested with (malloc, calloc, realloc). One that cannot be ends the process. */
void hak_free_sized(void *p, size_t n) HAK_NOTHROW;
/* The same for what aligned_alloc returned for these two. */
void hak_free_aligned_sized(void *p, size_t align, size_t n) HAK_NOTHROW;

/* --- Sizes. */

/* Bytes behind p that the caller may use: at least what was requested, and constant as long as p
 * lives. 0 for NULL. */
size_t hak_malloc_usable_size(void *p) HAK_NOTHROW;
/* The size to ask for in place of n, at least n: the finest class that n fits. hak_malloc uses it
 * once the process has enough objects of that size; before, it may use a coarser one, never a
 * finer. Allocates nothing. */
size_t hak_good_size(size_t n) HAK_NOTHROW;

/* --- Memory of the process. docs/stats.md defines every figure. */

/* Give the memory that is free in the whole process back to the kernel: free chunks, and pages
 * inside slabs of which every object is free. Of the objects that other threads' heaps keep, those
 * in their depots and on their way to them are free at once, the rest at their next slow path.
 * Returns how many bytes, pages included that had no memory behind them any more. O(heap). Not for
 * signal handlers, as the next two. */
size_t hak_purge(void) HAK_NOTHROW;
/* The same as glibc has it: 1 when there was some, else 0. `pad` is ignored. */
int hak_malloc_trim(size_t pad) HAK_NOTHROW;
/* The calling thread will allocate nothing for a while: all free objects that its heap keeps at
 * hand can serve other threads, or go back to the kernel; what threads share (HAKMEM_HEAPS), when
 * the last of them that is awake says so. It may go on at any time, at the cost of a few slow
 * paths. */
void hak_thread_idle(void) HAK_NOTHROW;
/* The figures of glibc's mallinfo2, exact when no other thread allocates or frees meanwhile.
 * The struct is the C library's (<malloc.h>); it must have one. */
struct mallinfo2;
struct mallinfo2 hak_mallinfo2(void) HAK_NOTHROW;
/* The same in ints; what exceeds one is INT_MAX. */
struct mallinfo;
struct mallinfo hak_mallinfo(void) HAK_NOTHROW;
/* glibc's mallopt: changes nothing. 1, or 0 for an M_MXFAST outside of 0 to 160. */
int hak_mallopt(int parameter, int value) HAK_NOTHROW;
/* Write them as XML, as glibc's malloc_info does. 0; EINVAL when options is not 0; -1 with the
 * stream's errno when it could not be written. */
int hak_malloc_info(int options, FILE *stream);
/* Write the sums to file descriptor 2, as text; allocates nothing. */
void hak_malloc_stats(void) HAK_NOTHROW;

/* --- Options. docs/options.md has them all, what each profile sets, and where their values come
 * from. A program may bring defaults of its own: include this header, and define
 *   const char hak_conf[] = "profile=lean,depot_bytes=1M";
 * The linker exports it where it links the shared library. Files, the environment and the calls
 * below beat it. Never read it: where the program defines none there is none. */
extern const char hak_conf[];

/* Set an option by its name ("PROFILE", "WARM_POOL_BYTES"; in any case) to what one would write
 * into the environment, from now on and against what any other source says. 0; ENOENT: there is no
 * such option; EINVAL: `value` is none of its values; EPERM: it holds from the start of the
 * process, see docs/options.md; EBUSY: from a signal handler that has interrupted a slow path. A
 * handler may call it wherever it comes, but not for BACKGROUND: that starts a thread.
 * What threads keep more than the new value allows they give back in the course of their next slow
 * paths. */
int hak_option_set(const char *name, const char *value) HAK_NOTHROW;
/* Its value now, as one would write it, into value[capacity]. 0; ENOENT; ERANGE: it does not fit,
 * 64 bytes are enough for any. */
int hak_option_get(const char *name, char *value, size_t capacity) HAK_NOTHROW;

/* Have `call` called when the process comes near a limit of memory, from the thread that notices,
 * inside of malloc, free or one of their kin, with nothing of ours held: it may allocate and free.
 * It must return (no longjmp, no exception), and may be inside a free that the C library calls
 * under its own locks: no stdio, no threads. Your thread may hold its own locks, or be in a signal
 * handler that allocates: try a lock, do not wait for it. With BACKGROUND=1 the thread may be the
 * library's own, with a stack of 256 KiB and no signals.
 *   soft_bytes 0   when 90 % of the nearest limit that MEMORY_LIMIT=auto finds, or of its number,
 *                  are used; used_bytes and limit_bytes say of that limit
 *   else           when so many bytes are in live objects and what is kept for more; limit_bytes is
 *                  soft_bytes
 * It is called again once less than 80 % have been used in between; and, where there is a limit,
 * before a request no larger than that is refused, however much is used: what the callback frees
 * may serve it. Where it did not, not again for a tenth of a second. While a thread is inside it,
 * no other calls it: what others ask for may be refused then.
 * Where it forks, the child is inside it too.
 * One callback a process: a later call replaces it, NULL ends it (a thread may be inside it still).
 * 0; EBUSY as hak_option_set; ENOMEM. Each one that is set takes 64 bytes for good. A process is
 * looked at from 8 MiB on. */
int hak_limit_callback(size_t soft_bytes,
                       void (*call)(size_t used_bytes, size_t limit_bytes, void *context),
                       void *context) HAK_NOTHROW;

/* Version of the library that runs, "0.1.0": compare with HAK_VERSION_… of the header. The text is
 * the library's and constant. */
const char *hak_version(void) HAK_NOTHROW;

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#undef HAK_ALLOCATES
#undef HAK_NOTHROW

#endif
