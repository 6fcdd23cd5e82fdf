#!/usr/bin/python3
"""run_memory.py beyond its smoke run: what each value is of, targets, a real program's rows, and
the machine's huge pages, which are what they were whatever happens."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from unittest import mock

import bench_programs
import bench_thp
import run_memory
from bench_machine import ROOT, BadInput

BUILD = os.environ.get("HAK_BUILD_DIR", str(ROOT / "build"))
RECORD = {"rss_end_bytes": 2 << 20, "rss_peak_bytes": 5 << 20, "rss_begin_bytes": 1 << 20,
          "requested_bytes": 2 << 20, "cpu_ns": 3_000_000_000, "ops": 1000, "faults": 1234,
          "late_faults": 7,
          "mappings": 3, "live_bytes": 16 << 20, "always": 3.0, "madvise": 2.5, "never": 2.0}


def row(value, *targets):
    return run_memory.Row("row", "bench_hello", (), value, targets, None)


def driven(*words):
    return subprocess.run([sys.executable, str(ROOT / "bench" / "run_memory.py"), "--build", BUILD,
                           *words], capture_output=True, text=True, check=False, timeout=200)


class Values(unittest.TestCase):
    def test_each_figure(self):
        wanted = {"end": 2, "peak": 5, "kept": 0.4, "time": 3e6, "seconds": 3, "faults": 1234,
                  "late": 7, "over": 1.0, "mappings": 1.5, "always": 1.5}
        self.assertEqual(wanted.keys(), run_memory.VALUES.keys())
        for value, figure in wanted.items():
            self.assertEqual(run_memory.figures(row(value), {"a": [RECORD]}), {"a": [figure]})

    def test_the_json_has_each_mode(self):
        kept = run_memory.result(row("always"), {"a": [{"always": 3.0, "never": 2.0}]})
        self.assertEqual((kept["samples"], kept["mib"]),
                         ({"a": [1.5]}, {"a": [{"always": 3.0, "never": 2.0}]}))

    def verdicts(self, of, **values):
        return list(run_memory.verdicts(of, {name: [{**RECORD, **value}]
                                             for name, value in values.items()}))

    def test_faults_are_judged_where_there_are_huge_pages(self):
        target = run_memory.of_peers("balanced", 0.02, "mimalloc")
        for mode, wanted in (("madvise", ("balanced 0.10 of mimalloc (0.02)", False)),
                             ("never", ("not judged: no huge pages here", True)),
                             (None, ("not judged: no huge pages here", True))):
            with mock.patch.object(bench_thp, "mode", lambda mode=mode: mode):
                self.assertEqual(self.verdicts(row("faults", target), balanced={"faults": 100},
                                               mimalloc={"faults": 1000}), [wanted])

    def test_a_target_of_its_own_where_there_are_huge_pages(self):
        time = row("time", run_memory.of_peers("balanced", 1.0, "glibc"),
                   run_memory.of_peers("balanced", 0.6, "glibc", huge=True))
        own, huge = ("balanced 0.80 of glibc (1.0)", True), ("balanced 0.80 of glibc (0.6)", False)
        for mode, wanted in (("always", [own, huge]),
                             (None, [own, ("not judged: no huge pages here", True)])):
            with mock.patch.object(bench_thp, "mode", lambda mode=mode: mode):
                self.assertEqual(self.verdicts(time, balanced={"cpu_ns": 80},
                                               glibc={"cpu_ns": 100}), wanted)

    def test_a_peer_s_figure_of_another_row(self):
        other = row("end")
        of = row("end", run_memory.of_peers("lean", 1.05, "glibc", row=other))
        samples = run_memory.Beside({name: [{**RECORD, "rss_end_bytes": mib << 20}]
                                     for name, mib in (("lean", 31), ("glibc", 230))})
        samples.rows = {other: {name: [{**RECORD, "rss_end_bytes": mib << 20}]
                                for name, mib in (("lean", 29), ("glibc", 30))}}
        self.assertEqual(list(run_memory.verdicts(of, samples)),
                         [("lean 1.03 of glibc (1.05)", True)])
        samples["lean"] = [{**RECORD, "rss_end_bytes": 32 << 20}]
        self.assertEqual(list(run_memory.verdicts(of, samples)),
                         [("lean 1.07 of glibc (1.05)", False)])

    def test_the_other_row_is_measured_too(self):
        of, = (each for each in run_memory.ROWS if each.name.endswith("no malloc_trim"))
        options = run_memory.bench_rows.parse(run_memory.DRIVER, ["--build", BUILD])
        seen = []
        with mock.patch.object(run_memory, "measure_all",
                               lambda each, *_: seen.append(each.name) or {"a": [RECORD]}):
            samples = run_memory.measure(of, [], options)
        self.assertEqual(seen, [of.name, run_memory.TRIMMED.name])
        self.assertEqual(samples.rows.keys(), {run_memory.TRIMMED})
        self.assertIn(run_memory.TRIMMED, run_memory.ROWS)

    def test_names_of_rows_are_told_apart(self):
        names = [each.name for each in (*run_memory.ROWS, run_memory.MAPPINGS)]
        self.assertEqual(len(names), len(set(names)))

    def test_each_real_program_is_one(self):
        self.assertLessEqual(set(run_memory.REAL), bench_programs.BY_NAME.keys())


class Runs(unittest.TestCase):
    def test_a_heap_that_cannot_be(self):
        for words in (["--heap-mib", "0"], ["--heap-mib", "65537"], ["--heap-mib", "1G"]):
            done = driven(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, r"\Abench/run_memory\.py: .*--heap-mib.*\n\Z")

    def test_rows_of_a_program_are_of_the_same_runs(self):
        if not os.path.exists("/usr/bin/lua5.4"):
            self.skipTest("lua5.4 is not installed")
        lua = run_memory.real("prog_lua")
        options = run_memory.bench_rows.parse(run_memory.DRIVER, ["--rounds", "2", "--build",
                                                                  BUILD])
        columns = [run_memory.columns_find(options)[0], run_memory.bench_allocators.SYSTEM]
        peak, seconds = (run_memory.measure(each, columns, options) for each in lua)
        self.assertIs(peak, seconds)
        self.assertEqual({name: len(records) for name, records in peak.items()},
                         {"balanced": 2, "glibc": 2})
        self.assertGreater(run_memory.figures(lua[0], peak)["balanced"][0], 1)
        self.assertGreater(run_memory.figures(lua[1], peak)["balanced"][0], 0.01)

    def test_a_program_that_is_not_installed_is_seen(self):
        gone = bench_programs.BY_NAME["prog_ruby"]._replace(needs=[("/usr/bin/none", "none")])
        options = run_memory.bench_rows.parse(run_memory.DRIVER, ["--build", BUILD])
        with mock.patch.dict(bench_programs.BY_NAME, prog_ruby=gone), \
                self.assertRaisesRegex(run_memory.bench_rows.Skipped, r"package none"):
            run_memory.measure(run_memory.real("prog_ruby")[0], [], options)

    def test_a_heap_as_large_as_asked(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "out.json")
            done = driven("--rounds", "1", "--heap-mib", "3", "--row", "16 B to 8 MiB", "--json",
                          str(file))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            kept, = json.loads(file.read_text(encoding="utf-8"))["rows"]
        self.assertEqual(kept["args"], ["--mib", "3"])


class HugePages(unittest.TestCase):
    """On a file that is like the kernel's, but for the brackets, which the kernel moves."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name, "enabled")
        self.file.write_text("always [madvise] never\n", encoding="ascii")

    def test_the_mode(self):
        self.assertEqual(bench_thp.mode(self.file), "madvise")
        self.assertIsNone(bench_thp.mode(self.file / "none"))
        self.assertRegex(bench_thp.refusal(self.file / "none"), "^no .*/none$")

    def test_who_is_not_root_is_refused(self):
        with mock.patch.object(os, "geteuid", lambda: 1000):
            self.assertRegex(bench_thp.refusal(self.file), "^only root may write to ")

    def test_back_after_a_failure(self):
        with self.assertRaises(BadInput), bench_thp.restored(self.file):
            bench_thp.write("always", self.file)
            self.assertEqual(self.file.read_text(encoding="ascii"), "always")
            raise BadInput("a run that fails")
        self.assertEqual(self.file.read_text(encoding="ascii"), "madvise")

    def test_back_after_a_signal(self):
        text = textwrap.dedent(f"""\
            import pathlib, sys, time
            sys.path.insert(0, {str(ROOT / 'bench')!r})
            import bench_interrupt, bench_thp
            bench_interrupt.install()
            file = pathlib.Path({str(self.file)!r})
            with bench_thp.restored(file):
                bench_thp.write("never", file)
                print("switched", flush=True)
                time.sleep(60)
            """)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.file.write_text("[always] madvise never\n", encoding="ascii")
            child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
            self.assertEqual(child.stdout.readline(), "switched\n")
            self.assertEqual(self.file.read_text(encoding="ascii"), "never")
            child.send_signal(number)
            self.assertIn("Interrupted", child.communicate(timeout=30)[1])
            self.assertEqual(self.file.read_text(encoding="ascii"), "always")


if __name__ == "__main__":
    unittest.main()
