/* os_limit.c — see os_limit.h. No state.
 * Where control groups are: version 1 at /sys/fs/cgroup/memory, version 2 at /sys/fs/cgroup, below
 * it the path that /proc/self/cgroup names. In a container that path may be the host's: then the
 * nearest folder above it that is there has the limit, the root at last.
 */
#include "os_limit.h"

#include <stddef.h>

#include "base_format.h"
#include "base_size.h"
#include "os_mem.h"
#include "os_sys.h"

enum {
  PATH_BYTES = 1024, /* where it is longer, the root is looked at alone */
  TEXT_BYTES = 2048, /* of memory.stat the first lines; what we look for is among them */
  NAME_ROOM = 32,    /* longer than any file's name below */
};

/* Files of a control group, by version. */
static const struct version {
  const char *mount, *limit, *soft_limit, *used, *swap_limit;
  const char *inactive, *active, *cache, *shared; /* in memory.stat */
} versions[] = {
    {"/sys/fs/cgroup/memory", "/memory.limit_in_bytes", NULL, "/memory.usage_in_bytes",
     "/memory.memsw.limit_in_bytes", "total_inactive_file ", "total_active_file ", "total_cache ",
     "total_shmem "},
    {"/sys/fs/cgroup", "/memory.max", "/memory.high", "/memory.current", "/memory.swap.max",
     "inactive_file ", "active_file ", "file ", "shmem "},
};
enum { VERSION_1, VERSION_2 };

struct group {
  const struct version *v;
  char text[PATH_BYTES]; /* the path of its folder */
  struct format_buf path;
  size_t mount_length;
};

/* Decimal digits at the start of s; UINT64_MAX for anything else ("max"), and what exceeds it. */
static uint64_t number_at(const char *s) {
  uint64_t value = 0;
  if (*s < '0' || *s > '9') return UINT64_MAX;
  for (; *s >= '0' && *s <= '9'; s++) {
    if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
      return UINT64_MAX;
  }
  return value;
}

/* What follows `key` at the start of a line of `text`, or NULL. */
static const char *line_after(const char *text, const char *key) {
  while (!text_starts_with(text, key)) {
    while (*text != '\0' && *text != '\n') text++;
    if (*text == '\0') return NULL;
    text++;
  }
  return text + text_length(key);
}

/* As os_read_file. */
static long group_read(struct group *g, const char *name, char *out, size_t capacity) {
  size_t length = g->path.length;
  format_text(&g->path, name);
  long got = os_sys_read_file(g->text, out, capacity);
  g->path.length = length;
  g->text[length] = '\0';
  return got;
}

/* The number in a file of the group; UINT64_MAX: no such file, or no number. */
static uint64_t group_number(struct group *g, const char *name) {
  char text[NAME_ROOM];
  return group_read(g, name, text, sizeof text) > 0 ? number_at(text) : UINT64_MAX;
}

static uint64_t stat_bytes(const char *stat, const char *key) {
  const char *value = line_after(stat, key);
  uint64_t bytes = value != NULL ? number_at(value) : 0;
  return bytes != UINT64_MAX ? bytes : 0;
}

static uint64_t left_of(uint64_t limit_bytes, uint64_t used_bytes) {
  return limit_bytes > used_bytes ? limit_bytes - used_bytes : 0;
}

/* Pages of files, in use or not: the kernel takes them before it kills. On their lists are also
 * pages without a file that MADV_FREE was said of, and stay there when they are written to again:
 * so no more than what has a file, and is not shared memory, which no one can take. */
static uint64_t group_reclaimable(struct group *g) {
  char text[TEXT_BYTES];
  if (group_read(g, "/memory.stat", text, sizeof text) <= 0) return 0;
  uint64_t listed = stat_bytes(text, g->v->inactive) + stat_bytes(text, g->v->active);
  uint64_t of_files = left_of(stat_bytes(text, g->v->cache), stat_bytes(text, g->v->shared));
  return listed < of_files ? listed : of_files;
}

/* The path of a line of /proc/self/cgroup, "4:memory:/a/b" or "0::/a/b", as far as its newline. */
static const char *path_of_line(const char *line, const char *controller, size_t *length) {
  while (*line != '\0' && *line != ':') line++;
  if (*line == '\0') return NULL;
  const char *name = ++line;
  while (*line != '\0' && *line != ':') line++;
  if (*line == '\0') return NULL;
  bool is_it = name == line && *controller == '\0';
  for (; name < line && !is_it; name++) { /* at the start of each name of a list "cpu,memory" */
    size_t n = text_length(controller);
    is_it = n != 0 && text_starts_with(name, controller) && (name[n] == ':' || name[n] == ',');
    while (name < line && *name != ',') name++;
  }
  if (!is_it) return NULL;
  const char *path = ++line;
  while (*line != '\0' && *line != '\n') line++;
  *length = (size_t)(line - path);
  return path;
}

static const char *path_in(const char *text, const char *controller, size_t *length) {
  while (*text != '\0') {
    const char *path = path_of_line(text, controller, length);
    if (path != NULL) return path;
    while (*text != '\0' && *text != '\n') text++;
    if (*text != '\0') text++;
  }
  return NULL;
}

/* The control group that counts this process's memory. False: none, or no /proc. */
static bool group_find(struct group *g) {
  char text[TEXT_BYTES];
  long got = os_sys_read_file("/proc/self/cgroup", text, sizeof text);
  if (got <= 0) return false;
  size_t length = 0;
  const char *path = path_in(text, "memory", &length);
  /* Longer than we read, its line may be in the rest: then the root says. */
  if (path == NULL && got + 1 == (long)sizeof text) path = "";
  g->v = &versions[path != NULL ? VERSION_1 : VERSION_2];
  if (path == NULL) path = path_in(text, "", &length);
  if (path == NULL) return false;
  format_init(&g->path, g->text, sizeof g->text);
  format_text(&g->path, g->v->mount);
  g->mount_length = g->path.length;
  bool fits = g->mount_length + length + NAME_ROOM < sizeof g->text;
  if (fits && length > 1) format_bytes(&g->path, path, length);
  return true;
}

/* To the folder above; false at the root. */
static bool group_up(struct group *g) {
  if (g->path.length <= g->mount_length) return false;
  do g->path.length--;
  while (g->path.length > g->mount_length && g->text[g->path.length] != '/');
  g->text[g->path.length] = '\0';
  return true;
}

/* SwapFree of /proc/meminfo, in the first lines. No such file: none. */
static bool has_swap(void) {
  char text[TEXT_BYTES];
  if (os_sys_read_file("/proc/meminfo", text, sizeof text) <= 0) return false;
  const char *value = line_after(text, "SwapFree:");
  while (value != NULL && *value == ' ') value++;
  return value != NULL && number_at(value) != 0 && number_at(value) != UINT64_MAX;
}

/* One group's part in *found: the nearest limit, and the least that a hard one leaves. *may_swap:
 * all so far let swap. False: it has no limit, or one above all there is. */
static bool add_group(struct group *g, struct os_room *found, bool *may_swap) {
  uint64_t hard = group_number(g, g->v->limit), soft = UINT64_MAX;
  if (g->v->soft_limit != NULL) soft = group_number(g, g->v->soft_limit);
  uint64_t limit = hard < soft ? hard : soft, swap = group_number(g, g->v->swap_limit);
  bool has_swap_limit = g->v == &versions[VERSION_1] ? swap <= hard : swap == 0;
  if (has_swap_limit) *may_swap = false;
  if (limit >= os_ram_bytes()) return false;
  uint64_t used = group_number(g, g->v->used);
  if (used == UINT64_MAX) return false;
  uint64_t reclaimable = group_reclaimable(g);
  used = used > reclaimable ? used - reclaimable : 0;
  if (left_of(limit, used) < left_of(found->limit_bytes, found->used_bytes)) {
    found->limit_bytes = limit;
    found->used_bytes = used;
  }
  if (hard < os_ram_bytes() && left_of(hard, used) < found->deadly_left_bytes) {
    found->deadly_limit_bytes = hard;
    found->deadly_left_bytes = left_of(hard, used);
  }
  return true;
}

bool os_group_room(struct os_room *nearest) {
  struct group g;
  bool is_limited = false, may_swap = true;
  if (!group_find(&g)) return false;
  *nearest = (struct os_room){UINT64_MAX, 0, 0, UINT64_MAX};
  do is_limited = add_group(&g, nearest, &may_swap) || is_limited; /* a folder's depth */
  while (group_up(&g));
  bool is_deadly = nearest->deadly_limit_bytes != 0 && !(may_swap && has_swap());
  if (!is_deadly) nearest->deadly_limit_bytes = 0;
  return is_limited;
}

bool os_address_room(struct os_room *room) {
  char text[TEXT_BYTES];
  uint64_t limit = os_address_limit_bytes();
  if (limit == UINT64_MAX) return false;
  if (os_sys_read_file("/proc/self/statm", text, sizeof text) <= 0) return false;
  uint64_t pages = number_at(text);
  if (pages == UINT64_MAX) return false;
  *room = (struct os_room){limit, pages * os_page_bytes(), 0, UINT64_MAX};
  return true;
}

static unsigned percent_at(const char *text, const char *key) {
  const char *value = line_after(text, key);
  uint64_t percent = value != NULL ? number_at(value) : UINT64_MAX;
  return percent <= 100 ? (unsigned)percent : 0;
}

struct os_stall os_memory_stall(void) {
  struct group g;
  char text[TEXT_BYTES];
  long got = -1;
  if (group_find(&g) && g.v == &versions[VERSION_2])
    got = group_read(&g, "/memory.pressure", text, sizeof text);
  if (got <= 0) got = os_sys_read_file("/proc/pressure/memory", text, sizeof text);
  if (got <= 0) return (struct os_stall){0, 0};
  return (struct os_stall){percent_at(text, "some avg10="), percent_at(text, "full avg10=")};
}
