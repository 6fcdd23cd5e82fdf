/* entry_atfork.c — the C library's __register_atfork, by which pthread_atfork of every program and
 * library registers its handlers: ours come before the first of them (entry_fork.h). In the shared
 * libraries only: a static program's libc defines the name beside fork itself.
 */
#include "entry.h"
#include "entry_fork.h"

/* NOLINTBEGIN(bugprone-reserved-identifier) */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                             void *library);

HAK_EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                                 void *library) {
  entry_init();
  entry_fork_tell();
  return os_register_atfork(prepare, parent, child, library);
}

extern __typeof__(__register_atfork) atfork_of_this_library
    __attribute__((alias("__register_atfork"))) HAK_HIDDEN;
/* The name as the dynamic linker finds it: another's where we were loaded late. */
bool entry_atfork_is_in_front(void) { return __register_atfork == atfork_of_this_library; }
/* NOLINTEND(bugprone-reserved-identifier) */
