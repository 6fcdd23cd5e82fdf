// All forms of operator new and delete, with the library preloaded: each result is aligned,
// writable and of this heap; an impossible size throws bad_alloc or gives nullptr, after the
// new-handler was called as long as there is one.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "api/check_that.h"

static std::size_t live_bytes() {
  struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

static void use(void *p, std::size_t n, std::size_t alignment) {
  CHECK_THAT(p != nullptr);
  CHECK_THAT(reinterpret_cast<std::uintptr_t>(p) % alignment == 0);
  CHECK_THAT(malloc_usable_size(p) >= n);
  std::memset(p, 0x3c, n);
}

static void test_plain(std::size_t n) {
  void *p = ::operator new(n);
  use(p, n, 16);
  ::operator delete(p);
  p = ::operator new(n);
  use(p, n, 16);
  ::operator delete(p, n);
  p = ::operator new[](n);
  use(p, n, 16);
  ::operator delete[](p);
  p = ::operator new[](n);
  use(p, n, 16);
  ::operator delete[](p, n);
  p = ::operator new(n, std::nothrow);
  use(p, n, 16);
  ::operator delete(p, std::nothrow);
  p = ::operator new[](n, std::nothrow);
  use(p, n, 16);
  ::operator delete[](p, std::nothrow);
}

static void test_aligned(std::size_t n, std::size_t alignment) {
  std::align_val_t a{alignment};
  void *p = ::operator new(n, a);
  use(p, n, alignment);
  ::operator delete(p, a);
  p = ::operator new(n, a);
  use(p, n, alignment);
  ::operator delete(p, n, a);
  p = ::operator new[](n, a);
  use(p, n, alignment);
  ::operator delete[](p, a);
  p = ::operator new[](n, a);
  use(p, n, alignment);
  ::operator delete[](p, n, a);
  p = ::operator new(n, a, std::nothrow);
  use(p, n, alignment);
  ::operator delete(p, a, std::nothrow);
  p = ::operator new[](n, a, std::nothrow);
  use(p, n, alignment);
  ::operator delete[](p, a, std::nothrow);
}

template <typename Call> static bool throws(Call call) {
  try {
    call();
  } catch (const std::bad_alloc &) {
    return true;
  }
  return false;
}

static int handler_calls;

static void counting_handler() {
  if (++handler_calls == 3) std::set_new_handler(nullptr);
}

struct handler_gave_up {};

static void throwing_handler() { throw handler_gave_up{}; }

static void test_impossible(std::size_t n) {
  std::align_val_t a{64};
  CHECK_THAT(throws([=] { ::operator delete(::operator new(n)); }));
  CHECK_THAT(throws([=] { ::operator delete[](::operator new[](n)); }));
  CHECK_THAT(throws([=] { ::operator delete(::operator new(n, a), a); }));
  CHECK_THAT(throws([=] { ::operator delete[](::operator new[](n, a), a); }));
  CHECK_THAT(::operator new(n, std::nothrow) == nullptr);
  CHECK_THAT(::operator new[](n, std::nothrow) == nullptr);
  CHECK_THAT(::operator new(n, a, std::nothrow) == nullptr);
  CHECK_THAT(::operator new[](n, a, std::nothrow) == nullptr);

  handler_calls = 0;
  std::set_new_handler(counting_handler);
  CHECK_THAT(throws([=] { ::operator delete(::operator new(n)); }));
  CHECK_THAT(handler_calls == 3);
  handler_calls = 0;
  std::set_new_handler(counting_handler);
  CHECK_THAT(::operator new(n, std::nothrow) == nullptr);
  CHECK_THAT(handler_calls == 3);
  handler_calls = 0;
  std::set_new_handler(counting_handler);
  CHECK_THAT(throws([=] { ::operator delete(::operator new(n, a), a); }));
  CHECK_THAT(handler_calls == 3);

  std::set_new_handler(throwing_handler);
  bool gave_up = false;
  try {
    ::operator delete(::operator new(n));
  } catch (const handler_gave_up &) {
    gave_up = true;
  }
  CHECK_THAT(gave_up);
  std::set_new_handler(nullptr);
}

static std::size_t release_bytes;
static void *ballast;

static void releasing_handler() {
  handler_calls++;
  std::free(ballast);
  ballast = nullptr;
  release_bytes = 100;
  std::set_new_handler(nullptr);
}

static void test_containers() {
  std::map<std::string, std::vector<std::unique_ptr<int>>> shelf;
  for (int i = 0; i < 20000; i++)
    shelf["a key that is longer than the small string " + std::to_string(i % 500)].push_back(
        std::make_unique<int>(i));
  long sum = 0;
  for (auto &[key, values] : shelf)
    for (auto &value : values) sum += *value;
  CHECK_THAT(sum == 199990000L);
}

int main() {
  for (std::size_t n = 0; n <= std::size_t{6} << 20; n = n * 3 / 2 + 1) {
    test_plain(n);
    for (std::size_t alignment = 16; alignment <= std::size_t{1} << 21; alignment <<= 2)
      test_aligned(n, alignment);
  }
  ::operator delete(nullptr);
  ::operator delete[](nullptr);
  ::operator delete (nullptr, std::size_t{8});
  ::operator delete (nullptr, std::align_val_t{64});
  volatile std::size_t huge = SIZE_MAX;
  test_impossible(huge);
  test_impossible(huge / 2);
  test_impossible(huge / 2 - 4096);
  ballast = std::malloc(1 << 20);
  handler_calls = 0;
  std::set_new_handler(releasing_handler);
  CHECK_THAT(::operator new(huge, std::nothrow) == nullptr);
  CHECK_THAT(handler_calls == 1 && release_bytes == 100);
  test_containers();
  std::size_t before = live_bytes();
  void *p = ::operator new(5000);
  CHECK_THAT(live_bytes() == before + malloc_usable_size(p));
  ::operator delete(p, 5000);
  CHECK_THAT(live_bytes() == before);
  std::puts("ok");
  return 0;
}
