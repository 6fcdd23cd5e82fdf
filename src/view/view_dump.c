/* view_dump.c — see view_dump.h. A line is a head and `name=value` pairs, so that a person and a
 * script read the same. The sums of docs/stats.md hold in every dump at rest.
 */
#include "view_dump.h"

#include "base_size.h"
#include "heap.h"
#include "large_cache.h"
#include "ops.h"
#include "slab.h"
#include "purge.h"
#include "superslab.h"

enum { LINE_BYTES = 512 }; /* the longest has 12 figures of at most 20 digits */

struct pair {
  const char *name;
  size_t value;
};

static void format_pairs(struct format_buf *f, const struct pair *pairs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    format_text(f, " ");
    format_text(f, pairs[i].name);
    format_text(f, "=");
    format_u64(f, pairs[i].value);
  }
}
#define FORMAT(f, ...)                                                                             \
  format_pairs(f, (const struct pair[]){__VA_ARGS__},                                              \
               HAK_COUNT_OF(((const struct pair[]){__VA_ARGS__})))

static void finish(struct format_buf *f, view_dump_line *put) {
  format_text(f, "\n");
  put(f);
}

/* What is left of a whole; 0 where the parts were read later, and threads work. */
static size_t rest_of(size_t whole, size_t parts) { return whole > parts ? whole - parts : 0; }

static struct ops_totals collect_ops(void) {
  struct ops_totals ops = {0};
  if (HAK_FLAVOUR_OBSERVE) ops_collect(&ops);
  return ops;
}

static size_t sum_counts(const size_t *counts) {
  size_t sum = 0;
  for (size_t i = 0; i < OPS_KIND_COUNT; i++) sum += counts[i];
  return sum;
}

static void dump_class(const struct view_totals *t, uint32_t c, size_t untouched_bytes,
                       const struct ops_totals *ops, view_dump_line *put) {
  const struct view_class *k = &t->cls[c];
  size_t bytes = slab_class_bytes(c), size = size_classes[c].size;
  if (bytes == 0 && ops->out_count[c] == 0) return;
  char text[LINE_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_text(&f, "hakmem tiny:");
  FORMAT(&f, {"class_bytes", size},
         {"slabs", bytes / ((size_t)size_classes[c].slab_chunks * CHUNK_BYTES)},
         {"slab_bytes", bytes}, {"live", k->live_count}, {"cached", k->cached_count},
         {"free", k->free_count}, {"untouched_bytes", untouched_bytes},
         {"slack_bytes", rest_of(bytes, (k->live_count + k->cached_count + k->free_count) * size)});
  if (HAK_FLAVOUR_OBSERVE)
    FORMAT(&f, {"mallocs", ops->out_count[c]}, {"frees", ops->back_count[c]});
  finish(&f, put);
}

void view_dump_tiny(const struct view_totals *t, view_dump_line *put) {
  struct ops_totals ops = collect_ops();
  size_t untouched[CLASS_COUNT];
  view_stats_untouched(untouched);
  size_t slabs = 0, bytes = 0, live = 0, cached = 0, free_bytes = 0, fresh = 0, out = 0;
  for (uint32_t c = 0; c < size_class_count(); c++) {
    const struct view_class *k = &t->cls[c];
    dump_class(t, c, untouched[c], &ops, put);
    fresh += untouched[c];
    slabs += slab_class_bytes(c) / ((size_t)size_classes[c].slab_chunks * CHUNK_BYTES);
    bytes += slab_class_bytes(c);
    live += k->live_count * size_classes[c].size;
    cached += k->cached_count * size_classes[c].size;
    free_bytes += k->free_count * size_classes[c].size;
    out += k->live_count + k->cached_count;
  }
  size_t taken = heap_objects_out_total();
  char text[LINE_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_text(&f, "hakmem tiny: total");
  FORMAT(&f, {"slabs", slabs}, {"slab_bytes", bytes}, {"live_bytes", live},
         {"cached_bytes", cached}, {"free_bytes", free_bytes}, {"untouched_bytes", fresh},
         {"slack_bytes", rest_of(bytes, live + cached + free_bytes)}, {"taken", taken},
         {"returned", rest_of(taken, out)});
  finish(&f, put);
  if (!HAK_FLAVOUR_OBSERVE) return;
  format_init(&f, text, sizeof text);
  format_text(&f, "hakmem operations: total");
  FORMAT(&f, {"mallocs", sum_counts(ops.out_count)}, {"frees", sum_counts(ops.back_count)},
         {"stays", ops.stay_count}, {"run_mallocs", ops.out_count[OPS_RUN]},
         {"run_frees", ops.back_count[OPS_RUN]}, {"outside_mallocs", ops.out_count[OPS_OUTSIDE]},
         {"outside_frees", ops.back_count[OPS_OUTSIDE]});
  finish(&f, put);
}

static size_t slab_bytes_total(void) {
  size_t bytes = 0;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) bytes += slab_class_bytes(c);
  return bytes;
}

static size_t free_chunk_bytes(const struct view_totals *t) {
  return rest_of(superslab_announced_bytes(), slab_bytes_total() + t->run_bytes);
}

void view_dump_superslabs(const struct view_totals *t, view_dump_line *put) {
  struct superslab_events events = superslab_events();
  size_t bytes = superslab_announced_bytes();
  char text[LINE_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_text(&f, "hakmem superslabs: total");
  FORMAT(&f, {"superslabs", superslab_chunk_end() / SUPERSLAB_CHUNKS}, {"bytes", bytes},
         {"slab_bytes", slab_bytes_total()}, {"run_bytes", t->run_bytes},
         {"free_bytes", free_chunk_bytes(t)}, {"peak_bytes", t->peak_bytes},
         {"claims", events.claim_count}, {"releases", events.release_count},
         {"mapping_bytes", t->large_bytes}, {"mappings", t->large_count},
         {"meta_bytes", t->meta_bytes});
  finish(&f, put);
}

void view_dump_warm(const struct view_totals *t, view_dump_line *put) {
  struct superslab_events events = superslab_events();
  struct purge_events purges = purge_events();
  size_t free_bytes = free_chunk_bytes(t);
  size_t dirty = size_min(superslab_dirty_bytes(), free_bytes);
  char text[LINE_BYTES];
  struct format_buf f;
  format_init(&f, text, sizeof text);
  format_text(&f, "hakmem warm: total");
  FORMAT(&f, {"free_bytes", free_bytes}, {"dirty_bytes", dirty},
         {"clean_bytes", free_bytes - dirty}, {"empty_bytes", t->empty_bytes},
         {"empty_superslabs", t->empty_bytes / SUPERSLAB_BYTES}, {"warm_claims", events.warm_count},
         {"fresh_claims", events.claim_count - events.warm_count}, {"purges", purges.run_count},
         {"purged_bytes", purges.run_bytes}, {"purged_slab_bytes", purges.slab_bytes},
         {"kept_mapping_bytes", large_cache_bytes()}, {"kept_mappings", large_cache_count()});
  finish(&f, put);
}
