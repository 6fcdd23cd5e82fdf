#!/usr/bin/python3
"""test_known_bugs.py BUILD: CTest has every test that docs/known-bugs.md names."""
import json
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "known-bugs.md")
BUILD = os.path.abspath(sys.argv[1])
NAMED = re.compile(r"`((?:abuse|api|fault|loader|model|scripts|stress|unit)\.[\w.*-]+)`")


def tests_there():
    done = subprocess.run(["ctest", "--test-dir", BUILD, "--show-only=json-v1"], check=True,
                          stdout=subprocess.PIPE, text=True)
    return {test["name"] for test in json.loads(done.stdout)["tests"]}


def missing(text, there):
    """Names of tests that are not there; one that ends with * needs one that begins so."""
    return [name for name in NAMED.findall(text)
            if not (any(test.startswith(name[:-1]) for test in there) if name.endswith("*")
                    else name in there)]


class KnownBugs(unittest.TestCase):
    def test_every_test_is_there(self):
        with open(PAGE, encoding="utf-8") as page:
            text = page.read()
        self.assertGreaterEqual(len(set(NAMED.findall(text))), 20)
        self.assertEqual(missing(text, tests_there()), [])

    def test_a_row_without_a_test_is_told(self):
        row = "| x | y | `unit.gone`, `stress.none_*`, `unit.mail`, `stress.*` |"
        self.assertEqual(missing(row, {"unit.mail", "stress.a"}), ["unit.gone", "stress.none_*"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
