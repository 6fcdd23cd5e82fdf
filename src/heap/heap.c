/* heap.c — see heap.h. Owns: the static heaps, the directory of ids.
 */
#include "heap.h"

#include "mail.h"
#include "meta.h"
#include "os_check.h"
#include "outbox.h"
#include "recover.h"

enum {
  LEAF_HEAPS = 512,  /* 4 KiB of pointers */
  LEAF_COUNT = 1024, /* 524,288 heaps; ids have room for 1,048,576. Threads beyond use `exit` */
  FIRST_HEAPS = 64,  /* ids below need neither: two pages less in a process of few threads */
};

/* Constructed when they are needed, then a page or two each; `busy` stays zero. So do the bins of
 * `none`, and all of it until heap_init has run: malloc finds no top object, and no
 * object's map entry fits the key. */
struct heap heap_none HAK_LARGE_BSS;
struct heap heap_booting HAK_LARGE_BSS;
struct heap heap_exit HAK_LARGE_BSS;
struct heap heap_busy HAK_LARGE_BSS;

_Thread_local struct heap *heap_current __attribute__((tls_model("initial-exec"))) = &heap_none;

struct leaf {
  _Atomic(struct heap *) heap[LEAF_HEAPS];
};
static _Atomic(struct leaf *) directory[LEAF_COUNT] HAK_LARGE_BSS;
static _Atomic(struct heap *) first_heaps[FIRST_HEAPS];
static _Atomic(uint32_t) id_end = HEAP_ID_FIRST;

static bool is_booting_ready;       /* constant once the process is ready */
static _Atomic(bool) is_exit_ready; /* never cleared */

/* What is zero stays so: the lock is free, and may be in fork's registry already. */
static void heap_construct(struct heap *h, uint32_t id) {
  h->is_owned = id >= HEAP_ID_FIRST;
  h->home = h;
  h->lock.rank = LOCK_RANK_HEAP;
  h->lock.recover = recover_heap;
  h->sample_countdown_bytes = SAMPLE_INTERVAL_BYTES;
  h->outbox_room = OUTBOX_BYTES;
  h->key = map_entry(id, 0);
}

/* Needed before h becomes current; untouched until then, it costs no memory. */
static void bins_construct(struct heap *h) {
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    heap_bin_reset(h, c);
    if (c < CLASS_FIXED_COUNT) {
      heap_bin_fit(h, c);
    } else { /* not known yet: no pointer is a slot, and free's slow path fits it */
      h->bin[c].high_mask = UINT32_MAX;
      h->bin[c].minus_reciprocal = UINT32_MAX;
    }
  }
}

void heap_requests_reset(struct heap *h) {
  h->split_count = load_acquire(&size_class_split_count); /* pairs with size_class_split */
  for (size_t i = 0; i < TINY_REQUESTS; i++)
    h->request[i] = load_relaxed(&size_class_table.tiny[i]);
  for (uint32_t c = 0; c < CLASS_TINY_COUNT; c++) h->cls[c].is_borrowing = false;
}

void heap_requests_direct(struct heap *h, uint32_t c, uint32_t to) {
  ASSERT(c < CLASS_TINY_COUNT && c <= to && to < CLASS_COUNT);
  h->cls[c].is_borrowing = to != c;
  /* A class's requests are neighbours, up to its own size; 0 bytes stay where they are. */
  for (size_t i = size_class_request(size_classes[c].size);
       i > 0 && load_relaxed(&size_class_table.tiny[i]) == c * MAP_CLASS_SCALE; i--)
    h->request[i] = (uint16_t)(to * MAP_CLASS_SCALE);
}

void heap_init(void) {
  heap_construct(&heap_none, HEAP_ID_NONE);
  lock_register(&heap_none.lock);
}

struct heap *heap_booting_get(void) {
  ASSERT(heap_current == &heap_none);
  if (!is_booting_ready) { /* a handler of this thread may come in between and do the same */
    heap_construct(&heap_booting, HEAP_ID_BOOTING);
    lock_register_once(&heap_booting.lock);
    signal_fence();
    is_booting_ready = true;
  }
  return &heap_booting;
}

struct heap *heap_exit_get(void) {
  if (load_acquire(&is_exit_ready)) return &heap_exit; /* pairs with the release below */
  if (!lock_enter(&heap_none.lock)) return NULL;
  if (!load_relaxed(&is_exit_ready)) {
    heap_construct(&heap_exit, HEAP_ID_EXIT);
    bins_construct(&heap_exit);
    lock_register_once(&heap_exit.lock); /* once more where a bare fork cut this off */
    store_release(&is_exit_ready, true);
  }
  lock_leave(&heap_none.lock);
  return &heap_exit;
}

struct heap *heap_make_exit_current(void) {
  struct heap *h = heap_exit_get();
  heap_current = h != NULL ? h : &heap_none;
  return heap_current;
}

struct heap *heap_of_id(uint32_t id) {
  if (id == HEAP_ID_BOOTING) return is_booting_ready ? &heap_booting : NULL;
  if (id == HEAP_ID_EXIT) return load_acquire(&is_exit_ready) ? &heap_exit : NULL;
  if (id < HEAP_ID_FIRST || id >= load_relaxed(&id_end)) return NULL;
  if (id < FIRST_HEAPS) return load_acquire(&first_heaps[id]);
  struct leaf *leaf = load_acquire(&directory[id / LEAF_HEAPS]);
  return leaf == NULL ? NULL : load_acquire(&leaf->heap[id % LEAF_HEAPS]);
}

uint32_t heap_id_end(void) { return load_relaxed(&id_end); }

size_t heap_objects_out_total(void) {
  size_t total = 0;
  for (uint32_t id = HEAP_ID_BOOTING; id < heap_id_end(); id++) {
    struct heap *h = heap_of_id(id);
    ASSERT(h == NULL || !heap_is_home(h) || heap_id(h) == id);
    if (h != NULL) total += load_relaxed(&h->objects_out);
  }
  return total;
}

bool heap_enter_with(struct heap *own, struct heap *home) {
  ASSERT(heap_is_home(home));
  struct rt_lock *first = &own->home->lock, *second = &home->lock;
  for (;;) { /* ends: whoever holds `second` waits for no heap lock while holding it */
    if (!lock_enter(first)) return false;
    if (second == first || lock_try_second(second)) return true;
    bool is_mine = lock_is_mine(second);
    lock_leave(first);
    if (is_mine)
      return false; /* a handler amid a path that holds it: waiting would be for ourselves */
    lock_wait(second);
  }
}

void heap_leave_with(struct heap *own, struct heap *home) {
  if (home != own->home) {
    lock_leave(&home->lock);
    mail_redrain(home, true, NULL);
  }
  lock_leave(&own->home->lock);
  /* Not awake for all that: our own mail is no more looked at than another's. */
  if (own->is_owned) mail_redrain(own->home, false, NULL);
}

bool heap_is_valid(struct heap *h) {
  size_t depot_bytes = 0, taken_bytes = 0;
  if (load_relaxed(&h->slab_bytes) % CHUNK_BYTES != 0) return false;
  for (uint32_t c = 0; c < CLASS_COUNT; c++) {
    const struct heap_class *k = &h->cls[c];
    uint32_t count = 0;
    for (struct magazine *m = k->depot_newest; m != NULL; m = m->next) {
      depot_bytes += (size_t)load_relaxed(&m->count) * size_classes[c].size;
      if (map_entry_class(m->entry) != c || (m->next == NULL) != (m == k->depot_oldest))
        return false;
      count++;
    }
    if (count != k->depot_count) return false;
    if (k->taken_count != 0) taken_bytes += (size_t)k->taken_count * size_classes[c].size;
    if (k->slabs != NULL && map_load(slab_chunk(k->slabs)) != heap_entry(h, c)) return false;
  }
  return depot_bytes == h->depot_bytes && taken_bytes == h->taken_bytes;
}

/* Where a new heap's id leads to it; NULL without memory. */
static _Atomic(struct heap *) *place_of(uint32_t id) {
  if (id < FIRST_HEAPS) return &first_heaps[id];
  if (id / LEAF_HEAPS >= LEAF_COUNT) return NULL;
  struct leaf *leaf = load_relaxed(&directory[id / LEAF_HEAPS]);
  if (leaf == NULL) {
    leaf = meta_alloc(sizeof *leaf);
    if (leaf == NULL) return NULL;
    store_release(&directory[id / LEAF_HEAPS], leaf); /* pairs with heap_of_id */
  }
  return &leaf->heap[id % LEAF_HEAPS];
}

struct heap *heap_new(struct heap *home) {
  ASSERT(lock_is_mine(&heap_none.lock));
  uint32_t id = load_relaxed(&id_end); /* stable: the caller holds heap_none's lock */
  _Atomic(struct heap *) *place = place_of(id);
  if (place == NULL) return NULL;
  struct heap *h = meta_alloc(sizeof *h); /* last: what was allocated before is kept for the next */
  if (h == NULL) return NULL;
  heap_construct(h, id);
  if (home == NULL) {
    lock_register(&h->lock);
  } else {
    h->is_guest = true;
    h->home = home;
    h->key = home->key;
  }
  bins_construct(h);
  store_relaxed(&h->generation, load_relaxed(&fork_generation));
  store_release(place, h); /* pairs with heap_of_id */
  store_relaxed(&id_end, id + 1);
  return h;
}
