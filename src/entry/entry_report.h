/* entry_report.h — the line that HAKMEM_REPORT asks for, as far as others take part.
 */
#ifndef ENTRY_REPORT_H
#define ENTRY_REPORT_H

/* The child's fork handler: its line counts from here on. A child of a bare fork, which runs no
 * handlers, counts its parent's objects too. */
void entry_report_fork_child(void);

#endif
