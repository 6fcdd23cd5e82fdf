#!/usr/bin/python3
"""bench_rows.py, by the drivers that are made of it and by one that measures nothing: bad input,
rows that are skipped, signals, what the JSON holds."""
import contextlib
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
from unittest import mock

import bench_rows
import run_threads
from bench_limits import ROUNDS_LEAST
from bench_machine import ROOT, RunFailed
from bench_rows import Judged
from run_targets import MET, MISSED, NOT_MEASURED, NOT_SETTLED

BUILD = os.environ.get("HAK_BUILD_DIR", str(ROOT / "build"))
RESULTS = ROOT / "docs" / "results"
THREADS = RESULTS / "threads.json"
DRIVERS = ("run_threads.py", "run_memory.py")
HINT = "; only what is missed for certain is exit 1"


def command(driver, *words):
    return [sys.executable, str(ROOT / "bench" / driver), "--build", BUILD, *words]


class Refusals(unittest.TestCase):
    def test_one_line_and_status_2(self):
        cases = [(["--rounds", "0"], "--rounds: at least 1"),
                 (["--rounds", "x"], ".*--rounds.*'x'"),
                 (["--row", "none"], "--row none: no row's name has that"), (["more"], ".*more"),
                 (["--smoke", "--judge"], "--judge: a smoke run judges nothing"),
                 (["--json", "/nowhere/file"], "--json /nowhere/file: cannot be written"),
                 (["--build", "/nowhere"], "--build /nowhere: no libhakmem.so there.*")]
        for driver in DRIVERS:
            for words, said in cases:
                done = subprocess.run(command(driver, *words), capture_output=True, text=True,
                                      check=False, timeout=60)
                self.assertEqual((done.returncode, done.stdout), (2, ""), words)
                self.assertRegex(done.stderr, rf"\Abench/{driver}: {said}\n\Z")

    def test_a_signal_ends_it_without_a_trace(self):
        for driver in DRIVERS:
            child = subprocess.Popen(command(driver, "--rounds", "1000", "--row", "0"),
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            child.stdout.readline()  # the heading: rows are under way
            time.sleep(0.2)
            child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=60)
            self.assertEqual((child.returncode, said), (128 + signal.SIGTERM, ""), driver)


class Threads(unittest.TestCase):
    def test_each_shape_has_both_sizes_with_and_without_a_backlog(self):
        for shape in ([], ["--producers", "4"], ["--consumers", "4"]):
            for size in ([], ["--min", "16", "--max", "1024"]):
                for backlog in ([], ["--backlog", "64M"]):
                    rows = [row for row in run_threads.ROWS if row.program == "bench_prodcons"
                            and sorted(row.args[2:]) == sorted(shape + size + backlog)]
                    self.assertEqual(len(rows), 1, (shape, size, backlog))
                    self.assertEqual(rows[0].memory, "backlog" if backlog else None)
                    self.assertIn("16-1024 B" if size else "64 B", rows[0].name)

    def test_memory_of_a_backlog_is_beyond_the_same_run_without_objects(self):
        seen = []

        def record_of(program, args, allocator, build):
            seen.append((program, args, allocator))
            peak, live = (1300, 0) if "--no-objects" in args else (2400, 1000)
            return {"wall_ns": 50, "ops": 10, "rss_peak_bytes": peak, "live_peak_bytes": live}
        column = types.SimpleNamespace(name="hakmem")
        options = types.SimpleNamespace(rounds=2, order=random.Random(1), build=None)
        row, = (each for each in run_threads.ROWS
                if each.name == "4 producers, 1 consumer 64 MiB behind, 16-1024 B")
        with mock.patch.object(run_threads.bench_rows, "record_of", record_of):
            samples = run_threads.measure(row, [column], options)
        self.assertEqual(samples, {"hakmem": ([5.0, 5.0], [1.1, 1.1])})
        self.assertEqual(seen, [("bench_prodcons", args, column)
                                for args in (row.args, (*row.args, "--no-objects"))] * 2)

    def test_names_differ(self):
        names = [row.name for row in run_threads.ROWS]
        self.assertEqual(len(set(names)), len(names))
        self.assertTrue(any("that only frees" in name for name in names))


def row_of(memory, *targets):
    return run_threads.Row("row", "bench_larson", (), targets, memory)


def samples_of(ours, theirs, memory=1.0, peers=run_threads.PEERS):
    """Times of the rounds, and memory: of the peers always 1."""
    own = memory if isinstance(memory, list) else [memory] * len(ours)
    return {"hakmem": (ours, own), run_threads.NOTHING: None,
            **{peer: (theirs, [1.0] * len(theirs)) for peer in peers}}


class Verdicts(unittest.TestCase):
    """Of run_threads.py: one target each."""

    def verdict(self, row, samples):
        judged, = run_threads.verdicts(row, samples)
        self.assertEqual(judged.verdict, judged.kept["verdict"])
        return judged

    def test_the_interval_decides_about_time(self):
        row = row_of(None, ("mimalloc", 0.7))
        theirs = [100.0] * 8
        for ours, word in (([60.0, 69.0] * 4, MET), ([60.0, 75.0] * 4, NOT_SETTLED),
                           ([71.0, 80.0] * 4, MISSED)):
            self.assertEqual(self.verdict(row, samples_of(ours, theirs)).verdict, word)

    def test_the_rounds_are_paired(self):
        """All slow down alike in half of the rounds: no ratio moves."""
        judged = self.verdict(row_of(None, ("mimalloc", 0.7)),
                              samples_of([60.0, 600.0] * 4, [100.0, 1000.0] * 4))
        self.assertEqual(judged[:2], ("0.600 (0.600-0.600) of mimalloc (0.7)", MET))
        self.assertEqual((judged.kept["ratio"], judged.kept["interval_95"]), (0.6, [0.6, 0.6]))

    def test_the_best_peer_is_the_one_that_is_hardest_to_beat(self):
        samples = samples_of([60.0] * 8, [100.0] * 8)
        samples["jemalloc"] = ([50.0] * 8, [1.0] * 8)
        samples[run_threads.NOTHING] = ([1.0] * 8, [0.1] * 8)
        judged = self.verdict(row_of(None, (None, 1.0)), samples)
        self.assertEqual(judged[:2], ("1.200 (1.200-1.200) of jemalloc, the best (1.0)", MISSED))

    def test_memory_of_larson_is_beside_the_leanest(self):
        for memory, word in ((1.05, MET), (1.06, MISSED), ([1.0, 1.1] * 4, NOT_SETTLED)):
            judged = self.verdict(row_of("peak"), samples_of([1.0] * 8, [1.0] * 8, memory))
            self.assertEqual(judged.verdict, word, judged)
            self.assertIn("of glibc (1.05)", judged.text)

    def test_memory_of_a_backlog_is_by_itself(self):
        for memory, word in ((1.1, MET), (1.11, MISSED), ([1.0, 1.2] * 4, NOT_SETTLED)):
            judged = self.verdict(row_of("backlog"), samples_of([1.0] * 8, [1.0] * 8, memory))
            self.assertEqual(judged.verdict, word, judged)
            self.assertRegex(judged.text, r"\Amemory 1.* \(1.*-1.*\) of what was alive \(1\.1\)\Z")

    def test_few_rounds_and_absent_peers_settle_nothing(self):
        few = ROUNDS_LEAST - 1
        for ours in (0.1, 9.0):
            for row in (row_of(None, (None, 1.0)), row_of("peak"), row_of("backlog")):
                samples = samples_of([ours] * few, [1.0] * few, ours)
                self.assertEqual(self.verdict(row, samples).verdict, NOT_SETTLED)
        samples = samples_of([0.1] * 8, [1.0] * 8, peers=["glibc"])
        self.assertEqual(self.verdict(row_of(None, ("mimalloc", 0.7)), samples).verdict,
                         NOT_MEASURED)
        self.assertEqual(self.verdict(row_of("peak"), samples).verdict, NOT_MEASURED)
        self.assertEqual(self.verdict(row_of("backlog"), samples).verdict, MET)


class Kept(unittest.TestCase):
    """--from: the table of what --json wrote."""

    def show(self, *words):
        return subprocess.run(command("run_threads.py", *map(str, words)), capture_output=True,
                              text=True, check=False, timeout=240)

    def refuses(self, said, *words):
        done = self.show(*words)
        self.assertEqual((done.returncode, done.stdout), (2, ""), words)
        self.assertRegex(done.stderr, rf"\Abench/run_threads\.py: {said}[^\n]*\n\Z")

    def test_the_results_page_has_the_table_and_verdicts_of_its_file(self):
        with tempfile.TemporaryDirectory() as folder:
            again = pathlib.Path(folder, "again.json")
            done = self.show("--from", THREADS, "--json", again, "--judge")
            self.assertEqual(done.stderr, "")
            kept = json.loads(THREADS.read_text(encoding="utf-8"))
            self.assertEqual(json.loads(again.read_text(encoding="utf-8")), kept)
        page = (RESULTS / "README.md").read_text(encoding="utf-8")
        _, table, judgement = done.stdout.split("\n\n")
        self.assertIn(f"\n\n{table}\n\n", page)
        words = [each["verdict"] for row in kept["rows"] for each in row["verdicts"]]
        self.assertEqual(done.returncode, 1 if MISSED in words else 0)
        met, missed, rest = map(words.count, (MET, MISSED, NOT_SETTLED))
        self.assertTrue(judgement.startswith(f"{missed} missed"), judgement)
        self.assertIn(f"{met} targets are met, {missed} missed, {rest} *not settled*", page)

    def test_what_it_cannot_show_is_status_2(self):
        self.refuses(".*No such file", "--from", "/nowhere/file")
        self.refuses(r"--from .*memory\.json: no result of bench/run_threads\.py", "--from",
                     RESULTS / "memory.json")
        for words in (["--smoke"], ["--rounds", "3"]):
            self.refuses("--from: ", "--from", THREADS, *words)
        record = json.loads(THREADS.read_text(encoding="utf-8"))
        row, other = record["rows"][:2]
        short = {**row, "samples": {"hakmem": [[1.0], [1, 2]]}}
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "bad.json")
            for bad in ({}, [], {**record, "rows": []}, {**record, "machine": {}},
                        {**record, "rows": [{**row, "row": "none"}]},
                        {**record, "rows": [short]}, {**record, "rows": [row, short, other]},
                        {**record, "rows": [{**row, "samples": {"glibc": [[1.0], [1]]}}]}):
                file.write_text(json.dumps(bad), encoding="utf-8")
                self.refuses("--from .*: no result of", "--from", file)
            file.write_text(json.dumps({**record, "smoke": True}), encoding="utf-8")
            self.refuses("--judge: a smoke run", "--from", file, "--judge")

    def test_a_row_that_was_skipped_or_failed_is_so_again(self):
        record = json.loads(THREADS.read_text(encoding="utf-8"))
        names = [row["row"] for row in record["rows"][:3]]
        rows = [{"row": names[0], "skipped": "why"}, {"row": names[1], "failed": "how"},
                record["rows"][2]]
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "some.json")
            file.write_text(json.dumps({**record, "rows": rows}), encoding="utf-8")
            done = self.show("--from", file)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        for name, said in zip(names, ("skipped: why", "failed: how", "of mimalloc")):
            self.assertRegex(done.stdout, rf"\n\| {re.escape(name)} \|.*{said}")


class Made(unittest.TestCase):
    """A driver whose rows are names, and whose figures are made up."""

    def made(self, measure, *words, status=0):
        rows = [types.SimpleNamespace(name=name) for name in ("first", "second")]
        driver = bench_rows.Driver(
            name="bench/made.py", doc="made.py: of nothing", rows=lambda options: rows,
            lessened=lambda row: row,
            columns=lambda options: [types.SimpleNamespace(name=name) for name in "AB"],
            heading=["row"], measure=measure,
            texts=lambda row, samples: [row.name, *map(str, samples.values())],
            verdicts=lambda row, samples: [
                Judged("within", MET, {"ratio": 0.5}),
                Judged("beyond", MISSED if row.name == "first" else NOT_SETTLED)],
            result=lambda row, samples: {"row": row.name, "samples": samples})
        out = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
            file = pathlib.Path(folder, "out.json")
            self.assertEqual(bench_rows.compare(driver, [*words, "--json", str(file)]),
                             status)
            record = json.loads(file.read_text(encoding="utf-8"))
        return out.getvalue().splitlines()[2:], record

    def test_everyone_runs_once_a_round(self):
        seen = []

        def measure(row, columns, options):
            return bench_rows.in_turns(columns, options,
                                       lambda column: seen.append(column.name) or len(seen))
        lines, record = self.made(measure, "--rounds", "2", "--row", "first")
        self.assertEqual([sorted(seen[:2]), sorted(seen[2:])], [["A", "B"]] * 2)
        self.assertEqual(lines[0], "| row | A | B | target: bold is missed |")
        self.assertRegex(lines[2], r"\| first \| \[.*\] \| \[.*\] \| within; \*\*beyond\*\* \|")
        self.assertEqual([row["row"] for row in record["rows"]], ["first"])

    def test_a_missed_target_is_status_1_for_who_asks(self):
        def measure(row, columns, options):
            return {column.name: [1] for column in columns}
        self.assertNotIn("missed", "".join(self.made(measure)[0][2:]))
        lines, record = self.made(measure, "--judge", status=1)
        self.assertEqual(lines[-2:], [f"1 missed, 1 not settled, 2 met{HINT}", "- first: beyond"])
        self.assertEqual([row["verdicts"] for row in record["rows"]], [[{"ratio": 0.5}]] * 2)

    def test_what_is_not_settled_is_said_and_fails_nothing(self):
        def measure(row, columns, options):
            return {column.name: [1] for column in columns}
        lines = self.made(measure, "--judge", "--row", "second")[0]
        self.assertEqual(lines[2], "| second | [1] | [1] | within; beyond: not settled |")
        self.assertEqual(lines[-1], f"0 missed, 1 not settled, 1 met{HINT}")

    def test_a_skipped_row_misses_nothing(self):
        def measure(row, columns, options):
            raise bench_rows.Skipped("nothing to measure")
        self.assertEqual(self.made(measure, "--judge")[0][-1], "0 missed")

    def test_a_row_that_is_skipped_is_seen(self):
        def measure(row, columns, options):
            if row.name == "first":
                raise bench_rows.Skipped("nothing to measure")
            return {column.name: [1] for column in columns}
        lines, record = self.made(measure, "--smoke")
        self.assertEqual(lines[2:], ["| first | | | skipped: nothing to measure |",
                                     "| second | [1] | [1] | smoke: not judged |"])
        self.assertEqual(record["rows"][0], {"row": "first", "skipped": "nothing to measure"})
        self.assertNotIn("verdicts", record["rows"][1])

    def test_a_program_that_fails_is_status_1(self):
        def measure(row, columns, options):
            raise RunFailed("it fails")
        lines, record = self.made(measure, "--row", "first", status=1)
        self.assertEqual(lines[2:], ["| first | | | failed: it fails |"])
        self.assertEqual(record["rows"], [{"row": "first", "failed": "it fails"}])


if __name__ == "__main__":
    unittest.main()
