/* api_malloc.c — the C, POSIX and glibc names of the malloc family, and their hak_ twins.
 * Owns: arguments, return values and errno, as glibc 2.36 has them. Does not own: memory (entry/).
 * No lock, no state.
 */
#include "api_malloc.h"

#include <errno.h>
#include <stdint.h>

#include "api_alias.h"
#include "base_size.h"
#include "entry_hot.h"
#include "hakmem.h"
#include "ops.h"
#include "os_mem.h"

static HAK_COLD void *fail(int error) {
  errno = error;
  return NULL;
}

void *api_aligned(size_t align, size_t n) {
  size_t sum;
  if (HAK_UNLIKELY(!size_add(align, n, &sum) || sum > PTRDIFF_MAX)) return fail(ENOMEM);
  return ops_out(entry_aligned(align, n));
}

HAK_HOT_ENTRY void *hak_malloc(size_t n) { return ops_out(entry_malloc(n)); }
API_ALIAS(malloc, hak_malloc);
API_ALIAS(__libc_malloc, hak_malloc);

HAK_HOT_ENTRY void hak_free(void *p) {
  ops_back(p);
  entry_free(p);
}
API_ALIAS(free, hak_free);
API_TWIN(hak_cfree, hak_free);
API_ALIAS(cfree, hak_free); /* glibc keeps it for programs linked before 2.26 */
API_ALIAS(__libc_free, hak_free);

void *hak_calloc(size_t count, size_t size) { return ops_out(entry_calloc(count, size)); }
API_ALIAS(calloc, hak_calloc);
API_ALIAS(__libc_calloc, hak_calloc);

/* Counted where something came of it: a realloc to 0 bytes frees, one that fails does nothing. */
static void *resize(void *p, size_t n) {
  uint32_t old = HAK_FLAVOUR_OBSERVE ? ops_kind_of(p) : OPS_NONE;
  void *out = entry_realloc(p, n);
  if (HAK_FLAVOUR_OBSERVE && (out != NULL || n == 0)) ops_count_resize(old, out, out == p);
  return out;
}

void *hak_realloc(void *p, size_t n) { return resize(p, n); }
API_ALIAS(realloc, hak_realloc);
API_ALIAS(__libc_realloc, hak_realloc);

void *hak_reallocarray(void *p, size_t count, size_t size) {
  size_t n;
  if (HAK_UNLIKELY(!size_mul(count, size, &n))) return fail(ENOMEM);
  return resize(p, n);
}
API_ALIAS(reallocarray, hak_reallocarray);

void api_free_sized(void *p, size_t n, size_t align) {
  ops_back(p);
  entry_free_sized(p, n, align);
}

void hak_free_sized(void *p, size_t n) { api_free_sized(p, n, 1); }
API_ALIAS(free_sized, hak_free_sized);

void hak_free_aligned_sized(void *p, size_t align, size_t n) { api_free_sized(p, n, align); }
API_ALIAS(free_aligned_sized, hak_free_aligned_sized);

/* An alignment that is no power of two is rounded up to one, as glibc does. */
void *hak_memalign(size_t align, size_t n) {
  if (HAK_UNLIKELY(align > SIZE_MAX / 2 + 1)) return fail(EINVAL); /* no power of two above */
  return api_aligned(size_pow2_up(align), n);
}
API_ALIAS(memalign, hak_memalign);
API_ALIAS(__libc_memalign, hak_memalign);

/* glibc up to 2.37 rounds here too; from 2.38 on it refuses. We keep what old programs rely on. */
void *hak_aligned_alloc(size_t align, size_t n) { return hak_memalign(align, n); }
API_ALIAS(aligned_alloc, hak_aligned_alloc);

int hak_posix_memalign(void **out, size_t align, size_t n) {
  if (HAK_UNLIKELY(align < sizeof(void *) || !size_is_pow2(align))) return EINVAL;
  int kept = errno; /* POSIX leaves it open; the result says it all */
  void *p = api_aligned(align, n);
  errno = kept;
  if (HAK_UNLIKELY(p == NULL)) return ENOMEM;
  *out = p;
  return 0;
}
API_ALIAS(posix_memalign, hak_posix_memalign);

static size_t page_bytes(void) {
  entry_init(); /* finds it out */
  return os_page_bytes();
}

void *hak_valloc(size_t n) { return api_aligned(page_bytes(), n); }
API_ALIAS(valloc, hak_valloc);
API_ALIAS(__libc_valloc, hak_valloc);

void *hak_pvalloc(size_t n) {
  size_t page = page_bytes();
  size_t up;
  if (HAK_UNLIKELY(!size_add(n, page - 1, &up))) return fail(ENOMEM);
  return api_aligned(page, size_round_down(up, page));
}
API_ALIAS(pvalloc, hak_pvalloc);
API_ALIAS(__libc_pvalloc, hak_pvalloc);

size_t hak_malloc_usable_size(void *p) { return entry_usable_size(p); }
API_ALIAS(malloc_usable_size, hak_malloc_usable_size);
