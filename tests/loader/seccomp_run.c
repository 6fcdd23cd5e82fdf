/* Runs a command under a seccomp filter that refuses system calls with an errno, or kills who makes
 * them. usage: seccomp_run EPERM|ENOSYS|EINVAL|KILL call[,call…] program [argument…]; calls:
 * madvise mremap prctl rseq. The environment variable PRELOAD becomes LD_PRELOAD of the program. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/check_that.h"

static const struct {
  const char *name;
  unsigned number;
} CALLS[] = {
    {"madvise", SYS_madvise}, {"mremap", SYS_mremap}, {"prctl", SYS_prctl}, {"rseq", SYS_rseq}};

enum { CALL_COUNT = sizeof CALLS / sizeof *CALLS };

static unsigned refusal_of(const char *name) {
  if (strcmp(name, "KILL") == 0) return SECCOMP_RET_KILL_PROCESS;
  if (strcmp(name, "EPERM") == 0) return SECCOMP_RET_ERRNO | EPERM;
  if (strcmp(name, "ENOSYS") == 0) return SECCOMP_RET_ERRNO | ENOSYS;
  CHECK_THAT(strcmp(name, "EINVAL") == 0);
  return SECCOMP_RET_ERRNO | EINVAL;
}

int main(int argc, char **argv) {
  struct sock_filter filter[2 * CALL_COUNT + 2];
  unsigned short length = 0;
  CHECK_THAT(argc > 3);
  unsigned refusal = refusal_of(argv[1]);
  filter[length++] =
      (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < CALL_COUNT; i++) {
    if (strstr(argv[2], CALLS[i].name) == NULL) continue;
    filter[length++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].number, 0, 1);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refusal);
  }
  CHECK_THAT(length > 1);
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = length, .filter = filter};
  const char *preload = getenv("PRELOAD");
  if (preload != NULL) CHECK_THAT(setenv("LD_PRELOAD", preload, 1) == 0);
  CHECK_THAT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    puts("SKIP: no seccomp filters here");
    return 77;
  }
  execv(argv[3], argv + 3);
  fprintf(stderr, "%s: %s\n", argv[3], strerror(errno));
  return 1;
}
