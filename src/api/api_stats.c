/* api_stats.c — what programs ask about their heap: mallinfo, malloc_info, malloc_stats, mallopt,
 * malloc_trim, good_size, version. docs/stats.md defines every figure.
 * Owns: the shape of the answers. Does not own: the figures (view/). No state. No lock is held
 * while anything is written.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "api_alias.h"
#include "base_format.h"
#include "base_size.h"
#include "base_version.h"
#include "entry.h"
#include "hakmem.h"
#include "os_proc.h"
#include "view_stats.h"

enum {
  LINE_BYTES = 512, /* the longest line has 14 figures of at most 20 digits */
  TEXT_BYTES = 512,
  MXFAST_MAX_BYTES = 160, /* glibc's limit, beyond which its mallopt returns 0 */
};

static struct view_totals collect(void) {
  struct view_totals totals;
  entry_init();
  view_stats_collect(&totals);
  return totals;
}

static struct mallinfo2 mallinfo2_of(const struct view_totals *t) {
  return (struct mallinfo2){
      .arena = t->arena_bytes,
      .ordblks = t->free_block_count,
      .smblks = t->cached_count,
      .hblks = t->large_count,
      .hblkhd = t->large_bytes,
      .usmblks = t->peak_bytes,
      .fsmblks = t->cached_bytes,
      .uordblks = t->used_bytes,
      .fordblks = t->free_bytes,
      .keepcost = t->empty_bytes,
  };
}

struct mallinfo2 hak_mallinfo2(void) {
  struct view_totals totals = collect();
  return mallinfo2_of(&totals);
}
API_ALIAS(mallinfo2, hak_mallinfo2);

static int saturate(size_t value) { return value > INT_MAX ? INT_MAX : (int)value; }

struct mallinfo hak_mallinfo(void) {
  struct mallinfo2 wide = hak_mallinfo2();
  return (struct mallinfo){
      .arena = saturate(wide.arena),
      .ordblks = saturate(wide.ordblks),
      .smblks = saturate(wide.smblks),
      .hblks = saturate(wide.hblks),
      .hblkhd = saturate(wide.hblkhd),
      .usmblks = saturate(wide.usmblks),
      .fsmblks = saturate(wide.fsmblks),
      .uordblks = saturate(wide.uordblks),
      .fordblks = saturate(wide.fordblks),
      .keepcost = saturate(wide.keepcost),
  };
}
API_ALIAS(mallinfo, hak_mallinfo);
API_ALIAS(__libc_mallinfo, hak_mallinfo);

struct number {
  const char *name;
  size_t value;
};

/* `head name="value" … tail`, in one call. False when the stream failed. */
static bool put_element(FILE *stream, const char *head, const struct number *numbers, size_t count,
                        const char *tail) {
  char line[LINE_BYTES];
  struct format_buf f;
  format_init(&f, line, sizeof line);
  format_text(&f, head);
  for (size_t i = 0; i < count; i++) {
    format_text(&f, " ");
    format_text(&f, numbers[i].name);
    format_text(&f, "=\"");
    format_u64(&f, numbers[i].value);
    format_text(&f, "\"");
  }
  format_text(&f, tail);
  return fputs(line, stream) >= 0;
}
#define PUT(stream, head, tail, ...)                                                               \
  put_element(stream, head, (const struct number[]){__VA_ARGS__},                                  \
              HAK_COUNT_OF(((const struct number[]){__VA_ARGS__})), tail)

/* Free objects, a line a class that has any: `from` is one above the next smaller class. */
static bool put_sizes(FILE *stream, const struct view_totals *t) {
  bool is_ok = fputs("<heap nr=\"0\">\n<sizes>\n", stream) >= 0;
  for (uint32_t c = 0; c < size_class_count() && is_ok; c++) {
    size_t count = t->cls[c].cached_count + t->cls[c].free_count;
    size_t size = size_classes[c].size;
    if (count == 0) continue;
    is_ok = PUT(stream, "  <size", "/>\n", {"from", size_class_below(c) + 1}, {"to", size},
                {"total", count * size}, {"count", count});
  }
  return is_ok && fputs("</sizes>\n", stream) >= 0;
}

/* Glibc writes these for each heap, and once more for all; hakmem's heaps share their memory. */
static bool put_totals(FILE *stream, const struct view_totals *t) {
  return PUT(stream, "<total type=\"fast\"", "/>\n", {"count", t->cached_count},
             {"size", t->cached_bytes}) &&
         PUT(stream, "<total type=\"rest\"", "/>\n", {"count", t->free_block_count},
             {"size", t->free_bytes - t->cached_bytes});
}

static bool put_systems(FILE *stream, const struct view_totals *t) {
  return PUT(stream, "<system type=\"current\"", "/>\n", {"size", t->arena_bytes}) &&
         PUT(stream, "<system type=\"max\"", "/>\n", {"size", t->arena_bytes}) &&
         PUT(stream, "<aspace type=\"total\"", "/>\n", {"size", t->arena_bytes}) &&
         PUT(stream, "<aspace type=\"mprotect\"", "/>\n", {"size", t->arena_bytes});
}

static bool put_classes(FILE *stream, const struct view_totals *t) {
  bool is_ok = true;
  for (uint32_t c = 0; c < size_class_count() && is_ok; c++) {
    const struct view_class *k = &t->cls[c];
    if (k->live_count + k->cached_count + k->free_count == 0) continue;
    is_ok = PUT(stream, "  <class", "/>\n", {"size", size_classes[c].size}, {"live", k->live_count},
                {"cached", k->cached_count}, {"free", k->free_count});
  }
  return is_ok;
}

/* Everything, as mallinfo2 names it, and what mallinfo2 has no name for. */
static bool put_hakmem(FILE *stream, const struct view_totals *t) {
  struct mallinfo2 m = mallinfo2_of(t);
  return PUT(stream, "<hakmem", ">\n", {"arena", m.arena}, {"ordblks", m.ordblks},
             {"smblks", m.smblks}, {"hblks", m.hblks}, {"hblkhd", m.hblkhd}, {"usmblks", m.usmblks},
             {"fsmblks", m.fsmblks}, {"uordblks", m.uordblks}, {"fordblks", m.fordblks},
             {"keepcost", m.keepcost}, {"runs", t->run_bytes}, {"meta", t->meta_bytes},
             {"heaps", t->heap_count}, {"exact", t->is_exact}) &&
         put_classes(stream, t) && fputs("</hakmem>\n", stream) >= 0;
}

int hak_malloc_info(int options, FILE *stream) {
  if (options != 0) return EINVAL;
  struct view_totals t = collect(); /* before the stream allocates its buffer */
  bool is_written = fputs("<malloc version=\"hakmem-1\">\n", stream) >= 0 &&
                    put_sizes(stream, &t) && put_totals(stream, &t) && put_systems(stream, &t) &&
                    fputs("</heap>\n", stream) >= 0 && put_totals(stream, &t) &&
                    PUT(stream, "<total type=\"mmap\"", "/>\n", {"count", t.large_count},
                        {"size", t.large_bytes}) &&
                    put_systems(stream, &t) && put_hakmem(stream, &t) &&
                    fputs("</malloc>\n", stream) >= 0;
  return is_written ? 0 : -1;
}
API_ALIAS(malloc_info, hak_malloc_info);

static void put_line(struct format_buf *f, const char *label, size_t value) {
  format_text(f, label);
  format_u64(f, value);
  format_text(f, "\n");
}

void hak_malloc_stats(void) {
  struct view_totals t = collect();
  char text[TEXT_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_text(&f, "Arena 0:\n");
  put_line(&f, "system bytes     = ", t.arena_bytes);
  put_line(&f, "in use bytes     = ", t.used_bytes);
  format_text(&f, "Total (incl. mmap):\n");
  put_line(&f, "system bytes     = ", t.arena_bytes + t.large_bytes);
  put_line(&f, "in use bytes     = ", t.used_bytes + t.large_bytes);
  put_line(&f, "mmap regions     = ", t.large_count);
  put_line(&f, "max mmap bytes   = ", t.large_peak_bytes);
  os_write_stderr(f.text, f.length);
}
API_ALIAS(malloc_stats, hak_malloc_stats);

int hak_mallopt(int parameter, int value) {
  bool is_refused = parameter == M_MXFAST && (value < 0 || value > MXFAST_MAX_BYTES);
  return !is_refused;
}
API_ALIAS(mallopt, hak_mallopt);
API_ALIAS(__libc_mallopt, hak_mallopt);

int hak_malloc_trim(size_t pad) {
  (void)pad; /* bytes to leave at the top of the heap: ours has no top */
  return entry_purge() != 0;
}
API_ALIAS(malloc_trim, hak_malloc_trim);

size_t hak_purge(void) { return entry_purge(); }

void hak_thread_idle(void) { entry_thread_idle(); }

size_t hak_good_size(size_t n) { return entry_good_size(n); }

const char *hak_version(void) { return HAK_VERSION_TEXT; }
