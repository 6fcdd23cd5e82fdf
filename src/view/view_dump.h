/* view_dump.h — what slabs, superslabs and the warm pool hold, as lines of text. Read-only.
 * docs/stats.md has a line for each number; figures are exact at rest.
 */
#ifndef VIEW_DUMP_H
#define VIEW_DUMP_H

#include "base_format.h"
#include "view_stats.h"

/* Each takes one finished line, newline included. */
typedef void view_dump_line(const struct format_buf *line);

/* A line a class that has slabs, and a total; in the observe flavour the operations besides. */
void view_dump_tiny(const struct view_totals *t, view_dump_line *put);
void view_dump_superslabs(const struct view_totals *t, view_dump_line *put);
void view_dump_warm(const struct view_totals *t, view_dump_line *put);

#endif
