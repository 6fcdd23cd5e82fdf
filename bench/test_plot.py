#!/usr/bin/python3
"""plot.py: what it reads, on known answers; that each picture is one; its refusals."""
import contextlib
import copy
import importlib.util
import io
import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

import plot
import plot_data
from bench_machine import BadInput

MIB = 2**20
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


def result(name, metric, figures, buckets=None):
    """A result of run.py: figures are (samples, peak MiB) by allocator."""
    allocators = {who: {"figure": {"samples": samples}, "rss_peak_bytes": peak * MIB}
                  for who, (samples, peak) in figures.items()}
    for who, rows in (buckets or {}).items():
        allocators[who]["latency"] = {"buckets": rows}
    return {"workload": name, "what": "a test", "metric": metric, "allocators": allocators}


RESULTS = [
    result("one", "cpu", {"hakmem": ([10, 20, 30], 2), "glibc": ([40, 40, 40], 1),
                          "floor": ([5, 5, 5], 1)},
           {"hakmem": [[10, 90], [20, 9], [1000, 1]], "glibc": [[40, 100]]}),
    result("two", "wall", {"hakmem": ([10, 10], 2), "glibc": ([5, 5], 4)}),
    result("rss", "rss", {"hakmem": ([7, 7], 2), "glibc": ([7, 7], 4)}),
    result("prog", "program", {"hakmem": ([0.5], 30), "glibc": ([1.0], 20)}),
]


class Pictures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.results = self.file("results.json", json.dumps({"schema": 1, "results": RESULTS}))
        self.soak = self.file("soak.csv", "# a: b\nepoch,time_s,rss_kib\n0,10.0,2048\n"
                                          "1,20.5,1024\n")
        self.replay = self.file("replay.json",
                                json.dumps({"rss_samples": [[0, MIB], [9, 3 * MIB]]}))

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        pathlib.Path(path).write_text(text, encoding="utf-8")
        return path

    def call(self, *words, out="out.png"):
        err = io.StringIO()
        path = os.path.join(self.folder, out)
        with contextlib.redirect_stderr(err):
            status = plot.main([*words, "--out", path])
        return status, err.getvalue(), path


class Data(Pictures):
    def test_points(self):
        ours, theirs = plot_data.points_of(RESULTS[0])  # the floor is no allocator
        self.assertEqual((ours.name, ours.speed, ours.peak), ("hakmem", 5e7, 2))
        self.assertEqual((ours.speed_low, ours.speed_high), (1e9 / 30, 1e8))
        self.assertEqual((theirs.speed, theirs.speed_low, theirs.peak), (2.5e7, 2.5e7, 1))
        self.assertEqual([p.speed for p in plot_data.points_of(RESULTS[3])], [2.0, 1.0])

    def test_all_timed_workloads_together(self):
        points, count = plot_data.together_of(plot_data.read_results(self.results))
        self.assertEqual(count, 2)
        ours, theirs = points
        self.assertAlmostEqual(ours.speed, 1.0)  # 2 x and 1/2 x
        self.assertAlmostEqual(ours.peak, 1.0)
        self.assertAlmostEqual(theirs.speed, 1.0)

    def test_a_workload_that_one_failed_is_left_out_for_all(self):
        results = {r["workload"]: r for r in RESULTS}
        results["three"] = result("three", "cpu", {"hakmem": ([1], 1)})
        self.assertEqual(plot_data.together_of(results)[1], 2)
        del results["one"], results["two"]
        with self.assertRaises(BadInput):
            plot_data.together_of(results)

    def test_distribution(self):
        x, y = plot_data.distribution_of([[10, 90], [20, 9], [1000, 1]])
        self.assertEqual(x, [10, 20, 1000])
        self.assertEqual(y, [0.1, 0.01, 0.0])

    def test_memory(self):
        self.assertEqual(plot_data.soak_curve(self.soak, "x"), ("x", [10.0, 20.5], [2.0, 1.0], [0]))
        self.assertEqual(plot_data.replay_curve(self.replay, "x"),
                         ("x", [0.0, 9.0], [1.0, 3.0], [0]))

    def starts(self, *lines):
        text = "\n".join(["# mode: single_process", "epoch,time_s,rss_kib", *lines, ""])
        return plot_data.soak_curve(self.file("starts.csv", text), "x").starts

    def test_a_resumed_process_is_a_line_of_its_own(self):
        mark = "# resumed: after 2.000 s, commit 0123, 2030-01-01T00:00:00Z"
        self.assertEqual(self.starts("0,1,5", "1,2,5", mark, "2,3,5", "3,4,5", mark, mark, "4,5,5"),
                         [0, 2, 4])
        self.assertEqual(self.starts(mark, "0,1,5", "1,2,5", mark), [0])
        self.assertEqual(self.starts("0,1,5", "# note: none", "1,2,5"), [0])

    def test_a_process_an_epoch_is_one_line(self):
        self.assertEqual(self.starts("# mode: process_an_epoch", "0,1,5", "# resumed: x", "1,2,5"),
                         [0])

    def test_time_that_goes_back_is_another_run(self):
        self.assertEqual(self.starts("0,1,5", "1,2,5", "0,1,5", "1,2,5"), [0, 2])

    def test_names_of_numbers(self):
        self.assertEqual([plot.thousands(n) for n in (0, 1.5, 2000, 3.25e7, 4e9)],
                         ["0", "1.5", "2 k", "32.5 M", "4 G"])
        self.assertEqual([plot.nanoseconds(n) for n in (64, 1000, 2.5e6, 1e9)],
                         ["64 ns", "1 µs", "2.5 ms", "1 s"])


@unittest.skipUnless(HAS_MATPLOTLIB, "python3-matplotlib is not installed")
class Drawn(Pictures):
    def drawn(self, *words, out="out.png"):
        status, err, path = self.call(*words, out=out)
        self.assertEqual((status, err), (0, ""), words)
        with open(path, "rb") as file:
            return file.read()

    def test_each_kind(self):
        for words in (["throughput", self.results], ["throughput", self.results, "--each"],
                      ["throughput", self.results, "--workload", "one"],
                      ["throughput", self.results, "--workload", "prog"],
                      ["latency", self.results, "--workload", "one"],
                      ["rss", self.soak, f"glibc={self.soak}"], ["rss", self.replay]):
            picture = self.drawn(*words)
            self.assertEqual(picture[:8], b"\x89PNG\r\n\x1a\n", words)
            self.assertGreater(len(picture), 10_000, words)

    def test_a_line_is_broken_where_the_process_changes(self):
        text = "epoch,time_s,rss_kib\n0,1,1024\n1,2,2048\n# resumed: x\n2,3,1024\n"
        drawn = []
        with mock.patch("plot.save", side_effect=lambda figure, path: drawn.append(figure)):
            self.assertEqual(self.call("rss", self.file("hakmem.csv", text))[:2], (0, ""))
        lines = drawn[0].axes[0].lines
        self.assertEqual([list(line.get_xydata().flat) for line in lines], [[1, 1, 2, 2], [3, 1]])
        self.assertEqual(len({line.get_color() for line in lines}), 1)
        self.assertEqual([line.get_marker() for line in lines], ["None", "."])

    def test_an_svg_holds_the_names_and_repeats(self):
        picture = self.drawn("latency", self.results, "--workload", "one", out="a.svg")
        self.assertIn(b"<!-- hakmem -->", picture)
        self.assertIn(b"<!-- 99 % -->", picture)
        self.assertEqual(picture, self.drawn("latency", self.results, "--workload", "one",
                                             out="b.svg"))


def memory_rows(scale=1):
    """Of run_memory.py: random mixed at 400 slots, a skipped row, a real program."""
    def row(name, value, balanced, glibc, program="bench_x"):
        return {"row": name, "program": program, "value": value,
                "samples": {"balanced": [figure * scale for figure in balanced], "glibc": glibc}}
    return [row("400 slots, 2 M operations", "end", [2, 3, 4], [1, 1, 1]),
            row("random mixed, 400 slots", "time", [10, 10, 10], [20, 20, 20]),
            row("one block to 1 GiB by realloc, time", "time", [7], [7]),
            row("lua, peak", "peak", [6, 6, 6], [4, 4, 4], "prog_lua"),
            row("lua, time", "seconds", [1, 1, 1], [2, 2, 2], "prog_lua"),
            {"row": "ruby, peak", "skipped": "not there"}]


class Profiles(Pictures):
    def memory(self, rows, name=None, smoke=False):
        name = name or f"memory{len(os.listdir(self.folder))}.json"
        return self.file(name, json.dumps({"machine": {}, "smoke": smoke, "rows": rows}))

    def test_points(self):
        mixed, programs = plot_data.profile_panels(self.memory(memory_rows()))
        self.assertEqual(mixed.title, "random mixed, 400 slots")
        self.assertEqual(mixed.points, [plot_data.Point("balanced", 1e8, 1e8, 1e8, 3),
                                        plot_data.Point("glibc", 5e7, 5e7, 5e7, 1)])
        self.assertEqual(programs.title, "1 real program")
        self.assertEqual([(p.name, p.speed, p.peak) for p in programs.points],
                         [("balanced", 2.0, 1.5), ("glibc", 1.0, 1.0)])

    def test_the_rows_are_those_of_the_driver(self):
        import run_memory
        names = {row.name for row in run_memory.ROWS}
        for panel in (*plot_data.MIXED_PANELS, plot_data.SHRINKS):
            self.assertLessEqual({panel.time, panel.size}, names)

    def test_drawn_and_checked(self):
        if not HAS_MATPLOTLIB:
            self.skipTest("matplotlib is not installed")
        file, other = self.memory(memory_rows()), self.memory(memory_rows(2), "other.json")
        self.assertEqual(self.call("profiles", file, out="p.svg")[:2], (0, ""))
        self.assertEqual(self.call("profiles", file, "--check", out="p.svg")[:2], (0, ""))
        status, said, path = self.call("profiles", other, "--check", out="p.svg")
        self.assertEqual(status, 1)
        self.assertEqual(said, f"bench/plot.py: {path} is of other figures than {other}; "
                               "make scorecard\n")

    def test_refusals(self):
        rows = memory_rows()
        lame = copy.deepcopy(rows)
        del lame[0]["samples"]["glibc"]
        empty = copy.deepcopy(rows)
        empty[1]["samples"]["glibc"] = []
        for words, said in (
                ([self.memory(rows, smoke=True)], "is of a smoke run"),
                ([self.memory([])], "has no rows of time and memory"),
                ([self.memory(lame)], "figures do not go together"),
                ([self.memory(empty)], "is no result of bench/run_memory.py"),
                ([self.results], "is no result of bench/run_memory.py"),
                ([self.memory(rows), "--check"], "--check is for profiles, in an SVG"),
                ([self.memory(rows), "--workload", "one"], "--workload does not go with profiles")):
            status, text, _ = self.call("profiles", *words)
            self.assertEqual((status, text.count("\n")), (2, 1))
            self.assertIn(said, text)
        status, text, path = self.call("profiles", self.memory(rows), "--check", out="none.svg")
        self.assertEqual((status, text.count("\n")), (2, 1))
        self.assertIn("none.svg", text)


class Refusals(Pictures):
    def refused(self, pattern, *words, out="out.png"):
        status, err, path = self.call(*words, out=out)
        self.assertEqual(status, 2, words)
        self.assertRegex(err, r"\Abench/plot\.py: [^\n]+\n\Z")
        self.assertRegex(err, pattern)
        self.assertFalse(os.path.exists(path))

    def test_command_lines(self):
        self.refused("invalid choice", "other", self.results)
        self.refused("png or .svg", "rss", self.soak, out="out.gif")
        self.refused("takes one FILE", "throughput", self.results, self.results)
        self.refused("does not go with", "throughput", self.results, "--each", "--workload", "one")
        self.refused("does not go with", "rss", self.soak, "--workload", "one")
        self.refused("needs --workload", "latency", self.results)
        self.refused("not in one picture", "rss", self.soak, self.replay)
        self.refused("two lines are named soak", "rss", self.soak, self.soak)

    def test_results(self):
        self.refused("No such file", "throughput", "/no/such.json")
        self.refused("has no workload 'x'; it has one, two", "throughput", self.results,
                     "--workload", "x")
        self.refused("measured no time", "throughput", self.results, "--workload", "rss")
        self.refused("no latency buckets", "latency", self.results, "--workload", "two")
        for text in ("", "[]", "{}", '{"results": 3}', '{"results": [{"workload": "a"}]}',
                     '{"results": []}', '{"results": [{"workload": "a", "metric": "cpu", "what": '
                     '"b", "allocators": {"glibc": {"figure": {"samples": ["x"]}, '
                     '"rss_peak_bytes": 1}}}]}'):
            self.refused("bad.json", "throughput", self.file("bad.json", text))
        bad = result("one", "cpu", {"glibc": ([1], 1)}, {"glibc": [[1, 2, 3]]})
        self.refused("bad buckets of glibc", "latency",
                     self.file("bad.json", json.dumps({"results": [bad]})), "--workload", "one")

    def test_series(self):
        head = "epoch,time_s,rss_kib\n"
        for text, pattern in (("", "no column time_s"), ("a,b\n1,2\n", "no column time_s"),
                              (head + "0,1,5\n", "has 1 row;"), (head + "0,1,5\n1,x,6\n", "line 3"),
                              (head + "0,1,5\n1,2\n", "line 3"),
                              (head + "0,1,5\n# note\n1,nan,6\n", "line 4")):
            self.refused(pattern, "rss", self.file("bad.csv", text))
        for text in ("{}", '{"rss_samples": [[1]]}', '{"rss_samples": [[1, 2]]}'):
            self.refused("rss_samples", "rss", self.file("bad.json", text))


if __name__ == "__main__":
    unittest.main()
