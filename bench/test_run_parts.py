#!/usr/bin/python3
"""The parts of run.py by themselves: proofs that an allocator is in place, counted system calls,
verdicts and noise, the table, the state file, the time left."""
import contextlib
import io
import json
import os
import pathlib
import tempfile
import types
import unittest
from unittest import mock

import bench_allocators
import bench_calls
import bench_evaluate
import bench_measure
import bench_output
import bench_state
import bench_workloads
import run_targets
from bench_limits import MEAN_LIMIT, MEAN_PEER, ROUNDS_LEAST
from bench_machine import ROOT, BadInput, RunFailed


class Reports(unittest.TestCase):
    allocator = bench_allocators.Allocator("hakmem", "/x/libhakmem.so", "libhakmem.so")

    def check(self, text, program=""):
        with tempfile.NamedTemporaryFile("w", suffix=".report") as file:
            file.write(text)
            file.flush()
            bench_allocators.report_check(self.allocator, file.name, program)

    def test_objects_prove_it(self):
        self.check('{"pid":1,"objects":0}\n{"pid":2,"objects":3}\n')

    def test_nothing_else_does(self):
        for text in ("", '{"pid":1,"objects":0}\n', '{"pid":1}\n', "garbage\n"):
            with self.assertRaises(BadInput):
                self.check(text)
        with self.assertRaises(BadInput):
            bench_allocators.report_check(self.allocator, "/no/such/report")

    def test_objects_of_another_program_do_not(self):
        text = '{"program":"gcc","objects":5}\n{"program":"cc1","objects":0}\n'
        self.check(text, "gcc")
        with self.assertRaises(BadInput):
            self.check(text, "cc1")


class Bindings(unittest.TestCase):
    """What the dynamic linker says of a process, as LD_DEBUG=bindings prints it."""
    allocator = bench_allocators.Allocator("fast", "/x/libfast.so", "libfast.so")
    line = "      7:\tbinding file {} [0] to {} [0]: normal symbol `{}' [GLIBC_2.2.5]\n"

    def bound(self, *bindings):
        return "".join(self.line.format(*binding) for binding in bindings)

    def check(self, *texts):
        with tempfile.TemporaryDirectory() as folder:
            for number, text in enumerate(texts):
                pathlib.Path(folder, f"proof.{number}").write_text(text, encoding="ascii")
            bench_allocators.bindings_check(self.allocator, f"{folder}/proof", "prog")
            self.assertEqual(os.listdir(folder), [])

    def test_all_calls_go_to_the_allocator(self):
        self.check(self.bound(("/lib/libc.so.6", "/x/libfast.so", "malloc"),
                              ("/bin/prog", "/x/libfast.so", "free"),
                              ("/bin/prog", "/lib/libc.so.6", "puts"),
                              ("/lib/libc.so.6", "/bin/prog", "free"),  # its stub for the address
                              ("/x/libfast.so", "/lib/libc.so.6", "free")))

    def test_one_that_does_not_is_named(self):
        for other in ("malloc", "realloc", "free"):
            with self.assertRaisesRegex(RunFailed, "libc.so.6 and libfast.so, not on libfast.so"):
                self.check(self.bound(("/bin/prog", "/x/libfast.so", "malloc"),
                                      ("/bin/prog", "/lib/libc.so.6", other)))

    def test_only_the_program_counts(self):
        other = self.bound(("/bin/sh", "/lib/libc.so.6", "malloc"))
        self.check(other, self.bound(("prog", "/x/libfast.so", "malloc")))
        with self.assertRaisesRegex(RunFailed, "no allocator that the linker knows"):
            self.check(other)


class CallCounts(unittest.TestCase):
    trace = """7 brk(NULL) = 0x1
7 prctl(0x48414b /* PR_??? */, 0x1, 0, 0, 0) = -1 EINVAL (Invalid argument)
7 madvise(0x1, 4096, MADV_DONTNEED) = 0
7 mmap(NULL, 4096 <unfinished ...>
8 madvise(0x2, 4096, MADV_DONTNEED) = 0
7 <... mmap resumed>) = 0x3
7 --- SIGCHLD {si_signo=SIGCHLD} ---
7 prctl(0x48414b /* PR_??? */, 0x2, 0, 0, 0) = -1 EINVAL (Invalid argument)
7 exit_group(0) = ?
7 +++ exited with 0 +++
"""

    def test_only_calls_between_the_markers(self):
        self.assertEqual(dict(bench_calls.count_calls(self.trace)), {"madvise": 2, "mmap": 1})

    def test_a_lost_marker_is_no_count(self):
        for trace in ("", "7 brk(NULL) = 0x1\n", self.trace[:200]):
            with self.assertRaises(RunFailed):
                bench_calls.count_calls(trace)


def evaluated(hakmem_ns, calls=0, failures=(), rounds=ROUNDS_LEAST):
    """A workload in which every peer takes 100 ns, but for those that failed."""
    record = {"ops": 10, "cpu_ns": 1000, "wall_ns": 1000, "rss_end_bytes": 1, "rss_peak_bytes": 1,
              "faults": 0}
    peers = [peer for peer in bench_allocators.TARGET_PEERS if peer not in failures]
    records = {name: [record] * rounds for name in peers}
    records["hakmem"] = [{**record, "cpu_ns": 10 * hakmem_ns}] * rounds
    extras = {"hakmem": {"latency": {"p99_ns": 1}, "calls": {
        "calls": calls, "ops": 8_000_000, "calls_by_name": {"madvise": calls}}}}
    measured = bench_measure.Measured(records, {name: "failed" for name in failures}, extras)
    return bench_evaluate.evaluate(bench_workloads.BY_NAME["mixed_400"], measured, ["hakmem"],
                                   bench_allocators.TARGET_PEERS)


class Verdicts(unittest.TestCase):
    def test_met_and_missed(self):
        self.assertEqual([v["verdict"] for v in evaluated(102, 1)["verdicts"]], ["met"] * 3)
        self.assertEqual([v["verdict"] for v in evaluated(103, 2)["verdicts"]],
                         ["missed", "met", "missed"])

    def test_few_rounds_settle_counts_alone(self):
        self.assertEqual([v["verdict"] for v in evaluated(103, 2, rounds=1)["verdicts"]],
                         ["not settled", "not settled", "missed"])

    def test_a_peer_that_failed_is_not_the_best(self):
        self.assertEqual(evaluated(90, failures=["scudo"])["verdicts"][0]["verdict"], "met")

    def test_ratios_are_the_subjects(self):
        result = evaluated(50)
        self.assertEqual(result["allocators"]["glibc"]["subject_ratio"]["ratio_median"], 0.5)
        self.assertNotIn("subject_ratio", result["allocators"]["hakmem"])

    def test_extra_runs_are_kept(self):
        ours = evaluated(50, 4)["allocators"]["hakmem"]
        self.assertEqual((ours["calls_per_op"], ours["calls_by_name"], ours["latency"]),
                         (5e-7, {"madvise": 4}, {"p99_ns": 1}))
        theirs = evaluated(50)["allocators"]["glibc"]
        self.assertEqual((theirs["calls_per_op"], theirs["latency"]), (None, None))

    def test_noise_is_told(self):
        floor = {"floor": {"figure": {"cv_percent": 1.4}}}
        seen = bench_evaluate.noise_seen
        mixed = bench_workloads.BY_NAME["mixed_400"]
        self.assertIn("1.4 %", seen(mixed, floor, {}))
        floor["floor"]["figure"]["cv_percent"] = 1.3
        self.assertIsNone(seen(mixed, floor, {}))
        threads = bench_workloads.BY_NAME["larson_2"]
        rows = {"a": [{"cpu_ns": 12, "wall_ns": 10}], "b": [{"cpu_ns": 17, "wall_ns": 10}]}
        self.assertIn("1.7 cores", seen(threads, {}, rows))
        rows["b"][0]["cpu_ns"] = 19
        self.assertIsNone(seen(threads, {}, rows))

    def test_together_takes_timed_rows_only(self):
        results = [evaluated(50), {**evaluated(50), "metric": "program"}, evaluated(200)]
        got = bench_evaluate.together(results, ["hakmem", "hakmem-minimal"], "mimalloc")
        self.assertEqual(list(got), ["hakmem"])
        self.assertEqual((got["hakmem"]["workloads"], got["hakmem"]["rounds"]), (2, ROUNDS_LEAST))
        self.assertAlmostEqual(got["hakmem"]["ratio"], 1.0)


class Rounds(unittest.TestCase):
    allocators = [bench_allocators.Allocator(name, None, "system") for name in "ABC"]

    def rounds(self, count, fails_at=()):
        """(the calls, records, failures) of run_rounds with a benchmark that fails in these of its
        calls, counted by allocator and from 0. A record is the number of the call."""
        calls = []

        def once(allocator, check):
            number = sum(name == allocator.name for name, _ in calls)
            calls.append((allocator.name, check))
            if (allocator.name, number) in fails_at:
                raise RunFailed(f"call {number} failed")
            return number
        got = bench_measure.run_rounds(once, None, self.allocators, count, lambda *_: None)
        return calls, *got

    def test_turn_by_turn_and_the_first_round_is_a_checked_warm_up(self):
        calls, records, failures = self.rounds(2)
        self.assertEqual(calls, [(name, True) for name in "ABC"]
                         + [(name, False) for name in "ABCABC"])
        self.assertEqual((records, failures), ({name: [1, 2] for name in "ABC"}, {}))

    def test_an_allocator_that_fails_leaves(self):
        calls, records, failures = self.rounds(3, [("A", 0), ("C", 2)])
        self.assertEqual("".join(name for name, _ in calls), "ABC" "BC" "BC" "B")
        self.assertEqual(records, {"B": [1, 2, 3]})  # nor is what it did before of use
        self.assertEqual(failures, {"A": "call 0 failed", "C": "call 2 failed"})

    def test_where_it_stands_is_told(self):
        told = []
        bench_measure.run_rounds(lambda *_: 0, None, self.allocators, 3,
                                 lambda *what: told.append(what))
        self.assertEqual(told, [("warm-up", 0), ("round 1 of 3", 0.25), ("round 2 of 3", 0.5),
                                ("round 3 of 3", 0.75)])


class Table(unittest.TestCase):
    def test_every_workload_has_a_target(self):
        for workload in bench_workloads.WORKLOADS:
            self.assertTrue(workload.targets, workload.name)
        self.assertEqual(len(bench_workloads.BY_NAME), len(bench_workloads.WORKLOADS))

    def test_the_peak_is_held_to_wherever_memory_compares(self):
        """The scorecard judges the same rows."""
        held = {workload.name for workload in bench_workloads.WORKLOADS
                if bench_workloads.PEAK_TAX in workload.targets}
        self.assertEqual(set(bench_workloads.BY_NAME) - held, {"syscalls_100m"})
        record = {"ops": 12, "cpu_ns": 1, "wall_ns": 1, "rss_end_bytes": 4096, "faults": 0}
        records = {name: [{**record, "rss_peak_bytes": peak}] * ROUNDS_LEAST for name, peak in
                   (("hakmem", 2 << 20), ("glibc", 1 << 20))}
        result = bench_evaluate.evaluate(bench_workloads.BY_NAME["rss_hello"],
                                         bench_measure.Measured(records, {}, {}), ["hakmem"],
                                         ["glibc"])
        self.assertEqual([(v["measured"], v["verdict"]) for v in result["verdicts"]
                          if v["target"].startswith("peak RSS")],
                         [("2.00 x glibc's, +1024 KiB", "missed")])

    def test_random_mixed_is_warm_when_the_clock_starts(self):
        source = (ROOT / "bench" / "bench_random_mixed.c").read_text(encoding="utf-8")
        self.assertIn('bench_env_number("HAKMEM_BENCH_PREFAULT", cycles / 10)', source)
        rows = [workload.args for workload in bench_workloads.WORKLOADS
                if workload.program == "bench_random_mixed" and workload.args]
        self.assertTrue(rows)
        for cycles, *_ in [*rows, bench_workloads.mixed(400)]:
            self.assertEqual(int(cycles) // 10, 2_000_000)

    def test_the_document_has_every_target(self):
        """bench/README.md: a table with a line a bound, in the words that run.py prints."""
        text = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
        told = {line.split("|")[1].strip(" `") for line in text.splitlines()
                if line.startswith("| `")}
        bounds = {target.bound({}, "hakmem", bench_allocators.TARGET_PEERS)["target"]
                  for workload in bench_workloads.WORKLOADS for target in workload.targets}
        bounds.add(run_targets.together(MEAN_PEER, MEAN_LIMIT, {
            "ratio": 1, "ratio_interval_95": [1, 1], "workloads": 1, "rounds": 1})["target"])
        self.assertEqual(bounds - told, set())

    def test_a_full_run_fits_ninety_minutes(self):
        options = types.SimpleNamespace(rounds=19, seconds=0.25)
        allocators = [*bench_allocators.SUBJECTS, *bench_allocators.TARGET_PEERS]
        seconds = sum(bench_measure.estimate_seconds(workload, allocators, options)
                      for workload in bench_workloads.WORKLOADS)
        self.assertLess(seconds, 90 * 60)


class State(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "state.json")
        self.head = {"schema": 1, "rounds": 3, "seconds": 0.1, "workloads": ["a", "b"],
                     "machine": {"commit": "c0", "cpu": "x", "load_1min": 0.5},
                     "libraries": {"glibc": "system"}, "results": []}

    def test_numbers_stay_in_one_line(self):
        record = {"samples": [1.5, -2e-07, 3], "names": ["a", "b"], "none": [],
                  "buckets": [[10, 4], [12, 1]], "deep": [{"interval": [1, 2]}], "one": [[1]]}
        bench_state.write(self.path, record)
        text = pathlib.Path(self.path).read_text(encoding="utf-8")
        self.assertEqual(json.loads(text), record)
        for line in ('"samples": [1.5, -2e-07, 3]', '"buckets": [[10, 4], [12, 1]]',
                     '"interval": [1, 2]'):
            self.assertIn(line, text)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["state.json"])

    def test_the_same_run_goes_on(self):
        bench_state.write(self.path, {**self.head, "results": [{"workload": "a"}]})
        self.head["machine"]["load_1min"] = 3.0
        self.assertEqual(bench_state.resume(self.path, self.head), [{"workload": "a"}])

    def test_another_run_does_not(self):
        bench_state.write(self.path, self.head)
        for change in ({"rounds": 4}, {"seconds": 0.2}, {"workloads": ["a"]},
                       {"machine": {"commit": "c1", "cpu": "x"}},
                       {"machine": {"commit": "c0", "cpu": "y"}},
                       {"libraries": {"glibc": "system", "scudo": "00"}}):
            with self.assertRaisesRegex(BadInput, "another run"):
                bench_state.resume(self.path, {**self.head, **change})

    def test_another_glibc_does_not_go_on(self):
        def of(**versions):
            return {**self.head, "machine": {"commit": "c0", "cpu": "x", "versions": versions}}
        bench_state.write(self.path, of(glibc="2.36"))
        self.assertEqual(bench_state.resume(self.path, of(glibc="2.36")), [])
        with self.assertRaisesRegex(BadInput, r"of another run: glibc 2\.36, now 2\.41\Z"):
            bench_state.resume(self.path, of(glibc="2.41"))
        with self.assertRaisesRegex(BadInput, "scudo not told, now 1:19"):
            bench_state.resume(self.path, of(glibc="2.36", scudo="1:19"))

    def test_versions_are_those_of_the_packages(self):
        with tempfile.TemporaryDirectory() as folder:
            query = pathlib.Path(folder, "dpkg-query")
            query.write_text("""#!/bin/sh
case "$1 $2" in
"-S /usr/lib/libfast.so.2.1") echo "diversion by fast from: /usr/lib/libfast.so.2.1"
  echo "libfast2:any, libfast2-dbg: /usr/lib/libfast.so.2.1" ;;
"-W -f") [ "$3 $4" = '${Version} libfast2:any' ] && printf 2.1-3 ;;
*) echo "no path found" >&2; exit 1 ;;
esac
""", encoding="ascii")
            query.chmod(0o755)
            allocators = [bench_allocators.SYSTEM,
                          bench_allocators.Allocator("fast", "/usr/lib/libfast.so.2.1", "x"),
                          bench_allocators.Allocator("own", "/opt/libown.so", "x")]
            with mock.patch.dict(os.environ, PATH=folder), \
                    mock.patch("os.confstr", return_value="glibc 2.41"):
                self.assertEqual(bench_state.library_versions(allocators),
                                 {"glibc": "2.41", "fast": "2.1-3"})
            with mock.patch.dict(os.environ, PATH="/no/such/folder"):
                self.assertNotIn("fast", bench_state.library_versions(allocators))

    def test_a_file_that_is_none(self):
        with self.assertRaises(BadInput):
            bench_state.resume(self.path, self.head)
        for text in ("", "{", "[]", '{"schema": 1}'):
            pathlib.Path(self.path).write_text(text, encoding="ascii")
            with self.assertRaises(BadInput):
                bench_state.resume(self.path, self.head)


class TimeLeft(unittest.TestCase):
    def progress(self, asked):
        shown = bench_output.Progress({"a": 10.0, "b": 30.0}, asked)
        shown.begin -= 20  # as if the first had taken 20 s instead of 10
        shown.workload_begin("a")
        shown.workload_end()
        shown.workload_begin("b")
        shown.note("round 1", 0.5)

    def test_the_estimate_learns(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.progress(True)
        self.assertEqual(err.getvalue(), "a: 20 s gone, about 40 s left\n"
                                         "b: 20 s gone, about 60 s left\n")

    def test_nothing_unasked(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.progress(False)
        self.assertEqual(err.getvalue(), "")

    def test_a_terminal_has_one_line(self):
        class Terminal(io.StringIO):
            def isatty(self):
                return True
        err = Terminal()
        with contextlib.redirect_stderr(err):
            self.progress(False)
        self.assertNotIn("\n", err.getvalue())
        self.assertIn("b: round 1, 20 s gone, about 12 s left", err.getvalue())


if __name__ == "__main__":
    unittest.main()
