#!/usr/bin/python3
"""Every lock of src/ is one that fork knows, and docs/locks.md names its file.

An outermost lock (ranks 1 to 4) must be passed to lock_register or lock_register_once where it is
made ready; a nested one registers itself when it is taken first, so it must be taken by lock_nested
and by nothing else. Each `struct rt_lock` without a star must be a declaration of one such lock.
And nothing else may be a lock: none of the system's, and no loop that waits on an atomic but those
of WAITS and ATOMIC_LOOPS, of which each holds nothing that a fork could find held.
Read from the source, and from changed copies of it, which must be refused.
"""
import functools
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SRC = os.path.join(ROOT, "src")
OUTERMOST = {"LOCK_RANK_OPTIONS", "LOCK_RANK_LIMIT", "LOCK_RANK_PURGE", "LOCK_RANK_HEAP"}
LOCKS = 10
MECHANISM = {"rt_lock.h", "rt_lock.c", "base_atomic.h"}  # what locks are made of
COMMENT_OR_TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
LOCK_TYPE = re.compile(r"\bstruct\s+rt_lock\b")
ATTRIBUTE = re.compile(r"\bHAK_\w+\b|\b_Alignas\s*\([^)]*\)|__attribute__\s*\(\(.*?\)\)\)?")
DECLARATOR = re.compile(r"(\w+)\s*(?:=\s*(.*))?$", re.S)
RANK = re.compile(r"\bLOCK_INIT\s*\(\s*(\w+)\s*\)|\.\s*rank\s*=\s*(\w+)")
FOREIGN = re.compile(r"\b(?:pthread_(?:mutex|rwlock|spin|cond|barrier|once)\w*|sem_\w+"
                     r"|atomic_flag\w*|(?:mtx|cnd)_\w+|call_once|once_flag|lockf|flock)\b")
# Places where threads wait, or give way, without a lock: who may, and what for.
WAIT = re.compile(r"\b(?:cpu_pause|os_yield|os_futex_wait(?:_ms)?|__builtin_ia32_pause"
                  r"|sched_yield)\s*\(")
WAITS = {
    "os_thread.c": "defines them", "os_thread.h": "declares them",
    "entry_init.c": "the first call of all: until one thread has done it",
    "entry_background.c": "the library's own thread: until it is wanted",
}
RMW = re.compile(r"\b(?:swap|cas|or|and)_(?:relaxed|release|acq_rel|seq)\s*\("
                 r"|\b(?:atomic|__atomic|__sync)_\w*"
                 r"(?:exchange|swap|test_and_set|fetch|lock_test)\w*\s*\(")
ORDERED = re.compile(r"\bload_(?:acquire|seq)\s*\(")
LOOP = re.compile(r"\b(?:while|for)\s*\(|\bdo\s*\{")
# Loops on an atomic that are no locks: the expected value of each compare-and-swap is what was
# there, and a failure is another thread's success; or each round does another's work.
ATOMIC_LOOPS = {
    "entry_init.c": ["while (load_acquire(&init_state) != INIT_DONE)"],
    "entry_signal.c": ["cas_acq_rel(&reserve_used, &at, at + need)) continue;"],
    "mail.c": ["while (!cas_seq(&owner->inbox, &head, m))",
               "while (m != NULL && !cas_seq(&h->inbox, &m, m->next))",
               "while (load_seq(&away->inbox) != NULL && heap_is_away(away))"],
    "superslab.c": ["while (now > peak && !cas_acq_rel(&superslab_peak, &peak, now))",
                    "while (!cas_acq_rel(&superslab_words[index], &word, word | bits))",
                    "while (!cas_acq_rel(&search_hint, &hint, next))",
                    "cas_acq_rel(&superslab_words[index], &word, next)) {"],
}


def blanked(match):
    text = match.group(0)
    return re.sub(r"[^\n]", " ", text) if text[0] == "/" else '""'


def sources():
    texts = {}
    for folder, _, names in os.walk(SRC):
        for name in names:
            if name.endswith((".c", ".h")):
                with open(os.path.join(folder, name), encoding="utf-8") as source:
                    texts[name] = COMMENT_OR_TEXT.sub(blanked, source.read())
    return texts


def closing(text, start):
    """Where the bracket at start is closed."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return len(text)


def split_outside(text, separator):
    """The parts of text between separators that no bracket encloses."""
    parts, depth, begin = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            return parts + [text[begin:i]]
        if char == separator and depth == 0:
            parts.append(text[begin:i])
            begin = i + 1
    return parts + [text[begin:]]


def is_in_parentheses(text, position):
    depth = 0
    for i in range(position - 1, -1, -1):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 1:
            return True
        if text[i] in "{};":
            break
    return False


@functools.lru_cache(maxsize=None)
def declarations(text):
    return tuple(declarations_of(text))


def declarations_of(text):
    """Yields (position, name, rank or None, what is wrong or None) of each lock, no pointers."""
    for match in LOCK_TYPE.finditer(text):
        rest = text[match.end():]
        if is_in_parentheses(text, match.start()) or not re.match(r"[\s*]*\w", rest):
            if not re.match(r"\s*\*", rest):
                yield match.start(), match.group(0), None, "is used, but not to declare a lock"
            continue
        before = re.split(r"[;{}>]|^#.*$", text[:match.start()], flags=re.M)[-1].strip()
        for declarator in split_outside(split_outside(rest, ";")[0], ","):
            declarator = ATTRIBUTE.sub(" ", declarator).strip()
            if declarator.startswith("*"):
                continue
            found = DECLARATOR.match(declarator)
            if found is None or before not in ("", "static"):
                yield (match.start(), f"{before} {declarator}".strip(), None,
                       "is declared in a way that is not known")
                continue
            rank = RANK.search(found.group(2) or "")
            yield match.start(), found.group(1), rank and (rank.group(1) or rank.group(2)), None


def ranks_set(text, lock):
    """Of a member: the ranks that the file gives it."""
    pattern = rf"(?:->|\.){lock}(?:\.rank = (\w+);| = LOCK_INIT\((\w+)\))"
    return {first or second for first, second in re.findall(pattern, text)}


def registered(text, lock):
    call = r"lock_register(?:_once)?\(&(?:\w+(?:->|\.))?" + lock + r"\)"
    return re.search(call, text) is not None


@functools.lru_cache(maxsize=None)
def enclosing(text, position):
    """The struct whose member is declared at position; None at a file's top, or in a function."""
    depth = 0
    for i in range(position - 1, -1, -1):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 1:
            head = re.search(r"\bstruct\s+(\w+)\s*$", text[:i])
            return head and head.group(1)
    return None


def findings_of_lock(texts, documented, name, lock, rank):
    stem = name.rsplit(".", 1)[0]
    setters = {name: {rank}} if rank else {}
    for file in (stem + ".c", stem + ".h"):
        if not rank and ranks_set(texts.get(file, ""), lock):
            setters[file] = ranks_set(texts[file], lock)
    if not setters:
        yield f"{name}: {lock} has no rank"
    for file, ranks in setters.items():
        if file not in documented:
            yield f"{file}: docs/locks.md does not name it"
        is_outermost, is_registered = bool(ranks & OUTERMOST), registered(texts[file], lock)
        if is_outermost and not is_registered:
            yield f"{file}: {lock} is outermost and not registered"
        if not is_outermost and is_registered:
            yield f"{file}: {lock} is nested: it registers itself"
        taken = rf"lock_(?:enter|try_enter|try_second|under_purge)\(&(?:\w+(?:->|\.))?{lock}\)"
        if not is_outermost and re.search(taken, texts[file]):
            yield f"{file}: {lock} is nested, and not taken by lock_nested"


def lock_findings(texts, documented):
    found, count, holders = [], 0, {}
    for name, text in sorted(texts.items()):
        if name == "rt_lock.h":
            text = text.replace("struct rt_lock {", "struct rt_lock_itself {", 1)
        for position, lock, rank, wrong in declarations(text):
            count += 1
            holders.setdefault(enclosing(text, position), set()).add(name.rsplit(".", 1)[0])
            found += [f"{name}: {lock} {wrong}"] if wrong else \
                findings_of_lock(texts, documented, name, lock, rank)
    for struct in sorted(holders.keys() - {None}):
        for name, text in sorted(texts.items()):
            own = name.rsplit(".", 1)[0] in holders[struct]
            if not own and re.search(rf"\bstruct\s+{struct}\s+\w+", text):
                found.append(f"{name}: a struct {struct}, with a lock that nobody makes ready")
    return found, count


@functools.lru_cache(maxsize=None)
def waits_on_atomics(text):
    return frozenset(waits_of(text))


def waits_of(text):
    """Yields what a loop waits for: its condition, or what is exchanged in its body, unless it
    counts."""
    for match in LOOP.finditer(text):
        end = closing(text, match.end() - 1)
        if match.group(0).startswith("do"):
            head, body = "", text[match.end():end]
        else:
            head = " ".join(text[match.start():end + 1].split())
            brace = re.match(r"\s*\{", text[end + 1:])
            after = end + brace.end() if brace else end
            body = text[after:closing(text, after)] if brace else text[after:].split(";")[0][1:]
        is_counted = re.fullmatch(r"for \(.*;.*;[^;]+\)", head) is not None
        if RMW.search(head) or (not is_counted and ORDERED.search(head)) or \
                (body.strip("{ \n") == "" and "load_" in head):
            yield head
        for rmw in RMW.finditer("" if is_counted else body):
            yield body[rmw.start():].split("\n")[0].rstrip()


def other_findings(texts):
    for name, text in sorted(texts.items()):
        for match in FOREIGN.finditer(text):
            yield f"{name}: {match.group(0)} is a lock that fork does not know"
        if name in MECHANISM:
            continue
        for match in WAIT.finditer(text):
            if name not in WAITS:
                yield f"{name}: {match.group(0)}) waits, and WAITS does not say what for"
        for wait in sorted(waits_on_atomics(text)):
            if wait not in ATOMIC_LOOPS.get(name, []):
                yield f"{name}: {wait} may be a lock: ATOMIC_LOOPS does not know it"


def findings(texts, documented):
    found, count = lock_findings(texts, documented)
    return found + list(other_findings(texts)), count


def heap_locks_registered(text):
    """Each place that makes a heap: heap_construct, then the lock is registered."""
    return len(re.findall(r"\bheap_construct\(", text)) - 1, \
        len(re.findall(r"lock_register(?:_once)?\(", text))


# What purge.c may not say, and what the finding has.
PLACE = "static struct rt_lock purge_lock"
LOCK_FORMS = [
    ("static struct rt_lock x = LOCK_INIT(LOCK_RANK_PURGE);", "x is outermost"),
    ("struct rt_lock x = LOCK_INIT(LOCK_RANK_PURGE);", "x is outermost"),
    ("static struct rt_lock x HAK_CACHE_ALIGNED = LOCK_INIT(LOCK_RANK_PURGE);", "x is outermost"),
    ("static struct rt_lock x __attribute__((aligned(64))) = LOCK_INIT(LOCK_RANK_HEAP);",
     "x is outermost"),
    ("static struct rt_lock x = {.word = 0, .rank = LOCK_RANK_PURGE};", "x is outermost"),
    ("static struct rt_lock x = {.next = NULL,\n                         .rank = LOCK_RANK_HEAP};",
     "x is outermost"),
    ("static struct rt_lock x = LOCK_INIT(LOCK_RANK_META), y = LOCK_INIT(LOCK_RANK_PURGE);",
     "y is outermost"),
    ("static struct rt_lock *x, y = LOCK_INIT(LOCK_RANK_PURGE);", "y is outermost"),
    ("static struct\n    rt_lock x = LOCK_INIT(LOCK_RANK_PURGE);", "x is outermost"),
    ("static struct rt_lock x;", "x has no rank"),
    ("struct both { int n; struct rt_lock x; };", "x has no rank"),
    ("static struct rt_lock x[4];", "x[4] is declared in a way"),
    ("static struct rt_lock x[2] = {LOCK_INIT(LOCK_RANK_PURGE), LOCK_INIT(LOCK_RANK_PURGE)};",
     "is declared in a way"),
    ("static _Thread_local struct rt_lock x = LOCK_INIT(LOCK_RANK_PURGE);", "is declared in a way"),
    ("extern struct rt_lock x;", "is declared in a way"),
    ("typedef struct rt_lock any_lock;", "is declared in a way"),
    ("static const size_t x = sizeof(struct rt_lock);", "not to declare a lock"),
    ("static void f(struct rt_lock x);", "not to declare a lock"),
    ("static struct heap x;", "a struct heap, with a lock"),
    ("static pthread_mutex_t x = PTHREAD_MUTEX_INITIALIZER;", "pthread_mutex_t is a lock"),
    ("static pthread_spinlock_t x;", "pthread_spinlock_t is a lock"),
    ("static pthread_rwlock_t x;", "pthread_rwlock_t is a lock"),
    ("static sem_t x;", "sem_t is a lock"),
    ("static mtx_t x;", "mtx_t is a lock"),
    ("static atomic_flag x = ATOMIC_FLAG_INIT;", "atomic_flag is a lock"),
]
WAIT_FORMS = [
    "while (swap_acq_rel(&x, true)) {\n  }",
    "while (swap_acq_rel(&x, true))\n    ;",
    "while (swap_acq_rel(&x, true)) y++;",
    "do {\n    y++;\n  } while (swap_seq(&x, true));",
    "do {\n    y = swap_seq(&x, true);\n  } while (y);",
    "for (; swap_acq_rel(&x, true);) y++;",
    "for (;;) {\n    if (!swap_acq_rel(&x, true)) break;\n  }",
    "while (true) {\n    if (cas_acq_rel(&x, &y, true)) return;\n  }",
    "while (!cas_acq_rel(&x, &y, true)) y = false;",
    "while (!y) y = cas_acq_rel(&x, &z, true);",
    "while ((or_acq_rel(&x, 1u) & 1) != 0) y++;",
    "while (atomic_exchange(&x, true)) y++;",
    "while (atomic_flag_test_and_set(&x)) y++;",
    "while (__atomic_test_and_set(&x, 5)) y++;",
    "while (__sync_lock_test_and_set(&x, 1)) y++;",
    "while (load_acquire(&x) != y) z++;",
    "while (load_relaxed(&x) != y) {\n  }",
    "cpu_pause();",
    "os_yield();",
    "os_futex_wait(&x, 1);",
]


class LockRegistry(unittest.TestCase):
    def setUp(self):
        self.texts = sources()
        with open(os.path.join(ROOT, "docs", "locks.md"), encoding="utf-8") as text:
            self.documented = set(re.findall(r"`([\w/]+\.c)`", text.read()))
        self.documented = {os.path.basename(name) for name in self.documented} | {"heap.c"}

    def test_all_are_known(self):
        found, count = findings(self.texts, self.documented)
        self.assertEqual(found, [])
        self.assertGreaterEqual(count, LOCKS)

    def test_what_is_allowed_is_there(self):
        for name, waits in ATOMIC_LOOPS.items():
            self.assertEqual(waits_on_atomics(self.texts[name]), set(waits), name)
        for name in WAITS:
            self.assertIsNotNone(WAIT.search(self.texts[name]), name)

    def test_each_heap_registers_its_own(self):
        made, known = heap_locks_registered(self.texts["heap.c"])
        self.assertEqual(made, known)
        self.assertGreaterEqual(made, 4)

    def changed(self, name, before, after):
        self.assertIn(before, self.texts[name])
        texts = dict(self.texts)
        texts[name] = COMMENT_OR_TEXT.sub(blanked, texts[name].replace(before, after, 1))
        return findings(texts, self.documented)[0]

    def expect_finding(self, name, before, after, finding):
        found = self.changed(name, before, after)
        self.assertEqual(len(found), 1, (after, found))
        self.assertIn(finding, found[0])

    def test_each_way_to_declare_a_lock(self):
        for form, finding in LOCK_FORMS:
            with self.subTest(form=form):
                self.expect_finding("purge.c", PLACE, form + "\n" + PLACE, finding)

    def test_each_way_to_wait(self):
        for form in WAIT_FORMS:
            with self.subTest(form=form):
                text = "static void waits(void) {\n  " + form + "\n}\n"
                found = self.changed("purge.c", PLACE, text + PLACE)
                self.assertNotEqual(found, [])

    def test_what_is_no_lock(self):
        for form in ("static struct rt_lock *x, *y;", "static _Atomic(struct rt_lock *) x;",
                     "static void f(struct rt_lock *x, struct rt_lock *y);",
                     "/* a struct rt_lock x; and pthread_mutex_t y */",
                     'static const char x[] = "struct rt_lock x;";',
                     "static void f(void) {\n  if (swap_acq_rel(&x, true)) return;\n}",
                     "static void f(void) {\n  while (load_relaxed(&x) < y) y--;\n}"):
            with self.subTest(form=form):
                self.assertEqual(self.changed("purge.c", PLACE, form + "\n" + PLACE), [])

    def test_one_more_in_a_struct(self):
        self.expect_finding("magazine.c", "  struct rt_lock lock;\n",
                            "  struct rt_lock lock, other;\n", "other has no rank")

    def test_one_that_is_no_longer_registered(self):
        self.expect_finding("purge.c", "  lock_register(&purge_lock);\n", "",
                            "purge_lock is outermost")

    def test_one_that_only_a_comment_registers(self):
        self.expect_finding("purge.c", "  lock_register(&purge_lock);\n",
                            "  /* lock_register(&purge_lock); */\n", "purge_lock is outermost")

    def test_a_nested_one_that_is_taken_as_an_outermost_one(self):
        self.expect_finding("magazine.c", "lock_nested(&stock->lock);",
                            "if (!lock_enter(&stock->lock)) return NULL;", "is nested, and not")

    def test_a_nested_one_that_is_registered(self):
        self.expect_finding("meta.c", "lock_nested(&meta_lock);",
                            "lock_register(&meta_lock);\n  lock_nested(&meta_lock);",
                            "it registers itself")

    def test_one_that_the_docs_do_not_name(self):
        self.documented.discard("meta.c")
        found, _ = findings(self.texts, self.documented)
        self.assertEqual(found, ["meta.c: docs/locks.md does not name it"])

    def test_a_heap_that_is_not_registered(self):
        text = self.texts["heap.c"].replace("  lock_register(&h->lock);\n", "", 1)
        made, known = heap_locks_registered(text)
        self.assertNotEqual(made, known)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
