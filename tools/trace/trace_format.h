/* trace_format.h: what a trace file holds. docs/trace.md explains it for people.
 *
 * A file is a row of zstd frames; decompressed and joined they are units of 16 bytes,
 * little-endian: the header (4 units), records, the trailer (8 units, a record that says so and 7
 * units of counts). Each frame holds a whole number of units and can be decompressed without the
 * others, so that a file which was cut short can be read up to its last whole frame. Shared by the
 * recorder and by whoever reads: no code here that allocates. */
#ifndef TRACE_FORMAT_H
#define TRACE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC "HAKTRACE"
#define TRACE_VERSION 1u

/* One call, or half of one. Calls of operator new and delete are recorded as the C calls that they
 * stand for. Zero is no kind: a slot of the ring that is all zero is empty. */
enum trace_kind {
  TRACE_MALLOC = 1,   /* after the call; address 0: it failed. So for the next two */
  TRACE_CALLOC,       /* bytes: the product, saturated */
  TRACE_ALIGNED,      /* also memalign, valloc, ...; align_log2: what was asked for, rounded up */
  TRACE_FREE,         /* before the call; address 0: free(NULL) */
  TRACE_REALLOC_FROM, /* before the call: the old address; address 0: realloc(NULL, ...) */
  TRACE_REALLOC_TO,   /* after the call, for the latest open one of its thread: the new address
                         and size. Address 0: with bytes 0 the old object is freed, else it lives
                         on */
  TRACE_CLOCK,        /* bytes: nanoseconds since the first record */
  TRACE_END,          /* the trailer's first unit; bytes: enum trace_end */
  TRACE_KINDS,
};

enum trace_end {
  TRACE_END_EXIT = 1, /* the program called exit or returned from main */
  TRACE_END_KILLED,   /* it ended otherwise: by a signal, by _exit; all it did is there */
  TRACE_END_BOUND,    /* it had made as many records as allowed, and went on unrecorded */
  TRACE_END_STALLED,  /* a record was begun and never completed; it went on unrecorded */
  TRACE_ENDS,
};

/* A record.
 *
 *    63          56 55          48 47                                                    0
 *   +--------------+--------------+-------------------------------------------------------+
 *   | thread                      | address                                               |  where
 *   +--------------+--------------+-------------------------------------------------------+
 *   | kind         | align_log2   | bytes; a size of 2^48 or more is 2^48 - 1             |  what
 *   +--------------+--------------+-------------------------------------------------------+
 *
 * thread: 0 for the first that allocates, then counting up; the 65,537th is 0 again, which keeps
 * the order right: that is one for all threads. */
struct trace_record {
  uint64_t where, what;
};
static_assert(sizeof(struct trace_record) == 16 && offsetof(struct trace_record, what) == 8,
              "a record is one unit of 16 bytes");

#define TRACE_LOW_BITS 48u
#define TRACE_LOW_MASK ((UINT64_C(1) << TRACE_LOW_BITS) - 1)
#define TRACE_THREADS (1u << 16)

/*    0        8          12           16            20       24                 56         64
 *   +--------+----------+------------+-------------+--------+------------------+----------+
 *   | magic  | version  | page_bytes | clock_every | zero   | program, NUL-    | zero     |
 *   |        |          |            |             |        | terminated       |          |
 *   +--------+----------+------------+-------------+--------+------------------+----------+ */
struct trace_header {
  char magic[8];
  uint32_t version;
  uint32_t page_bytes;
  uint32_t clock_every; /* about one TRACE_CLOCK in so many records */
  uint32_t zero;
  char program[32]; /* the last part of its path */
  uint64_t zero_too;
};
static_assert(sizeof(struct trace_header) == 64 && offsetof(struct trace_header, program) == 24,
              "the header is 4 units");

/* Follows its TRACE_END record. A call of realloc counts once it has ended. */
struct trace_trailer {
  struct trace_record end;
  uint64_t mallocs, callocs, reallocs, frees, aligned;
  uint64_t live;    /* objects at the end: those that were had, less those given back */
  uint64_t records; /* the header's and the trailer's units are not counted */
  uint64_t lost;    /* records that were begun and are not in the file */
  uint64_t threads;
  uint64_t duration_ns;
  uint64_t zero[4];
};
static_assert(sizeof(struct trace_trailer) == 8 * 16 + 0 &&
                  offsetof(struct trace_trailer, live) == 56,
              "the trailer is 8 units");

static inline struct trace_record trace_record_make(enum trace_kind kind, unsigned align_log2,
                                                    unsigned thread, uint64_t address,
                                                    uint64_t bytes) {
  uint64_t low = bytes < TRACE_LOW_MASK ? bytes : TRACE_LOW_MASK;
  return (struct trace_record){
      .where = (uint64_t)(thread % TRACE_THREADS) << 48 | (address & TRACE_LOW_MASK),
      .what = (uint64_t)kind << 56 | (uint64_t)align_log2 << 48 | low,
  };
}

static inline unsigned trace_thread(struct trace_record r) { return (unsigned)(r.where >> 48); }
static inline uint64_t trace_address(struct trace_record r) { return r.where & TRACE_LOW_MASK; }
static inline unsigned trace_kind(struct trace_record r) { return (unsigned)(r.what >> 56); }
static inline unsigned trace_align_log2(struct trace_record r) {
  return (unsigned)(r.what >> 48) & 0xffu;
}
static inline uint64_t trace_bytes(struct trace_record r) { return r.what & TRACE_LOW_MASK; }

#endif
