#!/usr/bin/python3
"""tests/model/mutants.py: a verdict of before stands only where its function is what it was; what
does not end is tried once more; survivors.txt has a reason for each that lives on, and no other. No
allocator is run: judges are scripts here, and the source is a file of three functions.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests", "model"))
import mutants

SOURCE = """/* A file. */
static unsigned word, count;

static void first(void) {
  if (load_acquire(&word) == 0) return; /* pairs */
  store_relaxed(&count, 1u);
}

static unsigned second(void) { return load_relaxed(&word); }

static unsigned third(void) {
  return load_relaxed(&count) + load_relaxed(&count);
}
"""


class InFolder(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.folder = work.name

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, text, *parts):
        os.makedirs(os.path.dirname(self.path(*parts)), exist_ok=True)
        with open(self.path(*parts), "w", encoding="utf-8") as out:
            out.write(text)
        return self.path(*parts)


class Again(InFolder):
    def setUp(self):
        super().setUp()
        root, mutants.ROOT = mutants.ROOT, self.folder
        self.addCleanup(setattr, mutants, "ROOT", root)
        self.rows(SOURCE)

    def listed(self, text):
        self.write(text, "src", "heap", "a.c")
        return list(mutants.accesses())

    def rows(self, text, **other):
        """A walk's verdicts: all are killed."""
        listed = self.listed(text)
        verdicts = [mutants.Verdict("judge", mutants.value_kind(mutant),
                                    True if mutants.is_ordered(mutant) else None, "fails", "abc")
                    for mutant in listed]
        rows = [{**mutants.row_of(*pair, {}), **other} for pair in zip(listed, verdicts)]
        self.json = self.write(json.dumps({"schema": mutants.SCHEMA, "mutants": rows}), "json")
        return listed

    def stands(self, before, after):
        self.assertEqual(SOURCE.count(before), 1, before)
        found = mutants.read_verdicts(self.json, self.listed(SOURCE.replace(before, after)))
        self.assertTrue(all(verdict.commit == "abc" for verdict in found.values()))
        return sorted(f"{mutant.line}:{mutant.access}" for mutant in found)

    def test_as_it_was(self):
        self.assertEqual(self.stands("pairs", "pairs"),
                         ["12:load_relaxed", "12:load_relaxed", "5:load_acquire",
                          "6:store_relaxed", "9:load_relaxed"])

    def test_a_function_that_has_changed_in_its_place(self):
        self.assertEqual(self.stands("== 0", "== 1"),
                         ["12:load_relaxed", "12:load_relaxed", "9:load_relaxed"])
        self.assertNotIn("9:load_relaxed", self.stands("{ return load", "{ return 1 + load"))

    def test_lines_that_move(self):
        self.assertEqual(self.stands("/* A file. */\n", "/* A file. */\n\n"),
                         ["10:load_relaxed", "13:load_relaxed", "13:load_relaxed",
                          "6:load_acquire", "7:store_relaxed"])

    def test_a_comment_is_no_change(self):
        self.assertEqual(len(self.stands("/* pairs */", "/* with a brace }\n} */")), 5)

    def test_one_access_less(self):
        self.assertNotIn("12:load_relaxed", self.stands(" + load_relaxed(&count)", ""))

    def test_a_verdict_without_a_digest(self):
        mine = self.rows(SOURCE, digest=None)
        self.assertEqual(mutants.read_verdicts(self.json, mine), {})

    def test_a_survivor_is_walked_again(self):
        mine = self.rows(SOURCE, killed_by=None)
        self.assertEqual(mutants.read_verdicts(self.json, mine), {})

    def test_a_file_of_before_the_digests(self):
        self.write('{"schema": 1, "mutants": []}', "json")
        with self.assertRaises(SystemExit) as ends:
            mutants.read_verdicts(self.json, [])
        self.assertEqual(ends.exception.code, 2)


class Judges(InFolder):
    MUTANT = mutants.Mutant("a.c", 1, "load_relaxed", "&word", 0, "", "")

    def ran(self, body, timeout=mutants.FIRST_TIMEOUT_S):
        path = self.write(f"#!/bin/sh\n{body}\n", "judge")
        os.chmod(path, 0o755)
        judge = mutants.Judge(path)
        judge.timeout = timeout
        return judge.run(self.MUTANT, "zero")

    def test_how_a_judge_ends(self):
        self.assertEqual([self.ran("exit 0"), self.ran("exit 77")], ["passes"] * 2)
        self.assertEqual(self.ran("exit 1"), "fails")
        self.assertEqual(self.ran("kill -SEGV $$"), "crashes")
        self.assertEqual(self.ran("exec sleep 1000", 0.1), "does not end")

    def kills(self, *ends):
        """The verdict of a judge that ends so, one run after the other; how many runs were left,
        and how often it was measured without a mutant."""
        judge, left, measured = mutants.Judge("judge"), list(ends), []
        judge.is_checked = True
        judge.run = lambda mutant, kind: left.pop(0)
        judge.measure = lambda: measured.append(judge.timeout)
        return judge.kills(self.MUTANT, "zero"), len(left), len(measured)

    def test_two_of_three(self):
        self.assertEqual(self.kills("fails", "fails", "passes"), ("fails", 1, 0))
        self.assertEqual(self.kills("fails", "passes", "fails"), ("fails", 0, 0))
        self.assertEqual(self.kills("passes", "passes", "fails"), (None, 1, 0))
        self.assertEqual(self.kills("passes", "crashes", "crashes"), ("crashes", 0, 0))

    def test_what_does_not_end_once_is_no_kill(self):
        self.assertEqual(self.kills("does not end", "passes", "passes"), (None, 0, 1))

    def test_what_does_not_end_twice_is_one(self):
        self.assertEqual(self.kills("does not end", "does not end", "passes"),
                         ("does not end", 1, 1))


class Survivors(InFolder):
    def setUp(self):
        super().setUp()
        for part in ("src", "tests/model"):
            shutil.copytree(os.path.join(ROOT, part), self.path(part))
        os.makedirs(self.path("docs", "results"))
        shutil.copy(os.path.join(ROOT, "docs", "results", "mutants.json"),
                    self.path("docs", "results"))
        with open(self.path("tests", "model", "survivors.txt"), encoding="utf-8") as opened:
            self.text = opened.read()

    def check(self, text):
        self.write(text, "tests", "model", "survivors.txt")
        done = subprocess.run([sys.executable, self.path("tests", "model", "mutants.py"),
                               "--check"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        return done.returncode, done.stdout

    def test_as_it_is(self):
        status, said = self.check(self.text)
        self.assertEqual((status, len(said.splitlines())), (0, 1), said)

    def test_a_reason_for_nothing(self):
        status, said = self.check(self.text + "\nentry_init.c: store_release(&init_state\n  Why.\n")
        self.assertEqual(status, 1, said)
        self.assertIn("nothing lives on there, and no order is unnoticed: entry_init.c: "
                      "store_release(&init_state", said)

    def test_no_reason(self):
        line = "entry_init.c: if (cas_acq_rel(&init_state"
        self.assertIn(line, self.text)
        blocks = [block for block in self.text.split("\n\n") if line not in block]
        status, said = self.check("\n\n".join(blocks))
        self.assertEqual(status, 1, said)
        self.assertIn(f"no reason in survivors.txt: {line}", said)


    def test_an_access_without_a_verdict_and_a_verdict_of_none(self):
        with open(self.path("src", "heap", "growth.c"), encoding="utf-8") as opened:
            text = opened.read()
        self.assertIn("store_relaxed(&growth_next_bytes", text)
        self.write(text.replace("store_relaxed(&growth_next_bytes",
                                "store_release(&growth_next_bytes"), "src", "heap", "growth.c")
        status, said = self.check(self.text)
        self.assertEqual(status, 1, said)
        self.assertIn("growth.c: store_release of &growth_next_bytes has no verdict", said)
        self.assertIn("growth.c: store_relaxed of &growth_next_bytes is gone", said)


class Figures(unittest.TestCase):
    def test_two_shares(self):
        def verdict(killed_by, kind, is_order_missed):
            return mutants.Verdict(killed_by, kind, is_order_missed, None, None)
        figures = mutants.figures_of([verdict("a", "zero", None), verdict(None, "zero", None),
                                      verdict("m", "relaxed", True), verdict("a", "drop", False)])
        self.assertEqual(mutants.summary_of(figures),
                         "2 of 3 wrong values or lost stores noticed (66.7%), "
                         "1 of 2 lost orders (50.0%); together 3 of 5 (60.0%). "
                         "3 of 4 accesses noticed in one way or the other (75.0%)")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
