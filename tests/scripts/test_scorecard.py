#!/usr/bin/python3
"""scorecard.py: verdicts of a small run whose truth is known, same input same bytes, refusals."""
import contextlib
import copy
import functools
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))
import scorecard
import scorecard_judge as judge
import scorecard_read
import soak_samples
from bench_allocators import TARGET_PEERS
from bench_workloads import TIMED, WORKLOADS

MIB = 1 << 20
NOISE = [1.0, 1.001, 0.999, 1.0005, 0.9995]  # the rounds' own; a CV below 0.1 %


def entry(scale, noise=None, peak=2 * MIB, **more):
    samples = [scale * each for each in noise or NOISE]
    return {"figure": {"samples": samples}, "rss_end_bytes": peak, "rss_peak_bytes": peak,
            "ops": 1000, **more}


def result(name, metric="cpu", failures=None, **allocators):
    """failures None: all target peers that have no entry failed."""
    if failures is None:
        failures = {peer: "failed" for peer in TARGET_PEERS if peer not in allocators}
    return {"workload": name, "what": "a test", "metric": metric, "failures": failures,
            "allocators": {key.replace("_", "-"): value for key, value in allocators.items()}}


def bench(*results):
    return {"schema": 1, "date": "2030-01-02", "rounds": 5, "seconds": 0.5, "complete": True,
            "workloads": [each["workload"] for each in results], "results": list(results),
            "machine": {"cpu": "a CPU", "cores": 2, "commit": "0123456789ab", "options": {}}}


@functools.cache
def analyzed():
    """What the analyzer says of an hour's soak without drift, so that the two cannot part ways."""
    with tempfile.TemporaryDirectory() as folder:
        csv, out = pathlib.Path(folder, "soak.csv"), pathlib.Path(folder, "soak.json")
        csv.write_text("# allocator: libhakmem.so\n# started_utc: 2030-01-03T00:00:00Z\n" +
                       soak_samples.soak_text([2000 + i % 3 for i in range(361)]))
        subprocess.run([ROOT / "scripts" / "analyze_soak.py", csv, "--json", out], check=True,
                       capture_output=True)
        return json.loads(out.read_text())


def soak(**changes):
    """The same with fields of its head, of the drift or of the whole replaced."""
    whole = copy.deepcopy(analyzed())
    whole["about"] |= {"commit": "ba98"}
    whole["drift"][0] |= {"slope_kib_per_hour": 1.0, "difference_kib": 10.0, "allowed_kib": 64,
                          "slope_interval_95_kib_per_hour": [-2.0, 3.0]}
    whole["wall_s"] = 3605.0
    for name, value in changes.items():
        at = next(part for part in (whole["about"], whole["drift"][0], whole) if name in part)
        at[name] = value
    return whole


def drifting():
    """Two processes, as of a soak that was resumed: the second one grew."""
    whole = soak()
    whole["drift"].append(whole["drift"][0] | {"difference_kib": 400.0, "met": False})
    return whole


WIDE = [0.9, 1.1, 0.95, 1.2, 1.0]
SMALL = bench(
    result("mixed_400", hakmem=entry(9, calls_per_op=1e-8), glibc=entry(20), tcmalloc=entry(10),
           newest=entry(5), floor=entry(1)),
    result("mixed_40000", hakmem=entry(9, WIDE, calls_per_op=2e-7), tcmalloc=entry(9),
           floor=entry(1, WIDE)),
    result("batch_1000_fwd", hakmem=entry(10.4), mimalloc=entry(10)),
    result("batch_100000_fwd", hakmem=entry(11.6), mimalloc=entry(10)),
    result("trees", hakmem=entry(10.4, peak=3 * MIB), mimalloc=entry(10, peak=2 * MIB)),
    result("prog_lua", "wall", hakmem=entry(8, latency={"p99_ns": 50, "max_ns": 7000}),
           glibc=entry(9, latency={"p99_ns": 60, "max_ns": 6000})),
    result("rss_hello", "rss", hakmem=entry(MIB, peak=MIB), jemalloc=entry(2 * MIB)))


def timed_rows(**allocators):
    return [result(workload.name, workload.metric, **allocators) for workload in WORKLOADS
            if workload.metric in TIMED]


def full_run():
    """A run in which all of run.py's workloads are."""
    there = {each["workload"]: each for each in SMALL["results"]}
    return bench(*(there.get(workload.name) or result(workload.name, workload.metric)
                   for workload in WORKLOADS))


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.page = self.folder / "page.md"

    def call(self, bench_json=None, soak_json=None, *words):
        """(status, stderr) of a run on these files; text is written as it is, None is no file."""
        for name, value in (("bench.json", bench_json), ("soak.json", soak_json)):
            path = self.folder / name
            path.unlink(missing_ok=True)
            if value is not None:
                path.write_text(value if isinstance(value, str) else json.dumps(value))
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            try:
                status = scorecard.main(["--results", str(self.folder), "--output", str(self.page),
                                         *(words or ["--partial"])])
            except SystemExit as stop:
                status = stop.code
        return status, err.getvalue()

    def soak_beside(self, name, profile, **changes):
        whole = soak(**changes)
        whole["about"]["profile"] = profile
        (self.folder / name).write_text(json.dumps(whole))

    def made(self, bench_json=None, soak_json=None):
        self.assertEqual(self.call(bench_json, soak_json), (0, ""))
        return self.page.read_text(encoding="utf-8")


def cells(text, heading, start):
    """The cells of the first row that begins so, below a heading."""
    for line in text[text.index(heading):].splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[:len(start)] == start:
            return row
    raise AssertionError(f"no row {start} below {heading}")


class Verdicts(Folder):
    def test_time(self):
        text = self.made(SMALL)
        expected = {"mixed_400": "met", "mixed_40000": "not settled", "batch_1000_fwd": "met",
                    "batch_100000_fwd": "missed", "trees": "missed", "prog_lua": "met"}
        for name, verdict in expected.items():
            self.assertEqual(cells(text, "### hakmem: time", [name])[-1], verdict, name)
            self.assertEqual(cells(text, "### hakmem-minimal: time", [name])[-1], "not measured")
        row = cells(text, "### hakmem: time", ["mixed_400"])  # glibc is slower, newest no target
        self.assertEqual(row[1:8], ["1.02", "0.450", "failed", "failed", "**0.900**", "failed",
                                     "failed"])
        self.assertEqual(row[9], "0.900")
        self.assertEqual(cells(text, "### hakmem: time", ["prog_lua"])[7], "failed")

    def test_a_peer_given_by_hand_is_reported_and_no_target(self):
        self.assertEqual(cells(self.made(SMALL), "## Other libraries", ["mixed_400", "hakmem"])[2],
                         "1.800")

    def test_few_rounds_settle_nothing(self):
        few = bench(result("trees", hakmem=entry(8, [1.0] * 4), glibc=entry(9, [1.0] * 4)))
        text = self.made(few)
        self.assertEqual(cells(text, "### hakmem: time", ["trees"])[-1], "not settled")
        self.assertEqual(cells(text, "### hakmem: RSS", ["trees"])[-1], "not settled")
        self.assertEqual(cells(text, "## CV", ["trees"])[3], "not settled")

    def test_without_a_peer_only_a_miss_stands(self):
        for ours, rounds, verdict in ((8, 5, "not measured"), (11, 5, "missed"),
                                      (11, 4, "not measured")):
            text = self.made(bench(result("trees", hakmem=entry(ours, [1.0] * rounds, ours * MIB),
                                          glibc=entry(9, [1.0] * rounds, 9 * MIB), failures={})))
            for heading in ("### hakmem: time", "### hakmem: RSS"):
                self.assertEqual(cells(text, heading, ["trees"])[-1], verdict, (heading, ours))

    def test_geometric_mean(self):
        twice = bench(result("trees", hakmem=entry(4), mimalloc=entry(8)),
                      result("calloc", hakmem=entry(9), mimalloc=entry(8), glibc=entry(9)),
                      result("rss_hello", "rss", hakmem=entry(1), mimalloc=entry(9)))
        row = cells(self.made(twice), "## Geometric mean", ["hakmem"])
        self.assertEqual(row[1:3] + row[-1:], ["1.000", "0.750", "not measured"])  # sqrt(1/2*9/8)
        self.assertIn("Over 2 workloads: trees, calloc.", self.made(twice))
        self.assertIn(f"0.750 (0.750 to 0.750), 2 workloads of {len(timed_rows())} ",
                      self.made(twice))

    def test_the_mean_is_judged_over_all_timed_rows(self):
        for ours, verdict in ((8.6, "met"), (8.8, "missed")):
            rows = timed_rows(hakmem=entry(ours), mimalloc=entry(10))
            row = cells(self.made(bench(*rows)), "## Geometric mean", ["hakmem"])
            self.assertEqual(row[-1], verdict)
            row = cells(self.made(bench(*rows[1:])), "## Geometric mean", ["hakmem"])
            self.assertEqual(row[-1], "not measured")
        self.assertEqual(cells(self.made(), "## Geometric mean", ["hakmem"])[-1], "not measured")

    def test_cv(self):
        text = self.made(SMALL)
        self.assertEqual(cells(text, "## CV", ["mixed_400"])[1:4], ["0.1", "0.0", "met"])
        row = cells(text, "## CV", ["mixed_40000"])
        self.assertEqual(row[1:], ["11.7", "11.6", "machine not quiet", "-", "not measured"])
        self.assertIn("was above 1.3 % in mixed_40000 (11.7 %)\n", text)
        quiet = bench(result("trees", hakmem=entry(9, WIDE), glibc=entry(9)),
                      result("mixed_400", hakmem=entry(9), glibc=entry(9), floor=entry(1)))
        self.assertEqual(cells(self.made(quiet), "## CV", ["trees"])[1:4],
                         ["(0.1)", "11.6", "missed"])

    def test_system_calls(self):
        text = self.made(SMALL)
        heading = "## System calls"
        for name, calls, verdict in (("mixed_400", "1e-8", "met"),
                                     ("mixed_40000", "2e-7", "missed")):
            row = cells(text, heading, [name, "hakmem"])
            self.assertEqual((row[2], row[3], row[-1]), ("1.25e-7", calls, verdict))
        for calls, verdict in ((12, "met"), (13, "missed")):
            counted = {"figure": {"samples": [calls]}, "ops": 10**8}
            text = self.made(bench(result("syscalls_100m", "calls", hakmem=counted)))
            self.assertEqual(cells(text, heading, ["syscalls_100m", "hakmem"])[-1], "-")
            self.assertEqual(cells(text, "In 100 M operations:", ["syscalls_100m", "hakmem"])[2:],
                             ["<= 12 calls", f"{calls} calls", verdict])
            target = "system calls in 100 M operations <= 12 (random mixed)"
            self.assertEqual(cells(text, "## Summary", [target, "hakmem"])[-1], verdict)
        self.assertEqual(cells(text, "## Summary", ["", "hakmem-minimal"])[-1], "not measured")

    def test_memory(self):
        text = self.made(SMALL)
        self.assertEqual(cells(text, "### hakmem: RSS", ["trees"])[4:],
                         ["3,072", "2,048 mimalloc", "1.500", "2,468", "missed"])
        self.assertEqual(cells(text, "### hakmem: RSS", ["rss_hello"])[4:],
                         ["1,024", "2,048 jemalloc", "0.500", "2,468", "met"])

    def test_rss_at_the_end(self):
        def held(**sizes):
            return {name: entry(size * MIB, peak=size * MIB) for name, size in sizes.items()}
        small = held(hakmem=1.25, glibc=1, mimalloc=1.5)
        text = self.made(bench(result("rss_hello", "rss", **small),
                               result("rss_400", "rss", **small | held(mimalloc=1.2)),
                               result("rss_4000", "rss", failures={}, **small),
                               result("rss_40000", "rss", **held(hakmem=1.08, glibc=1)),
                               result("rss_400000", "rss", **held(hakmem=1.08, glibc=1))))
        heading = "### RSS at the end"
        plus, below = "RSS <= glibc + 256 KiB", "RSS below every peer but glibc"
        for name, bound, verdict in (("rss_hello", plus, "met"), ("rss_hello", below, "met"),
                                     ("rss_400", below, "missed"), ("rss_4000", plus, "met"),
                                     ("rss_4000", below, "not measured"),
                                     ("rss_40000", "RSS <= 1.08 of glibc", "met"),
                                     ("rss_400000", "RSS <= 1.05 of glibc", "missed")):
            self.assertEqual(cells(text, heading, [name, "hakmem", bound])[-1], verdict, name)
            row = cells(text, heading, [name, "hakmem-minimal", bound])
            self.assertEqual(row[-1], "not measured")
        row = cells(text, "## Summary", ["RSS at the end <= glibc + 256 KiB, below every other "
                                         "peer (rss_40000 1.08, rss_400000 1.05 of glibc)"])
        self.assertRegex(row[2], r"5 met, 2 missed, 1 not measured; missed: rss_400 \(mimalloc ")
        self.assertEqual(row[-1], "missed")

    def test_peak_limit_to_the_byte(self):
        limit = 100 * MIB * 108 // 100 + 256 * 1024
        for more, verdict in ((0, "met"), (1, "missed")):
            sizes = bench(result("trees", hakmem=entry(9, peak=limit + more),
                                 glibc=entry(9, peak=100 * MIB)))
            self.assertEqual(judge.memory_rows(self.read(sizes), "hakmem")[0].verdict, verdict)

    def read(self, value):
        path = self.folder / "read.json"
        path.write_text(json.dumps(value))
        return scorecard_read.read_bench(path)

    def test_drift(self):
        cases = [(soak(), "met"), (None, "not measured"), (soak(wall_s=3599), "not measured"),
                 (soak(slope_interval_95_kib_per_hour=[0.5, 3.0]), "missed"),
                 (soak(slope_interval_95_kib_per_hour=[-3, -0.5]), "missed"),
                 (soak(difference_kib=65.0), "missed"), (soak(met=False), "missed"),
                 (soak(allocator="libc.so.6"), "not measured"),
                 (analyzed(), "met"), (drifting(), "missed")]
        for value, verdict in cases:
            row = cells(self.made(None, value), "## Summary",
                        ["no drift of the RSS in a soak of 3,600 s", "hakmem"])
            self.assertEqual(row[-1], verdict, value)
        self.assertIn("3,605 s; slope +1.0 KiB/h (-2.0 to +3.0); medians +10 KiB, at most 64",
                      self.made(None, soak()))

    def test_profiles_have_soaks_of_their_own(self):
        for profile, changes in (("lean", {}), ("speed", {"difference_kib": 65.0})):
            self.soak_beside(f"soak-{profile}.json", profile=profile, **changes)
        text = self.made(None, soak())
        for profile, drift in (("", "met"), (", profile lean", "met"),
                               (", profile speed", "missed")):
            target = "no drift of the RSS in a soak of 3,600 s" + profile
            self.assertEqual(cells(text, "## Summary", [target, "hakmem"])[-1], drift)
            target = "system calls an operation <= 1.25e-7 in the soak" + profile
            self.assertEqual(cells(text, "## Summary", [target, "hakmem"])[-1], "met")
        for profile in ("balanced", "lean", "speed"):
            self.assertIn(f"\nlibhakmem.so, {profile}:\n", text)
        self.assertIn("`soak-speed.json`: commit ba98", text)

    def test_system_calls_of_a_soak(self):
        for calls, verdict in ((1.25e-7, "met"), (1.3e-7, "missed"), (None, "not measured")):
            whole = soak()
            whole["syscalls_settled"] = calls and {"total": 1, "ops": 1, "per_op": calls}
            row = cells(self.made(None, whole), "## Summary",
                        ["system calls an operation <= 1.25e-7 in the soak", "hakmem"])
            self.assertEqual(row[-1], verdict)

    def test_tail(self):
        row = cells(self.made(SMALL), "## Tail", ["prog_lua", "hakmem"])
        self.assertEqual(row[2:], ["50", "60 glibc", "-", "-", "7,000", "6,000 glibc"])

    def test_summary_takes_the_worst(self):
        text = self.made(SMALL, soak())
        self.assertRegex(text, r"each workload .*\| hakmem +\| 3 met, 2 missed, 1 not settled; "
                               r"furthest: trees \(1\.040 of mimalloc\) +\| missed +\|")
        self.assertEqual(judge.overall(["met", "not measured"]), "not measured")
        self.assertEqual(judge.overall(["met", "met"]), "met")
        self.assertEqual(judge.overall([]), "not measured")

    def test_a_profile_joins(self):
        text = self.made(bench(result("trees", hakmem_lean=entry(8), glibc=entry(9))))
        self.assertEqual(cells(text, "### hakmem-lean: time", ["trees"])[-1], "met")


class Page(Folder):
    def test_same_input_same_bytes(self):
        first = self.made(SMALL, soak())
        self.page.unlink()
        self.assertEqual(self.made(copy.deepcopy(SMALL), soak()), first)

    def test_where_it_is_from(self):
        text = self.made(SMALL, soak())
        self.assertIn("`bench.json`: commit 0123456789ab, date 2030-01-02; a CPU, 2 cores\n", text)
        self.assertIn("`soak.json`: commit ba98, date 2030-01-03;", text)
        self.assertIn("glibc, mimalloc, jemalloc, tcmalloc, tbbmalloc (not in this run)", text)

    def test_rounds_are_those_of_the_samples(self):
        self.assertIn("- Rounds, without the warm-up: timed workloads 5, memory alone 5; 0.5 s a "
                      "run\n", self.made(SMALL))
        counted = {"figure": {"samples": [12]}, "ops": 10**8}
        mixed = bench(result("trees", hakmem=entry(9)),
                      result("calloc", hakmem=entry(9, [1.0] * 3)),
                      result("prog_lua", "program", hakmem=entry(9, [1.0] * 9)),
                      result("syscalls_100m", "calls", hakmem=counted))
        self.assertIn("warm-up: timed workloads 3 to 5, real programs 9, system calls alone 1;",
                      self.made(mixed))
        self.assertIn("warm-up: none;", self.made(bench()))

    def test_the_head_tells_versions(self):
        whole = copy.deepcopy(SMALL)
        whole["machine"]["versions"] = {"glibc": "2.41-12", "tcmalloc": "2.16", "scudo": "1:19"}
        self.assertIn("held against: glibc 2.41-12, mimalloc, jemalloc, tcmalloc 2.16, tbbmalloc "
                      "(not in this run), scudo 1:19 (not in this run)\n", self.made(whole))

    def test_tables_are_well_formed(self):
        for block in self.made(SMALL, soak()).split("\n\n"):
            if block.startswith("|"):
                lines = block.strip().splitlines()
                self.assertEqual(len({(len(line), line.count("|")) for line in lines}), 1, block)

    def test_nothing_measured(self):
        text = self.made()
        self.assertIn("`bench.json`: there is none", text)
        summary = text[text.index("## Summary"):text.index("## Time")].splitlines()[4:-1]
        self.assertEqual({line.strip("| ").split("|")[-1].strip() for line in summary},
                         {"not measured"})

    def test_check(self):
        check = ["--partial", "--check"]
        status, said = self.call(SMALL, None, *check)
        self.assertEqual(status, 1)
        self.assertRegex(said, r"\A[^\n]+ run `make scorecard`\n\Z")
        self.assertFalse(self.page.exists())
        self.made(SMALL)
        self.assertEqual(self.call(SMALL, None, *check), (0, ""))
        self.page.write_text(self.page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        self.assertEqual(self.call(SMALL, None, *check)[0], 1)


class Missing(Folder):
    def test_a_missing_file_leaves_the_page_as_it_is(self):
        plain = ["--results", str(self.folder)]  # the words of call() again, without --partial
        for mode in ([], ["--check"]):
            for bench_json, soak_json, name, made_by in (
                    (None, soak(), "bench.json", "bench/run.py --json "),
                    (SMALL, None, "soak.json", "scripts/analyze_soak.py ")):
                self.page.write_text("committed", encoding="utf-8")
                status, said = self.call(bench_json, soak_json, *plain, *mode)
                self.assertEqual(status, 2, name)
                self.assertRegex(said, r"\Ascorecard\.py: [^\n]+\n\Z")
                self.assertIn(f"{name} is missing: `{made_by}", said)
                self.assertEqual(self.page.read_text(encoding="utf-8"), "committed")

    def test_both_files_are_enough(self):
        self.assertEqual(self.call(full_run(), soak(), "--results", str(self.folder)), (0, ""))
        page = self.page.read_text(encoding="utf-8")
        self.assertEqual(self.made(full_run(), soak()), page)

    def test_a_run_that_is_not_whole_is_refused(self):
        missing, named = full_run(), full_run()
        del missing["results"][-2:]  # as of an interrupted run
        named["workloads"].append("another")
        names = ", ".join(workload.name for workload in WORKLOADS[-2:])
        for bench_json, said in ((full_run() | {"complete": False}, "the run is not complete"),
                                 (missing, f"no result of {names}"),
                                 (missing | {"workloads": []}, f"no result of {names}"),
                                 (named, "no result of another"),
                                 (bench(), "no result of mixed_400, mixed_40000, "
                                  "mixed_400000, batch_1000_fwd and "
                                  f"{len(WORKLOADS) - scorecard.NAMES_SHOWN} more")):
            self.page.write_text("committed", encoding="utf-8")
            status, text = self.call(bench_json, soak(), "--results", str(self.folder))
            self.assertEqual(status, 2, said)
            self.assertRegex(text, r"\Ascorecard\.py: bench\.json: [^\n]+\n\Z")
            self.assertIn(said + ": `bench/run.py ", text)
            self.assertEqual(self.page.read_text(encoding="utf-8"), "committed")
            text = self.made(bench_json, soak())
            self.assertEqual(f"- In no verdict, as the run has {said}\n" in text,
                             said.startswith("no result"))

    def test_the_tree_is_named_by_its_own_folders(self):
        kept, scorecard.ROOT = scorecard.ROOT, self.folder
        self.addCleanup(setattr, scorecard, "ROOT", kept)
        with self.assertRaisesRegex(scorecard_read.BadInput, r"\Adocs/results/bench\.json is "
                                    r"missing: `bench/run\.py --json docs/results/bench\.json`"):
            scorecard.check_there(self.folder / "docs" / "results")


class Refusals(Folder):
    def refused(self, place, bench_json=None, soak_json=None):
        status, said = self.call(bench_json, soak_json)
        self.assertEqual(status, 2, place)
        self.assertRegex(said, r"\Ascorecard\.py: [^\n]+\n\Z")
        self.assertIn(place, said)
        self.assertFalse(self.page.exists())

    def test_malformed_files(self):
        self.refused("bench.json: no JSON", "{")
        self.refused("soak.json: no JSON", None, "")
        self.refused("bench.json: expected an object", "[]")
        self.refused("bench.json.schema: 2 is unknown", SMALL | {"schema": 2})
        self.refused("soak.json.schema: expected a number", None, {"csv": "soak.csv"})

    def test_wrong_types(self):
        def broken(*path, value):
            whole = copy.deepcopy(SMALL)
            at = whole
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
            return whole
        hakmem = ("results", 0, "allocators", "hakmem")
        samples = "bench.json.results[0].allocators.hakmem.figure.samples"
        self.refused("bench.json.date: expected a string", broken("date", value=3))
        self.refused("bench.json.results: expected a list", broken("results", value={}))
        self.refused("results[1]: expected an object", broken("results", 1, value="x"))
        self.refused("results[0].metric: 'time'", broken("results", 0, "metric", value="time"))
        self.refused("workload: expected", broken("results", 0, "workload", value=None))
        self.refused(samples + ": expected a list", broken(*hakmem, "figure", "samples", value=1))
        for bad in ("1", True, 0, -1, float("nan"), float("inf"), None):
            self.refused(samples + "[4]: expected a number above 0",
                         broken(*hakmem, "figure", "samples", 4, value=bad))
        self.refused("they cannot be paired", broken(*hakmem, "figure", "samples", value=[1.0]))
        self.refused("rss_peak_bytes: expected", broken(*hakmem, "rss_peak_bytes", value="2 MB"))
        self.refused("latency: expected an object", broken(*hakmem, "latency", value=[1]))
        self.refused("machine.options.X: expected", broken("machine", "options", value={"X": 1}))
        self.refused("machine.versions.glibc: expected a string",
                     broken("machine", "versions", value={"glibc": 2}))
        self.refused("trees is there twice", broken("results", 0, "workload", value="trees"))

    def test_wrong_soak(self):
        self.refused("soak.json.drift[0].met: expected true or false", None, soak(met="yes"))
        place = "soak.json.drift[0].slope_interval_95_kib_per_hour"
        for bad, said in (([3, 2], ": expected [low"), (["a", 2], "[0]: expected"),
                          (None, ": expected [low")):
            self.refused(place + said, None, soak(slope_interval_95_kib_per_hour=bad))

        for name in ("about", "drift", "tails", "wall_s"):
            whole = soak()
            del whole[name]
            self.refused(f"soak.json.{name}: expected", None, whole)
        self.refused("soak.json.drift: expected one", None, soak(drift=[]))

    def test_two_soaks_of_one_profile(self):
        self.soak_beside("soak-lean.json", profile="balanced")
        self.refused("soak.json: soak-lean.json is of libhakmem.so under balanced too", None,
                     soak())

    def test_numbers_without_measure(self):
        for text in ("[" * 100000, '{"schema":1' + "0" * 500 + "}"):
            self.refused("bench.json", text)
        for bad in (1e-320, 1e308, 10 ** 500):
            whole = copy.deepcopy(SMALL)
            whole["results"][0]["allocators"]["hakmem"]["figure"]["samples"][1] = bad
            self.refused("samples[1]: expected a number above 0", whole)

    def test_an_input_is_not_overwritten(self):
        status, said = self.call(SMALL, None, "--partial", "--output",
                                 str(self.folder / "bench.json"))
        self.assertEqual(status, 2)
        self.assertIn("bench.json: is an input; name another file", said)
        self.assertEqual(json.loads((self.folder / "bench.json").read_text()), SMALL)

    def test_usage(self):
        status, said = self.call(None, None, "--no-such")
        self.assertEqual(status, 2)
        self.assertRegex(said, r"\Ascorecard\.py: [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
