#!/usr/bin/python3
"""test_known_bugs.py BUILD: CTest has every test that docs/known-bugs.md names; and the build with
TSan, which is configured for this, those of the column that says what runs under it.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "known-bugs.md")
BUILD = os.path.abspath(sys.argv[1])
NAMED = re.compile(r"`((?:abuse|api|fault|loader|model|scripts|stress|unit)\.[\w.*-]+)`")
# Why none runs under TSan, and what such a row's own tests are called.
REASONS = {"no: fork": r"`(?:stress|loader)\.fork_|`scripts\.lock_registry`",
           "no: library": r"`loader\."}


def tests_there(build):
    done = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True,
                          stdout=subprocess.PIPE, text=True)
    return {test["name"] for test in json.loads(done.stdout)["tests"]}


def missing(text, there):
    """Names of tests that are not there; a * is anything."""
    return [name for name in NAMED.findall(text)
            if not any(re.fullmatch(re.escape(name).replace(r"\*", ".*"), test) for test in there)]


def rows_of(text):
    """The cells of each row of the table: bug, where it was reported, tests, under TSan."""
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines()
            if line.startswith("| ")]
    return rows[1:]


def without_tsan(rows, there):
    """Rows that say neither which tests run under TSan nor a reason that fits."""
    return [row[0] for row in rows
            if len(row) != 4 or
            not (re.search(REASONS[row[3]], row[2]) if row[3] in REASONS else
                 NAMED.search(row[3]) and not missing(row[3], there))]


class KnownBugs(unittest.TestCase):
    def page(self):
        with open(PAGE, encoding="utf-8") as page:
            return page.read()

    def test_every_test_is_there(self):
        text = "\n".join(" | ".join(row[:3]) for row in rows_of(self.page()))
        self.assertGreaterEqual(len(set(NAMED.findall(text))), 20)
        self.assertEqual(missing(text, tests_there(BUILD)), [])

    def test_every_row_runs_under_tsan_or_says_why_not(self):
        rows = rows_of(self.page())
        self.assertGreaterEqual(len(rows), 15)
        with tempfile.TemporaryDirectory() as build:
            subprocess.run(["cmake", "--preset", "tsan", "-B", build], cwd=ROOT, check=True,
                           stdout=subprocess.DEVNULL)
            self.assertEqual(without_tsan(rows, tests_there(build)), [])

    def test_a_row_without_a_test_is_told(self):
        row = "| x | y | `unit.gone`, `stress.none_*`, `unit.mail`, `stress.*`, `stress.*.b` |"
        self.assertEqual(missing(row, {"unit.mail", "stress.a"}),
                         ["unit.gone", "stress.none_*", "stress.*.b"])

    def test_a_row_without_tsan_is_told(self):
        page = "\n".join(["| bug | reported | test | under TSan |", "|---|---|---|---|",
                          "| a | | `unit.mail` | `unit.mail`: says |",
                          "| b | | `stress.x.standard` | `stress.x.standard` |",
                          "| c | | `unit.mail` | no: fork |",
                          "| d | | `stress.fork_warm.standard` | no: fork |",
                          "| e | | `loader.late` | no: library |",
                          "| f | | `loader.late` | no: we did not try |",
                          "| g | | `unit.mail` |"])
        self.assertEqual(without_tsan(rows_of(page), {"unit.mail"}), ["b", "c", "f", "g"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
