/* entry_report.c — did hakmem take over? With HAKMEM_REPORT=file each process appends one JSON
 * line at exit. A failed write is silent: nothing ever prints unasked.
 */
#include "base_format.h"
#include "base_version.h"
#include "entry.h"
#include "entry_report.h"
#include "large.h"
#include "os_proc.h"
#include "rt_conf.h"
#include "run.h"
#include "superslab.h"

enum { LINE_BYTES = 512, NAME_BYTES = 128 };

/* Objects moved from slabs into bins, plus large ones: a lower bound, since hits are not counted.
 */
static size_t objects_total(void) {
  return run_alloc_count() + large_inserted_count() + heap_objects_out_total();
}

/* What the parent's line tells already; 0 in a process that no fork handler made. */
static size_t objects_before_fork;

void entry_report_fork_child(void) {
  if (rt_report_path() != NULL) objects_before_fork = objects_total();
}

__attribute__((destructor)) static void entry_report_at_exit(void) {
  const char *path = rt_report_path();
  if (path == NULL) return;
  char name[NAME_BYTES];
  os_program_name(name, sizeof name);
  char line[LINE_BYTES];
  struct format_buf f;
  format_init(&f, line, sizeof line);
  format_text(&f, "{\"pid\":");
  format_u64(&f, (uint64_t)os_pid());
  format_text(&f, ",\"program\":\"");
  format_json_text(&f, name);
  format_text(&f, "\",\"version\":\"" HAK_VERSION_TEXT "\",\"flavour\":\"");
  format_text(&f, HAK_FLAVOUR_MINIMAL ? "minimal" : HAK_FLAVOUR_OBSERVE ? "observe" : "standard");
  format_text(&f, "\",\"objects\":");
  format_u64(&f, objects_total() - objects_before_fork);
  format_text(&f, ",\"peak_bytes\":");
  format_u64(&f, superslab_peak_bytes() + large_peak_bytes());
  format_text(&f, "}\n");
  if (os_append_file(path, f.text, f.length) != 0) return; /* nobody to tell */
}
