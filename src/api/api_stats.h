/* api_stats.h — glibc's statistics calls under names of our own, for the aliases and for tests:
 * there are no hak_ twins of these two.
 */
#ifndef API_STATS_H
#define API_STATS_H

#include <malloc.h>

/* mallinfo2 in ints: what does not fit is INT_MAX. */
struct mallinfo api_mallinfo(void);
/* 1; or 0 where glibc refuses the value (M_MXFAST above 160). Nothing is changed: every parameter
 * of mallopt is about an inside that hakmem has not. */
int api_mallopt(int parameter, int value);

#endif
