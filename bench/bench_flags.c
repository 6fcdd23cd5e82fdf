/* bench_flags: the command line of every benchmark program. The flags that all take are defined
 * here and nowhere else; each program adds its own rows. */
#include "bench_common.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_record.h"

#define OPS_MAX (UINT64_C(1) << 48)

struct bench_options bench_options = {.seed = 1};
struct record_command record_command;

void bench_fail(const char *format, ...) {
  char line[256];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  const struct bench_program *program = record_command.program;
  fprintf(stderr, "%s: %s\n", program != NULL ? program->name : "bench", line);
  exit(2);
}

/* 0: `end` does not end a number of bytes. */
static uint64_t bytes_unit(const char *end) {
  if (end[0] == '\0') {
    return 1;
  }
  switch (end[1] == '\0' ? end[0] : '\0') {
  case 'K':
    return UINT64_C(1) << 10;
  case 'M':
    return UINT64_C(1) << 20;
  case 'G':
    return UINT64_C(1) << 30;
  default:
    return 0;
  }
}

static uint64_t number_parse(const char *name, const char *text, uint64_t least, uint64_t most,
                             bool is_bytes) {
  char *end = NULL;
  errno = 0;
  unsigned long long value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
  uint64_t unit = 0;
  if (end != NULL && errno == 0) {
    unit = is_bytes ? bytes_unit(end) : *end == '\0';
  }
  if (unit == 0 || value > most / unit || value * unit < least) {
    bench_fail("%s must be a %s from %llu to %llu, not '%s'", name,
               is_bytes ? "number of bytes (K, M and G are units)" : "whole number",
               (unsigned long long)least, (unsigned long long)most, text);
  }
  return value * unit;
}

/* The number times `scale`, at least 1. */
static uint64_t decimal_parse(const char *name, const char *text, const char *what, double scale,
                              double most) {
  char *end = NULL;
  double value = text[0] == '.' || (text[0] >= '0' && text[0] <= '9') ? strtod(text, &end) : 0;
  if (end == NULL || *end != '\0' || !(value > 0 && value <= most)) {
    bench_fail("%s must be a number of %s above 0, at most %.0f, not '%s'", name, what, most, text);
  }
  uint64_t scaled = (uint64_t)(value * scale + 0.5);
  return scaled != 0 ? scaled : 1;
}

static uint64_t choice_parse(const char *name, const char *text, const char *choices) {
  size_t length = strlen(text);
  uint64_t index = 0;
  for (const char *at = choices; at != NULL; index++) {
    const char *bar = strchr(at, '|');
    size_t span = bar != NULL ? (size_t)(bar - at) : strlen(at);
    if (span == length && memcmp(at, text, length) == 0) {
      return index;
    }
    at = bar != NULL ? bar + 1 : NULL;
  }
  bench_fail("%s must be one of %s, not '%s'", name, choices, text);
}

/* Of a program whose sizes are not drawn. */
static bool flag_has_no_value(const struct bench_flag *flag) {
  return flag->kind == BENCH_BYTES && flag->most == 0;
}

static void value_parse(const struct bench_flag *flag, const char *text) {
  if (flag_has_no_value(flag)) {
    bench_fail("%s is refused: this program takes its sizes from its input (see --help)",
               flag->name);
  }
  switch (flag->kind) {
  case BENCH_NUMBER:
  case BENCH_BYTES:
    *flag->value =
        number_parse(flag->name, text, flag->least, flag->most, flag->kind == BENCH_BYTES);
    break;
  case BENCH_SECONDS:
    *flag->value = decimal_parse(flag->name, text, "seconds", 1e9, 1e6);
    break;
  case BENCH_NANOSECONDS:
    *flag->value = decimal_parse(flag->name, text, "nanoseconds", 1e3, 1e12);
    break;
  case BENCH_CHOICE:
    *flag->value = choice_parse(flag->name, text, flag->choices);
    break;
  case BENCH_SWITCH:
    *flag->value = 1;
    break;
  case BENCH_TEXT:
    *flag->value = (uintptr_t)text;
    break;
  }
}

struct flag_table {
  const struct bench_flag *flags;
  size_t count;
};

static void usage_print_table(struct flag_table table) {
  static const char *const value_word[] = {[BENCH_NUMBER] = "N",
                                           [BENCH_BYTES] = "BYTES",
                                           [BENCH_SECONDS] = "S",
                                           [BENCH_NANOSECONDS] = "NS",
                                           [BENCH_TEXT] = "TEXT"};
  for (const struct bench_flag *flag = table.flags; flag != table.flags + table.count; flag++) {
    if (flag_has_no_value(flag)) {
      continue;
    }
    if (flag->kind == BENCH_SWITCH || flag->name[0] != '-') {
      printf(" [%s]", flag->name);
    } else {
      printf(" [%s %s]", flag->name,
             flag->kind == BENCH_CHOICE ? flag->choices : value_word[flag->kind]);
    }
  }
}

static const struct bench_flag *flag_find(struct flag_table table, const char *name) {
  for (const struct bench_flag *flag = table.flags; flag != table.flags + table.count; flag++) {
    if (strcmp(flag->name, name) == 0) {
      return flag;
    }
  }
  return NULL;
}

static void words_parse(int argc, char **argv, struct flag_table own, struct flag_table common) {
  size_t positional = 0;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0) {
      printf("usage: %s", record_command.program->name);
      usage_print_table(own);
      usage_print_table(common);
      printf("\n");
      exit(0);
    }
    if (argv[i][0] == '-') {
      const struct bench_flag *flag = flag_find(own, argv[i]);
      if (flag == NULL && (flag = flag_find(common, argv[i])) == NULL) {
        bench_fail("unknown option '%s' (see --help)", argv[i]);
      }
      if (flag->kind != BENCH_SWITCH && ++i >= argc) {
        bench_fail("%s needs a value", flag->name);
      }
      value_parse(flag, argv[i]);
      continue;
    }
    while (positional < own.count && own.flags[positional].name[0] == '-') {
      positional++;
    }
    if (positional == own.count) {
      bench_fail("unexpected argument '%s' (see --help)", argv[i]);
    }
    value_parse(&own.flags[positional++], argv[i]);
  }
}

/* What the command line left at 0. */
static void defaults_fill(const struct bench_program *program, uint64_t size_bytes) {
  struct bench_options *o = &bench_options;
  if (size_bytes != 0 && (o->min_bytes != 0 || o->max_bytes != 0)) {
    bench_fail("--size stands for --min and --max: give it alone");
  }
  if (size_bytes != 0) {
    o->min_bytes = o->max_bytes = size_bytes;
  }
  o->min_bytes = o->min_bytes != 0 ? o->min_bytes : program->min_bytes;
  o->max_bytes = o->max_bytes != 0 ? o->max_bytes : program->max_bytes;
  if (o->min_bytes > o->max_bytes) {
    bench_fail("--min (%llu) is above --max (%llu)", (unsigned long long)o->min_bytes,
               (unsigned long long)o->max_bytes);
  }
  if (o->threads == 0) {
    o->threads = program->threads;
  }
  if (o->ops == 0 && o->seconds_ns == 0) {
    o->ops = program->ops;
  }
}

void bench_parse(int argc, char **argv, const struct bench_program *program) {
  record_command = (struct record_command){program, argc, argv};
  signal(SIGXFSZ, SIG_IGN); /* a limit of file size is an error of write, which is told */
  struct bench_options *o = &bench_options;
  uint64_t least = program->least_bytes, most = program->most_bytes, size_bytes = 0;
  const struct bench_flag common[] = {
      {"--threads", BENCH_NUMBER, &o->threads, 1, BENCH_THREADS_MAX, NULL},
      {"--ops", BENCH_NUMBER, &o->ops, 1, OPS_MAX, NULL},
      {"--seconds", BENCH_SECONDS, &o->seconds_ns, 0, 0, NULL},
      {"--min", BENCH_BYTES, &o->min_bytes, least, most, NULL},
      {"--max", BENCH_BYTES, &o->max_bytes, least, most, NULL},
      {"--size", BENCH_BYTES, &size_bytes, least, most, NULL},
      {"--seed", BENCH_NUMBER, &o->seed, 0, UINT64_MAX, NULL},
      {"--latency", BENCH_SWITCH, &o->latency, 0, 0, NULL},
      {"--json", BENCH_SWITCH, &o->json, 0, 0, NULL},
      {"--markers", BENCH_SWITCH, &o->markers, 0, 0, NULL},
      {"--target-ns", BENCH_NANOSECONDS, &o->target_ps, 0, 0, NULL},
      {"--target-rss", BENCH_BYTES, &o->target_rss_bytes, 1, UINT64_C(1) << 50, NULL},
  };
  words_parse(argc, argv, (struct flag_table){program->flags, program->flag_count},
              (struct flag_table){common, BENCH_COUNT(common)});
  defaults_fill(program, size_bytes);
}

uint64_t bench_env_number(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? number_parse(name, text, 0, OPS_MAX, false) : otherwise;
}
