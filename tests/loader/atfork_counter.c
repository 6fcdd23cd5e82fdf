/* atfork_counter.c — a library between the allocator and libc: counts who registers fork handlers,
 * and passes them on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

typedef void handler(void);

int atfork_count;
void *atfork_first; /* the first prepare handler */

/* NOLINTNEXTLINE(bugprone-reserved-identifier) */
int __register_atfork(handler *prepare, handler *parent, handler *child, void *library);
int __register_atfork(handler *prepare, handler *parent, handler *child, void *library) {
  int (*next)(handler *, handler *, handler *, void *);
  *(void **)(void *)&next = dlsym(RTLD_NEXT, "__register_atfork");
  if (atfork_count++ == 0) *(handler **)(void *)&atfork_first = prepare;
  return next(prepare, parent, child, library);
}
