#!/usr/bin/python3
"""run.py: a short run end to end, its refusals, an interruption and what goes on after it."""
import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import bench_calls
import bench_measure
import bench_workloads
import left_over
import run
from bench_machine import ROOT, BadInput

BUILD = os.environ.get("HAK_BUILD_DIR", str(ROOT / "build"))
SHORT = ["--build", BUILD, "--peers-only", "--rounds", "2", "--seconds", "0.01"]


def call(*words):
    """run.py's exit status, output and error text."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run.run(list(words))
        except BadInput as error:
            status = 2
            err.write(str(error))
    return status, out.getvalue(), err.getvalue()


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Runs(unittest.TestCase):
    def test_a_short_run_has_every_figure(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            status, out, err = call(*SHORT, "--workload", "mixed_400,rss_hello,larson_2", "--json",
                                    path)
            self.assertEqual((status, err), (0, ""))
            record = load(path)
        self.assertIn("machine: ", out)
        self.assertRegex(out, r"3 workloads, \d allocators, 2 rounds: about \d+ s")
        self.assertEqual([r["workload"] for r in record["results"]],
                         ["mixed_400", "rss_hello", "larson_2"])
        self.assertEqual((record["schema"], record["rounds"], record["seconds"],
                          record["complete"]), (1, 2, 0.01, True))
        self.assertRegex(record["date"], r"^\d{4}-\d\d-\d\d$")
        speed, memory, threads = record["results"]
        self.assertEqual(len(speed["allocators"]["glibc"]["figure"]["samples"]), 2)
        self.assertEqual(len(memory["allocators"]["glibc"]["figure"]["samples"]),
                         bench_measure.RSS_ROUNDS_LEAST)
        self.assertIn("floor", speed["allocators"])
        self.assertFalse(speed["verdicts"])
        self.assertGreater(threads["allocators"]["glibc"]["latency"]["calls"], 0)
        text = json.dumps(record)
        self.assertNotIn(os.uname().nodename, text.replace(record["machine"]["cpu"], ""))
        self.assertNotIn(str(pathlib.Path.home()), text)
        self.assertNotIn(BUILD, text)

    def test_system_calls_are_counted(self):
        refusal = bench_calls.refused()
        if refusal:
            self.skipTest(f"no system calls can be counted here: {refusal}")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            status, _, err = call(*SHORT, "--workload", "large,sharing_active", "--json", path)
            self.assertEqual((status, err), (0, ""))
            one, several = load(path)["results"]
        glibc = one["allocators"]["glibc"]
        self.assertGreater(glibc["calls_per_op"], 0)
        self.assertTrue(set(glibc["calls_by_name"]) & {"mmap", "munmap", "brk", "madvise"})
        several = several["allocators"]["glibc"]
        self.assertGreater(several["calls_per_op"], 0)  # the threads' barriers, if nothing else
        self.assertNotIn("sched_yield", several["calls_by_name"])

    def test_refused_strace_is_one_line_and_empty_fields(self):
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch("bench_calls.refused", return_value="ptrace is not permitted"):
            path = os.path.join(folder, "out.json")
            status, out, err = call(*SHORT, "--workload", "trees,syscalls_100m", "--json", path)
            self.assertEqual((status, err), (0, ""))
            timed, counted = load(path)["results"]
        self.assertEqual(out.count("system calls are not counted: ptrace is not permitted\n"), 1)
        self.assertIsNone(timed["allocators"]["glibc"]["calls_per_op"])
        self.assertIsNotNone(timed["allocators"]["glibc"]["latency"])
        self.assertEqual((counted["allocators"], counted["skipped"]),
                         ({}, "system calls are not counted"))

    def test_peers_that_are_not_installed_are_named(self):
        with mock.patch("bench_allocators.LIBRARY_FOLDERS", []), \
                mock.patch("bench_allocators.SCUDO_PATTERN", "/no/such/*"):
            status, out, err = call(*SHORT, "--workload", "rss_hello")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("not installed: mimalloc, jemalloc, tcmalloc, tbbmalloc, scudo\n", out)

    def test_hakmem_is_judged(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            status, out, _ = call("--build", BUILD, "--smoke", "--rounds", "1", "--seconds", "0.01",
                                  "--json", path)
            record = load(path)
        verdicts = [v for r in record["results"] for v in r["verdicts"]]
        self.assertEqual({v["subject"] for v in verdicts}, {"hakmem"})
        missed = [v for v in verdicts if v["verdict"] == "missed"]
        self.assertEqual(status, 1 if missed else 0)
        # A count is one; of what is a median of rounds, one round settles nothing.
        self.assertTrue(all("system calls" in v["target"] for v in missed), missed)
        rounds = [v for v in verdicts if "system calls" not in v["target"]]
        self.assertLessEqual({v["verdict"] for v in rounds}, {"not settled", "not measured"})
        self.assertRegex(out, r"6 workloads, \d allocators, 1 round: about")
        self.assertRegex(out, r"\n\d+ (met|missed|not \w+)(, \d+ (met|missed|not \w+))*\n\Z")
        self.assertIn("geometric mean", out)
        self.assertEqual(len(record["results"]), len(bench_workloads.QUICK))

    def test_markdown(self):
        status, out, _ = call(*SHORT, "--workload", "mixed_400", "--markdown")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"(?m)^\| allocator +\|")

    def test_list_names_every_workload(self):
        status, out, _ = call("--list")
        self.assertEqual(status, 0)
        for workload in bench_workloads.WORKLOADS:
            self.assertRegex(out, rf"(?m)^ +{workload.name} ")

    def test_a_library_that_does_not_take_over_gets_no_number(self):
        with tempfile.TemporaryDirectory() as folder:
            fake = os.path.join(folder, "libfake.so")
            pathlib.Path(fake).write_text("no library", encoding="ascii")
            status, out, err = call(*SHORT, "--workload", "mixed_400", "--peer", f"fake={fake}")
        self.assertEqual(status, 2)
        self.assertIn("fake is not in place", err)
        self.assertNotIn("ns an operation", out)

    def test_bad_input(self):
        for words in (["--workload", "nothing"], ["--rounds", "0"], ["--seconds", "0"],
                      ["--peer", "name"], ["--peer", "x=/no/such.so"], ["--peer", "glibc=/x.so"],
                      ["--unknown"], ["--rounds", "many"], ["--resume"], ["--quick", "--programs"],
                      ["--workload", "trees,trees"], ["--resume", "--json", "/no/such.json"]):
            status, out, err = call(*SHORT, *words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertRegex(err, r"\A[^\n]+\Z")

    def test_what_quick_measures(self):
        options = run.parse_arguments(["--quick", "--build", BUILD])
        self.assertEqual((options.rounds, options.seconds), (5, 2.0))
        self.assertEqual(len(run.choose_workloads(options)), 6)
        with mock.patch("bench_allocators.find_peers",
                        side_effect=lambda more, wanted: [*more, *wanted]):
            subjects, peers, wanted = run.choose_allocators(options)
        self.assertEqual([subject.name for subject in subjects], ["hakmem"])
        self.assertEqual((len(set(peers)), peers), (4, list(wanted)))

    def test_a_file_that_cannot_be_written_is_told_before_measuring(self):
        for path in ("/no/such/folder/x.json", "/tmp"):
            with mock.patch("run.measure_all", side_effect=AssertionError("it measures")):
                status, out, err = call(*SHORT, "--workload", "trees", "--json", path)
            self.assertEqual((status, out), (2, ""))
            self.assertEqual(err, f"--json {path}: cannot be written")

    def test_a_program_that_is_not_built_is_named(self):
        status, out, err = call("--build", "/no/such/folder", "--peers-only", "--workload", "trees")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("build the target bench_trees", err)


class Interruptions(unittest.TestCase):
    names = ["batch_1000_fwd", "rss_hello", "trees"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "out.json")
        left_over.adopt()

    def command(self, *words):
        return [sys.executable, str(ROOT / "bench" / "run.py"), *SHORT, "--workload",
                ",".join(self.names), "--json", self.path, "--progress", *words]

    def interrupt(self, number, *words):
        """Ends a run by a signal as soon as its second workload begins."""
        with subprocess.Popen(self.command(*words), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as driver:
            for line in driver.stderr:
                if line.startswith(self.names[1]):
                    break
            driver.send_signal(number)
            _, err = driver.communicate(timeout=60)
        self.assertLessEqual(left_over.endings(), {-signal.SIGKILL})
        self.assertEqual(driver.returncode, 128 + number)
        self.assertRegex(err, r"\Abench/run\.py: \w+, 1 of 3 workloads finished in [^\n]+\n\Z")

    def test_finished_workloads_are_kept_and_the_rest_follows(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.interrupt(number)
            before = load(self.path)
            self.assertEqual([r["workload"] for r in before["results"]], self.names[:1])
            self.assertFalse(before["complete"])
            done = subprocess.run(self.command("--resume"), capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn(self.names[0], done.stderr)  # not measured again, but shown
            self.assertIn(self.names[0], done.stdout)
            after = load(self.path)
            self.assertEqual([r["workload"] for r in after["results"]], self.names)
            self.assertEqual(after["results"][0], before["results"][0])
            self.assertTrue(after["complete"])

    def test_other_arguments_do_not_go_on(self):
        self.interrupt(signal.SIGINT)
        before = load(self.path)
        done = subprocess.run(self.command("--resume", "--rounds", "3"), capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"\Abench/run\.py: [^\n]*rounds 2, now 3\n\Z")
        self.assertEqual(load(self.path), before)


if __name__ == "__main__":
    unittest.main()
