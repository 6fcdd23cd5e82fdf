#!/usr/bin/python3
"""triage_rss.sh: the arithmetic on a recorded dump, its refusals, and real runs."""
import json
import os
import pathlib
import unittest

import soak_samples
from soak_samples import BUILD, DUMP, call

import soak_input
import triage_rss

DUMP_TEXT = DUMP.read_text(encoding="utf-8")
BENCH = {"BENCH_BIN": str(BUILD / "bench_random_mixed"), "WS": "400"}
PEERS = [f"/usr/lib/{machine}-linux-gnu/libjemalloc.so.2" for machine in ("x86_64", "aarch64")]


class Dump(unittest.TestCase):
    def test_totals_are_found_among_other_lines(self):
        dumps = triage_rss.dump_read("some program's own line\n" + DUMP_TEXT)
        self.assertEqual(dumps["tiny"]["live_bytes"], 118288)
        self.assertEqual(dumps["superslabs"]["bytes"], 2097152)
        self.assertEqual(dumps["warm"]["dirty_bytes"], 655360)

    def test_faults(self):
        faults = [
            ("", "", "no 'hakmem tiny: total' line"),
            ("hakmem warm: total", "hakmem warm:", "no 'hakmem warm: total' line"),
            (" dirty_bytes=655360", "", "no dirty_bytes in the line 'hakmem warm: total'"),
            ("dirty_bytes=655360", "dirty_bytes=many", "no dirty_bytes"),
            ("live_bytes=118288", "live_bytes=118289",
             "slab_bytes is 1376256, the sum of its parts 1376257"),
            ("run_bytes=0", "run_bytes=4096", "bytes is 2097152, the sum of its parts 2101248"),
        ]
        for old, new, said in faults:
            text = DUMP_TEXT.replace(old, new) if old else ""
            with self.assertRaisesRegex(soak_input.BadInput, said):
                triage_rss.dump_read(text)


class Arithmetic(unittest.TestCase):
    def test_the_parts_sum_to_the_rss(self):
        dumps = triage_rss.dump_read(DUMP_TEXT)
        parts = triage_rss.parts_of(4000, 1300, 400, dumps)
        self.assertAlmostEqual(sum(kib for _, _, kib in parts), 4000)
        sums = triage_rss.sums_of(parts)
        self.assertAlmostEqual(sums["caused by the benchmark"], 1300 + 400 * 8 / 1024
                               + 118288 / 1024)
        self.assertAlmostEqual(sums["releasable"], 640)

    def test_without_a_dump_the_live_objects_are_estimated(self):
        parts = triage_rss.parts_of(4000, 1300, 400, None)
        self.assertAlmostEqual(sum(kib for _, _, kib in parts), 4000)
        sums = triage_rss.sums_of(parts)
        self.assertAlmostEqual(sums["caused by the benchmark"],
                               1300 + 400 * 8 / 1024 + 200 * 520 / 1024)
        self.assertNotIn("releasable", sums)

    def verdict(self, rss_kib, prefault_kib, settings_kib, dumps=None):
        parts = triage_rss.parts_of(rss_kib, 1300, 400, dumps)
        return triage_rss.verdict_of(parts, prefault_kib, settings_kib)

    def test_the_benchmarks_own_memory(self):
        verdict, advice = self.verdict(1800, {"unset": 1800, "0": 1790, "small": 1810}, {})
        self.assertRegex(verdict, "most of it is caused by the benchmark: 1405 of 1800 KiB")
        self.assertEqual(advice, ["nothing: no setting lowers it notably"])

    def test_the_warm_up(self):
        _, advice = self.verdict(5000, {"unset": 5000, "0": 1800, "small": 1900}, {})
        self.assertEqual(advice,
                         ["HAKMEM_BENCH_PREFAULT=0: the benchmark's warm-up makes 3200 KiB"])

    def test_what_can_be_had_back(self):
        dumps = triage_rss.dump_read(DUMP_TEXT)
        settings = {("HAKMEM_DEPOT_BYTES", "0"): 3990, ("HAKMEM_WARM_BYTES", "0"): 3400}
        verdict, advice = self.verdict(4000, {"unset": 4000, "0": 4000, "small": 4000}, settings,
                                       dumps)
        self.assertRegex(verdict, "most of it is kept by the allocator")
        self.assertEqual(advice, ["malloc_trim(0) in the program: gives back up to 640 KiB",
                                  "HAKMEM_WARM_BYTES=0: 600 KiB less"])


class Runs(soak_samples.ToolTest):
    def test_hakmem(self):
        out_file = self.folder / "out.json"
        status, out, err = call("triage_rss.sh", "--json", out_file, BUILD / "libhakmem.so",
                                **BENCH)
        self.assertEqual((status, err), (0, ""))
        for text in ("HAKMEM_BENCH_PREFAULT unset", "HAKMEM_DEPOT_BYTES=0",
                     "caused by the benchmark", "kept by the allocator", "verdict: ", "set: "):
            self.assertIn(text, out)
        found = json.loads(out_file.read_text(encoding="utf-8"))
        self.assertAlmostEqual(sum(part["kib"] for part in found["parts"]), found["rss_kib"])
        if (BUILD / triage_rss.OBSERVE).is_file():
            self.assertEqual(found["statistics"], "statistics of libhakmem-observe.so")
            self.assertIn("releasable", out)
        else:
            self.assertIn("no statistics: there is no libhakmem-observe.so", out)

    def test_another_allocator(self):
        peer = next((path for path in PEERS if pathlib.Path(path).is_file()), None)
        if peer is None:
            self.skipTest("libjemalloc2 is not installed")
        status, out, _ = call("triage_rss.sh", peer, **BENCH)
        self.assertEqual(status, 0)
        self.assertIn("no statistics: not hakmem", out)

    def test_refusals(self):
        hakmem = BUILD / "libhakmem.so"
        self.refuses("ALLOCATOR.so: there is no file", "triage_rss.sh", "/nowhere.so", **BENCH)
        self.refuses("is not in place", "triage_rss.sh", DUMP, **BENCH)
        self.refuses("BENCH_BIN: there is no file", "triage_rss.sh", hakmem,
                     **{**BENCH, "BENCH_BIN": "/nowhere"})
        self.refuses("WS must be", "triage_rss.sh", hakmem, **{**BENCH, "WS": "none"})
        alone = self.folder / "bench_random_mixed"
        os.symlink(BENCH["BENCH_BIN"], alone)
        self.refuses("bench_floor, which must lie beside BENCH_BIN: there is no file "
                     ".*/bench_floor", "triage_rss.sh", hakmem,
                     **{**BENCH, "BENCH_BIN": str(alone)})

    def program(self, text):
        path = self.folder / "foreign"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        path.chmod(0o755)
        return path

    def test_a_program_that_is_no_benchmark(self):
        """Whatever it does: what it did, and what is needed of it."""
        programs = [
            (pathlib.Path("/bin/true"), "prints no benchmark record"),
            (pathlib.Path("/bin/ls"), r"ends with 2: [^\n]*ls: unrecognized option '--ops'"),
            (BUILD / "bench_batch", r"ends with 2: [^\n]*unexpected argument '1' \(see --help\)"),
            (self.program("exit 7"), "ends with 7: nothing on stderr"),
        ]
        for path, said in programs:
            with self.subTest(path=path, said=said):
                name = path.name
                self.refuses(rf"\Atriage_rss.sh: BENCH_BIN: {name} {said}; it must be "
                             rf"bench_random_mixed, or print such a record when called as '{name} "
                             r"1 400 --ops 1000 --json' \(bench/README.md\)\n\Z",
                             "triage_rss.sh", BUILD / "libhakmem.so",
                             **{**BENCH, "BENCH_BIN": str(path)})

    def test_output_that_is_no_record(self):
        for out in ("\\377\\376", "[1]", '{"allocator":5}', "[" * 50000):
            with self.subTest(out=out[:9]):
                path = self.program(f"printf '{out}'")
                self.refuses("foreign prints no benchmark record; it must be", "triage_rss.sh",
                             BUILD / "libhakmem.so", **{**BENCH, "BENCH_BIN": str(path)})

    def test_a_record_without_what_is_needed(self):
        os.symlink(BUILD / "bench_floor", self.folder / "bench_floor")
        peer = self.folder / "peer.so"  # in place, as the record says
        peer.write_text("", encoding="ascii")
        for more in ("", ',"rss_end_bytes":NaN', ',"rss_end_bytes":"7"'):
            path = self.program(f"""echo '{{"allocator":"peer.so"{more}}}'""")
            self.refuses("no number rss_end_bytes in its record", "triage_rss.sh", peer,
                         **{**BENCH, "BENCH_BIN": str(path)})


if __name__ == "__main__":
    unittest.main()
