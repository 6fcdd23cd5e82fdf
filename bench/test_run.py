#!/usr/bin/python3
"""run.py: a short run end to end, its refusals, the reading of strace's output."""
import contextlib
import io
import json
import os
import pathlib
import tempfile
import unittest

import run

BUILD = os.environ.get("HAK_BUILD_DIR", str(run.ROOT / "build"))
SHORT = ["--build", BUILD, "--peers-only", "--rounds", "2", "--seconds", "0.01"]


def call(*words):
    """run.py's exit status, output and error text."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run.run(list(words))
        except run.BadInput as error:
            status = 2
            err.write(str(error))
    return status, out.getvalue(), err.getvalue()


class Runs(unittest.TestCase):
    def test_a_short_run_has_every_figure(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            status, out, err = call(*SHORT, "--workload", "mixed_400,rss_hello,larson_2", "--json",
                                    path)
            self.assertEqual((status, err), (0, ""))
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        self.assertIn("machine: ", out)
        self.assertEqual([r["workload"] for r in record["results"]],
                         ["mixed_400", "rss_hello", "larson_2"])
        speed, memory, _ = record["results"]
        self.assertEqual(len(speed["allocators"]["glibc"]["figure"]["samples"]), 2)
        self.assertEqual(len(memory["allocators"]["glibc"]["figure"]["samples"]),
                         run.RSS_ROUNDS_LEAST)
        self.assertIn("floor", speed["allocators"])
        self.assertFalse(speed["verdicts"])
        about = json.dumps(record["machine"])
        self.assertNotIn(os.uname().nodename, about.replace(record["machine"]["cpu"], ""))
        self.assertNotIn(str(pathlib.Path.home()), about)

    def test_markdown(self):
        status, out, _ = call(*SHORT, "--workload", "mixed_400", "--markdown")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"(?m)^\| allocator +\|")

    def test_list_names_every_workload(self):
        status, out, _ = call("--list")
        self.assertEqual(status, 0)
        for workload in run.WORKLOADS:
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
                      ["--unknown"], ["--rounds", "many"]):
            status, out, err = call(*SHORT, *words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertRegex(err, r"\A[^\n]+\Z")
        status, _, err = call("--build", "/no/such/folder", "--peers-only")
        self.assertEqual(status, 2)
        self.assertIn("is missing", err)


class Reports(unittest.TestCase):
    allocator = run.Allocator("hakmem", "/x/libhakmem.so", "libhakmem.so")

    def check(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".report") as file:
            file.write(text)
            file.flush()
            run.report_check(self.allocator, file.name)

    def test_objects_prove_it(self):
        self.check('{"pid":1,"objects":0}\n{"pid":2,"objects":3}\n')

    def test_nothing_else_does(self):
        for text in ("", '{"pid":1,"objects":0}\n', '{"pid":1}\n', "garbage\n"):
            with self.assertRaises(run.BadInput):
                self.check(text)
        with self.assertRaises(run.BadInput):
            run.report_check(self.allocator, "/no/such/report")


class Verdicts(unittest.TestCase):
    @staticmethod
    def evaluated(hakmem_ns):
        record = {"ops": 10, "cpu_ns": 0, "wall_ns": 10, "rss_end_bytes": 1, "rss_peak_bytes": 1,
                  "faults": 0}
        records = {name: [{**record, "cpu_ns": 100}] for name in run.TARGET_PEERS}
        records["hakmem"] = [{**record, "cpu_ns": hakmem_ns}]
        return run.evaluate(run.WORKLOADS[0], records, {}, ["hakmem"])

    def test_met_and_missed(self):
        self.assertEqual([v["met"] for v in self.evaluated(100)["verdicts"]], [True])
        self.assertEqual([v["met"] for v in self.evaluated(101)["verdicts"]], [False])

    def test_ratios_are_the_subjects(self):
        result = self.evaluated(50)
        self.assertEqual(result["allocators"]["glibc"]["subject_ratio"]["ratio_median"], 0.5)
        self.assertNotIn("subject_ratio", result["allocators"]["hakmem"])

    def test_noise_is_told(self):
        floor = {"floor": {"figure": {"spread_percent": 1.4}}}
        self.assertIn("1.4 %", run.noise_seen(run.WORKLOADS[0], floor, {}))
        floor["floor"]["figure"]["spread_percent"] = 1.2
        self.assertIsNone(run.noise_seen(run.WORKLOADS[0], floor, {}))
        threads = next(w for w in run.WORKLOADS if w.metric == "wall")
        rows = {"a": [{"cpu_ns": 12, "wall_ns": 10}], "b": [{"cpu_ns": 17, "wall_ns": 10}]}
        self.assertIn("1.7 cores", run.noise_seen(threads, {}, rows))
        rows["b"][0]["cpu_ns"] = 19
        self.assertIsNone(run.noise_seen(threads, {}, rows))

    def test_every_workload_has_a_target(self):
        for workload in run.WORKLOADS:
            self.assertTrue(workload.targets, workload.name)
        self.assertEqual(len({w.name for w in run.WORKLOADS}), len(run.WORKLOADS))


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
        self.assertEqual(dict(run.count_calls(self.trace)), {"madvise": 2, "mmap": 1})

    def test_a_lost_marker_is_no_count(self):
        for trace in ("", "7 brk(NULL) = 0x1\n", self.trace[:200]):
            with self.assertRaises(run.RunFailed):
                run.count_calls(trace)


if __name__ == "__main__":
    unittest.main()
