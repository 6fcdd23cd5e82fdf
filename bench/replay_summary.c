/* replay_summary: see replay_summary.h. */
#include "replay_summary.h"

#include <stdio.h>

static const char *const kind_words[REPLAY_KINDS] = {
    [REPLAY_MALLOC] = "mallocs", [REPLAY_CALLOC] = "callocs",   [REPLAY_ALIGNED] = "aligned",
    [REPLAY_FREE] = "frees",     [REPLAY_REALLOC] = "reallocs",
};

static const char *const end_words[TRACE_ENDS] = {
    [0] = "cut short: no trailer", [TRACE_END_EXIT] = "exit",       [TRACE_END_KILLED] = "killed",
    [TRACE_END_BOUND] = "bound",   [TRACE_END_STALLED] = "stalled",
};

static unsigned long long ull(uint64_t value) { return value; }

/* The sizes of a class: 2^(c-1) to 2^c - 1 bytes. */
static uint64_t class_least(unsigned c) { return c == 0 ? 0 : UINT64_C(1) << (c - 1); }
static uint64_t class_most(unsigned c) { return c == 0 ? 0 : (UINT64_C(1) << c) - 1; }

void summary_counts_json(const uint64_t counts[REPLAY_KINDS]) {
  for (size_t i = 0; i < REPLAY_KINDS; i++) {
    printf("%s\"%s\":%llu", i == 0 ? "{" : ",", kind_words[i], ull(counts[i]));
  }
  putchar('}');
}

void summary_counts_print(const struct replay_plan *plan, const uint64_t counts[REPLAY_KINDS]) {
  printf("%s, %u thread%s: ", plan->program, plan->lane_count, plan->lane_count == 1 ? "" : "s");
  for (size_t i = 0; i < REPLAY_KINDS; i++) {
    printf("%s%llu %s", i == 0 ? "" : ", ", ull(counts[i]), kind_words[i]);
  }
  printf("; %llu of foreign objects%s\n", ull(plan->foreign),
         plan->is_truncated ? "; the trace is cut short" : "");
}

static void json_print(const struct replay_plan *plan) {
  printf("{\"schema\":1,\"program\":\"");
  for (const char *at = plan->program; *at != '\0'; at++) {
    /* A program's name may be anything; what JSON would have to escape is left out. */
    putchar(*at < ' ' || *at == '"' || *at == '\\' || *at == 0x7f ? '?' : *at);
  }
  printf("\",\"calls\":");
  summary_counts_json(plan->kind_count);
  printf(",\"threads\":%llu,\"threads_at_a_time\":%llu,\"duration_ns\":%llu,\"end\":\"%s\","
         "\"truncated\":%s,\"lost\":%llu,\"foreign\":%llu,\"live_count\":%llu,\"live_bytes\":%llu,"
         "\"peak_count\":%llu,\"peak_bytes\":%llu,\"classes\":[",
         ull(plan->recorded_count), ull(plan->most_lanes), ull(plan->duration_ns),
         end_words[plan->end], plan->is_truncated ? "true" : "false", ull(plan->lost),
         ull(plan->foreign), ull(plan->live_count), ull(plan->live_bytes), ull(plan->peak_count),
         ull(plan->peak_bytes));
  const char *comma = "";
  for (unsigned c = 0; c < REPLAY_CLASSES; c++) {
    if (plan->class_count[c] != 0) {
      printf("%s[%llu,%llu]", comma, ull(class_most(c)), ull(plan->class_count[c]));
      comma = ",";
    }
  }
  printf("]}\n");
}

void summary_print(const struct replay_plan *plan) {
  if (bench_options.json) {
    json_print(plan);
    return;
  }
  printf("program    %s\n", plan->program);
  printf("ended      %s\n", end_words[plan->end]);
  printf("duration   %.6f s\n", (double)plan->duration_ns / 1e9);
  printf("threads    %llu, at a time %llu\n", ull(plan->recorded_count), ull(plan->most_lanes));
  printf("calls      %llu\n", ull(plan->op_count));
  for (size_t i = 0; i < REPLAY_KINDS; i++) {
    printf("  %-9s%llu\n", kind_words[i], ull(plan->kind_count[i]));
  }
  printf("foreign    %llu\n", ull(plan->foreign));
  printf("lost       %llu\n", ull(plan->lost));
  printf("peak       %llu objects, %llu bytes\n", ull(plan->peak_count), ull(plan->peak_bytes));
  printf("at end     %llu objects, %llu bytes\n", ull(plan->live_count), ull(plan->live_bytes));
  printf("sizes asked for:\n");
  for (unsigned c = 0; c < REPLAY_CLASSES; c++) {
    if (plan->class_count[c] != 0) {
      printf("  %15llu to %15llu  %llu\n", ull(class_least(c)), ull(class_most(c)),
             ull(plan->class_count[c]));
    }
  }
}
