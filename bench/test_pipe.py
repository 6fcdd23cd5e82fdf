#!/usr/bin/python3
"""quiet_pipe.py: run.py, plot.py and ab.py end with 141 and no trace when a reader goes away."""
import os
import subprocess
import sys
import unittest

from bench_machine import ROOT

BUILD = os.environ.get("HAK_BUILD_DIR", str(ROOT / "build"))
SHORT = ["--build", BUILD, "--peers-only", "--rounds", "1", "--seconds", "0.01", "--workload"]


def unread(tool, *words, unbuffered=""):
    """(status, stderr) of a driver that writes into a pipe that nobody reads. unbuffered: each
    print is a write, and not all of them at the end one."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run([sys.executable, str(ROOT / "bench" / tool), *words], stdout=closed,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=100,
                              env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    return done.returncode, done.stderr


class Drivers(unittest.TestCase):
    def test_at_the_end(self):
        for words in (["run.py", "--list"], ["run.py", "--help"], ["plot.py", "--help"],
                      ["ab.py", "--help"], ["run_threads.py", "--help"],
                      ["run_memory.py", "--help"]):
            for unbuffered in ("", "1"):
                self.assertEqual(unread(*words, unbuffered=unbuffered), (141, ""), words)

    def test_in_the_middle_of_a_run(self):
        self.assertEqual(unread("run.py", *SHORT, "rss_hello,trees"), (141, ""))

    def test_no_other_end_is_hidden(self):
        status, said = unread("run.py", *SHORT, "none")
        self.assertEqual(status, 2)
        self.assertRegex(said, r"\Abench/run\.py: there is no workload 'none'[^\n]*\n\Z")

    def test_every_driver_ends_so(self):
        drivers = {path.name: text for path in (ROOT / "bench").glob("*.py")
                   if "__main__" in (text := path.read_text(encoding="utf-8"))
                   and not path.name.startswith("test_")}
        self.assertEqual(drivers.keys(), {"run.py", "run_threads.py", "run_memory.py",
                                           "plot.py", "ab.py", "bench_backing.py"})
        shared = (ROOT / "bench" / "bench_rows.py").read_text(encoding="utf-8")
        for name, text in drivers.items():
            if "bench_rows.main(" in text:
                text = shared
            self.assertIn("from quiet_pipe import quiet", text, name)


if __name__ == "__main__":
    unittest.main()
