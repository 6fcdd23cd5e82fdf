/* The statistics are exact at rest: 10,000 known sizes are allocated and half of them freed, and
 * each look at mallinfo2, mallinfo, malloc_info, malloc_stats and the hak_ twins must have moved by
 * exactly the rounded bytes (malloc_usable_size of each object). Nothing here allocates between the
 * looks: the streams have static buffers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/check_that.h"

#define OBJECT_COUNT 10000

struct mallinfo2 hak_mallinfo2(void) __attribute__((weak));
int hak_malloc_info(int options, FILE *stream) __attribute__((weak));
void hak_malloc_stats(void) __attribute__((weak));

struct look {
  size_t uordblks, hblkhd, arena, fordblks;
};

static char text[4 << 20];
static char stream_buffer[64 << 10];
static int capture_fd;
static FILE *capture;

static void capture_reset(void) {
  CHECK_THAT(ftruncate(capture_fd, 0) == 0);
  CHECK_THAT(lseek(capture_fd, 0, SEEK_SET) == 0);
}

static void capture_read(void) {
  ssize_t got = pread(capture_fd, text, sizeof text - 1, 0);
  CHECK_THAT(got > 0 && (size_t)got < sizeof text - 1);
  text[got] = '\0';
}

static size_t number_after(const char *from, const char *label) {
  const char *at = strstr(from, label);
  if (at == NULL) {
    fprintf(stderr, "no %s in:\n%s\n", label, text);
    exit(1);
  }
  at += strlen(label);
  at += strspn(at, " =\"");
  CHECK_THAT(*at >= '0' && *at <= '9');
  return strtoul(at, NULL, 10);
}

static struct look look_in_struct(struct mallinfo2 now) {
  return (struct look){now.uordblks, now.hblkhd, now.arena, now.fordblks};
}

static struct look look_in_xml(int (*info)(int, FILE *)) {
  capture_reset();
  CHECK_THAT(info(0, capture) == 0);
  CHECK_THAT(fflush(capture) == 0);
  capture_read();
  CHECK_THAT(strncmp(text, "<malloc version=\"hakmem-1\">", 27) == 0);
  const char *exact = strstr(text, "<hakmem ");
  CHECK_THAT(exact != NULL);
  return (struct look){number_after(exact, " uordblks="), number_after(exact, " hblkhd="),
                       number_after(exact, " arena="), number_after(exact, " fordblks=")};
}

/* malloc_stats has only sums: what is in use and what the system gave, own mappings included. */
static void check_stats_text(void (*stats)(void), struct look expected) {
  int saved = dup(STDERR_FILENO);
  capture_reset();
  CHECK_THAT(dup2(capture_fd, STDERR_FILENO) == STDERR_FILENO);
  stats();
  fflush(stderr);
  CHECK_THAT(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
  close(saved);
  capture_read();
  CHECK_THAT(strncmp(text, "Arena 0:\n", 9) == 0);
  CHECK_SAME(number_after(text, "system bytes"), expected.arena);
  CHECK_SAME(number_after(text, "in use bytes"), expected.uordblks);
  const char *total = strstr(text, "Total (incl. mmap):\n");
  CHECK_THAT(total != NULL);
  CHECK_SAME(number_after(total, "system bytes"), expected.arena + expected.hblkhd);
  CHECK_SAME(number_after(total, "in use bytes"), expected.uordblks + expected.hblkhd);
  CHECK_THAT(number_after(total, "max mmap bytes") >= expected.hblkhd);
}

static void check_same_look(struct look a, struct look b) {
  CHECK_SAME(a.uordblks, b.uordblks);
  CHECK_SAME(a.hblkhd, b.hblkhd);
  CHECK_SAME(a.arena, b.arena);
  CHECK_SAME(a.fordblks, b.fordblks);
}

/* An int field holds the value where it fits and INT_MAX where it does not. */
static void check_int_field(int field, size_t value) {
  CHECK_SAME((size_t)(unsigned)field, value > INT_MAX ? (size_t)INT_MAX : value);
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void check_mallinfo_ints(struct mallinfo2 wide) {
  struct mallinfo narrow = mallinfo();
  check_int_field(narrow.arena, wide.arena);
  check_int_field(narrow.ordblks, wide.ordblks);
  check_int_field(narrow.smblks, wide.smblks);
  check_int_field(narrow.hblks, wide.hblks);
  check_int_field(narrow.hblkhd, wide.hblkhd);
  check_int_field(narrow.usmblks, wide.usmblks);
  check_int_field(narrow.fsmblks, wide.fsmblks);
  check_int_field(narrow.uordblks, wide.uordblks);
  check_int_field(narrow.fordblks, wide.fordblks);
  check_int_field(narrow.keepcost, wide.keepcost);
}

static size_t take_look(void) {
  struct mallinfo2 now = mallinfo2();
  struct look first = look_in_struct(now);
  CHECK_SAME(first.arena, first.uordblks + first.fordblks);
  check_same_look(first, look_in_struct(hak_mallinfo2()));
  check_same_look(first, look_in_xml(malloc_info));
  check_same_look(first, look_in_xml(hak_malloc_info));
  check_stats_text(malloc_stats, first);
  check_stats_text(hak_malloc_stats, first);
  check_mallinfo_ints(now);
  return first.uordblks + first.hblkhd;
}

static size_t known_size(size_t i) {
  if (i % 1000 == 999) return ((size_t)3 << 20) * (i / 1000 + 1) / 2; /* 1.5 to 15 MiB */
  if (i % 100 == 99) return 33000 + i * 37;
  if (i % 10 == 9) return 1100 + i * 3;
  return i * 7 % 1030;
}

static void *objects[OBJECT_COUNT];

static size_t allocate_known(void) {
  size_t rounded_bytes = 0;
  for (size_t i = 0; i < OBJECT_COUNT; i++) {
    objects[i] = i % 5 ? malloc(known_size(i)) : calloc(1, known_size(i));
    CHECK_THAT(objects[i] != NULL);
    rounded_bytes += malloc_usable_size(objects[i]);
  }
  return rounded_bytes;
}

static size_t free_every_second(size_t first) {
  size_t rounded_bytes = 0;
  for (size_t i = first; i < OBJECT_COUNT; i += 2) {
    rounded_bytes += malloc_usable_size(objects[i]);
    free(objects[i]);
  }
  return rounded_bytes;
}

static void *free_even_objects(void *rounded_bytes) {
  *(size_t *)rounded_bytes = free_every_second(0);
  return NULL;
}

static void check_moves(void) {
  size_t start = take_look();
  size_t taken = allocate_known();
  size_t full = take_look();
  CHECK_SAME(full - start, taken);
  size_t given = free_every_second(1);
  size_t half = take_look();
  CHECK_SAME(full - half, given);
  size_t rest = free_every_second(0);
  size_t end = take_look();
  CHECK_SAME(half - end, rest);
  CHECK_SAME(end, start);
}

/* What another thread freed waits in the mail of its owner: not live any more either. The thread
 * has a stack of its own and no result, so that nothing but the objects moves once one has been
 * run. */
static void run_freer(size_t *rounded_bytes) {
  pthread_t thread;
  CHECK_THAT(pthread_create(&thread, NULL, free_even_objects, rounded_bytes) == 0);
  CHECK_THAT(pthread_join(thread, NULL) == 0);
}

static void check_moves_with_a_remote_thread(void) {
  for (size_t i = 0; i < OBJECT_COUNT; i++) objects[i] = NULL;
  size_t rounded_bytes = 0;
  run_freer(&rounded_bytes); /* frees NULLs: the thread library takes its memory now */
  size_t start = take_look();
  size_t taken = allocate_known();
  size_t full = take_look();
  CHECK_SAME(full - start, taken);
  run_freer(&rounded_bytes);
  size_t half = take_look();
  CHECK_SAME(full - half, rounded_bytes);
  size_t rest = free_every_second(1);
  size_t end = take_look();
  CHECK_SAME(half - end, rest);
  CHECK_SAME(end, start);
}

static void check_realloc_moves(void) {
  size_t start = take_look();
  void *p = malloc(10);
  static const size_t SIZES[] = {100, 5000, 70000, 1 << 20, 5 << 20, 9 << 20, 300000, 50};
  for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
    p = realloc(p, SIZES[i]);
    CHECK_THAT(p != NULL);
    CHECK_SAME(take_look() - start, malloc_usable_size(p));
  }
  free(p);
  p = memalign(1 << 16, 100);
  CHECK_SAME(take_look() - start, malloc_usable_size(p));
  free(p);
  CHECK_SAME(take_look(), start);
}

/* 3 GiB, never touched: the int fields cannot hold it. */
static void check_beyond_int(void) {
  size_t start = take_look();
  void *p = malloc((size_t)3 << 30);
  if (p == NULL) return;
  CHECK_THAT(mallinfo2().hblkhd >= (size_t)3 << 30);
  CHECK_SAME(take_look() - start, malloc_usable_size(p));
  free(p);
  CHECK_SAME(take_look(), start);
}

/* 1 when memory went back to the system, 0 when there was none to give. */
static void check_trim(void) {
  enum { COUNT = 20000, BYTES = 1000 };
  static char *many[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    many[i] = malloc(BYTES);
    CHECK_THAT(many[i] != NULL);
    memset(many[i], 1, BYTES);
  }
  for (size_t i = 0; i < COUNT; i++) free(many[i]);
  size_t live = take_look();
  CHECK_SAME((size_t)malloc_trim(0), 1);
  CHECK_SAME(take_look(), live);
  CHECK_SAME((size_t)malloc_trim(0), 0);
  CHECK_SAME(take_look(), live);
}

int main(int argc, char **argv) {
  CHECK_THAT(hak_mallinfo2 != NULL && hak_malloc_info != NULL && hak_malloc_stats != NULL);
  capture_fd = memfd_create("capture", 0);
  CHECK_THAT(capture_fd >= 0);
  capture = fdopen(capture_fd, "w");
  CHECK_THAT(capture != NULL);
  CHECK_THAT(setvbuf(capture, stream_buffer, _IOFBF, sizeof stream_buffer) == 0);
  check_moves();
  check_moves();
  check_moves_with_a_remote_thread();
  check_realloc_moves();
  check_beyond_int();
  check_trim();
  errno = 0;
  CHECK_THAT(malloc_info(1, capture) == EINVAL);
  if (argc > 1) { /* the last document, for a real XML parser */
    FILE *xml = fopen(argv[1], "w");
    CHECK_THAT(xml != NULL);
    CHECK_THAT(allocate_known() > 0);
    CHECK_THAT(malloc_info(0, xml) == 0);
    CHECK_THAT(fclose(xml) == 0);
  }
  return 0;
}
