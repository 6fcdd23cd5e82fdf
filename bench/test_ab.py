#!/usr/bin/python3
"""ab.py: variants, refusals, the ledger. test_ab_stats.py has the verdicts."""
import contextlib
import io
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import ab
import left_over
from bench_machine import ROOT, BadInput
from bench_workloads import WORKLOADS

BUILD = os.environ.get("HAK_BUILD_DIR", str(ROOT / "build"))


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.log = pathlib.Path(self.folder.name) / "experiments.md"

    def call(self, a, b, *words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = ab.main(["--a", a, "--b", b, "--name", "a test", "--build", BUILD, "--log",
                                  str(self.log), *words])
            except SystemExit as stop:
                status = stop.code
        return status, out.getvalue(), err.getvalue()

    def test_a_ledger_that_cannot_be_written_is_told_before_measuring(self):
        self.log = self.log.parent / "no" / "such.md"
        with mock.patch("ab.decide", side_effect=AssertionError("it measures")):
            status, out, err = self.call("base", "env:HAKMEM_DEPOT_BYTES=128K")
        self.assertEqual((status, out), (2, ""))
        self.assertEqual(err, f"ab.py: --log {self.log}: cannot be written\n")

    def test_a_file_that_is_no_ledger_is_left_as_it_is(self):
        for text in ("# Notes\n", "# Experiments\n\n| date | verdict |\n|---|---|\n", "\n"):
            self.log.write_text(text, encoding="utf-8")
            with mock.patch("ab.decide", side_effect=AssertionError("it measures")):
                status, out, err = self.call("base", "base")
            self.assertEqual((status, out, self.log.read_text(encoding="utf-8")), (2, "", text))
            self.assertRegex(err, r"\Aab\.py: --log [^\n]+: is no ledger [^\n]+\n\Z")

    def test_the_committed_ledger_and_an_empty_file_are_ledgers(self):
        committed = ROOT / "docs" / "experiments.md"
        ab.check_ledger(committed)
        self.assertTrue(committed.read_text(encoding="utf-8").startswith(ab.LOG_HEAD))
        self.log.touch()
        ab.check_ledger(self.log)
        ab.log(self.log, "| x |\n")
        ab.check_ledger(self.log)

    def rows(self):
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines
                if "| a test" in line]

    def test_a_run_is_judged_and_logged(self):
        library = os.path.join(BUILD, "libhakmem.so")
        for _ in range(2):
            status, out, err = self.call("base", f"lib:{library}+env:HAKMEM_DEPOT_BYTES=128K",
                                         "--seconds", "0.01", "--budget", "0.5")
            self.assertEqual(err, "")
            self.assertIn(status, (0, 1))
            self.assertRegex(out, r"\A(GO|NO-GO|undecided): .* rounds of mixed_400\n\Z")
        first, second = (dict(zip(ab.LOG_COLUMNS, row)) for row in self.rows())
        self.assertEqual(first["A"], "base")
        self.assertRegex(first["B"], r"\Alib:libhakmem\.so@[0-9a-f]{8}"
                                     r"\+env:HAKMEM_DEPOT_BYTES=128K\Z")
        self.assertEqual((first["A"], first["B"]), (second["A"], second["B"]))
        self.assertRegex(first["machine"], r"\A.+, \d+ cores\Z")
        self.assertRegex(first["rounds"], r"\A\d+ of 0\.01 s, budget 0\.5 s\Z")
        self.assertEqual(first["instructions"], "-")
        text = self.log.read_text(encoding="utf-8")
        self.assertNotIn(BUILD, text)
        self.assertEqual(text.count("# Experiments"), 1)
        self.assertEqual({len(row) for row in self.rows()}, {len(ab.LOG_COLUMNS)})

    def test_rounds_are_a_budget(self):
        status, out, err = self.call("base", "base", "--seconds", "0.01", "--rounds", "3",
                                     "--progress")
        self.assertEqual(status, 1)
        self.assertRegex(out, r"\Aundecided: too few rounds for an interval; time [\d.]+ "
                              r"no interval yet, .*, 3 rounds of mixed_400\n\Z")
        self.assertRegex(err, r"\A3 rounds: [\d.]+ no interval yet, RSS [\d.]+\n\Z")
        row = dict(zip(ab.LOG_COLUMNS, self.rows()[0]))
        self.assertEqual((row["interval"], row["verdict"]),
                         ("no interval yet", "undecided: too few rounds for an interval"))
        self.assertEqual(row["rounds"], "3 of 0.01 s, budget 600 s or 3 rounds")

    def test_bad_input_is_one_line_and_changes_nothing(self):
        not_a_library = os.path.join(BUILD, "bench_hello")
        for bad in ("lib:/nowhere/libx.so", "env:=1", "flag:x", "commit:no-such-revision", "other",
                    "lib:" + not_a_library, f"lib:{not_a_library}+flag:-DX=1",
                    "env:HAKMEM_NO_SUCH_OPTION=1", "env:HAKMEM_DEPOT_BYTES=lots"):
            status, out, err = self.call("base", bad, "--seconds", "0.01", "--budget", "0.1")
            self.assertEqual((status, out), (2, ""), bad)
            self.assertRegex(err, r"\Aab\.py: [^\n]+\n\Z")
        self.assertFalse(self.log.exists())

    def test_flags_that_do_not_fit(self):
        for words in (("--budget", "0"), ("--seconds", "-1"), ("--workload", "rss_400"),
                      ("--rounds", "1"), ("--budget", "nan"), ("--budget", "inf"),
                      ("--budget", "1e9"), ("--budget", "0.99"), ("--seconds", "inf"),
                      ("--seconds", "1e6", "--budget", "1e7"), ("--name", ""), ("--name", " \n"),
                      ("--count", "--workload", "larson_2"), ("--no-such",)):
            status, _, err = self.call("base", "base", *words)
            self.assertEqual(status, 2, words)
            self.assertRegex(err, r"\Aab\.py: [^\n]+\n\Z")

    @unittest.skipIf(shutil.which("valgrind") is None, "valgrind is not installed")
    def test_counts_repeat(self):
        workload = next(w for w in WORKLOADS if w.name == "mixed_400")
        options = ab.parse(["--a", "base", "--b", "base", "--name", "x", "--build", BUILD])[0]
        subject = ab.variant("base", options.build, False)
        ab.COUNT_OPS_MOST, kept = 2000, ab.COUNT_OPS_MOST
        try:
            first, second = (ab.count_instructions(workload, subject, options) for _ in range(2))
        finally:
            ab.COUNT_OPS_MOST = kept
        self.assertAlmostEqual(first / second, 1, 2)  # addresses are random, paths a little too
        self.assertGreater(first, 1)


class Interruptions(unittest.TestCase):
    def wait_for_the_benchmark(self, driver):
        """Until a child of the driver runs bench_random_mixed."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            self.assertIsNone(driver.poll())
            for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):  # ended meanwhile
                    name, _, rest = stat.read_text(errors="replace").rpartition(")")
                    if rest.split()[1] == str(driver.pid) and "(bench_random" in name:
                        return
            time.sleep(0.01)
        self.fail("no benchmark was started")

    def test_a_signal_ends_all_that_was_started_and_leaves_no_row(self):
        left_over.adopt()
        for number in (signal.SIGINT, signal.SIGTERM):
            with tempfile.TemporaryDirectory() as folder:
                log = os.path.join(folder, "experiments.md")
                with subprocess.Popen(
                        [sys.executable, str(ROOT / "bench" / "ab.py"), "--a", "base", "--b",
                         "base", "--name", "x", "--build", BUILD, "--log", log, "--seconds", "60"],
                        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        env={**os.environ, "TMPDIR": folder}) as driver:
                    self.wait_for_the_benchmark(driver)
                    driver.send_signal(number)
                    out, err = driver.communicate(timeout=60)
                self.assertEqual((driver.returncode, out, err), (128 + number, "", ""))
                self.assertEqual(os.listdir(folder), [])
            self.assertLessEqual(left_over.endings(), {-signal.SIGKILL})


class Ledger(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = pathlib.Path(folder.name) / "experiments.md"

    def test_rows_of_many_writers_are_whole_and_the_head_is_there_once(self):
        with multiprocessing.Pool(4) as writers:
            rows = [f"| {number} | {'x' * 5000} |\n" for number in range(40)]
            writers.starmap(ab.log, [(self.log, row) for row in rows])
        text = self.log.read_text(encoding="utf-8")
        self.assertTrue(text.startswith(ab.LOG_HEAD))
        self.assertEqual(sorted(text.removeprefix(ab.LOG_HEAD).splitlines(keepends=True)),
                         sorted(rows))


class Builds(unittest.TestCase):
    """A tree of one source file that is built like ours."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tree = self.folder / "tree"
        self.tree.mkdir()
        (self.tree / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.20)\nproject(tree C)\n"
            "add_library(hakmem SHARED gate.c)\n"
            "target_compile_options(hakmem PRIVATE -DGATE=1 -g)\n")
        (self.tree / "gate.c").write_text("int gate(void) { return GATE; }\n")
        kept, ab.ROOT = ab.ROOT, self.tree
        self.addCleanup(setattr, ab, "ROOT", kept)

    def git(self, *words):
        return subprocess.run(["git", "-C", str(self.tree), "-c", "user.name=x", "-c",
                               "user.email=x", *words], check=True, capture_output=True,
                              text=True).stdout.strip()

    def built(self, text):
        return pathlib.Path(ab.variant(text, self.folder / "build", True).allocator.path)

    def test_a_flag_wins_over_the_trees_own_and_is_built_once(self):
        base, gated = self.built("base"), self.built("flag:-UGATE+flag:-DGATE=2")
        self.assertNotEqual(base.read_bytes(), gated.read_bytes())
        when = gated.stat().st_mtime_ns
        self.assertEqual(self.built("flag:-UGATE+flag:-DGATE=2"), gated)
        self.assertEqual(gated.stat().st_mtime_ns, when)
        self.assertNotEqual(self.built("flag:-UGATE+flag:-DGATE=-2"), gated)

    def test_a_flag_that_changes_nothing_is_refused(self):
        options = ab.parse(["--a", "base", "--b", "flag:-DNO_SUCH_GATE=1", "--name", "x",
                            "--build", str(self.folder / "build")])[0]
        with self.assertRaisesRegex(BadInput, "are the same library, byte for byte"):
            ab.both_variants(options)

    def test_a_flag_that_does_not_compile(self):
        with self.assertRaisesRegex(BadInput, r"\Acannot build with -Wsuch=1: .*error.*\Z"):
            self.built("flag:-Wsuch=1")
        self.assertEqual(list((self.folder / "build" / "ab").glob("build-*")), [])

    def test_a_commit_is_named_and_built_from_its_own_source(self):
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "one")
        (self.tree / "gate.c").write_text("int gate(void) { return GATE + 1; }\n")
        old = ab.variant("commit:HEAD", self.folder / "build", True)
        self.assertEqual(old.shown, "commit:" + self.git("rev-parse", "HEAD")[:12])
        self.assertNotEqual(pathlib.Path(old.allocator.path).read_bytes(),
                            self.built("base").read_bytes())


if __name__ == "__main__":
    unittest.main()
