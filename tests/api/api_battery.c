/* The C library's own behaviour as oracle: this program prints what the malloc family does in every
 * case that glibc or POSIX defines. tests/api/oracle_diff.py runs it with and without hakmem; the
 * two transcripts must be the same, so a line holds only what is defined (no address, no slack
 * size). What must hold for every allocator is checked on the spot and printed as "ok" or "BAD". */
#define _GNU_SOURCE
#include <errno.h>
#include <gnu/libc-version.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define ERRNO_MARK 4711 /* no errno has this value: seen unchanged, nobody wrote it */
#define POISON ((void *)(uintptr_t)0x5a5a5a50)

/* The sizes go through a volatile so that the compiler neither warns nor folds the call. */
static size_t opaque(size_t value) {
  volatile size_t hidden = value;
  return hidden;
}

static const char *errno_name(int value) {
  switch (value) {
  case 0:
    return "0";
  case ERRNO_MARK:
    return "untouched";
  case ENOMEM:
    return "ENOMEM";
  case EINVAL:
    return "EINVAL";
  default:
    return "other";
  }
}

static void say(const char *what, int good) { printf("%s: %s\n", what, good ? "ok" : "BAD"); }

static void fill(void *p, size_t n, unsigned seed) {
  unsigned char *bytes = p;
  for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)(seed + i * 7);
}

static int filled(const void *p, size_t n, unsigned seed) {
  const unsigned char *bytes = p;
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != (unsigned char)(seed + i * 7)) return 0;
  return 1;
}

static int all_zero(const void *p, size_t n) {
  const unsigned char *bytes = p;
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != 0) return 0;
  return 1;
}

/* Prints NULL-ness, errno, alignment and room of a result, then frees it. */
static void report(const char *what, void *p, size_t alignment, size_t n) {
  int seen = errno;
  if (p == NULL) {
    printf("%s: NULL errno=%s\n", what, errno_name(seen));
    return;
  }
  int room = malloc_usable_size(p) >= n;
  if (room && n <= 16 * MIB) {
    fill(p, n, 3);
    room = filled(p, n, 3);
  }
  printf("%s: pointer aligned=%s room=%s\n", what, (uintptr_t)p % alignment == 0 ? "yes" : "NO",
         room ? "yes" : "NO");
  free(p);
}

#define REPORT(what, alignment, n, call)                                                           \
  do {                                                                                             \
    errno = ERRNO_MARK;                                                                            \
    void *result_ = (call);                                                                        \
    report(what, result_, alignment, n);                                                           \
  } while (0)

static const size_t IMPOSSIBLE[] = {
    SIZE_MAX,
    SIZE_MAX - 1,
    SIZE_MAX - 15,
    SIZE_MAX - 4095,
    SIZE_MAX - 65536,
    SIZE_MAX / 2 + 1,
    (size_t)PTRDIFF_MAX,
    (size_t)PTRDIFF_MAX - 1,
    (size_t)PTRDIFF_MAX - 4096,
    (size_t)1 << 62,
    (size_t)1 << 48,
};
#define IMPOSSIBLE_COUNT (sizeof IMPOSSIBLE / sizeof *IMPOSSIBLE)

static void test_impossible_sizes(void) {
  for (size_t i = 0; i < IMPOSSIBLE_COUNT; i++) {
    size_t n = opaque(IMPOSSIBLE[i]);
    printf("-- impossible size %zx\n", n);
    REPORT("malloc", 1, n, malloc(n));
    REPORT("calloc(1,n)", 1, n, calloc(1, n));
    REPORT("calloc(n,1)", 1, n, calloc(n, 1));
    REPORT("realloc(NULL,n)", 1, n, realloc(NULL, n));
    REPORT("reallocarray(NULL,1,n)", 1, n, reallocarray(NULL, 1, n));
    REPORT("memalign(16,n)", 1, n, memalign(16, n));
    REPORT("memalign(64,n)", 1, n, memalign(64, n));
    REPORT("memalign(4096,n)", 1, n, memalign(4096, n));
    REPORT("memalign(1M,n)", 1, n, memalign(MIB, n));
    REPORT("aligned_alloc(64,n)", 1, n, aligned_alloc(64, n));
    REPORT("aligned_alloc(2M,n)", 1, n, aligned_alloc(2 * MIB, n));
    REPORT("valloc(n)", 1, n, valloc(n));
    REPORT("pvalloc(n)", 1, n, pvalloc(n));
    for (size_t alignment = 8; alignment <= GIB; alignment <<= 9) {
      void *p = POISON;
      int rc = posix_memalign(&p, alignment, n);
      printf("posix_memalign(%zu,n): %s pointer=%s\n", alignment, errno_name(rc),
             p == POISON ? "untouched" : "TOUCHED");
    }
    unsigned char *old = malloc(100);
    fill(old, 100, 9);
    errno = ERRNO_MARK;
    void *grown = realloc(old, n);
    printf("realloc(p,n): %s errno=%s old block %s\n", grown ? "pointer" : "NULL",
           errno_name(errno), filled(old, 100, 9) ? "kept" : "LOST");
    errno = ERRNO_MARK;
    grown = reallocarray(old, n, 1);
    printf("reallocarray(p,n,1): %s errno=%s old block %s\n", grown ? "pointer" : "NULL",
           errno_name(errno), filled(old, 100, 9) ? "kept" : "LOST");
    free(old);
    unsigned char *large = malloc(5 * MIB);
    fill(large, 5 * MIB, 11);
    errno = ERRNO_MARK;
    grown = realloc(large, n);
    printf("realloc(large,n): %s errno=%s old block %s\n", grown ? "pointer" : "NULL",
           errno_name(errno), filled(large, 5 * MIB, 11) ? "kept" : "LOST");
    free(large);
  }
}

static void test_products(void) {
  static const size_t PAIRS[][2] = {
      {SIZE_MAX, 2},
      {2, SIZE_MAX},
      {SIZE_MAX, SIZE_MAX},
      {(size_t)1 << 32, (size_t)1 << 32},
      {((size_t)1 << 32) + 1, (size_t)1 << 32},
      {SIZE_MAX / 2 + 1, 2},
      {2, SIZE_MAX / 2 + 1},
      {SIZE_MAX / 3 + 1, 3},
      {SIZE_MAX / 16 + 2, 16},
      {(size_t)1 << 33, (size_t)1 << 31},
      {(size_t)PTRDIFF_MAX / 2 + 1, 2},
      {(size_t)1 << 31, (size_t)1 << 31},
  };
  for (size_t i = 0; i < sizeof PAIRS / sizeof *PAIRS; i++) {
    size_t count = opaque(PAIRS[i][0]);
    size_t size = opaque(PAIRS[i][1]);
    printf("-- product %zx * %zx\n", count, size);
    REPORT("calloc", 1, 0, calloc(count, size));
    REPORT("reallocarray(NULL)", 1, 0, reallocarray(NULL, count, size));
    unsigned char *old = malloc(1000);
    fill(old, 1000, 5);
    errno = ERRNO_MARK;
    void *grown = reallocarray(old, count, size);
    printf("reallocarray(p): %s errno=%s old block %s\n", grown ? "pointer" : "NULL",
           errno_name(errno), filled(old, 1000, 5) ? "kept" : "LOST");
    free(old);
  }
  REPORT("calloc(3,1000)", 16, 3000, calloc(opaque(3), 1000));
  REPORT("reallocarray(NULL,3,1000)", 16, 3000, reallocarray(NULL, opaque(3), 1000));
}

static void test_posix_memalign_arguments(void) {
  static const size_t BAD[] = {0,
                               1,
                               2,
                               3,
                               4,
                               5,
                               7,
                               9,
                               12,
                               24,
                               48,
                               100,
                               4095,
                               4097,
                               3 * 4096,
                               SIZE_MAX,
                               SIZE_MAX / 2,
                               SIZE_MAX / 2 + 2,
                               GIB + 8};
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
    void *p = POISON;
    errno = ERRNO_MARK;
    int rc = posix_memalign(&p, opaque(BAD[i]), 100);
    printf("posix_memalign(bad %zx): %s pointer=%s errno=%s\n", BAD[i], errno_name(rc),
           p == POISON ? "untouched" : "TOUCHED", errno_name(errno));
  }
  for (size_t shift = 3; shift <= 30; shift++) {
    static const size_t SIZES[] = {1, 17, 100, 1024, 4000, 40000, 300 * 1024, 5 << 20};
    size_t alignment = (size_t)1 << shift;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
      void *p = POISON;
      errno = ERRNO_MARK;
      int rc = posix_memalign(&p, alignment, SIZES[i]);
      printf("posix_memalign(2^%zu,%zu) rc=%s errno=%s: ", shift, SIZES[i], errno_name(rc),
             errno_name(errno));
      report("", rc == 0 ? p : NULL, alignment, SIZES[i]);
    }
  }
  void *p = POISON;
  int rc = posix_memalign(&p, SIZE_MAX / 2 + 1, 8);
  printf("posix_memalign(2^63,8): %s pointer=%s\n", errno_name(rc),
         p == POISON ? "untouched" : "TOUCHED");
  p = POISON;
  rc = posix_memalign(&p, 64, opaque(0));
  printf("posix_memalign(64,0): %s\n", errno_name(rc));
  if (rc == 0) free(p);
}

static size_t power_of_two_from(size_t n) {
  size_t power = 16;
  while (power < n) power <<= 1;
  return power;
}

/* glibc up to 2.37 rounds an odd alignment of aligned_alloc up, as memalign does; later ones refuse
 * it. What this C library does is printed either way. */
static void test_memalign(void) {
  static const size_t ALIGNMENTS[] = {
      0,   1,    2,    3,    5,    8,     15,    16,     17,      24,      33,       48, 96,
      100, 1000, 4095, 4096, 4097, 12288, 65537, 100000, MIB + 1, 3 * MIB, 64 * MIB, GIB};
  for (size_t i = 0; i < sizeof ALIGNMENTS / sizeof *ALIGNMENTS; i++) {
    char what[64];
    size_t alignment = opaque(ALIGNMENTS[i]);
    size_t rounded = power_of_two_from(alignment);
    snprintf(what, sizeof what, "memalign(%zu,200)", alignment);
    REPORT(what, rounded, 200, memalign(alignment, 200));
    snprintf(what, sizeof what, "memalign(%zu,70000)", alignment);
    REPORT(what, rounded, 70000, memalign(alignment, 70000));
    snprintf(what, sizeof what, "memalign(%zu,0)", alignment);
    REPORT(what, rounded, 0, memalign(alignment, 0));
    snprintf(what, sizeof what, "aligned_alloc(%zu,200)", alignment);
    REPORT(what, rounded, 200, aligned_alloc(alignment, 200));
    snprintf(what, sizeof what, "aligned_alloc(%zu,%zu)", alignment, 3 * alignment);
    if (alignment < GIB)
      REPORT(what, rounded, 3 * alignment, aligned_alloc(alignment, 3 * alignment));
  }
  REPORT("memalign(2^63,1)", 1, 1, memalign(opaque(SIZE_MAX / 2 + 1), 1));
  REPORT("memalign(2^63+1,1)", 1, 1, memalign(opaque(SIZE_MAX / 2 + 2), 1));
  REPORT("memalign(SIZE_MAX,1)", 1, 1, memalign(opaque(SIZE_MAX), 1));
  REPORT("memalign(2^62,1)", 1, 1, memalign(opaque((size_t)1 << 62), 1));
  REPORT("memalign(2^62,2^62)", 1, 1, memalign(opaque((size_t)1 << 62), (size_t)1 << 62));
  REPORT("aligned_alloc(2^63,1)", 1, 1, aligned_alloc(opaque(SIZE_MAX / 2 + 1), 1));
  REPORT("aligned_alloc(SIZE_MAX,1)", 1, 1, aligned_alloc(opaque(SIZE_MAX), 1));
}

static void test_page_family(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  static const size_t SIZES[] = {0, 1, 100, 4095, 4096, 4097, 70000, 3 << 20};
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    char what[32];
    size_t n = opaque(SIZES[i]);
    snprintf(what, sizeof what, "valloc(%zu)", n);
    REPORT(what, page, n, valloc(n));
    snprintf(what, sizeof what, "pvalloc(%zu)", n);
    REPORT(what, page, (n + page - 1) / page * page, pvalloc(n));
  }
}

static void test_zero_sizes(void) {
  void *unique[64];
  int distinct = 1;
  errno = ERRNO_MARK;
  for (size_t i = 0; i < 64; i++) {
    unique[i] = malloc(opaque(0));
    for (size_t j = 0; j < i; j++) distinct = distinct && unique[i] != unique[j];
    distinct = distinct && unique[i] != NULL;
  }
  say("malloc(0) gives 64 unique pointers", distinct);
  printf("malloc(0) errno=%s\n", errno_name(errno));
  for (size_t i = 0; i < 64; i++) free(unique[i]);
  REPORT("calloc(0,0)", 1, 0, calloc(opaque(0), 0));
  REPORT("calloc(0,n)", 1, 0, calloc(opaque(0), 100));
  REPORT("calloc(n,0)", 1, 0, calloc(100, opaque(0)));
  REPORT("calloc(0,SIZE_MAX)", 1, 0, calloc(opaque(0), opaque(SIZE_MAX)));
  REPORT("realloc(NULL,0)", 1, 0, realloc(NULL, opaque(0)));
  REPORT("reallocarray(NULL,0,8)", 1, 0, reallocarray(NULL, opaque(0), 8));
  static const size_t SIZES[] = {0, 1, 24, 1000, 30000, 200000, 5 << 20, 70 << 20};
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    void *p = malloc(opaque(SIZES[i]));
    errno = ERRNO_MARK;
    void *q = realloc(p, opaque(0));
    printf("realloc(p of %zu, 0): %s errno=%s\n", SIZES[i], q ? "pointer" : "NULL",
           errno_name(errno));
    p = malloc(opaque(SIZES[i]));
    errno = ERRNO_MARK;
    q = reallocarray(p, opaque(0), 9);
    printf("reallocarray(p of %zu, 0, 9): %s errno=%s\n", SIZES[i], q ? "pointer" : "NULL",
           errno_name(errno));
  }
}

/* realloc(p, 0) frees: a program that repeats it 100,000 times must not grow by 100,000 objects. */
static void test_realloc_zero_frees(void) {
  size_t bytes = 64 * KIB;
  for (size_t i = 0; i < 100000; i++) {
    char *p = malloc(bytes);
    if (p == NULL) {
      say("realloc(p,0) frees", 0);
      return;
    }
    p[0] = 1;
    if (realloc(p, opaque(0)) != NULL) {
      say("realloc(p,0) frees", 0);
      return;
    }
  }
  long resident_pages = 0;
  FILE *statm = fopen("/proc/self/statm", "r");
  if (statm != NULL) {
    if (fscanf(statm, "%*d %ld", &resident_pages) != 1) resident_pages = 0;
    fclose(statm);
  }
  say("realloc(p,0) frees", resident_pages < 262144);
}

static void test_realloc_contents(void) {
  static const size_t SIZES[] = {
      1,     15,    16,    17,     100, 1000,        1024,        1025,    4096,        20000,
      32768, 32769, 65536, 200000, MIB, 2 * MIB - 1, 2 * MIB + 1, 4 * MIB, 4 * MIB + 1, 9 * MIB};
  int good = 1;
  int aligned = 1;
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    for (size_t j = 0; j < sizeof SIZES / sizeof *SIZES; j++) {
      size_t from = SIZES[i];
      size_t to = SIZES[j];
      size_t kept = from < to ? from : to;
      unsigned char *p = malloc(from);
      fill(p, from, (unsigned)i);
      p = realloc(p, to);
      aligned = aligned && (uintptr_t)p % 16 == 0;
      good = good && p != NULL && filled(p, kept, (unsigned)i);
      if (p != NULL) memset(p, 0xee, to);
      free(p);
    }
  }
  say("realloc keeps contents from every size to every other", good);
  say("realloc results are aligned", aligned);
  unsigned char *p = NULL;
  size_t n = 0;
  good = 1;
  while (n < 24 * MIB) {
    size_t more = n + n / 3 + 13;
    p = realloc(p, more);
    good = good && p != NULL && filled(p, n, 1);
    fill(p, more, 1);
    n = more;
  }
  say("realloc grows step by step", good);
  while (n > 10) {
    size_t less = n * 2 / 3;
    p = realloc(p, less);
    good = good && p != NULL && filled(p, less, 1);
    n = less;
  }
  say("realloc shrinks step by step", good);
  free(p);
  p = malloc(500);
  fill(p, 500, 2);
  p = reallocarray(p, 100, 50);
  say("reallocarray grows and keeps", p != NULL && filled(p, 500, 2));
  free(p);
}

static void test_realloc_of_aligned(void) {
  static const size_t ALIGNMENTS[] = {32, 64, 512, 4096, 65536, 2 * MIB, 64 * MIB};
  static const size_t SIZES[] = {10, 100, 5000, 50000, 500000, 6 * MIB};
  int good = 1;
  for (size_t i = 0; i < sizeof ALIGNMENTS / sizeof *ALIGNMENTS; i++) {
    for (size_t j = 0; j < sizeof SIZES / sizeof *SIZES; j++) {
      for (size_t k = 0; k < sizeof SIZES / sizeof *SIZES; k++) {
        size_t kept = SIZES[j] < SIZES[k] ? SIZES[j] : SIZES[k];
        unsigned char *p = memalign(ALIGNMENTS[i], SIZES[j]);
        fill(p, SIZES[j], (unsigned)j);
        p = realloc(p, SIZES[k]);
        good =
            good && p != NULL && filled(p, kept, (unsigned)j) && malloc_usable_size(p) >= SIZES[k];
        fill(p, SIZES[k], 8);
        free(p);
      }
    }
  }
  say("realloc of aligned blocks keeps contents", good);
}

static void test_alignment_of_malloc(void) {
  int good = 1;
  for (size_t n = 0; n <= 70000; n += n < 2100 ? 1 : 331) {
    void *p = malloc(n);
    void *q = calloc(1, n);
    void *r = realloc(NULL, n);
    good = good && ((uintptr_t)p | (uintptr_t)q | (uintptr_t)r) % 16 == 0;
    free(p);
    free(q);
    free(r);
  }
  for (size_t n = 70000; n <= 80 * MIB; n = n * 5 / 4) {
    void *p = malloc(n);
    good = good && p != NULL && (uintptr_t)p % 16 == 0;
    free(p);
  }
  say("every result is aligned to 16", good);
}

static void test_free_keeps_errno(void) {
  static const size_t SIZES[] = {0,       16,      1000,     30000,     100000, MIB,
                                 3 * MIB, 5 * MIB, 64 * MIB, 512 * MIB, 2 * GIB};
  int good = 1;
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    void *p = malloc(SIZES[i]);
    errno = ERRNO_MARK;
    free(p);
    good = good && errno == ERRNO_MARK;
  }
  static void *many[20000];
  for (size_t i = 0; i < 20000; i++) many[i] = malloc(i % 3000);
  errno = ERRNO_MARK;
  for (size_t i = 0; i < 20000; i++) free(many[i]);
  good = good && errno == ERRNO_MARK;
  free(NULL);
  good = good && errno == ERRNO_MARK;
  say("free keeps errno", good);
}

static void test_usable_size(void) {
  printf("malloc_usable_size(NULL)=%zu\n", malloc_usable_size(NULL));
  int enough = 1;
  int stable = 1;
  int writable = 1;
  for (size_t n = 0; n <= 6 * MIB; n += n < 1100 ? 1 : n / 7) {
    unsigned char *a = malloc(n);
    unsigned char *b = malloc(n);
    unsigned char *c = malloc(n);
    size_t a_bytes = malloc_usable_size(a);
    size_t b_bytes = malloc_usable_size(b);
    size_t c_bytes = malloc_usable_size(c);
    enough = enough && a_bytes >= n && b_bytes >= n && c_bytes >= n;
    fill(a, a_bytes, 1);
    fill(b, b_bytes, 2);
    fill(c, c_bytes, 3);
    stable = stable && a_bytes == malloc_usable_size(a) && b_bytes == malloc_usable_size(b) &&
             c_bytes == malloc_usable_size(c);
    writable = writable && filled(a, a_bytes, 1) && filled(b, b_bytes, 2) && filled(c, c_bytes, 3);
    free(b);
    free(a);
    stable = stable && c_bytes == malloc_usable_size(c) && filled(c, c_bytes, 3);
    free(c);
  }
  say("usable size is enough", enough);
  say("usable size is stable", stable);
  say("usable bytes are writable and apart", writable);
}

static void test_calloc_zeroes(void) {
  int good = 1;
  for (size_t n = 1; n <= 4 * MIB; n += n < 1100 ? 1 : n / 11) {
    unsigned char *dirty[8];
    size_t count = n <= 64 * KIB ? 8 : 2;
    for (size_t i = 0; i < count; i++) {
      dirty[i] = malloc(n);
      memset(dirty[i], 0xa5, malloc_usable_size(dirty[i]));
    }
    for (size_t i = 0; i < count; i++) free(dirty[i]);
    for (size_t i = 0; i < count; i++) {
      dirty[i] = i % 2 ? calloc(1, n) : calloc(n, 1);
      good = good && dirty[i] != NULL && all_zero(dirty[i], n);
      memset(dirty[i], 0x5a, n);
    }
    for (size_t i = 0; i < count; i++) free(dirty[i]);
  }
  for (size_t n = 4 * MIB; n <= 40 * MIB; n += 9 * MIB + 100) {
    unsigned char *p = malloc(n);
    memset(p, 0xa5, n);
    free(p);
    p = calloc(n / 4, 4);
    good = good && p != NULL && all_zero(p, n / 4 * 4);
    free(p);
  }
  say("calloc zeroes memory that was dirty", good);
}

static void test_neighbours(void) {
  enum { COUNT = 4000 };
  static unsigned char *blocks[COUNT];
  static size_t bytes[COUNT];
  unsigned state = 12345;
  int good = 1;
  for (int round = 0; round < 10; round++) {
    for (size_t i = 0; i < COUNT; i++) {
      state = state * 1103515245u + 12345u;
      if (blocks[i] != NULL) {
        good = good && filled(blocks[i], bytes[i], (unsigned)i);
        if (state & 0x10000) {
          free(blocks[i]);
          blocks[i] = NULL;
        }
      } else {
        bytes[i] = (state >> 8) % (i % 50 == 0 ? 100000 : 1500);
        blocks[i] = malloc(bytes[i]);
        good = good && blocks[i] != NULL;
        fill(blocks[i], bytes[i], (unsigned)i);
      }
    }
  }
  for (size_t i = 0; i < COUNT; i++) {
    if (blocks[i] != NULL) good = good && filled(blocks[i], bytes[i], (unsigned)i);
    free(blocks[i]);
  }
  say("blocks do not overlap", good);
}

static void test_tuning_calls(void) {
  printf("malloc_info(1)=%s\n", errno_name(malloc_info(1, stdout)));
  printf("mallopt(M_TRIM_THRESHOLD)=%d\n", mallopt(M_TRIM_THRESHOLD, 1 << 20));
  printf("mallopt(M_TOP_PAD)=%d\n", mallopt(M_TOP_PAD, 1 << 16));
  printf("mallopt(M_MMAP_THRESHOLD)=%d\n", mallopt(M_MMAP_THRESHOLD, 1 << 18));
  printf("mallopt(M_MMAP_THRESHOLD, over its limit)=%d\n", mallopt(M_MMAP_THRESHOLD, 1 << 30));
  printf("mallopt(M_MMAP_MAX)=%d\n", mallopt(M_MMAP_MAX, 1000));
  printf("mallopt(M_CHECK_ACTION)=%d\n", mallopt(M_CHECK_ACTION, 3));
  printf("mallopt(M_PERTURB, 0)=%d\n", mallopt(M_PERTURB, 0));
  printf("mallopt(M_ARENA_TEST)=%d\n", mallopt(M_ARENA_TEST, 2));
  printf("mallopt(M_ARENA_MAX)=%d\n", mallopt(M_ARENA_MAX, 4));
  printf("mallopt(M_MXFAST)=%d\n", mallopt(M_MXFAST, 64));
  printf("mallopt(M_MXFAST, over its limit)=%d\n", mallopt(M_MXFAST, 1 << 20));
  REPORT("malloc after mallopt", 16, 100, malloc(100));
}

int main(void) {
  printf("glibc %s\n", gnu_get_libc_version());
  test_impossible_sizes();
  test_products();
  test_posix_memalign_arguments();
  test_memalign();
  test_page_family();
  test_zero_sizes();
  test_realloc_zero_frees();
  test_realloc_contents();
  test_realloc_of_aligned();
  test_alignment_of_malloc();
  test_free_keeps_errno();
  test_usable_size();
  test_calloc_zeroes();
  test_neighbours();
  test_tuning_calls();
  return 0;
}
