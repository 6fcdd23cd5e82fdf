/* unit_entry.h — a ready allocator, and what its tables say of an object.
 */
#ifndef UNIT_ENTRY_H
#define UNIT_ENTRY_H

#include "unit_child.h"

#include "entry.h"
#include "hakmem.h"
#include "heap.h"
#include "home.h"
#include "slab.h"
#include "superslab.h"

static inline bool object_is_in_region(const void *p) {
  return chunk_index(p) < region_chunk_count;
}
static inline uint32_t object_entry(const void *p) {
  NEED(object_is_in_region(p));
  return map_load(chunk_index(p));
}
static inline uint32_t object_class(const void *p) {
  NEED(map_entry_is_slab(object_entry(p)));
  return map_entry_class(object_entry(p));
}
static inline struct heap *object_owner(const void *p) {
  struct heap *owner = heap_of_id(map_entry_id(object_entry(p)));
  NEED(owner != NULL);
  return owner;
}
/* Free in its slab, or in a slab that was given back. */
static inline bool object_is_in_bitmap(const void *p) {
  if (!map_entry_is_slab(object_entry(p))) return true;
  const struct size_class *k = &size_classes[object_class(p)];
  return slab_has(slab_of_chunk(k, chunk_index(p)), k, p);
}

/* The calling thread's heap, made if need be. */
static inline struct heap *heap_own(void) {
  hak_free(hak_malloc(1));
  return heap_current;
}

/* A heap as entry_thread takes one for a new thread, without a thread. */
static inline struct heap *heap_by_hand(void) {
  NEED(lock_enter(&heap_none.lock));
  struct heap *h = home_acquire();
  lock_leave(&heap_none.lock);
  NEED(h != NULL);
  return h;
}

/* fn(argument) must end the process saying `verdict` of p, with the class of class_bytes or none.
 */
static inline void expect_verdict(int (*fn)(void *), void *argument, const char *verdict,
                                  const void *p, size_t class_bytes) {
  char err[1024], said[256];
  size_t rest;
  int length = snprintf(said, sizeof said,
                        class_bytes != 0 ? "hakmem: %s: pointer 0x%zx, class %zu B: "
                                         : "hakmem: %s: pointer 0x%zx, class none: ",
                        verdict, (size_t)(uintptr_t)p, class_bytes);
  int status = death_run(fn, argument, err, sizeof err, &rest);
  err[strlen(err) < (size_t)length ? strlen(err) : (size_t)length] = '\0';
  assert_string_equal(err, said);
  assert_int_equal(rest, 0);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#endif
