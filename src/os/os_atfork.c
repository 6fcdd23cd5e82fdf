/* os_atfork.c — what comes behind our __register_atfork. In the shared libraries only: a static
 * program would get all of the dynamic linker for it.
 */
#define _GNU_SOURCE 1
#include "os_thread.h"

#include <dlfcn.h>
#include <errno.h>

typedef int register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);

/* dlsym. NULL: ENOMEM, as if libc had no room for them. */
int os_register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                       void *library) {
  register_atfork *next;
  *(void **)(void *)&next = dlsym(RTLD_NEXT, "__register_atfork");
  return next != NULL ? next(prepare, parent, child, library) : ENOMEM;
}
