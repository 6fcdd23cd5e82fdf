/* bench_nothing: a library whose malloc does next to nothing and whose free does nothing, to put
 * under a benchmark program in an allocator's place: what is left of the time is the program's own.
 * Each thread but the first hands out a ring of $BENCH_NOTHING_RING bytes (RING_BYTES), up to its
 * end and again from its start, whatever became of what was there: only for programs that free in
 * the order of allocation and have less than that alive, as producers and consumers have (and who
 * overtakes finds an object's contents lost). A ring is resident before it is used, of huge pages
 * where there are any, and objects are close together: no allocator's memory is nearer. What the
 * first thread asks for, and what is large, lasts. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_BYTES ((size_t)6 << 20) /* thrice what is on its way, and it fits a cache */
#define LARGE_BYTES 4096u
#define LASTING_BYTES ((size_t)1 << 30) /* of addresses */
#define HEADER_BYTES 16u
#define ALIGN_BYTES 16u
#define PAGE_BYTES 4096u

static _Atomic(uintptr_t) lasting_end;
static _Atomic(uintptr_t) lasting_next;
static size_t ring_bytes;
static _Thread_local char *ring __attribute__((tls_model("initial-exec")));
static _Thread_local size_t ring_used __attribute__((tls_model("initial-exec")));

static void *map(size_t bytes) {
  void *p =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

__attribute__((constructor)) static void lasting_open(void) {
  if (lasting_end != 0) {
    return;
  }
  uintptr_t start = (uintptr_t)map(LASTING_BYTES);
  lasting_next = start;
  lasting_end = start == 0 ? 0 : start + LASTING_BYTES;
}

/* By itself: before this the linker may have asked for memory, when there is no environment yet. */
__attribute__((constructor)) static void ring_bytes_read(void) {
  const char *text = getenv("BENCH_NOTHING_RING");
  size_t bytes = text == NULL ? 0 : strtoull(text, NULL, 10);
  ring_bytes = bytes < LARGE_BYTES ? RING_BYTES : bytes;
}

static bool is_lasting(const void *p) {
  return (uintptr_t)p - (lasting_end - LASTING_BYTES) < LASTING_BYTES;
}

static void *with_header(char *at, size_t align, size_t bytes) {
  uintptr_t object = ((uintptr_t)at + HEADER_BYTES + align - 1) & ~(uintptr_t)(align - 1);
  memcpy((char *)object - HEADER_BYTES, &bytes, sizeof bytes);
  return (char *)object;
}

static void *lasting(size_t align, size_t bytes) {
  lasting_open(); /* before the first thread has others beside it */
  if (bytes > LASTING_BYTES / 2 || align > LASTING_BYTES / 2) {
    return NULL;
  }
  uintptr_t at = atomic_fetch_add(&lasting_next, HEADER_BYTES + align + bytes);
  return at + HEADER_BYTES + align + bytes <= lasting_end ? with_header((char *)at, align, bytes)
                                                          : NULL;
}

/* A reader of LARGE_BYTES finds them behind any object. */
static char *ring_open(void) {
  char *opened = map(ring_bytes + LARGE_BYTES);
  if (opened != NULL) {
    madvise(opened, ring_bytes + LARGE_BYTES, MADV_HUGEPAGE); /* refused: small pages */
    for (size_t at = 0; at < ring_bytes; at += PAGE_BYTES) {
      opened[at] = 0;
    }
  }
  return opened;
}

static void *ring_next(size_t bytes) {
  if (ring == NULL && (syscall(SYS_gettid) == getpid() || (ring = ring_open()) == NULL)) {
    return lasting(ALIGN_BYTES, bytes);
  }
  size_t whole = (bytes + (bytes == 0) + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
  if (ring_used + whole > ring_bytes) {
    ring_used = 0;
  }
  char *at = ring + ring_used;
  ring_used += whole;
  return at;
}

static void *take(size_t align, size_t bytes) {
  void *p = align > ALIGN_BYTES || bytes > LARGE_BYTES ? lasting(align, bytes) : ring_next(bytes);
  if (p == NULL) {
    errno = ENOMEM;
  }
  return p;
}

void *malloc(size_t bytes) { return take(ALIGN_BYTES, bytes); }
void free(void *p) { (void)p; }
/* At least what was asked for; of an object in a ring nobody knows more. */
static size_t bytes_behind(const void *p) {
  size_t bytes = LARGE_BYTES;
  if (is_lasting(p)) {
    memcpy(&bytes, (const char *)p - HEADER_BYTES, sizeof bytes);
  }
  return bytes;
}
void *calloc(size_t count, size_t bytes) {
  if (bytes != 0 && count > SIZE_MAX / bytes) {
    errno = ENOMEM;
    return NULL;
  }
  void *p = take(ALIGN_BYTES, count * bytes);
  return p == NULL ? NULL : memset(p, 0, count * bytes);
}
void *realloc(void *old, size_t bytes) {
  void *p = take(ALIGN_BYTES, bytes);
  if (p != NULL && old != NULL) {
    size_t before = bytes_behind(old);
    memcpy(p, old, before < bytes ? before : bytes);
  }
  return p;
}
void *aligned_alloc(size_t align, size_t bytes) { return take(align, bytes); }
void *memalign(size_t align, size_t bytes) { return take(align, bytes); }
int posix_memalign(void **p, size_t align, size_t bytes) {
  void *taken = take(align, bytes);
  if (taken == NULL) {
    return ENOMEM;
  }
  *p = taken;
  return 0;
}
