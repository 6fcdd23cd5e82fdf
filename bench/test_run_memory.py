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

import bench_limits
import bench_programs
import bench_thp
import run_memory
from bench_machine import ROOT, BadInput
from run_targets import MET, MISSED, NOT_MEASURED, NOT_SETTLED

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

    def test_names_of_rows_are_told_apart(self):
        names = [each.name for each in (*run_memory.ROWS, run_memory.MAPPINGS)]
        self.assertEqual(len(names), len(set(names)))

    def test_each_real_program_is_one(self):
        self.assertLessEqual(set(run_memory.REAL), bench_programs.BY_NAME.keys())

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


ROUNDS = bench_limits.ROUNDS_LEAST
NO_HUGE = ("no huge pages here", NOT_MEASURED)


class Verdicts(unittest.TestCase):
    """By the interval of the rounds' ratios: what lies on both sides of a target settles nothing.
    """

    def records(self, field, value):
        """Of as many rounds as settle something; of a list its rounds, again and again."""
        values = value if isinstance(value, list) else [value]
        return [{**RECORD, field: values[i % len(values)]} for i in range(2 * ROUNDS)]

    def verdicts(self, of, field, mode="madvise", rows=None, **values):
        samples = run_memory.Beside({name: self.records(field, value)
                                     for name, value in values.items()})
        samples.rows = rows or {}
        with mock.patch.object(bench_thp, "mode", lambda: mode):
            return [(each.text, each.verdict) for each in run_memory.verdicts(of, samples)]

    def test_a_limit_by_itself(self):
        late = row("late", run_memory.at_most("lean", 64))
        for value, text, word in ((10, "lean 10.000 (10.000-10.000) (<= 64)", MET),
                                  (64, "lean 64.000 (64.000-64.000) (<= 64)", MET),
                                  (65, "lean 65.000 (65.000-65.000) (<= 64)", MISSED),
                                  ([60, 70], "lean 65.000 (60.000-70.000) (<= 64)", NOT_SETTLED)):
            self.assertEqual(self.verdicts(late, "late_faults", lean=value), [(text, word)])

    def test_kibibytes_more_than_a_peer(self):
        own, others = run_memory.small()
        mib = 1 << 20
        said = self.verdicts(row("end", own, others), "rss_end_bytes", glibc=mib, mimalloc=2 * mib,
                             balanced=[mib + (160 << 10), mib + (180 << 10)])
        self.assertEqual(said[0], ("balanced +170 (+160 to +180) KiB of glibc (<= +192 KiB)", MET))
        self.assertRegex(said[1][0], r"of mimalloc \(no figures of jemalloc, tcmalloc\)")
        self.assertEqual(said[1][1], NOT_MEASURED)  # one of them may be leaner
        said = self.verdicts(row("end", own), "rss_end_bytes", glibc=mib,
                             balanced=[mib + (160 << 10), mib + (200 << 10)])
        self.assertEqual(said[0][1], NOT_SETTLED)

    def test_the_best_of_the_peers(self):
        of = row("peak", run_memory.of_peers("balanced", 1.0, "glibc", "mimalloc"))
        said, = self.verdicts(of, "rss_peak_bytes", balanced=100, glibc=90, mimalloc=110)
        self.assertEqual(said, ("balanced 1.111 (1.111-1.111) of glibc (<= 1.0)", MISSED))

    def test_a_share_of_another_profile_s_speed(self):
        of = row("time", *run_memory.THROUGHPUT)
        said = self.verdicts(of, "cpu_ns", lean=100, balanced=92, speed=[88, 95])
        self.assertEqual(said[0], ("lean at 0.920 (0.920-0.920) of balanced (>= 0.9)", MET))
        self.assertEqual(said[1][1], NOT_SETTLED)
        said = self.verdicts(of, "cpu_ns", lean=110, balanced=92, speed=80)
        self.assertEqual([word for _, word in said], [MISSED, MISSED])

    def test_few_rounds_settle_nothing(self):
        of = row("peak", run_memory.at_most("balanced", 10))
        said, = run_memory.verdicts(of, {"balanced": [RECORD] * (ROUNDS - 1)})
        self.assertEqual(said.verdict, NOT_SETTLED)
        self.assertEqual(said.kept["verdict"], said.verdict)

    def test_faults_are_judged_where_there_are_huge_pages(self):
        of = row("faults", run_memory.of_peers("balanced", 0.02, "mimalloc"))
        missed = ("balanced 0.100 (0.100-0.100) of mimalloc (<= 0.02)", MISSED)
        for mode, wanted in (("madvise", missed), ("never", NO_HUGE), (None, NO_HUGE)):
            self.assertEqual(self.verdicts(of, "faults", mode, balanced=100, mimalloc=1000),
                             [wanted])

    def test_a_target_of_its_own_where_there_are_huge_pages(self):
        of = row("time", run_memory.of_peers("balanced", 1.0, "glibc"),
                 run_memory.of_peers("balanced", 0.6, "glibc", huge=True))
        own = ("balanced 0.800 (0.800-0.800) of glibc (<= 1.0)", MET)
        huge = ("balanced 0.800 (0.800-0.800) of glibc (<= 0.6)", MISSED)
        for mode, wanted in (("always", [own, huge]), (None, [own, NO_HUGE])):
            self.assertEqual(self.verdicts(of, "cpu_ns", mode, balanced=80, glibc=100), wanted)

    def test_a_peer_s_figure_of_another_row(self):
        other = row("end")
        of = row("end", run_memory.of_peers("lean", 1.05, "glibc", row=other))
        rows = {other: {name: self.records("rss_end_bytes", mib << 20)
                        for name, mib in (("lean", 29), ("glibc", 30))}}
        for lean, ratio, word in ((31, "1.033", MET), (32, "1.067", MISSED)):
            self.assertEqual(self.verdicts(of, "rss_end_bytes", rows=rows, lean=lean << 20,
                                           glibc=230 << 20),
                             [(f"lean {ratio} ({ratio}-{ratio}) of glibc (<= 1.05)", word)])



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
