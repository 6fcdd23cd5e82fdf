/* rt_conf.h — where options come from at the start, and the lines about those that are wrong.
 * A later source beats an earlier one: the table's defaults < the program's symbol `hak_conf` <
 * /etc/hakmem.conf < the file $HAKMEM_CONF_FILE < the environment (< hak_option_set). Within the
 * environment HAKMEM_<NAME> beats HAKMEM_CONF. In each, a profile is set before what is named.
 * Owns: the sources, HAKMEM_REPORT, CONF_STRICT. Does not own: names and values (rt_options.h).
 */
#ifndef RT_CONF_H
#define RT_CONF_H

#include <stdbool.h>

#include "base_attr.h"

/* Read the sources; true when the environment was there to read (or all must be ignored:
 * AT_SECURE). Before libc is up there is none: call again. Later calls do nothing.
 * Called under the booting heap's lock or from the library's constructor: one thread. */
HAK_MUST_USE bool rt_conf_init(void);
/* Value of the reserved HAKMEM_REPORT, or NULL when unset or empty. A copy made by rt_conf_init:
 * programs that show a status in their title overwrite the environment they were started with. */
HAK_MUST_USE const char *rt_report_path(void);

#endif
