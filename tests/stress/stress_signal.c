/* stress_signal.c — handlers that allocate and free in the midst of malloc and free.
 *   stress_signal large|slow|calls [--signals N] [--seed N]
 * large: the interrupted thread allocates and frees objects over 4 MiB only.
 * slow: tiny ones in batches, so that much of its time goes to refilling and flushing. A handler
 * that interrupts the hit paths of malloc or free has no promise from any allocator, so with the
 * program counter there it only counts; the rest is reached by tail calls, so no interrupted hit
 * path can be further up the stack.
 * calls: tiny ones again; the handlers, wherever they come, make the calls that SECURITY.md allows
 * everywhere, and neither allocate nor free.
 * A sender thread signals as soon as the last handler is done. No hang (WATCHDOG_SECONDS), no
 * crash, all contents as written; a handler's malloc may be refused with ENOMEM.
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <ucontext.h>

#include "stress_util.h"

#ifndef HAK_TEST_DIRECT
int hak_option_set(const char *name, const char *value) __attribute__((weak));
int hak_option_get(const char *name, char *value, size_t capacity) __attribute__((weak));
int hak_limit_callback(size_t soft_bytes, void (*call)(size_t, size_t, void *), void *context)
    __attribute__((weak));
#endif

enum {
  BATCH = 2000,
  WATCHDOG_SECONDS = 100,
  SLOW_WANTED = 50,
  STEPS_BETWEEN_WAITS = 32,
  HITS_WANTED = 100,
};

/* The code of one function, and of the module that it is in. */
struct range {
  uintptr_t begin, end;
};

static bool in_range(const struct range *r, uintptr_t pc) { return pc >= r->begin && pc < r->end; }

/* Where the hit paths are: whether malloc is hak_malloc by another name is the library's affair. */
static const char *const hit_names[] = {"malloc", "free", "hak_malloc", "hak_free"};
enum { HIT_NAMES = sizeof hit_names / sizeof *hit_names };

static struct range hit_code[HIT_NAMES]; /* empty where there is no such name */
static struct range module_code;
static bool slow_mode, calls_mode;
static void *mapped; /* for calls */
static pthread_t victim;
static sem_t handled;
static _Atomic bool stop;
static _Atomic uint64_t signals_handled, signals_in_module, handler_objects, handler_refusals;
static _Atomic uint64_t calls_made, calls_on_hit_paths;
static uint64_t signals_wanted;
static _Atomic uint64_t victim_rounds, victim_steps, signals_sent;

static struct range function_code(void *function) {
  Dl_info info;
  void *extra = NULL;
  REQUIRE(dladdr1(function, &info, &extra, RTLD_DL_SYMENT) != 0 && extra != NULL,
          "no symbol for %p", function);
  const ElfW(Sym) *symbol = extra;
  REQUIRE(symbol->st_size != 0, "symbol %s has no size", info.dli_sname);
  return (struct range){(uintptr_t)info.dli_saddr, (uintptr_t)info.dli_saddr + symbol->st_size};
}

static int module_visit(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size;
  for (size_t i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    struct range r = {info->dlpi_addr + p->p_vaddr, info->dlpi_addr + p->p_vaddr + p->p_memsz};
    if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && in_range(&r, *(uintptr_t *)arg)) {
      module_code = r;
    }
  }
  return 0;
}

static uintptr_t interrupted_pc(const void *context) {
  const ucontext_t *u = context;
#if defined(__x86_64__)
  return (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  return (uintptr_t)u->uc_mcontext.pc;
#else
#error "the program counter's place in ucontext_t is not known here"
#endif
}

/* Objects that handlers leave for later handlers: allocated in one slow path, freed in another. */
static void *left[64];

static void handler_work(uint64_t count) {
  struct rng rng = rng_stream(count);
  for (unsigned i = 0; i < 4; i++) {
    void **slot = &left[rng_below(&rng, 64)];
    if (*slot != NULL) {
      tagged_free(*slot);
    }
    *slot = tagged_new(sizeof(struct tagged) + rng_below(&rng, 256), rng_next(&rng));
    atomic_fetch_add_explicit(*slot != NULL ? &handler_objects : &handler_refusals, 1,
                              memory_order_relaxed);
  }
}

static void handler_calls(uint64_t count, bool hit_path) {
  char value[64];
  int error = 0;
  switch (count % 6) {
  case 0:
    error = hak_limit_callback(0, NULL, NULL);
    break;
  case 1:
    REQUIRE(hak_option_get("BORROW", value, sizeof value) == 0, "hak_option_get");
    break;
  case 2:
    REQUIRE(T_mallinfo2().arena > 0, "mallinfo2");
    break;
  case 3: /* 0 inside a slow path */
    REQUIRE(T_usable_size(mapped) == 0 || T_usable_size(mapped) >= 5 * MIB, "usable size");
    break;
  default:
    error = hak_option_set("BORROW", count % 2 == 0 ? "0" : "1");
  }
  REQUIRE(error == 0 || (error == EBUSY && !hit_path), "%d of call %llu", error,
          (unsigned long long)count);
  atomic_fetch_add_explicit(&calls_made, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&calls_on_hit_paths, hit_path, memory_order_relaxed);
}

static void handler(int number, siginfo_t *info, void *context) {
  (void)number, (void)info;
  int errno_before = errno;
  uintptr_t pc = interrupted_pc(context);
  bool hit_path = false;
  for (unsigned i = 0; i < HIT_NAMES; i++) {
    hit_path = hit_path || in_range(&hit_code[i], pc);
  }
  uint64_t count = atomic_fetch_add_explicit(&signals_handled, 1, memory_order_relaxed);
  if (in_range(&module_code, pc) && !hit_path) {
    atomic_fetch_add_explicit(&signals_in_module, 1, memory_order_relaxed);
  }
  if (calls_mode) {
    handler_calls(count, hit_path);
  } else if (!slow_mode || !hit_path) {
    handler_work(count);
  }
  errno = errno_before;
  sem_post(&handled);
}

static void hung(int number) {
  (void)number;
  REQUIRE(false, "hung after %llu of %llu signals, round %llu", (unsigned long long)signals_handled,
          (unsigned long long)signals_wanted, (unsigned long long)victim_rounds);
}

static void *sender_thread(void *arg) {
  (void)arg;
  struct rng rng = rng_stream(UINT64_MAX - 1);
  /* In slow mode on until enough signals met a slow path; the watchdog bounds it. */
  while (signals_sent < signals_wanted ||
         (slow_mode && atomic_load(&signals_in_module) < SLOW_WANTED) ||
         (calls_mode && atomic_load(&calls_on_hit_paths) < HITS_WANTED)) {
    /* On one core each signal would meet the end of the last handler: now and then the victim has
     * to get somewhere first. Not each time: a yield may cost a whole time slice. */
    uint64_t until = atomic_load(&victim_steps) + 1 + rng_below(&rng, 64);
    bool is_waiting = slow_mode && signals_sent % STEPS_BETWEEN_WAITS == 0;
    while (is_waiting && atomic_load_explicit(&victim_steps, memory_order_relaxed) < until) {
      sched_yield();
    }
    signals_sent++;
    REQUIRE(pthread_kill(victim, SIGUSR1) == 0, "pthread_kill");
    while (sem_wait(&handled) != 0) {
      REQUIRE(errno == EINTR, "sem_wait: errno %d", errno);
    }
  }
  atomic_store(&stop, true);
  return NULL;
}

/* Slots are emptied before their object is freed: nothing here is in a state that a handler, which
 * keeps to its own objects, could meet. */
static void victim_run(void) {
  static void *own[BATCH];
  struct rng rng = rng_stream(UINT64_MAX);
  size_t batch = slow_mode ? BATCH : 4;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    for (size_t i = 0; i < batch; i++) {
      size_t size = slow_mode ? sizeof(struct tagged) + rng_below(&rng, 64)
                              : size_between(&rng, 4 * MIB + 1, 16 * MIB);
      own[i] = tagged_new(size, rng_next(&rng) | 1);
      REQUIRE(own[i] != NULL, "malloc(%zu): NULL outside of a handler", size);
      atomic_fetch_add_explicit(&victim_steps, 1, memory_order_relaxed);
    }
    for (size_t i = 0; i < batch; i++) {
      tagged_free(own[i]);
      atomic_fetch_add_explicit(&victim_steps, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&victim_rounds, 1, memory_order_relaxed);
  }
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  stress_name = "stress_signal";
  options_check(argc, argv, 2, "stress_signal large|slow|calls [--signals N] [--seed N]");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  signals_wanted = option_u64(argc, argv, "--signals", 20000);
  calls_mode = strcmp(mode, "calls") == 0;
  slow_mode = calls_mode || strcmp(mode, "slow") == 0;
  if (!slow_mode && strcmp(mode, "large") != 0) {
    option_refuse("mode", mode, "unknown");
  }
  for (unsigned i = 0; i < HIT_NAMES; i++) {
    void *function = dlsym(RTLD_DEFAULT, hit_names[i]);
    hit_code[i] = function != NULL ? function_code(function) : (struct range){0, 0};
  }
  dl_iterate_phdr(module_visit, &hit_code[T_IS_DIRECT ? 2 : 0].begin);
  REQUIRE(module_code.end != 0, "the allocator's code was not found");
  REQUIRE(sem_init(&handled, 0, 0) == 0, "sem_init: errno %d", errno);
  struct sigaction on_signal = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigaction on_alarm = {.sa_handler = hung};
  REQUIRE(sigaction(SIGUSR1, &on_signal, NULL) == 0 && sigaction(SIGALRM, &on_alarm, NULL) == 0,
          "sigaction: errno %d", errno);
  mapped = T_malloc(5 * MIB);
  REQUIRE(mapped != NULL, "malloc(5 MiB)");
  alarm(WATCHDOG_SECONDS);
  victim = pthread_self();
  pthread_t sender = thread_start(sender_thread, NULL);
  victim_run();
  thread_join(sender);
  for (size_t i = 0; i < 64; i++) {
    if (left[i] != NULL) {
      tagged_free(left[i]);
    }
  }
  printf("stress_signal %s: %llu signals, %llu of them in the allocator's slow paths, %llu rounds; "
         "handlers: %llu objects, %llu refusals, %llu calls, %llu of them on hit paths; seed "
         "%llu\n",
         mode, (unsigned long long)signals_handled, (unsigned long long)signals_in_module,
         (unsigned long long)victim_rounds, (unsigned long long)handler_objects,
         (unsigned long long)handler_refusals, (unsigned long long)calls_made,
         (unsigned long long)calls_on_hit_paths, (unsigned long long)stress_seed);
  fflush(stdout);
  REQUIRE(signals_handled == signals_sent && (calls_mode ? calls_made : handler_objects) > 0,
          "signals were lost");
  return 0;
}
