/* guard_verdict.c — the one line about a misused pointer.
 * Owns: the words. No lock, no allocation, one write(2): also right in a signal handler.
 */
#include "guard_verdict.h"

#include <stdint.h>

#include "base_format.h"
#include "os_check.h"
#include "os_proc.h"

enum { LINE_BYTES = 512 };

struct words {
  const char *verdict;
  const char *advice;         /* for a pointer into a slab or a run of known class */
  const char *advice_foreign; /* for a pointer of no class: not memory of hakmem */
};

#define FOREIGN                                                                                    \
  "it was not allocated by hakmem; memory of another allocator (a plugin loaded with "             \
  "RTLD_DEEPBIND or dlmopen has its own) must be given back there"

#define FREED "the block was freed before; look for two owners of it"

static const struct words words_of[VERDICT_COUNT] = {
    [VERDICT_INVALID_FREE] = {"invalid free",
                              "no block is allocated there; free only what malloc returned",
                              FOREIGN},
    [VERDICT_INTERIOR] = {"interior pointer",
                          "it points into a block; pass the address that malloc returned",
                          "it points into a block; pass the address that malloc returned"},
    [VERDICT_DOUBLE_FREE] = {"double free", FREED, FREED},
    [VERDICT_INVALID_REALLOC] =
        {"invalid realloc",
         "no block is allocated there, or it was freed before; realloc only "
         "what malloc returned",
         FOREIGN},
    [VERDICT_INVALID_USABLE_SIZE] =
        {"invalid usable_size",
         "no block is allocated there, or it was freed before; ask only "
         "about what malloc returned",
         FOREIGN},
    [VERDICT_FREED_REALLOC] = {"invalid realloc", FREED, FREED},
    [VERDICT_FREED_USABLE_SIZE] = {"invalid usable_size", FREED, FREED},
    [VERDICT_SIZE_MISMATCH] = {"size mismatch",
                               "the size given at free is not the block's; look for a wrong "
                               "free_sized, or a delete through a type without virtual destructor",
                               "the size given at free is not the block's; look for a wrong "
                               "free_sized, or a delete through a type without virtual destructor"},
    [VERDICT_CORRUPTED_BIN] = {"corrupted bin",
                               "hakmem's list of free blocks was overwritten or given a block "
                               "twice; look for writes through stale pointers and for double frees",
                               "hakmem's list of free blocks was overwritten; look for writes "
                               "through stale pointers"},
};

void guard_abort(enum verdict verdict, const void *p, size_t class_bytes) {
  CHECK(verdict > VERDICT_NONE && verdict < VERDICT_COUNT);
  const struct words *words = &words_of[verdict];
  char line[LINE_BYTES]; /* above the longest line by 200 bytes */
  struct format_buf f;
  format_init(&f, line, sizeof line);
  format_text(&f, "hakmem: ");
  format_text(&f, words->verdict);
  format_text(&f, ": pointer ");
  format_hex(&f, (uintptr_t)p);
  if (class_bytes != 0) {
    format_text(&f, ", class ");
    format_u64(&f, class_bytes);
    format_text(&f, " B: ");
  } else {
    format_text(&f, ", class none: ");
  }
  format_text(&f, class_bytes != 0 ? words->advice : words->advice_foreign);
  format_text(&f, "\n");
  os_write_stderr(line, f.length);
  os_abort();
}
