/* model_heap.h — heaps for scenarios that call the layers below malloc: no thread has them current.
 */
#ifndef MODEL_HEAP_H
#define MODEL_HEAP_H

#include "home.h"
#include "model.h"

HAK_INLINE struct heap *heap_take(void) {
  MODEL_NEED(lock_enter(&heap_none.lock));
  struct heap *h = home_acquire();
  lock_leave(&heap_none.lock);
  MODEL_NEED(h != NULL);
  return h;
}
HAK_INLINE void enter(struct heap *h) { MODEL_NEED(lock_enter(&h->lock)); }

#endif
