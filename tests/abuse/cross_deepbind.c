/* A pointer of another allocator: a plugin opened with RTLD_DEEPBIND finds the C library's malloc
 * before ours. Arguments: operation, plugin. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "abuse.h"

int main(int argc, char **argv) {
  void *plugin = dlopen(word_argument(argc, argv, 2), RTLD_NOW | RTLD_DEEPBIND);
  if (plugin == NULL) return 2;
  void *(*plugin_make)(void) = (void *(*)(void))dlsym(plugin, "plugin_make");
  if (plugin_make == NULL) return 2;
  void *a = plugin_make();
  announce(a, 0);
  misuse(word_argument(argc, argv, 1), a);
  return 0;
}
