#!/usr/bin/python3
"""test_arguments.py PROGRAM...: bad arguments of the stress programs end them at once, with one
line and exit 2; --help prints usage."""
import os
import subprocess
import sys
import unittest

PROGRAMS = sys.argv[1:]
WORDS = {"stress_fork": ["warm"], "stress_release": ["work"], "stress_remote": ["pair"],
         "stress_signal": ["slow"], "stress_threads": ["idle"]}
TOO_MUCH = "99999999999999999999"


def words_of(program):
    return WORDS.get(os.path.basename(program).replace("_direct", ""), [])


def run(program, *arguments):
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=60)


class Arguments(unittest.TestCase):
    def refused(self, program, *arguments, names):
        done = run(program, *arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""), (program, arguments, done))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(names, done.stderr)

    def test_bad_options(self):
        for program in PROGRAMS:
            words = words_of(program)
            for bad in (["--bogus"], ["--bogus", "1"], ["--seed", "1", "extra"]):
                self.refused(program, *words, *bad, names=f"{bad[-1] if len(bad) == 3 else bad[0]}")
            self.refused(program, *words, "--seed", names="--seed")
            for value in ("x", "", "-1", "1x", TOO_MUCH):
                self.refused(program, *words, "--seed", value, names="--seed")

    def test_unknown_words(self):
        for program in PROGRAMS:
            if words_of(program):
                self.refused(program, "bogus", names="bogus")

    def test_out_of_range(self):
        for name, bad in (("stress_sleeper", ["--mib", "100"]),
                          ("stress_model", ["--threads", "0"]),
                          ("stress_sleeper", ["--percent", "200"]),
                          ("stress_profiles", ["--seconds", "0"]),
                          ("stress_profiles", ["--rounds", "0"]),
                          ("stress_maps", ["--rounds", "1001"]),
                          ("stress_fork_pause", ["--limit-us", "1000001"]),
                          ("stress_fork_streams", ["--forks", "0"]),
                          ("stress_fork", ["warm", "--forks", "0"]),
                          ("stress_fork", ["warm", "--workers", "1000"])):
            for program in PROGRAMS:
                if os.path.basename(program) == name + "_direct":
                    self.refused(program, *bad, names=bad[-2])

    def test_help(self):
        for program in PROGRAMS:
            done = run(program, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""), program)
            self.assertIn("[--seed N]", done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
