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

# What this wrote to stderr, and the RSS at the end of its record; slabs were freed in it:
#   HAKMEM_TINY_MEM_DUMP=1 HAKMEM_SS_STATS_DUMP=1 HAKMEM_WARM_POOL_STATS=1 \
#     LD_PRELOAD=build/libhakmem-observe.so build/bench_thread_churn --threads 4 --json
DUMP_TEXT = DUMP.read_text(encoding="utf-8")
DUMP_RSS_KIB = 5380
BENCH = {"BENCH_BIN": str(BUILD / "bench_random_mixed"), "WS": "400"}
PEERS = [f"/usr/lib/{machine}-linux-gnu/libjemalloc.so.2" for machine in ("x86_64", "aarch64")]


class Dump(unittest.TestCase):
    def test_totals_are_found_among_other_lines(self):
        dumps = triage_rss.dump_read("some program's own line\n" + DUMP_TEXT)
        self.assertEqual(dumps["tiny"]["live_bytes"], 220416)
        self.assertEqual(dumps["superslabs"]["bytes"], 8388608)
        self.assertEqual(dumps["warm"]["dirty_bytes"], 3801088)
        self.assertEqual(dumps["warm"]["empty_bytes"], 2097152)
        self.assertEqual(dumps["tiny"]["cached_bytes"], 1920)

    def test_faults(self):
        faults = [
            ("", "", "no 'hakmem tiny: total' line"),
            ("hakmem warm: total", "hakmem warm:", "no 'hakmem warm: total' line"),
            (" dirty_bytes=3801088", "", "no dirty_bytes in the line 'hakmem warm: total'"),
            (" empty_bytes=2097152", "", "no empty_bytes in the line 'hakmem warm: total'"),
            ("dirty_bytes=3801088", "dirty_bytes=many", "no dirty_bytes"),
            ("live_bytes=220416", "live_bytes=220417",
             "slab_bytes is 2818048, the sum of its parts 2818049"),
            ("run_bytes=0", "run_bytes=4096", "bytes is 8388608, the sum of its parts 8392704"),
        ]
        for old, new, said in faults:
            text = DUMP_TEXT.replace(old, new) if old else ""
            with self.assertRaisesRegex(soak_input.BadInput, said):
                triage_rss.dump_read(text)


class Arithmetic(unittest.TestCase):
    def sums(self, rss_kib, text=DUMP_TEXT):
        """The sums of the parts, each of which is seen to be a part of the RSS."""
        dumps = triage_rss.dump_read(text) if text else None
        parts = triage_rss.parts_of(rss_kib, 1300, 400, dumps)
        self.assertAlmostEqual(sum(kib for _, _, kib in parts), rss_kib)
        for _, what, kib in parts:
            self.assertTrue(0 <= kib <= rss_kib, (what, kib))
        return triage_rss.sums_of(parts)

    def test_the_parts_sum_to_the_rss(self):
        sums = self.sums(DUMP_RSS_KIB)
        own = 1300 + (400 * 8 + 220416) / 1024
        self.assertAlmostEqual(sums["caused by the benchmark"], own)
        self.assertAlmostEqual(sums["releasable"], 2048)
        self.assertAlmostEqual(sums["kept by the allocator"], DUMP_RSS_KIB - own - 2048)

    def test_more_is_reserved_than_resident(self):
        """The free chunks alone are 3,712 KiB."""
        sums = self.sums(2000)
        own = 1300 + (400 * 8 + 220416) / 1024
        self.assertAlmostEqual(sums["caused by the benchmark"], own)
        self.assertAlmostEqual(sums["kept by the allocator"], 1920 / 1024)
        self.assertAlmostEqual(sums["releasable"], 2000 - own - 1920 / 1024)
        self.assertAlmostEqual(self.sums(1000)["caused by the benchmark"], 1000)

    def test_free_chunks_of_used_superslabs_are_kept(self):
        sums = self.sums(DUMP_RSS_KIB, DUMP_TEXT.replace("empty_bytes=2097152", "empty_bytes=0"))
        self.assertEqual(sums["releasable"], 0)
        self.assertGreater(sums["kept by the allocator"], 3801088 / 1024)

    def test_empty_superslabs_with_chunks_that_never_had_pages(self):
        text = DUMP_TEXT.replace("dirty_bytes=3801088", "dirty_bytes=65536")
        self.assertAlmostEqual(self.sums(DUMP_RSS_KIB, text)["releasable"], 64)

    def test_without_a_dump_the_live_objects_are_estimated(self):
        sums = self.sums(4000, None)
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
        settings = {("HAKMEM_DEPOT_BYTES", "0"): 5370, ("HAKMEM_WARM_POOL_BYTES", "0"): 4780}
        verdict, advice = self.verdict(DUMP_RSS_KIB, {"unset": 5380, "0": 5380, "small": 5380},
                                       settings, dumps)
        self.assertRegex(verdict, r"most of it is releasable: 2048 of 5380 KiB \(38 %\)")
        self.assertEqual(advice, ["malloc_trim(0) in the program: gives back about 2048 KiB",
                                  "HAKMEM_WARM_POOL_BYTES=0: 600 KiB less"])


class Runs(soak_samples.ToolTest):
    def test_hakmem(self):
        out_file = self.folder / "out.json"
        status, out, err = call("triage_rss.sh", "--json", out_file, BUILD / "libhakmem.so",
                                **BENCH)
        self.assertEqual((status, err), (0, ""))
        for text in ("HAKMEM_BENCH_PREFAULT unset", "HAKMEM_DEPOT_BYTES=0",
                     "caused by the benchmark", "kept by the allocator", "releasable", "verdict: ",
                     "set: "):
            self.assertIn(text, out)
        found = json.loads(out_file.read_text(encoding="utf-8"))
        self.assertAlmostEqual(sum(part["kib"] for part in found["parts"]), found["rss_kib"])
        if (BUILD / triage_rss.OBSERVE).is_file():
            self.assertEqual(found["statistics"], "statistics of libhakmem-observe.so")
            self.assertNotIn("not known", out)
        else:
            self.assertRegex(out, "\n  releasable +not known\n")
            self.assertIn("no statistics: there is no libhakmem-observe.so", out)

    def test_another_allocator(self):
        peer = next((path for path in PEERS if pathlib.Path(path).is_file()), None)
        if peer is None:
            self.skipTest("libjemalloc2 is not installed")
        status, out, _ = call("triage_rss.sh", peer, **BENCH)
        self.assertEqual(status, 0)
        self.assertIn("no statistics: not hakmem", out)
        for text in ("caused by the benchmark +[0-9]+ KiB", "kept by the allocator +[0-9]+ KiB",
                     "releasable +not known"):
            self.assertRegex(out, f"\n  {text}\n")

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
