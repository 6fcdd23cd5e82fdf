/* trace_bump: an allocator to stand behind libhakmem-trace.so: it takes memory from one block, ever
 * on, and frees nothing. No lock and no state but one counter: a signal handler may call it while
 * it interrupts it. Sizes stand before the objects. Objects of PLACE_BYTES are all the same one,
 * and a SIGURG comes just before it is given, and just after it is freed. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)1 << 30)

static _Alignas(65536) unsigned char block[BLOCK_BYTES]; /* .bss: costs what is touched */
static _Atomic size_t used;

#define PLACE_BYTES 2405 /* trace_workload's in its mode reuse, and in no other */
static _Alignas(16) unsigned char place[PLACE_BYTES];
static volatile sig_atomic_t is_interrupted; /* the handler is not interrupted itself */

static void interrupt(void) {
  if (is_interrupted) return;
  is_interrupted = 1;
  raise(SIGURG);
  is_interrupted = 0;
}

static void *take(size_t align, size_t bytes) {
  if (bytes > BLOCK_BYTES) return NULL;
  size_t whole = bytes + 2 * align + 32;
  size_t begin = atomic_fetch_add(&used, whole);
  if (begin + whole > BLOCK_BYTES) return NULL;
  size_t at = (begin + 16 + align - 1) & ~(align - 1);
  memcpy(block + at - sizeof bytes, &bytes, sizeof bytes);
  return block + at;
}

void *memalign(size_t align, size_t bytes);
void *memalign(size_t align, size_t bytes) { return take(align, bytes); }
void *malloc(size_t bytes) {
  if (bytes != PLACE_BYTES) return take(16, bytes);
  interrupt();
  return place;
}
void *aligned_alloc(size_t align, size_t bytes) { return take(align, bytes); }
void *valloc(size_t bytes);
void *valloc(size_t bytes) { return take(4096, bytes); }
void free(void *object) {
  if (object == place) interrupt();
}

void *calloc(size_t count, size_t bytes) {
  size_t all;
  return __builtin_mul_overflow(count, bytes, &all) ? NULL : take(16, all);
}

void *realloc(void *object, size_t bytes) {
  void *moved = take(16, bytes);
  if (moved != NULL && object != NULL) {
    size_t old;
    memcpy(&old, (unsigned char *)object - sizeof old, sizeof old);
    memcpy(moved, object, old < bytes ? old : bytes);
  }
  return moved;
}

int posix_memalign(void **object, size_t align, size_t bytes) {
  *object = take(align, bytes);
  return *object != NULL ? 0 : ENOMEM;
}
