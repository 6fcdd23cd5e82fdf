/* A small process maps no page of the code that others need: cmake/small_process.ld. Its segment is
 * the library's second one that is executable. Exit 77 where there is none, or where the kernel
 * does not say which pages are mapped. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/check_that.h"

enum { SLOTS = 400, OPERATIONS = 200000, MOST_BYTES = 1024, SKIPPED = 77, PAGE_BYTES = 4096 };
#define PRESENT ((uint64_t)1 << 63)

struct late {
  uintptr_t base; /* of the library */
  uintptr_t begin, end;
};

static int find_late(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  struct late *late = data;
  if (info->dlpi_addr != late->base) return 0;
  unsigned executable = 0;
  for (unsigned i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    if (h->p_type != PT_LOAD || (h->p_flags & PF_X) == 0 || executable++ == 0) continue;
    late->begin = late->base + h->p_vaddr;
    late->end = late->begin + h->p_memsz;
  }
  return 1;
}

static void work(void) {
  static void *slot[SLOTS];
  uint32_t random = 1;
  for (unsigned i = 0; i < OPERATIONS; i++) {
    random = random * 1664525 + 1013904223;
    void **s = &slot[(random >> 8) % SLOTS];
    size_t bytes = 1 + (random >> 20) % MOST_BYTES;
    if (i % 8 == 0) {
      *s = realloc(*s, bytes);
    } else {
      free(*s); /* NULL, too */
      *s = i % 8 == 1 ? calloc(1, bytes) : malloc(bytes);
    }
    CHECK_THAT(*s != NULL);
    memset(*s, 1, bytes);
  }
  for (unsigned i = 0; i < SLOTS; i++) free(slot[i]);
}

int main(void) {
  work();
  Dl_info info;
  struct late late = {0, 0, 0};
  CHECK_THAT(dladdr((const void *)(uintptr_t)malloc, &info) != 0);
  late.base = (uintptr_t)info.dli_fbase;
  dl_iterate_phdr(find_late, &late);
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (late.begin == 0 || sysconf(_SC_PAGESIZE) != PAGE_BYTES || pagemap < 0) {
    printf("skipped: no such segment in %s, or no /proc/self/pagemap\n", info.dli_fname);
    return SKIPPED;
  }
  unsigned mapped = 0;
  for (uintptr_t page = late.begin & ~(uintptr_t)(PAGE_BYTES - 1); page < late.end;
       page += PAGE_BYTES) {
    uint64_t entry = 0;
    CHECK_THAT(pread(pagemap, &entry, sizeof entry, (off_t)(page / PAGE_BYTES * sizeof entry)) ==
               (ssize_t)sizeof entry);
    mapped += (entry & PRESENT) != 0;
  }
  close(pagemap);
  if (mapped != 0) {
    printf("%u pages of late code are mapped: run scripts/gen_small_process.py\n", mapped);
    return 1;
  }
  return 0;
}
