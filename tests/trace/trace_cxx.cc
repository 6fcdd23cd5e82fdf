// trace_cxx: calls every operator new and delete, and prints how many objects it had and how many
// it gave back, as JSON. Sizes as in trace_workload.c: 5 above a multiple of 8.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <unistd.h>

static unsigned long plain, aligned;

static void *plain_seen(void *object) {
  plain++;
  return object;
}
static void *aligned_seen(void *object) {
  aligned++;
  return object;
}

static void round_of_calls(std::size_t bytes) {
  const std::align_val_t align{64};
  ::operator delete(plain_seen(::operator new(bytes)));
  ::operator delete[](plain_seen(::operator new[](bytes)));
  ::operator delete(plain_seen(::operator new(bytes)), bytes);
  ::operator delete[](plain_seen(::operator new[](bytes)), bytes);
  ::operator delete(plain_seen(::operator new(bytes, std::nothrow)), std::nothrow);
  ::operator delete[](plain_seen(::operator new[](bytes, std::nothrow)), std::nothrow);
  ::operator delete(aligned_seen(::operator new(bytes, align)), align);
  ::operator delete[](aligned_seen(::operator new[](bytes, align)), align);
  ::operator delete(aligned_seen(::operator new(bytes, align)), bytes, align);
  ::operator delete[](aligned_seen(::operator new[](bytes, align)), bytes, align);
  ::operator delete(aligned_seen(::operator new(bytes, align, std::nothrow)), align, std::nothrow);
  ::operator delete[](aligned_seen(::operator new[](bytes, align, std::nothrow)), align,
                      std::nothrow);
}

// No memory must come as std::bad_alloc, through the wrapper.
static bool throws() {
  try {
    ::operator delete(::operator new(static_cast<std::size_t>(1) << 62));
  } catch (const std::bad_alloc &) {
    return true;
  }
  return false;
}

int main() {
  for (std::size_t i = 0; i < 1000; i++) {
    round_of_calls(8 * (i % 300) + 5);
  }
  if (!throws()) return 1;
  char line[128];
  int length = std::snprintf(line, sizeof line, "{\"mallocs\":%lu,\"aligned\":%lu,\"frees\":%lu}\n",
                             plain, aligned, plain + aligned);
  return write(1, line, static_cast<std::size_t>(length)) == length ? 0 : 1;
}
