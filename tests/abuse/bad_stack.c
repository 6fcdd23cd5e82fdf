/* The address of a local variable. Argument: operation. */
#include "abuse.h"

int main(int argc, char **argv) {
  _Alignas(64) char local[128] = {0};
  announce(local, 0);
  misuse(word_argument(argc, argv, 1), local);
  return local[5];
}
