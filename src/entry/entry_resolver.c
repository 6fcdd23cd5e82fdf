/* entry_resolver.c — malloc before this thread's storage has its initial value.
 *
 * While the dynamic linker relocates the program, the program's IFUNC resolvers may call malloc;
 * thread-local variables still read as zero then, and the hot path would follow a null heap. The
 * linker runs our own resolver first, at the end of relocating this library, and that one puts the
 * initial value in place by hand. So the hot path needs no test. In the shared library only: in a
 * static program resolvers run before there is thread-local storage at all.
 */
#include "heap.h"

static void nothing_to_do(void) {}

__attribute__((used)) static void (*resolve_start(void))(void) {
  heap_current = &heap_none;
  return nothing_to_do;
}

__attribute__((visibility("hidden"))) void entry_resolver_start(void)
    __attribute__((ifunc("resolve_start")));

/* The reference that makes the linker call the resolver. Nothing leads to it: the library is linked
 * with -u of its name. */
extern void (*const entry_resolver_reference)(void);
HAK_HIDDEN void (*const entry_resolver_reference)(void) = entry_resolver_start;
