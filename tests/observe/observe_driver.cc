// observe_driver COUNT: COUNT rounds of every call that gives or takes memory, in two threads that
// free each other's objects, some of which stay. Prints on stdout what it did: a line `KIND OUT
// BACK` a kind (usable bytes of an object, "run", "outside"), and `stays N`.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <map>
#include <mutex>
#include <new>
#include <pthread.h>
#include <string>
#include <vector>

extern "C" {
void free_sized(void *, size_t) __attribute__((weak));
void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
}

namespace {

constexpr size_t CLASS_SIZE_MAX = 32768, RUN_MAX = 4u << 20, KEPT_OF = 7;

struct Count {
  unsigned long out = 0, back = 0;
};
// By usable bytes; of large ones by two marks. A plain array: counting must not allocate.
Count counts[CLASS_SIZE_MAX + 3];
unsigned long stays;
std::mutex lock;

size_t kind_of(void *p) {
  size_t bytes = malloc_usable_size(p);
  if (bytes <= CLASS_SIZE_MAX) return bytes;
  return bytes <= RUN_MAX ? CLASS_SIZE_MAX + 1 : CLASS_SIZE_MAX + 2;
}
void *out(void *p) {
  if (p == nullptr) std::abort();
  std::lock_guard<std::mutex> guard(lock);
  counts[kind_of(p)].out++;
  return p;
}
void *back(void *p) {
  std::lock_guard<std::mutex> guard(lock);
  counts[kind_of(p)].back++;
  return p;
}

void *resized(void *old, size_t bytes, bool by_array) {
  size_t kind = kind_of(old);
  uintptr_t was = reinterpret_cast<uintptr_t>(old);
  void *p = by_array ? reallocarray(old, bytes, 1) : realloc(old, bytes);
  if (p == nullptr) std::abort();
  size_t now = kind_of(p);
  std::lock_guard<std::mutex> guard(lock);
  if (reinterpret_cast<uintptr_t>(p) == was && now == kind) {
    stays++;
  } else {
    counts[kind].back++;
    counts[now].out++;
  }
  return p;
}

// The objects of one round; index tells how each is freed.
constexpr size_t OBJECTS = 12;
void allocate(void **object) {
  object[0] = out(malloc(40));
  object[1] = out(calloc(7, 100));
  object[2] = resized(out(malloc(1000)), 990, false);
  object[3] = resized(out(realloc(nullptr, 20)), 5000, true);
  object[4] = out(aligned_alloc(256, 512));
  void *p = nullptr;
  if (posix_memalign(&p, 64, 300) != 0) std::abort();
  object[5] = out(p);
  object[6] = out(memalign(4096, 100));
  object[7] = out(::operator new(80));
  object[8] = out(::operator new[](2000, std::align_val_t(128)));
  object[9] = out(::operator new(100, std::nothrow));
  object[10] = resized(out(malloc(300000)), 290000, false);
  object[11] = out(malloc(8u << 20));
}
void release(void **object) {
  if (free_sized != nullptr) {
    free_sized(back(object[0]), 40);
    free_aligned_sized(back(object[4]), 256, 512);
  } else {
    free(back(object[0]));
    free(back(object[4]));
  }
  free(back(object[1]));
  back(object[2]);
  if (realloc(object[2], 0) != nullptr) std::abort();
  for (size_t i : {3, 5, 6, 10, 11}) free(back(object[i]));
  ::operator delete (back(object[7]), size_t{80});
  ::operator delete[](back(object[8]), std::align_val_t(128));
  ::operator delete(back(object[9]), std::nothrow);
  free(nullptr);
}

struct Side {
  unsigned long rounds;
  void *(*object)[OBJECTS];
};
void *allocate_all(void *argument) {
  Side *side = static_cast<Side *>(argument);
  for (unsigned long i = 0; i < side->rounds; i++) allocate(side->object[i]);
  return nullptr;
}
void *release_most(void *argument) {
  Side *side = static_cast<Side *>(argument);
  for (unsigned long i = 0; i < side->rounds; i++)
    if (i % KEPT_OF != 0) release(side->object[i]);
  return nullptr;
}

void run_in_threads(void *(*work)(void *), Side *first, Side *second) {
  pthread_t threads[2];
  if (pthread_create(&threads[0], nullptr, work, first) != 0 ||
      pthread_create(&threads[1], nullptr, work, second) != 0)
    std::abort();
  pthread_join(threads[0], nullptr);
  pthread_join(threads[1], nullptr);
}

} // namespace

int main(int argc, char **argv) {
  static void *objects[2][200][OBJECTS];
  unsigned long rounds = argc == 2 ? std::strtoul(argv[1], nullptr, 10) : 0;
  if (rounds > 200) return 2;
  static char buffer[1 << 16];
  std::setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  Side sides[2] = {{rounds, objects[0]}, {rounds, objects[1]}};
  run_in_threads(allocate_all, &sides[0], &sides[1]);
  run_in_threads(release_most, &sides[1], &sides[0]);
  for (size_t kind = 0; kind < sizeof counts / sizeof counts[0]; kind++) {
    if (counts[kind].out == 0) continue;
    if (kind <= CLASS_SIZE_MAX) {
      std::printf("%zu", kind);
    } else {
      std::printf("%s", kind == CLASS_SIZE_MAX + 1 ? "run" : "outside");
    }
    std::printf(" %lu %lu\n", counts[kind].out, counts[kind].back);
  }
  std::printf("stays %lu\n", stays);
  return 0;
}
