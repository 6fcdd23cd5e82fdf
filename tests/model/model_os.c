/* model_os.c — the os layer for the model: memory from an arena that is put back before each
 * execution, an environment that asks for a small region, a clock that stands still.
 */
#include "model_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "entry.h"
#include "os_limit.h"
#include "os_mem.h"
#include "os_proc.h"
#include "region.h"

enum { ARENA_BYTES = 64 * 1024 * 1024, PAGE_BYTES = 4096, REGION_LEAST = 2 * 1024 * 1024 };

static char *arena; /* its start never changes once it is there */
static size_t arena_used;

void os_model_used(char **start, size_t *size) {
  *start = arena;
  *size = arena_used;
}

static void *arena_take(size_t size, size_t align) {
  if (arena == NULL) {
    arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) exit(2);
  }
  size_t from = (arena_used + align - 1) & ~(align - 1);
  if (from + size > ARENA_BYTES) return NULL;
  arena_used = from + size;
  return arena + from;
}

void os_mem_init(void) {}
size_t os_page_bytes(void) { return PAGE_BYTES; }
uint64_t os_ram_bytes(void) { return (uint64_t)1 << 30; }
/* So many that each thread has a home of its own, but where a scenario shares them. */
uint32_t os_cpu_count(void) { return 64; }
uint64_t os_address_limit_bytes(void) { return UINT64_MAX; }
enum os_thp_mode os_thp_mode(void) { return OS_THP_NEVER; }
bool os_group_room(struct os_room *nearest) { return nearest == NULL; }
bool os_address_room(struct os_room *room) { return room == NULL; }
struct os_stall os_memory_stall(void) {
  return (struct os_stall){0, 0};
}
/* Tables lie in the arena, and are put back. What objects hold is the program's affair. */
void *os_reserve(size_t size, size_t align) {
  if (size < REGION_LEAST) return arena_take(size, align);
  char *p = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? NULL : (void *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
}
bool os_model_is_object(uintptr_t address) {
  return address - region_base < region_chunk_count * CHUNK_BYTES;
}
bool os_commit(void *p, size_t size) { return p != NULL && size != 0; }
bool os_make_readable(void *p, size_t size) { return p != NULL && size != 0; }
void *os_map(size_t size) { return arena_take(size, PAGE_BYTES); }
void *os_map_aligned(size_t size, size_t align) { return arena_take(size, align); }
bool os_map_at(void *p, size_t size) { return p != NULL && size == 0; }
bool os_unmap(void *p, size_t size) { return p != NULL && size != 0; }
size_t os_resident_pages(void *p, size_t size) { return p == NULL && size == 0; }
static void (*purge_watcher)(void *p, size_t size);
void model_watch_purges(void (*watcher)(void *p, size_t size)) { purge_watcher = watcher; }
bool os_populate(void *p, size_t size) { return p != NULL && size != 0; }
bool os_purge_lazily(void *p, size_t size) { return p != NULL && size != 0; } /* nobody needs it */
bool os_purge(void *p, size_t size) {
  if (purge_watcher != NULL) purge_watcher(p, size);
  if (p == NULL || size == 0) return false;
  memset(p, 0, size); /* what is purged reads as zero: allocators rely on it */
  return true;
}
void *os_remap(void *p, size_t old_size, size_t new_size) {
  return new_size <= old_size ? p : NULL;
}
void *os_remap_aligned(void *p, size_t old_size, size_t new_size, size_t align) {
  return align != 0 ? os_remap(p, old_size, new_size) : NULL;
}
void os_name(void *p, size_t size, const char *name) { (void)p, (void)size, (void)name; }
void os_no_huge(void *p, size_t size) { (void)p, (void)size; }
bool os_huge(void *p, size_t size) { return p != NULL && size == 0; }
static void *wiped;
static size_t wiped_bytes;
bool os_wipe_on_fork(void *p, size_t size) {
  wiped = p;
  wiped_bytes = size;
  return p != NULL;
}
void model_fork_wipes(void) { memset(wiped, 0, wiped_bytes); }

/* A program may have its own; it is read before main. */
__attribute__((weak)) char *model_region_option(void) {
  static char option[] = "HAKMEM_REGION_BYTES=8M";
  return option;
}
char **os_environ(void) {
  static char *block[2];
  block[0] = model_region_option();
  return block;
}
void os_environ_begin(char **block) { (void)block; }
void os_environ_end(void) {}
bool os_is_secure(void) { return false; }
int os_pid(void) { return 1; }
static uint64_t now_ms = 1000;
uint64_t os_coarse_ms(void) { return now_ms; }
uint64_t os_clock_us(void) { return now_ms * 1000; }
void os_program_name(char *out, size_t capacity) { out[capacity - 1] = out[0] = '\0'; }
void os_write_stderr(const char *text, size_t length) { fwrite(text, 1, length, stdout); }
void os_abort(void) { model_fail("the allocator gives up", __FILE__, __LINE__); }
const char *os_program_conf(void) { return NULL; }
void os_exit(int status) {
  (void)status;
  model_fail("the allocator ends the process", __FILE__, __LINE__);
}

/* ---- threads' ends, and what a process asks for besides */

static void (*key_destructor)(void *);
static _Thread_local void *key_value;
enum { EXIT_ROUNDS = 4 };

bool os_thread_key_create(void (*destructor)(void *)) {
  key_destructor = destructor;
  return true;
}
bool os_thread_key_set(void *value) {
  key_value = value;
  return true;
}
bool os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
  return prepare != NULL && parent != NULL && child != NULL;
}
bool os_is_alone(void) { return false; } /* fork handlers are there from the start */
/* Recursive, as glibc's; a child's is nobody's. */
static bool has_streams;
static _Atomic(uint64_t) streams_owner;
static unsigned streams_depth;
void model_set_streams(void) { has_streams = true; }
bool os_streams_lock(void) {
  uint64_t self = os_thread_self(), seen = 0;
  if (!has_streams) return false;
  while (!cas_seq(&streams_owner, &seen, self) && seen != self) {
    os_futex_wait(&streams_owner, (uint32_t)seen);
    seen = 0;
  }
  streams_depth++;
  return true;
}
void os_streams_unlock(void) {
  MODEL_NEED(load_relaxed(&streams_owner) == os_thread_self() && streams_depth != 0);
  if (--streams_depth != 0) return;
  store_seq(&streams_owner, (uint64_t)0);
  os_futex_wake_all(&streams_owner);
}
void os_streams_reset(void) {
  streams_depth = 0;
  store_seq(&streams_owner, (uint64_t)0);
}
bool os_thread_start(void *(*fn)(void *), const char *name) { return fn == NULL || name == NULL; }
bool os_thread_is_last(void) { return false; }
int os_append_file(const char *path, const char *text, size_t length) {
  return path != NULL && text != NULL && length == 0;
}
long os_read_file(const char *path, char *out, size_t capacity) {
  return path != NULL && out != NULL && capacity == 0;
}

void os_model_thread_ends(void) {
  for (unsigned round = 0; key_value != NULL && round < EXIT_ROUNDS; round++) {
    void *value = key_value;
    key_value = NULL;
    key_destructor(value);
  }
}

void model_clock_set(uint64_t ms) { now_ms = ms; }

void model_allocator_init(void) {
  entry_init();
  MODEL_NEED(region_chunk_count != 0);
}
