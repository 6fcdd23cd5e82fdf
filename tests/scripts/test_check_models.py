#!/usr/bin/python3
"""tests/spin/check_models.py refuses a model that says nothing, or something unreadable, of which
functions of src/ it is, and one of a function that has changed. In copies of the tree.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class CheckModels(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.tree = work.name
        shutil.copytree(os.path.join(ROOT, "src"), os.path.join(self.tree, "src"))
        shutil.copytree(os.path.join(ROOT, "tests", "spin"),
                        os.path.join(self.tree, "tests", "spin"))

    def check(self, *options):
        script = os.path.join(self.tree, "tests", "spin", "check_models.py")
        return subprocess.run([sys.executable, script, *options], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)

    def change(self, file, before, after):
        path = os.path.join(self.tree, *file.split("/"))
        with open(path, encoding="utf-8") as source:
            text = source.read()
        self.assertEqual(text.count(before), 1, before)
        with open(path, "w", encoding="utf-8") as source:
            source.write(text.replace(before, after))

    def expect(self, *findings):
        done = self.check()
        lines = done.stdout.splitlines()
        self.assertEqual(done.returncode, 1 if findings else 0, done.stdout)
        self.assertEqual(len(lines), len(findings) + 1, done.stdout)
        for finding in findings:
            self.assertIn(finding, done.stdout)

    def test_as_it_is(self):
        self.expect()

    def test_names_with_prose_after_them(self):
        self.change("tests/spin/mail.pml", "/* C: entry_enter, home_wake */\n/* Who",
                    "/* C: entry_enter, home_wake. Who")
        self.expect("mail.pml: not a list of names: C: entry_enter, home_wake. Who",
                    "mail.pml: enter_awake: no comment before it")

    def test_names_that_come_late(self):
        self.change("tests/spin/mail.pml", "/* Who was asleep counts again. */",
                    "/* Who was asleep counts again. C: home_wake */")
        self.expect("mail.pml: not a list of names: Who was asleep")

    def test_a_step_that_names_none(self):
        self.change("tests/spin/claim.pml", "/* C: superslab_claim, count_claimed */", "")
        self.expect("claim.pml: claimer: no comment before it",
                    "count_claimed: in functions.txt, but no model names it",
                    "superslab_claim: in functions.txt, but no model names it")
        self.change("tests/spin/claim.pml", "proctype claimer", "/* Not C: why. */proctype claimer")
        self.assertNotIn("claimer", self.check().stdout)

    def test_a_comment_that_is_another_steps(self):
        self.change("tests/spin/fork.pml", "/* C: lock_try_second */\ninline",
                    "/* C: lock_try_second */\nbyte between;\ninline")
        self.expect("fork.pml: try_second: no comment before it")

    def test_a_function_that_is_not_there(self):
        self.change("tests/spin/fork.pml", "/* C: word_take */", "/* C: word_taken */")
        self.expect("word_taken: 0 definitions in src/, not 1",
                    "word_take: in functions.txt, but no model names it")
        self.assertEqual(self.check("--accept").returncode, 1)

    def test_one_of_two_of_a_name(self):
        self.change("src/heap/refill.c", "ASSERT(got != 0);\n  if (s->free_count",
                    "if (s->free_count")
        self.expect("refill.c:take_from: changed since its model was read")
        self.change("tests/spin/pull.pml", "pull.c:take_from", "take_from")
        self.assertIn("take_from: 2 definitions in src/, not 1", self.check().stdout)

    def test_a_function_that_has_changed(self):
        self.change("src/heap/home.c", "  h->home->asleep_count--;\n", "")
        self.expect("home_wake: changed since its model was read")
        self.assertEqual(self.check("--accept").returncode, 0)
        self.expect()

    def test_a_comment_is_no_change(self):
        self.change("src/heap/home.c", "  h->home->asleep_count--;\n",
                    "  h->home->asleep_count--; /* one less */\n")
        self.expect()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
