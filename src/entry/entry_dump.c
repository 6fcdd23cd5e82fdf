/* entry_dump.c — the statistics that HAKMEM_TINY_MEM_DUMP, HAKMEM_SS_STATS_DUMP and
 * HAKMEM_WARM_POOL_STATS ask for, on stderr when the process exits. Lines: view_dump.h.
 */
#include "os_proc.h"
#include "rt_options.h"
#include "view_dump.h"

static void put(const struct format_buf *line) { os_write_stderr(line->text, line->length); }

__attribute__((destructor)) static void entry_dump_at_exit(void) {
  bool has_tiny = rt_option(RT_OPTION_TINY_MEM_DUMP) != 0;
  bool has_superslabs = rt_option(RT_OPTION_SS_STATS_DUMP) != 0;
  bool has_warm = rt_option(RT_OPTION_WARM_POOL_STATS) != 0;
  if (!has_tiny && !has_superslabs && !has_warm) return;
  struct view_totals totals;
  view_stats_collect(&totals);
  if (has_tiny) view_dump_tiny(&totals, put);
  if (has_superslabs) view_dump_superslabs(&totals, put);
  if (has_warm) view_dump_warm(&totals, put);
}
