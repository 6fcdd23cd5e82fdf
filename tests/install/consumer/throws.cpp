// Nothing but operator new, and more than there is: std::bad_alloc has to come.
#include <cstdio>
#include <new>

int main() {
  volatile std::size_t too_much = static_cast<std::size_t>(1) << 60;
  try {
    void *p = operator new(too_much);
    std::printf("%p\n", p);
  } catch (const std::bad_alloc &) {
    std::puts("caught");
    return 0;
  }
  return 1;
}
