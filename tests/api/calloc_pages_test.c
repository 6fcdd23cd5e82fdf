/* calloc_pages_test: calloc of fresh large blocks touches none of their pages, since what the
 * kernel gives is zero already. Looked at by mincore, and by the page faults of the call. That
 * both would see it is shown with a block that is cleared by hand.
 */
#define _GNU_SOURCE 1
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check_that.h"

#define SIZES 3u
#define BLOCKS 4u
/* Of a call: the own tables of the allocator, and code that runs first. Arbitrary, far below the
 * pages of a block. */
#define FAULTS_MOST 32u

static size_t page;
static unsigned char state[(64u << 20) / 4096]; /* for mincore, a byte a page */

static long faults(void) {
  struct rusage usage;
  CHECK_THAT(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_minflt + usage.ru_majflt;
}

/* Of the pages that are the block's alone. */
static size_t resident_pages(const unsigned char *block, size_t bytes, size_t *pages) {
  uintptr_t begin = ((uintptr_t)block + page - 1) / page * page;
  uintptr_t end = ((uintptr_t)block + bytes) / page * page;
  *pages = (end - begin) / page;
  CHECK_THAT(*pages <= sizeof state);
  CHECK_THAT(mincore((void *)begin, end - begin, state) == 0);
  size_t resident = 0;
  for (size_t i = 0; i < *pages; i++) {
    resident += state[i] & 1u;
  }
  return resident;
}

/* None is freed: what follows would not be fresh. */
static unsigned char *blocks[SIZES][BLOCKS];

static void check_fresh(unsigned char **block, size_t bytes) {
  for (unsigned i = 0; i < BLOCKS; i++) {
    long before = faults();
    block[i] = calloc(bytes / 16, 16);
    long taken = faults() - before;
    CHECK_THAT(block[i] != NULL);
    size_t pages, resident = resident_pages(block[i], bytes, &pages);
    if (resident != 0 || taken > (long)FAULTS_MOST) {
      fprintf(stderr, "calloc of %zu bytes, block %u: %zu of %zu pages resident, %ld faults\n",
              bytes, i, resident, pages, taken);
      exit(1);
    }
  }
  for (unsigned i = 0; i < BLOCKS; i++) {
    for (size_t at = 0; at < bytes; at += page / 2) {
      CHECK_THAT(block[i][at] == 0);
    }
    CHECK_THAT(block[i][bytes - 1] == 0);
  }
}

/* What a calloc that clears by itself would do, so that the figures are known to show it. */
static void check_that_it_would_be_seen(size_t bytes) {
  long before = faults();
  unsigned char *block = malloc(bytes);
  CHECK_THAT(block != NULL);
  memset(block, 0, bytes);
  long taken = faults() - before;
  size_t pages, resident = resident_pages(block, bytes, &pages);
  CHECK_THAT(resident == pages && pages >= bytes / page - 1);
  CHECK_THAT(taken > (long)FAULTS_MOST);
  free(block);
}

int main(void) {
  page = (size_t)sysconf(_SC_PAGESIZE);
  /* Else a huge page of a neighbour's could reach into a block. */
  CHECK_THAT(prctl(PR_SET_THP_DISABLE, 1ul, 0ul, 0ul, 0ul) == 0);
  check_fresh(blocks[0], (size_t)1 << 20);
  check_fresh(blocks[1], (size_t)4 << 20);
  check_fresh(blocks[2], (size_t)64 << 20);
  check_that_it_would_be_seen((size_t)1 << 20);
  check_that_it_would_be_seen((size_t)64 << 20);
  return 0;
}
