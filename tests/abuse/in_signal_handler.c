/* The message from a signal handler, on an alternate stack of the smallest size. Argument: double
 * or wild. */
#include <signal.h>

#include "abuse.h"

static void *victim;

static void handle(int signal_number) {
  (void)signal_number;
  free(opaque(victim));
}

int main(int argc, char **argv) {
  static _Alignas(64) char variable[64];
  static _Alignas(64) char stack_bytes[16 << 10];
  stack_t stack = {.ss_sp = stack_bytes, .ss_size = sizeof stack_bytes};
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
  void *a = malloc(100);
  victim = variable;
  if (strcmp(word_argument(argc, argv, 1), "double") == 0) {
    victim = a;
    announce(a, malloc_usable_size(a));
  } else {
    announce(variable, 0);
  }
  free(a);
  if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0) return 2;
  raise(SIGUSR1);
  return 0;
}
