/* What cross_deepbind opens: an object that the caller is to free. */
#include <stdlib.h>

void *plugin_make(void);

void *plugin_make(void) { return malloc(100); }
