#!/usr/bin/python3
"""Every lock of src/ is one that fork knows, and docs/locks.md names its file.

An outermost lock (ranks 1 to 3) must be passed to lock_register or lock_register_once where it is
made ready; a nested one registers itself when it is taken first, so it must be taken by lock_nested
and by nothing else. Read from the source, and from changed copies of it, which must be refused.
"""
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SRC = os.path.join(ROOT, "src")
DECLARED = re.compile(r"^\s*(?:static )?struct rt_lock (\w+)(?: = LOCK_INIT\((\w+)\))?;", re.M)
RANKED = re.compile(r"(\w+)(?:->|\.)lock\.rank = (\w+);|\.lock = LOCK_INIT\((\w+)\)")
OUTERMOST = {"LOCK_RANK_OPTIONS", "LOCK_RANK_PURGE", "LOCK_RANK_HEAP"}
MADE_ELSEWHERE = {"rt_lock.h", "rt_lock.c"}


def sources():
    texts = {}
    for folder, _, names in os.walk(SRC):
        for name in names:
            if name.endswith((".c", ".h")) and name not in MADE_ELSEWHERE:
                with open(os.path.join(folder, name), encoding="utf-8") as source:
                    texts[name] = source.read()
    return texts


def registered(text, lock):
    call = r"lock_register(?:_once)?\(&(?:\w+(?:->|\.))?" + lock + r"\)"
    return re.search(call, text) is not None


def findings(texts, documented):
    found, count = [], 0
    ranks = {}  # of locks that are members, by the file that sets them up
    for name, text in texts.items():
        for match in RANKED.finditer(text):
            ranks.setdefault(name, set()).add(match.group(2) or match.group(3))
    for name, text in sorted(texts.items()):
        for lock, rank in DECLARED.findall(text):
            count += 1
            if rank:
                setters = {name: {rank}}
            else:  # a member: whoever says its rank makes it ready
                setters = {file: set_there for file, set_there in ranks.items()
                           if file.rsplit(".", 1)[0] == name.rsplit(".", 1)[0]}
            if not setters:
                found.append(f"{name}: {lock} has no rank")
            for file, set_there in setters.items():
                if file not in documented:
                    found.append(f"{file}: docs/locks.md does not name it")
                if set_there & OUTERMOST and not registered(texts[file], lock):
                    found.append(f"{file}: {lock} is outermost and not registered")
                if not set_there & OUTERMOST and registered(texts[file], lock):
                    found.append(f"{file}: {lock} is nested: it registers itself")
    return found, count


def heap_locks_registered(text):
    """Each place that makes a heap: heap_construct, then the lock is registered."""
    return len(re.findall(r"\bheap_construct\(", text)) - 1, \
        len(re.findall(r"lock_register(?:_once)?\(", text))


class LockRegistry(unittest.TestCase):
    def setUp(self):
        self.texts = sources()
        with open(os.path.join(ROOT, "docs", "locks.md"), encoding="utf-8") as text:
            self.documented = set(re.findall(r"`([\w/]+\.c)`", text.read()))
        self.documented = {os.path.basename(name) for name in self.documented} | {"heap.c"}

    def test_all_are_known(self):
        found, count = findings(self.texts, self.documented)
        self.assertEqual(found, [])
        self.assertGreaterEqual(count, 7)

    def test_each_heap_registers_its_own(self):
        made, known = heap_locks_registered(self.texts["heap.c"])
        self.assertEqual(made, known)
        self.assertGreaterEqual(made, 4)

    def expect_finding(self, name, before, after, finding):
        self.assertIn(before, self.texts[name])
        self.texts[name] = self.texts[name].replace(before, after, 1)
        found, _ = findings(self.texts, self.documented)
        self.assertEqual(len(found), 1, found)
        self.assertIn(finding, found[0])

    def test_a_new_outermost_lock(self):
        self.expect_finding("purge.c", "static struct rt_lock purge_lock",
                            "static struct rt_lock other_lock = LOCK_INIT(LOCK_RANK_PURGE);\n"
                            "static struct rt_lock purge_lock", "other_lock is outermost")

    def test_one_that_is_no_longer_registered(self):
        self.expect_finding("purge.c", "  lock_register(&purge_lock);\n", "",
                            "purge_lock is outermost")

    def test_one_without_a_rank(self):
        self.expect_finding("regret.c", "static _Atomic(uint64_t) purged_ms;",
                            "static struct rt_lock some_lock;\n"
                            "static _Atomic(uint64_t) purged_ms;", "some_lock has no rank")

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
