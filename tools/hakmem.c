// hakmem: runs programs on hakmem, and says what can be set.
// Owns: the command line of this tool. Does not own: the options' table (src/rt/knobs.def), their
// parsing (src/rt). A plain program: nothing of the library is linked.
// Exit statuses as env(1): 125 this command failed, 126 CMD cannot be run, 127 CMD not found, else
// CMD's own. Bad usage is 2.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_SELF = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };
enum { EXIT_CONFIG = 78 }; // the library's, of a program whose options are wrong (CONF_STRICT)

struct option {
  const char *name;
  const char *type;
  unsigned long long def, min, max;
  const char *when;  // it may change: live, or start
  const char *words; // of a choice, between bars; of bytes: of what counts 0, 1, ... below min
  const char *doc;
};

static const struct option options[] = {
#define KNOB(name, type, def, min, max, when, words, doc)                                          \
  {#name, #type, def, min, max, #when, words, doc},
#include "knobs.def"
#undef KNOB
};

enum index { // of options
#define KNOB(name, type, def, min, max, when, words, doc) INDEX_##name,
#include "knobs.def"
#undef KNOB
};

#define TIGHT(name, most)

static const struct bundle {
  enum index index;
  unsigned long long speed, lean;
} bundles[] = {
#define PROFILE(name, speed, lean) {INDEX_##name, speed, lean},
#define PROFILE_ALIAS(name, profile)
#include "profiles.def"
#undef PROFILE
#undef PROFILE_ALIAS
};

enum profile { PROFILE_SPEED, PROFILE_BALANCED, PROFILE_LEAN }; // words of PROFILE

static const struct alias {
  const char *name;
  enum profile profile;
} aliases[] = {
#define PROFILE(name, speed, lean)
#define PROFILE_ALIAS(name, profile) {#name, PROFILE_##profile},
#include "profiles.def"
#undef PROFILE
#undef PROFILE_ALIAS
};

#undef TIGHT

static const char usage_text[] =
    "usage: hakmem run [--minimal | --observe] [--profile NAME] [--] CMD [ARG...]\n"
    "                                               run CMD with hakmem\n"
    "       hakmem check [--minimal | --observe]    does that work here?\n"
    "       hakmem --help | --version\n";

// Word number `index`, or NULL.
static const char *word_at(const struct option *o, unsigned long long index) {
  const char *word = o->words[0] != '\0' ? o->words : NULL;
  for (; word != NULL && index > 0; index--) {
    const char *bar = strchr(word, '|');
    word = bar != NULL ? bar + 1 : NULL;
  }
  return word;
}

// As one would write it into the environment: 256K, not 262144.
static void print_value(const struct option *o, unsigned long long value) {
  static const char suffixes[] = "KMG";
  const char *word = word_at(o, value);
  if (word != NULL) {
    printf("%.*s", (int)strcspn(word, "|"), word);
    return;
  }
  int i = 0;
  if (strcmp(o->type, "bytes") == 0 && value != 0) {
    for (; suffixes[i] != '\0' && value % 1024 == 0; i++) {
      value /= 1024;
    }
  }
  printf("%llu", value);
  if (i > 0) {
    putchar(suffixes[i - 1]);
  }
}

static void print_option(const struct option *o) {
  bool is_choice = strcmp(o->type, "choice") == 0;
  printf("  HAKMEM_%s (%s, %s", o->name, o->type, o->words);
  if (!is_choice) {
    fputs(o->words[0] != '\0' ? " or " : "", stdout);
    print_value(o, o->min);
    fputs(" to ", stdout);
    print_value(o, o->max);
  }
  fputs(", default ", stdout);
  print_value(o, o->def);
  printf("%s)\n      %s\n", strcmp(o->when, "live") == 0 ? ", live" : "", o->doc);
}

static void print_profiles(void) {
  fputs("\nprofiles:", stdout);
  for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
    printf("%s %s is ", i > 0 ? "," : "", aliases[i].name);
    print_value(&options[INDEX_PROFILE], aliases[i].profile);
  }
  fputs("\n", stdout);
  for (size_t i = 0; i < sizeof bundles / sizeof bundles[0]; i++) {
    const struct option *o = &options[bundles[i].index];
    printf("  %s: speed ", o->name);
    print_value(o, bundles[i].speed);
    fputs(", balanced ", stdout);
    print_value(o, o->def);
    fputs(", lean ", stdout);
    print_value(o, bundles[i].lean);
    fputs("\n", stdout);
  }
}

static void print_help(void) {
  fputs(usage_text, stdout);
  fputs(
      "\n"
      "run prepends the library to LD_PRELOAD. The library is $HAKMEM_LIB if set, else the one\n"
      "beside this command or in " HAK_LIBDIR " from there. --minimal takes the bare allocator,\n"
      "--observe the one that counts every operation. --profile sets HAKMEM_PROFILE.\n"
      "HAKMEM_REPORT=FILE appends one JSON line about each process at its exit.\n"
      "\n"
      "exit status: CMD's own; 2 bad usage, 125 no library found, 126 CMD cannot be run, 127 no\n"
      "such CMD. check: 0 yes, 1 no, or an option is wrong and HAKMEM_CONF_STRICT=1.\n"
      "\n"
      "Options come from these places, a later one beats an earlier: the program itself (const\n"
      "char hak_conf[] = \"name=value,...\"), /etc/hakmem.conf, the file $HAKMEM_CONF_FILE (both\n"
      "with lines NAME=VALUE), $HAKMEM_CONF (\"name=value,...\"), the variables below, and calls "
      "of\n"
      "hak_option_set (hakmem.h; hak_option_get reads), which changes those that are live while\n"
      "the program runs. Bytes take a suffix K, M or G, in any case as words.\n"
      "\n"
      "options:\n",
      stdout);
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    print_option(&options[i]);
  }
  print_profiles();
}

// One line on stderr and out.
static void die(int status, const char *what, const char *detail) {
  fprintf(stderr, "hakmem: %s%s%s\n", what, detail[0] == '\0' ? "" : ": ", detail);
  exit(status);
}

// A file that is none the loader would name in a line of its own, and run CMD without.
static bool is_elf(const char *path) {
  static const char magic[] = {0x7f, 'E', 'L', 'F'};
  char start[sizeof magic];
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    return false;
  }
  size_t length = fread(start, 1, sizeof start, file);
  fclose(file);
  return length == sizeof magic && memcmp(start, magic, sizeof magic) == 0;
}

// Finds the library of that name and puts its absolute path into out[PATH_MAX]; or exits.
static void find_library(const char *name, char *out) {
  const char *given = getenv("HAKMEM_LIB");
  if (given != NULL) {
    if (realpath(given, out) == NULL) {
      fprintf(stderr, "hakmem: HAKMEM_LIB=%s: %s\n", given, strerror(errno));
      exit(EXIT_SELF);
    }
    if (!is_elf(out)) {
      die(EXIT_SELF, "HAKMEM_LIB cannot be read, or is no shared library", given);
    }
    return;
  }
  char self[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0) {
    die(EXIT_SELF, "cannot read /proc/self/exe, set HAKMEM_LIB", strerror(errno));
  }
  self[length] = '\0';
  *strrchr(self, '/') = '\0';
  static const char *const places[] = {"", "/" HAK_LIBDIR};
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s/%s", self, places[i], name);
    if (realpath(path, out) != NULL) {
      return;
    }
  }
  die(EXIT_SELF, "library not found beside this command nor in " HAK_LIBDIR, name);
}

static void set_preload(const char *library) {
  // The loader splits LD_PRELOAD at both and knows no way to escape them.
  if (strpbrk(library, " :") != NULL) {
    die(EXIT_SELF, "LD_PRELOAD cannot name a path with a space or colon", library);
  }
  const char *old = getenv("LD_PRELOAD");
  char *value = NULL;
  int length = old == NULL || old[0] == '\0' ? asprintf(&value, "%s", library)
                                             : asprintf(&value, "%s:%s", library, old);
  if (length < 0 || setenv("LD_PRELOAD", value, 1) != 0) {
    die(EXIT_SELF, "no memory for the environment", "");
  }
  free(value);
  unsetenv("HAKMEM_LIB"); // ours, not an option of the library
}

static bool is_profile(const char *name) {
  const struct option *o = &options[INDEX_PROFILE];
  const char *word;
  for (unsigned long long i = 0; (word = word_at(o, i)) != NULL; i++) {
    size_t length = strcspn(word, "|");
    if (strlen(name) == length && strncasecmp(name, word, length) == 0) {
      return true;
    }
  }
  for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
    if (strcasecmp(name, aliases[i].name) == 0) {
      return true;
    }
  }
  return false;
}

// The library would warn and go on; who asks by name is told at once.
static void set_profile(const char *name) {
  if (!is_profile(name)) {
    die(EXIT_USAGE, "--profile: speed, balanced or lean is expected", name);
  }
  if (setenv("HAKMEM_PROFILE", name, 1) != 0) {
    die(EXIT_SELF, "no memory for the environment", "");
  }
}

// Takes `--profile NAME` or `--profile=NAME` at argv[next], if it is there. Where what follows is.
static int take_profile(int argc, char **argv, int next) {
  static const char joined[] = "--profile=";
  if (next < argc && strncmp(argv[next], joined, sizeof joined - 1) == 0) {
    set_profile(argv[next] + sizeof joined - 1);
    return next + 1;
  }
  if (next < argc && strcmp(argv[next], "--profile") == 0) {
    set_profile(next + 1 < argc ? argv[next + 1] : "");
    return next + 2;
  }
  return next;
}

static int run(char **command, const char *library) {
  set_preload(library);
  execvp(command[0], command);
  int error = errno;
  fprintf(stderr, "hakmem: %s: %s\n", command[0], strerror(error));
  return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

// Runs this very command's --version under preload and looks for objects in its report.
static int check(const char *library) {
  char report[] = "/tmp/hakmem-check-XXXXXX";
  int fd = mkstemp(report);
  if (fd < 0) {
    die(EXIT_SELF, "cannot write to /tmp", strerror(errno));
  }
  pid_t pid = fork();
  if (pid < 0) {
    die(EXIT_SELF, "fork", strerror(errno));
  }
  if (pid == 0) {
    set_preload(library);
    setenv("HAKMEM_REPORT", report, 1);
    execl("/proc/self/exe", "hakmem", "--version", (char *)NULL);
    _exit(EXIT_SELF);
  }
  int status = 0;
  bool has_ended = waitpid(pid, &status, 0) == pid && WIFEXITED(status);
  bool ran = has_ended && WEXITSTATUS(status) == 0;
  char line[1024];
  ssize_t length = pread(fd, line, sizeof line - 1, 0);
  close(fd);
  unlink(report);
  line[length > 0 ? length : 0] = '\0';
  const char *objects = strstr(line, "\"objects\":");
  if (has_ended && WEXITSTATUS(status) == EXIT_CONFIG) { // it has said which
    printf("hakmem: %s ends programs here: an option is wrong and CONF_STRICT is 1\n", library);
    return 1;
  }
  bool works = ran && objects != NULL && strtoull(objects + strlen("\"objects\":"), NULL, 10) > 0;
  printf("hakmem: %s %s here\n", library, works ? "works" : "does NOT take over");
  return works ? 0 : 1;
}

int main(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "";
  if (strcmp(verb, "--help") == 0 && argc == 2) {
    print_help();
    return 0;
  }
  if (strcmp(verb, "--version") == 0 && argc == 2) {
    puts("hakmem " HAK_VERSION);
    return 0;
  }
  bool is_run = strcmp(verb, "run") == 0;
  if (!is_run && strcmp(verb, "check") != 0) {
    die(EXIT_USAGE, "run, check, --help or --version is expected, see hakmem --help", verb);
  }
  if (argc == 3 && strcmp(argv[2], "--help") == 0) {
    print_help();
    return 0;
  }
  const char *name = "libhakmem.so";
  int next = 2;
  if (next < argc && strcmp(argv[next], "--minimal") == 0) {
    name = "libhakmem-minimal.so";
    next++;
  } else if (next < argc && strcmp(argv[next], "--observe") == 0) {
    name = "libhakmem-observe.so";
    next++;
  }
  if (is_run) {
    next = take_profile(argc, argv, next);
  }
  if (is_run && next < argc && strcmp(argv[next], "--") == 0) {
    next++;
  } else if (next < argc && argv[next][0] == '-') {
    die(EXIT_USAGE, "unknown option, see hakmem --help", argv[next]);
  }
  if (is_run ? next >= argc : next < argc) {
    die(EXIT_USAGE, is_run ? "run: no command given" : "check: takes no command", "");
  }
  char library[PATH_MAX];
  find_library(name, library);
  return is_run ? run(argv + next, library) : check(library);
}
