/* stress_fork.c — a storm of forks while threads grow their heaps.
 *   stress_fork VARIANT [--forks N] [--workers N] [--seed N]
 *   warm     the main thread forks          hostile  atfork handlers that allocate
 *   nonmain  a thread forks, exit() after   bare     _Fork: no handler runs
 *   forkers  four threads fork at once      vfork    vfork and exec
 *   handler  signal handlers fork that interrupt the allocator; parent and child go on where it was
 *   cold     two forks a fresh process: before any thread, and as all make their first allocation
 * Every child allocates, frees and resizes what it inherited, starts a thread that does so too,
 * and leaves by _exit() or exit(), in turn; with HAKMEM_BACKGROUND=1 in the environment it must get
 * a background thread of its own, unless a handler or _Fork made it. A child that takes longer than
 * CHILD_SECONDS is killed by its own alarm, which the parent reports as a hang.
 */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "stress_util.h"

enum {
  WORKERS_MAX = 64,
  FORKS_MAX = 1000000,
  FORKERS = 4,
  WINDOW = 512,    /* objects a worker holds at most */
  INHERITED = 256, /* what children inherit, see table */
  CHILD_SECONDS = 30,
  CHILD_OK = 17,   /* not 0: a child that never got to its end must not pass */
  BETWEEN = 100,   /* forks, and each worker has made an operation: seen were 1,653 or more. Of low
                    * priority beside other work it may not have run: then ten times as many */
  OPS_A_FORK = 20, /* of all workers, at least: seen were 484 to 14,534 */
};

extern char **environ;

static unsigned workers;
static bool background; /* HAKMEM_BACKGROUND=1 */
static _Atomic bool stop;
static _Atomic uint64_t worker_ops[WORKERS_MAX];
static pthread_barrier_t all_started;

/* Finished objects of all threads. Whatever is in it at the moment of a fork is live in the child,
 * and nobody but the child can reach the child's copy. */
static _Atomic(void *) table[INHERITED];

static void *object_new(struct rng *rng) {
  size_t size =
      sizeof(struct tagged) + (rng_below(rng, 256) == 0 ? size_between(rng, 32 * KIB, 5 * MIB)
                                                        : size_between(rng, 1, 4 * KIB));
  void *p = tagged_new(size, rng_next(rng));
  REQUIRE(p != NULL, "out of memory at %zu bytes", size);
  return p;
}

static void table_put(struct rng *rng, void *object) {
  void *old = atomic_exchange(&table[rng_below(rng, INHERITED)], object);
  if (old != NULL) {
    tagged_free(old);
  }
}

/* Grows to WINDOW objects, hands half of them over, drops the rest, grows again. Of low priority,
 * for the children's sake; that a fork finds most workers preempted anywhere is welcome. */
static void *worker_thread(void *arg) {
  _Atomic uint64_t *ops = &worker_ops[(uintptr_t)arg];
  struct rng rng = rng_stream(1000 + (uintptr_t)arg);
  void *own[WINDOW];
  REQUIRE(setpriority(PRIO_PROCESS, (id_t)gettid(), 10) == 0, "setpriority: errno %d", errno);
  pthread_barrier_wait(&all_started);
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    size_t count = 0;
    while (count < WINDOW && !atomic_load_explicit(&stop, memory_order_relaxed)) {
      own[count++] = object_new(&rng);
      atomic_fetch_add_explicit(ops, 1, memory_order_relaxed);
    }
    while (count != 0) {
      count--;
      if (count % 2) {
        table_put(&rng, own[count]);
      } else {
        tagged_free(own[count]);
      }
    }
  }
  return NULL;
}

/* --- the child -------------------------------------------------------------------------------- */

/* Takes [from, to) of the inherited objects: frees some, resizes others, keeps none. */
static void inherited_use(size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    struct tagged *t = atomic_exchange(&table[i], NULL);
    if (t == NULL) {
      continue;
    }
    size_t size = tagged_check(t);
    if (i % 4 == 0) {
      struct tagged head = *t;
      size_t larger = size + size / 2;
      t = T_realloc(t, larger);
      REQUIRE(t != NULL, "realloc from %zu to %zu bytes: errno %d", size, larger, errno);
      REQUIRE(memcmp(t, &head, sizeof head) == 0, "realloc lost an inherited object's contents");
      tagged_check(t);
      T_free(t);
    } else {
      tagged_free(t);
    }
  }
}

static void fresh_use(struct rng *rng) {
  void *own[64] = {NULL};
  for (unsigned i = 0; i < 200; i++) {
    void **slot = &own[rng_below(rng, 64)];
    if (*slot != NULL) {
      tagged_free(*slot);
    }
    *slot = object_new(rng);
  }
  for (unsigned i = 0; i < 64; i++) {
    if (own[i] != NULL) {
      tagged_free(own[i]);
    }
  }
}

static void *child_thread(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  fresh_use(&rng);
  inherited_use(INHERITED / 2, INHERITED);
  return NULL;
}

static bool has_background_thread(void) {
  bool has = false;
  DIR *folder = opendir("/proc/self/task");
  REQUIRE(folder != NULL, "opendir: errno %d", errno);
  for (struct dirent *e; (e = readdir(folder)) != NULL;) {
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
      continue;
    }
    has = has || (fgets(name, sizeof name, file) != NULL && strcmp(name, "hakmem\n") == 0);
    fclose(file);
  }
  closedir(folder);
  return has;
}

__attribute__((noreturn)) static void child_run(uint64_t number, bool may_thread, bool by_exit) {
  struct rng rng = rng_stream(2000 + number);
  signal(SIGALRM, SIG_DFL);
  alarm(CHILD_SECONDS);
  atomic_store(&stop, true);
  fresh_use(&rng);
  inherited_use(0, INHERITED / 2);
  if (may_thread) {
    thread_join(thread_start(child_thread, (void *)(uintptr_t)(3000 + number)));
    while (background && !has_background_thread()) { /* ends: its slow paths start one */
      fresh_use(&rng);
    }
  } else {
    child_thread((void *)(uintptr_t)(3000 + number));
  }
  fresh_use(&rng);
  if (by_exit) {
    exit(CHILD_OK);
  }
  _exit(CHILD_OK);
}

static void at_exit_use(void) {
  struct rng rng = rng_stream(4000);
  fresh_use(&rng);
}

static void child_wait(pid_t pid) {
  int status;
  pid_t got;
  do {
    got = waitpid(pid, &status, 0);
  } while (got < 0 && errno == EINTR);
  REQUIRE(got == pid, "waitpid: errno %d", errno);
  REQUIRE(!(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM), "a child hung");
  REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == CHILD_OK, "a child ended with status %#x",
          (unsigned)status);
}

/* --- do the workers go on? -------------------------------------------------------------------- */

#define BEING_CHECKED UINT64_MAX

static _Atomic uint64_t forks_done, checked_at; /* of the forks done then */
static _Atomic uint64_t windows, ops_least = UINT64_MAX;

static bool all_have_worked(const uint64_t *ops_before) {
  for (unsigned i = 0; i < workers; i++)
    if (atomic_load(&worker_ops[i]) == ops_before[i]) return false;
  return true;
}

/* In the parent, after each fork, maybe in a handler, and in several threads: one of them checks,
 * and a window that it is late for is longer, never shorter. */
static void workers_check(void) {
  static uint64_t ops_before[WORKERS_MAX]; /* of whoever checks now */
  uint64_t done = atomic_fetch_add(&forks_done, 1) + 1, since = atomic_load(&checked_at);
  if (since == BEING_CHECKED || done < since + BETWEEN ||
      !atomic_compare_exchange_strong(&checked_at, &since, BEING_CHECKED)) {
    return;
  }
  if (done < since + 10 * BETWEEN && !all_have_worked(ops_before)) {
    atomic_store(&checked_at, since);
    return;
  }
  for (unsigned i = 0; i < workers; i++) {
    uint64_t ops = atomic_load(&worker_ops[i]), made = ops - ops_before[i];
    REQUIRE(made != 0, "worker %u made no operation in %llu forks", i,
            (unsigned long long)(done - since));
    ops_before[i] = ops;
    if (made < atomic_load(&ops_least)) atomic_store(&ops_least, made);
  }
  atomic_fetch_add(&windows, 1);
  atomic_store(&checked_at, atomic_load(&forks_done));
}

static void forked(pid_t pid) {
  child_wait(pid);
  workers_check();
}

/* --- the variants ----------------------------------------------------------------------------- */

static void fork_once(uint64_t number, bool by_exit) {
  pid_t pid = fork();
  REQUIRE(pid >= 0, "fork: errno %d", errno);
  if (pid == 0) {
    child_run(number, true, by_exit);
  }
  forked(pid);
}

/* _Fork takes no lock of the C library, so the child starts no thread: pthread_create might wait
 * for one. The allocator is what is asked. */
static void bare_fork_once(uint64_t number) {
  pid_t pid = _Fork();
  REQUIRE(pid >= 0, "_Fork: errno %d", errno);
  if (pid == 0) {
    child_run(number, false, number % 2);
  }
  forked(pid);
}

static void vfork_once(const char *program) {
  char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t) "exec-child", NULL};
  pid_t pid = vfork();
  REQUIRE(pid >= 0, "vfork: errno %d", errno);
  if (pid == 0) {
    execve(program, argv, environ);
    _exit(127);
  }
  forked(pid);
}

struct forker {
  uint64_t first, count;
  bool by_exit;
};

static void *forker_thread(void *arg) {
  struct forker *f = arg;
  for (uint64_t i = 0; i < f->count; i++) {
    fork_once(f->first + i, f->by_exit || i % 2);
    struct rng rng = rng_stream(5000 + f->first + i);
    fresh_use(&rng); /* the parent must go on as well */
  }
  return NULL;
}

static void forkers_run(unsigned count, uint64_t forks, bool by_exit) {
  pthread_t ids[FORKERS];
  struct forker f[FORKERS];
  for (unsigned i = 0; i < count; i++) {
    f[i] = (struct forker){i * forks / count, (i + 1) * forks / count - i * forks / count, by_exit};
    ids[i] = thread_start(forker_thread, &f[i]);
  }
  for (unsigned i = 0; i < count; i++) {
    thread_join(ids[i]);
  }
}

/* --- forks in signal handlers ----------------------------------------------------------------- */

/* Of one thread, and its copy in the child. */
static _Thread_local bool is_handlers_child;
static _Thread_local struct interrupted *interrupted_self;

struct interrupted {
  pthread_t id;
  uint64_t forks;        /* to be done */
  _Atomic uint64_t done; /* also tells the sender that the next signal may come */
};

static void handler_forks(int signal_number) {
  (void)signal_number;
  int kept = errno;
  pid_t pid = fork();
  REQUIRE(pid >= 0, "fork: errno %d", errno);
  if (pid == 0) {
    is_handlers_child = true;
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS);
  } else {
    forked(pid);
    atomic_fetch_add(&interrupted_self->done, 1);
  }
  errno = kept;
}

/* Fills and empties its caches, so that a signal finds most of the slow paths. */
static void *interrupted_thread(void *arg) {
  interrupted_self = arg;
  struct rng rng = rng_stream(11000 + (uint64_t)(uintptr_t)arg % 64);
  void *own[WINDOW];
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  REQUIRE(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0, "pthread_sigmask");
  while (atomic_load(&interrupted_self->done) < interrupted_self->forks) {
    for (size_t i = 0; i < WINDOW; i++) {
      own[i] = object_new(&rng);
    }
    for (size_t i = 0; i < WINDOW; i++) {
      if (i % 4 == 0) {
        table_put(&rng, own[i]);
      } else {
        tagged_free(own[i]);
      }
    }
    if (is_handlers_child) {
      child_run(atomic_load(&interrupted_self->done), false, false);
    }
  }
  return NULL;
}

static void handlers_run(uint64_t forks) {
  static struct interrupted all[FORKERS];
  struct sigaction action = {.sa_handler = handler_forks, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction: errno %d", errno);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  REQUIRE(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0, "pthread_sigmask");
  for (unsigned i = 0; i < FORKERS; i++) {
    all[i].forks = (i + 1) * forks / FORKERS - i * forks / FORKERS;
    all[i].id = thread_start(interrupted_thread, &all[i]);
  }
  struct rng rng = rng_stream(12000);
  uint64_t told[FORKERS] = {0};
  for (uint64_t left = forks; left != 0;) {
    for (unsigned i = 0; i < FORKERS; i++) {
      if (told[i] == all[i].forks || atomic_load(&all[i].done) != told[i]) {
        continue;
      }
      fresh_use(&rng); /* so that it comes at any moment */
      told[i]++;
      left--;
      REQUIRE(pthread_kill(all[i].id, SIGUSR1) == 0, "pthread_kill");
    }
    sched_yield();
  }
  for (unsigned i = 0; i < FORKERS; i++) {
    thread_join(all[i].id);
  }
}

/* --- hostile handlers ------------------------------------------------------------------------- */

/* Each pair of prepare and parent/child leaves objects to each other; enough of them that slow
 * paths run while the fork is under way. */
enum { HOSTILE_OBJECTS = 300 };

static bool hostile;
static _Atomic uint64_t hostile_calls;

struct hostile_set {
  void *kept[HOSTILE_OBJECTS];
};

static _Thread_local struct hostile_set hostile_early, hostile_late;

static void hostile_grow(struct hostile_set *set, uint64_t stream) {
  struct rng rng = rng_stream(stream + atomic_fetch_add(&hostile_calls, 1));
  for (size_t i = 0; i < HOSTILE_OBJECTS; i++) {
    REQUIRE(set->kept[i] == NULL, "prepare ran twice");
    set->kept[i] = object_new(&rng);
  }
  table_put(&rng, object_new(&rng)); /* frees another thread's object */
}

static void hostile_shrink(struct hostile_set *set, uint64_t stream) {
  struct rng rng = rng_stream(stream + atomic_fetch_add(&hostile_calls, 1));
  for (size_t i = 0; i < HOSTILE_OBJECTS; i++) {
    tagged_free(set->kept[i]);
    set->kept[i] = NULL;
  }
  table_put(&rng, object_new(&rng));
}

#define HOSTILE_HANDLER(name, action, set, stream)                                                 \
  static void name(void) {                                                                         \
    if (hostile) {                                                                                 \
      action(&set, stream);                                                                        \
    }                                                                                              \
  }
HOSTILE_HANDLER(early_prepare, hostile_grow, hostile_early, 6000)
HOSTILE_HANDLER(early_after, hostile_shrink, hostile_early, 7000)
HOSTILE_HANDLER(late_prepare, hostile_grow, hostile_late, 8000)
HOSTILE_HANDLER(late_after, hostile_shrink, hostile_late, 9000)

/* Before any constructor, so before a library that registers its own handlers in one: the early
 * prepare runs after the allocator's, the early parent and child before it. */
static void early_register(int argc, char **argv, char **env) {
  (void)argc, (void)argv, (void)env;
  pthread_atfork(early_prepare, early_after, early_after);
}
__attribute__((section(".preinit_array"),
               used)) static void (*const early_entry)(int, char **, char **) = early_register;

static char workers_text[200]; /* for the last line */

/* --- cold: one process a round ---------------------------------------------------------------- */

static void *cold_thread(void *arg) {
  struct rng rng = rng_stream((uintptr_t)arg);
  pthread_barrier_wait(&all_started); /* released together with the fork */
  fresh_use(&rng);
  return NULL;
}

static int cold_once(const char *number_text) {
  uint64_t number = strtoull(number_text, NULL, 0);
  alarm(2 * CHILD_SECONDS);
  fork_once(number, true);
  pthread_t ids[WORKERS_MAX];
  barrier_init(&all_started, workers + 1);
  for (unsigned i = 0; i < workers; i++) {
    ids[i] = thread_start(cold_thread, (void *)(uintptr_t)(number * WORKERS_MAX + i));
  }
  pthread_barrier_wait(&all_started);
  fork_once(number, false);
  for (unsigned i = 0; i < workers; i++) {
    thread_join(ids[i]);
  }
  return CHILD_OK;
}

static void cold_run(const char *program, uint64_t forks) {
  for (uint64_t i = 0; i < forks; i += 2) { /* a process forks twice */
    char number[32], seed[32], count[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)i);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)stress_seed);
    snprintf(count, sizeof count, "%u", workers);
    char *argv[] = {(char *)(uintptr_t)program,
                    (char *)(uintptr_t) "cold-child",
                    number,
                    (char *)(uintptr_t) "--seed",
                    seed,
                    (char *)(uintptr_t) "--workers",
                    count,
                    NULL};
    pid_t pid;
    int error = posix_spawn(&pid, program, NULL, NULL, argv, environ);
    REQUIRE(error == 0, "posix_spawn: %d", error);
    child_wait(pid);
  }
  snprintf(workers_text, sizeof workers_text,
           "; %u threads of each process began at its second fork", workers);
}

/* --- main ------------------------------------------------------------------------------------- */

/* For the last line; a run of few forks may end before anybody has looked. */
static void workers_tell(uint64_t forks, uint64_t ops) {
  int used = snprintf(workers_text, sizeof workers_text, "; %u workers made %llu operations a fork",
                      workers, (unsigned long long)(ops / forks));
  char *rest = workers_text + used;
  size_t left = sizeof workers_text - (size_t)used;
  if (windows == 0) {
    snprintf(rest, left, ", what each made was not looked at");
  } else {
    snprintf(rest, left, ", each at least %llu in each of %llu times %u forks",
             (unsigned long long)ops_least, (unsigned long long)windows, BETWEEN);
  }
}

static void storm_run(const char *variant, const char *program, uint64_t forks) {
  pthread_t ids[WORKERS_MAX];
  struct rng rng = rng_stream(0);
  REQUIRE(atexit(at_exit_use) == 0, "atexit");
  fresh_use(&rng);
  REQUIRE(pthread_atfork(late_prepare, late_after, late_after) == 0, "pthread_atfork");
  barrier_init(&all_started, workers + 1);
  for (unsigned i = 0; i < workers; i++) {
    ids[i] = thread_start(worker_thread, (void *)(uintptr_t)i);
  }
  pthread_barrier_wait(&all_started);
  if (strcmp(variant, "warm") == 0) {
    struct forker all = {0, forks, false};
    forker_thread(&all);
  } else if (strcmp(variant, "forkers") == 0) {
    forkers_run(FORKERS, forks, false);
  } else if (strcmp(variant, "hostile") == 0) {
    hostile = true;
    struct forker half = {0, forks - forks / 2, false};
    forker_thread(&half);
    forkers_run(FORKERS, forks / 2, false);
    REQUIRE(hostile_calls == 4 * forks, "%llu handler calls", (unsigned long long)hostile_calls);
  } else if (strcmp(variant, "nonmain") == 0) {
    forkers_run(1, forks, true);
  } else if (strcmp(variant, "handler") == 0) {
    handlers_run(forks);
  } else if (strcmp(variant, "bare") == 0) {
    for (uint64_t i = 0; i < forks; i++) {
      bare_fork_once(i);
    }
  } else if (strcmp(variant, "vfork") == 0) {
    for (uint64_t i = 0; i < forks; i++) {
      vfork_once(program);
    }
  } else {
    option_refuse("variant", variant, "unknown");
  }
  atomic_store(&stop, true);
  for (unsigned i = 0; i < workers; i++) {
    thread_join(ids[i]);
  }
  uint64_t ops = 0;
  for (unsigned i = 0; i < workers; i++) ops += worker_ops[i];
  REQUIRE(ops >= OPS_A_FORK * forks, "the workers made %llu operations in %llu forks",
          (unsigned long long)ops, (unsigned long long)forks);
  REQUIRE(windows != 0 || forks < 10 * BETWEEN, "nobody saw whether the workers run");
  workers_tell(forks, ops);
}

int main(int argc, char **argv) {
  const char *variant = argc > 1 ? argv[1] : "";
  stress_name = "stress_fork";
  options_check(argc, argv, strcmp(variant, "cold-child") == 0 ? 3 : 2,
                "stress_fork VARIANT [--forks N] [--workers N] [--seed N]; VARIANT: cold, warm, "
                "forkers, nonmain, hostile, handler, bare, vfork");
  stress_seed = option_u64(argc, argv, "--seed", 1);
  workers = (unsigned)option_u64(argc, argv, "--workers", 8);
  const char *asked = getenv("HAKMEM_BACKGROUND");
  background = asked != NULL && strcmp(asked, "1") == 0;
  option_range("--workers", workers, 1, WORKERS_MAX);
  if (strcmp(variant, "cold-child") == 0) {
    return cold_once(argv[2]); /* nothing in this process has called malloc but the C library */
  }
  if (strcmp(variant, "exec-child") == 0) {
    child_run(0, true, true);
  }
  uint64_t forks = option_u64(argc, argv, "--forks", 200);
  option_range("--forks", forks, 1, FORKS_MAX);
  if (strcmp(variant, "cold") == 0) {
    cold_run("/proc/self/exe", forks);
  } else {
    storm_run(variant, "/proc/self/exe", forks);
  }
  printf("stress_fork %s: %llu forks, every child finished, seed %llu%s\n", variant,
         (unsigned long long)forks, (unsigned long long)stress_seed, workers_text);
  return 0;
}
