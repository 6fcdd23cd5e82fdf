#!/usr/bin/python3
"""analyze_soak.py, analyze_epoch_tail_csv.py and calculate_percentiles.py: their answers to known
soaks, and what they say of files with faults in them."""
import json
import os
import subprocess
import unittest
from unittest import mock

import soak_samples  # first: it adds the folder of the tools
import analyze_soak
import soak_csv
from soak_samples import RECORDED, call, soak_text

EPOCHS = 240  # of 10 s: a settling time and three windows
SETTLED = 60  # the epochs of the settling time


class Drift(soak_samples.ToolTest):
    def verdict(self, text, *words):
        """The status and the JSON of a soak's analysis."""
        path, out = self.write(text), self.folder / "out.json"
        status, _, err = call("analyze_soak.py", path, "--json", out, *words)
        self.assertEqual(err, "")
        return status, json.loads(out.read_text(encoding="utf-8"))

    def test_a_constant_series_meets_the_target(self):
        status, found = self.verdict(soak_text([2000] * EPOCHS))
        self.assertEqual((status, found["met"]), (0, True))
        drift, = found["drift"]
        self.assertEqual(drift["slope_interval_95_kib_per_hour"], [0, 0])
        self.assertEqual(drift["difference_kib"], 0)
        self.assertEqual(found["syscalls_settled"]["total"], 0)

    def test_a_linear_drift_misses_it_by_its_slope_alone(self):
        status, found = self.verdict(soak_text([100000 + index // 10 for index in range(EPOCHS)]))
        drift, = found["drift"]
        self.assertEqual((status, drift["slope_contains_0"]), (1, False))
        self.assertLess(drift["difference_kib"], drift["allowed_kib"])
        self.assertAlmostEqual(drift["slope_kib_per_hour"], 36, delta=1)

    def test_noise_without_a_trend_meets_it(self):
        noise = soak_samples.wandering(EPOCHS, 0.9, seed=2, scale=5)
        status, _ = self.verdict(soak_text([20000 + round(step) for step in noise]))
        self.assertEqual(status, 0)

    def test_a_step_misses_it_by_the_windows(self):
        status, found = self.verdict(soak_text([2000] * 150 + [3000] * (EPOCHS - 150)))
        drift, = found["drift"]
        self.assertEqual((status, drift["difference_kib"]), (1, 1000))

    def test_a_step_while_settling_does_not_count(self):
        status, _ = self.verdict(soak_text([1000] * (SETTLED - 5) + [3000] * (EPOCHS - 55)))
        self.assertEqual(status, 0)

    def test_the_allowance_is_64_kib_or_a_thousandth(self):
        for rss_kib, rise_kib, met in ((2000, 64, True), (2000, 65, False), (200000, 200, True),
                                       (200000, 201, False)):
            text = soak_text([rss_kib] * 150 + [rss_kib + rise_kib] * (EPOCHS - 150))
            drift, = self.verdict(text)[1]["drift"]
            self.assertEqual(drift["difference_kib"] <= drift["allowed_kib"], met, rise_kib)

    def test_a_resumed_run_is_judged_in_parts(self):
        """A leak in each part, which a look at the whole would take for a saw's teeth."""
        lines = soak_text([2000 + index % EPOCHS for index in range(2 * EPOCHS)]).splitlines(True)
        lines.insert(len(lines) - EPOCHS, "# resumed: after 2400 s\n")
        status, found = self.verdict("".join(lines))
        self.assertEqual((status, found["resumed"], len(found["drift"])), (1, 1, 2))
        self.assertFalse(any(drift["met"] for drift in found["drift"]))

    def test_a_process_an_epoch_has_no_parts(self):
        lines = soak_text([2000] * EPOCHS).splitlines(True)
        lines.insert(100, "# resumed: after 950 s\n")
        text = "".join(lines).replace("single_process", "process_an_epoch")
        self.assertEqual(len(self.verdict(text)[1]["drift"]), 1)

    def test_rates_and_counts(self):
        rate = [1e8, 1.2e8] * (EPOCHS // 2)
        text = soak_text([2000] * EPOCHS, ops_per_s=rate, floor_ops_per_s=[5 * r for r in rate],
                         faults=[7] + [0] * (EPOCHS - 1), syscalls=[None] + [2] * (EPOCHS - 1))
        _, found = self.verdict(text)
        self.assertAlmostEqual(found["varying"]["ops_per_s"]["cv_percent"], 9.12, delta=0.05)
        self.assertAlmostEqual(found["varying"]["ops_per_floor_op"]["cv_percent"], 0, places=6)
        self.assertEqual((found["faults"]["total"], found["faults_settled"]["total"]), (7, 0))
        self.assertEqual(found["syscalls"]["per_op"], 2 / 1000)

    def test_uncounted_calls_are_said_to_be(self):
        path = self.write(soak_text([2000] * EPOCHS, syscalls=[None] * EPOCHS))
        self.assertIn("system calls: not counted", call("analyze_soak.py", path)[1])

    def test_too_short_for_a_verdict(self):
        path = self.write(soak_text([2000] * 100))
        self.refuses("too short for a verdict: 1000 s", "analyze_soak.py", path)
        self.refuses("too short for a verdict: 1000 s and 5 epochs", "analyze_soak.py", path,
                     "--settle-seconds", "960")
        self.assertEqual(call("analyze_soak.py", path, "--settle-seconds", "100")[0], 0)

    def test_a_recorded_soak(self):
        status, out, _ = call("analyze_soak.py", RECORDED, "--settle-seconds", "50")
        self.assertEqual(status, 0)
        for line in ("drift from 0 to 200 s: met",
                     "  RSS slope +239.81 KiB an hour, 95 % interval [-247.83, +866.92]: "
                     "contains 0",
                     "  last window's median 1968 KiB, the first's 1960: +8 KiB, allowed 64",
                     "cpu_ns_per_op: median 9.4345, CV 4.18 %",
                     "faults: 17 in 8.18e+09 operations (2.08e-09 an operation), "
                     "after settling 2 (3.16e-10)", "verdict: drift target met"):
            self.assertIn(line + "\n", out)
        self.refuses("too short", "analyze_soak.py", RECORDED)

    def test_the_committed_analysis_is_that_of_the_committed_soak(self):
        results, out = soak_samples.SOURCE / "docs" / "results", self.folder / "out.json"
        self.assertEqual(call("analyze_soak.py", results / "soak.csv", "--json", out)[0], 0)
        self.assertEqual(out.read_text(encoding="utf-8"),
                         (results / "soak.json").read_text(encoding="utf-8"))
        self.assertGreaterEqual(soak_csv.read(results / "soak.csv").rows[-1]["time_s"], 3600)

    def test_a_resumed_run_is_plotted_in_parts(self):
        text = soak_text([2000, 3000, 1000])
        head, last = text.rstrip("\n").rsplit("\n", 1)
        text = f"{head}\n# resumed: after 20.000 s, commit 0123\n{last}\n"
        soak = soak_csv.read(self.write(text))
        axes = mock.Mock()
        axes.plot.return_value = [mock.Mock(get_color=lambda: "blue")]
        analyze_soak.series_plot(axes, analyze_soak.segments_of(soak), lambda row: row["rss_kib"],
                                 "RSS")
        drawn = [(each.args, each.kwargs) for each in axes.plot.call_args_list]
        self.assertEqual(drawn, [
            (([10 / 60, 20 / 60], [2000, 3000]), {"color": None, "label": "RSS", "marker": None}),
            (([0.5], [1000]), {"color": "blue", "label": None, "marker": "."})])

    def test_an_input_is_not_overwritten(self):
        text = soak_text([2000] * EPOCHS)
        path = self.write(text)
        same = self.folder / "." / path.name
        for tool, option in (("analyze_soak.py", "--json"), ("analyze_soak.py", "--plot"),
                             ("analyze_epoch_tail_csv.py", "--json")):
            self.refuses(f"{option} {same}: is the input", tool, path, option, same)
            self.refuses("cannot be written", tool, path, option, self.folder / "none" / "x.png")
        self.assertEqual(path.read_text(encoding="utf-8"), text)

    def test_what_is_refused_leaves_nothing(self):
        path, plot = self.write(soak_text([2000] * 100)), self.folder / "out.png"
        self.refuses("too short", "analyze_soak.py", path, "--plot", plot, "--json",
                     self.folder / "out.json")
        self.assertEqual([each.name for each in self.folder.iterdir()], [path.name])

    def test_plot(self):
        try:
            import matplotlib  # pylint: disable=unused-import
        except ImportError:
            self.skipTest("python3-matplotlib is not installed")
        path, plot = self.write(soak_text([2000] * EPOCHS)), self.folder / "out.png"
        env = {"MPLCONFIGDIR": str(self.folder)}
        self.assertEqual(call("analyze_soak.py", path, "--plot", plot, **env)[0], 0)
        self.assertEqual(plot.read_bytes()[:4], b"\x89PNG")
        self.refuses("out.xyz: Format 'xyz' is not supported", "analyze_soak.py", path, "--plot",
                     self.folder / "out.xyz", **env)


class Faults(soak_samples.ToolTest):
    """A recorded soak, with one fault at a time."""

    def faulty(self, edit):
        lines = RECORDED.read_text(encoding="utf-8").splitlines(True)
        return self.write("".join(edit(lines)))

    def test_each_fault_is_named(self):
        head = next(index for index, line in enumerate(
            RECORDED.read_text(encoding="utf-8").splitlines()) if line.startswith("epoch,"))
        at = head + 5  # 0-based: the epoch 4, in line head + 6

        def put(index, old, new):
            def edit(lines):
                return [*lines[:index], lines[index].replace(old, new, 1), *lines[index + 1:]]
            return edit

        line = rf"soak\.csv, line {at + 1}"
        faults = [
            (lambda lines: [*lines[:at], lines[at][:30] + "\n"], line + ": 7 columns where"),
            (lambda lines: [*lines[:at], lines[at][:-1]], line + ": cut off"),
            (put(head, "rss_kib", "rss"), rf"line {head + 1}: no column rss_kib"),
            (put(head, "peak_kib,", "rss_kib,peak_kib,"), "a column is there twice"),
            (put(at, ",1960,", ",lots,"), line + ", column rss_kib: 'lots' is no number"),
            (put(at, ",1960,", ",-1960,"), line + ", column rss_kib: -1960 is out of range"),
            (put(at, ",1960,", ",,"), line + ", column rss_kib: '' is no number"),
            (put(at, ",0,0,", ",0.5,0,"), line + ", column faults: '0.5' is no number"),
            (lambda lines: [*lines[:at], lines[at - 1], *lines[at:]],
             line + ", column epoch: 3 where 4 is due"),
            (lambda lines: [*lines[:at], *lines[at + 1:]], line + ", column epoch: 5 where 4"),
            (put(at, "4,50.", "4,30."), line + ", column time_s: 30.078 is not after 40.076"),
            (put(at, "4,50.", "4,nan"), line + ", column time_s"),
            (lambda lines: [], "no header line"),
            (lambda lines: lines[:head], "no header line"),
            (put(0, "schema: 1", "schema: 9"), "schema 9, not 1"),
            (lambda lines: lines[1:], "schema unknown, not 1"),
        ]
        for edit, said in faults:
            path = self.faulty(edit)
            for tool in ("analyze_soak.py", "analyze_epoch_tail_csv.py"):
                with self.subTest(tool=tool, said=said):
                    self.refuses(said, tool, path)

    def test_without_rows(self):
        path = self.faulty(lambda lines: lines[:17])
        self.refuses("too short for a verdict: no epoch", "analyze_soak.py", path)
        self.refuses("no epoch in the file", "analyze_epoch_tail_csv.py", path)

    def test_a_number_that_no_float_holds(self):
        def edit(lines):
            return [*lines[:-1], lines[-1].replace(",1968,", f",{'9' * 400},", 1)]
        self.refuses(r"column rss_kib: 9{40} is out of range", "analyze_soak.py",
                     self.faulty(edit))

    def test_line_ends_of_windows_are_none_of_them(self):
        text = RECORDED.read_text(encoding="utf-8").replace("\n", "\r\n")
        words = ("--settle-seconds", "10")
        plain, other = (call("analyze_soak.py", path, *words)[1].split(":", 1)[1]
                        for path in (RECORDED, self.write(text)))
        self.assertEqual(other, plain)

    def test_closed_standard_files(self):
        tool = soak_samples.SCRIPTS / "calculate_percentiles.py"
        for closing, status in (("0<&-", 2), ("1>&-", 0)):
            done = subprocess.run(["/bin/sh", "-c", f'"$0" {closing}', tool], input="1\n",
                                  capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, "Traceback" in done.stderr), (status, False))

    def test_other_bad_input(self):
        for tool in ("analyze_soak.py", "analyze_epoch_tail_csv.py"):
            self.refuses("No such file", tool, self.folder / "none.csv")
            self.refuses("Is a directory", tool, self.folder)
            self.refuses("required: FILE.csv", tool)
            binary = self.folder / "binary"
            binary.write_bytes(b"\xff\xfe\x00\n")
            self.refuses("no text file", tool, binary)
        self.refuses("--settle-seconds", "analyze_soak.py", RECORDED, "--settle-seconds", "0")
        self.refuses("--worst", "analyze_epoch_tail_csv.py", RECORDED, "--worst", "0")
        self.refuses("--by", "analyze_epoch_tail_csv.py", RECORDED, "--by", "rss_kib")


class Tails(soak_samples.ToolTest):
    def test_known_answers(self):
        p99_9 = [100.0] * 101
        p99_9[7], p99_9[50] = 301.0, 900.0
        path, out = self.write(soak_text([2000] * 101, p99_9_ns=p99_9)), self.folder / "out.json"
        status, text, _ = call("analyze_epoch_tail_csv.py", path, "--worst", "2", "--json", out)
        self.assertEqual(status, 0)
        found = json.loads(out.read_text(encoding="utf-8"))
        column = found["columns"]["p99_9_ns"]
        self.assertEqual(column["epochs_above"], [7, 50])
        self.assertEqual(column["percentiles"],
                         {"p50": 100, "p90": 100, "p99": 301, "p100": 900})
        self.assertEqual([row["epoch"] for row in found["worst"]], [50, 7])
        self.assertRegex(text, r"p99_9_ns +100 +100 +301 +900 +2")
        call("analyze_epoch_tail_csv.py", path, "--factor", "4", "--json", out)
        found = json.loads(out.read_text(encoding="utf-8"))
        self.assertEqual(found["columns"]["p99_9_ns"]["epochs_above"], [50])

    def test_the_recorded_soak(self):
        status, text, _ = call("analyze_epoch_tail_csv.py", RECORDED, "--by", "max_ns")
        self.assertEqual(status, 0)
        self.assertIn("worst epochs by max_ns", text)


class Percentiles(soak_samples.ToolTest):
    def test_interpolation(self):
        numbers = "".join(f"{number}\n" for number in (40, 10, 30, 20))
        status, out, _ = call("calculate_percentiles.py", "--percentiles", "0,50,90,100",
                              text=numbers)
        self.assertEqual((status, out), (0, "n 4\np0 10\np50 25\np90 37\np100 40\n"))

    def test_one_value(self):
        self.assertEqual(call("calculate_percentiles.py", "--percentiles", "99", text="7\n")[1],
                         "n 1\np99 7\n")

    def test_a_column(self):
        status, out, _ = call("calculate_percentiles.py", RECORDED, "--column", "epoch",
                              "--percentiles", "50")
        self.assertEqual((status, out), (0, "n 20\np50 9.5\n"))
        path = self.write("a,b\n1,2\n,3\n5,4")
        self.assertEqual(call("calculate_percentiles.py", path, "--column", "a",
                              "--percentiles", "50")[1], "n 2\np50 3\n")

    def test_refusals(self):
        tool = "calculate_percentiles.py"
        self.refuses("stdin, line 2: 'x' is no number", tool, text="1\nx\n")
        self.refuses("stdin: no numbers", tool, text="")
        self.refuses("no column gone; it has epoch", tool, RECORDED, "--column", "gone")
        self.refuses("belong together", tool, RECORDED)
        self.refuses("--percentiles", tool, "--percentiles", "101", text="1\n")
        path = self.write("a,b\n1,2\n3\n")
        self.refuses(r"line 3: 1 columns where", tool, path, "--column", "a")
        self.refuses(r"line 2, column b: 'two'", tool, self.write("a,b\n1,two\n"), "--column", "b")
        self.refuses("no header line", tool, self.write(""), "--column", "b")

    def test_a_reader_that_stops_reading_is_told_by_the_status_alone(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as closed:
            done = subprocess.run([soak_samples.SCRIPTS / "calculate_percentiles.py"], input="1\n",
                                  stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (141, ""))


if __name__ == "__main__":
    unittest.main()
