/* The address of a static variable. Argument: operation. */
#include "abuse.h"

static _Alignas(64) char variable[128];

int main(int argc, char **argv) {
  announce(variable, 0);
  misuse(word_argument(argc, argv, 1), variable);
  return variable[5];
}
