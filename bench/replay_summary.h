/* replay_summary: what is known of a trace, for people or as JSON (--json), on stdout. */
#ifndef REPLAY_SUMMARY_H
#define REPLAY_SUMMARY_H

#include "replay_plan.h"

void summary_print(const struct replay_plan *plan);

/* One line: the calls by kind, and what is odd about the trace. */
void summary_counts_print(const struct replay_plan *plan, const uint64_t counts[REPLAY_KINDS]);
/* {"mallocs":...} */
void summary_counts_json(const uint64_t counts[REPLAY_KINDS]);

#endif
