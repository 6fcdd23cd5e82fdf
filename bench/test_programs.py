#!/usr/bin/python3
"""Each benchmark program: its record is complete and true, bad input is one line and exit 2."""
import json
import os
import pathlib
import re
import subprocess
import unittest

BUILD = pathlib.Path(os.environ.get("HAK_BUILD_DIR", "build"))
FIELDS = {"schema": int, "bench": str, "args": list, "ops": int, "cpu_ns": int, "wall_ns": int,
          "rss_end_bytes": int, "rss_peak_bytes": int, "faults": int, "allocator": str}


def start(program, *words, **env):
    clean = {name: value for name, value in os.environ.items()
             if name not in ("LD_PRELOAD", "HAKMEM_BENCH_PREFAULT")}
    return subprocess.run([str(BUILD / program), *map(str, words)], env={**clean, **env},
                          capture_output=True, text=True, check=False, timeout=60)


class Programs(unittest.TestCase):
    def record(self, program, *words, fields=None, **env):
        done = start(program, *words, "--json", **env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        record = json.loads(done.stdout)
        self.assertEqual({name: type(value) for name, value in record.items()}, fields or FIELDS)
        self.assertEqual((record["schema"], record["bench"]), (1, program))
        self.assertEqual(record["args"], [*map(str, words), "--json"])
        self.assertGreater(record["rss_end_bytes"], 100_000)
        self.assertGreaterEqual(record["rss_peak_bytes"], record["rss_end_bytes"])
        self.assertGreater(record["wall_ns"], 0)
        if program != "bench_floor":
            self.assertRegex(record["allocator"], r"^(libc\.so|ld-musl)")
        return record

    def refuses(self, program, *words, **env):
        done = start(program, *words, **env)
        self.assertEqual((done.returncode, done.stdout), (2, ""), words)
        self.assertRegex(done.stderr, rf"\A{program}: [^\n]+\n\Z")

    def test_latency_counts_each_call(self):
        fields = {**FIELDS, "latency": dict}
        for calls_per_op, words in ((1, ("bench_random_mixed", "--ops", 50000)),
                                    (2, ("bench_batch", "--count", 500, "--ops", 50000)),
                                    (2, ("bench_larson", "--ops", 50000)),
                                    (2, ("bench_larson", "--ops", 20000, "--churn")),
                                    (2, ("bench_prodcons", "--ops", 50000))):
            record = self.record(*words, "--latency", fields=fields)
            latency = record["latency"]
            self.assertEqual(latency["calls"], calls_per_op * record["ops"], words)
            rising = [latency[f"p{p}_ns"] for p in ("50", "90", "99", "99_9", "99_99")]
            rising.append(latency["max_ns"])
            self.assertEqual(rising, sorted(rising), words)
            self.assertGreater(latency["timer_ns"], 0)
            self.assertGreaterEqual(latency["p50_ns"], latency["timer_ns"] // 2)

    def test_shapes(self):
        """Each does what it is asked for, with one thread and with two, and times every call."""
        fields = {**FIELDS, "latency": dict}
        for calls_per_op, *words in ((2, "bench_trees", "--depth", 8, "--ops", 25500),
                                     (2, "bench_strings", "--keys", 500, "--ops", 20000),
                                     (2, "bench_calloc", "--slots", 100, "--ops", 20000),
                                     (2, "bench_large", "--slots", 4, "--ops", 100),
                                     (2, "bench_fragment", "--mib", 1, "--ops", 10000),
                                     (2, "bench_false_sharing", "--writes", 20, "--ops", 5000),
                                     (None, "bench_realloc", "--arrays", 50, "--ops", 20000)):
            for threads in (1, 2):
                record = self.record(*words, "--threads", threads)
                self.assertGreaterEqual(record["ops"], words[-1] // 2)
                timed = self.record(*words, "--threads", threads, "--latency", fields=fields)
                if calls_per_op is not None:
                    self.assertEqual(timed["latency"]["calls"], calls_per_op * timed["ops"], words)
            self.refuses(words[0], "--ops", 0)

    def test_fragmentation_is_seen(self):
        full = self.record("bench_fragment", "--mib", 16, "--stop-full")
        least = self.record("bench_fragment", "--mib", 1, "--stop-full")
        self.assertGreater(full["rss_end_bytes"] - least["rss_end_bytes"], 15 << 20)
        for word in ("--refill-min", "--min"):
            self.refuses("bench_fragment", word, 100000)

    def test_passive_and_active_sharing(self):
        for mode in ("active", "passive"):
            self.assertEqual(self.record("bench_false_sharing", "--mode", mode, "--writes", 10,
                                         "--ops", 5000)["ops"], 5000)
        self.refuses("bench_false_sharing", "--mode", "other")

    def test_latency_in_words(self):
        done = start("bench_batch", "--ops", 1000, "--latency")
        self.assertRegex(done.stdout.splitlines()[-1], r"latency of 2000 calls .* p99\.99 \d+, max")
        for program in ("bench_floor", "bench_hello"):
            self.refuses(program, "--latency")

    def test_random_mixed(self):
        self.assertEqual(self.record("bench_random_mixed", 100000, 500, 7)["ops"], 100000)
        self.assertEqual(self.record("bench_random_mixed", "--ops", 70000)["ops"], 70000)
        self.assertEqual(self.record("bench_random_mixed", 100000, 4000, "--min", 1024, "--max",
                                     32768, "--threads", 2)["ops"], 100000)

    def test_random_mixed_holds_about_half_its_slots(self):
        one = self.record("bench_random_mixed", 1, 40000, HAKMEM_BENCH_PREFAULT="0")
        none = self.record("bench_random_mixed", 1, 1, HAKMEM_BENCH_PREFAULT="0")
        live = 40000 / 2 * (16 + 1024) / 2
        self.assertGreater(one["rss_end_bytes"] - none["rss_end_bytes"], 0.9 * live)
        self.assertLess(one["rss_end_bytes"] - none["rss_end_bytes"], 1.6 * live)

    def test_warm_up_moves_the_faults_out_of_the_timed_part(self):
        cold = self.record("bench_random_mixed", 200000, 40000, HAKMEM_BENCH_PREFAULT="0")
        warm = self.record("bench_random_mixed", 200000, 40000, HAKMEM_BENCH_PREFAULT="800000")
        self.assertLess(warm["faults"], cold["faults"])

    def test_seconds_bound_the_run(self):
        record = self.record("bench_random_mixed", "--seconds", "0.02")
        self.assertGreaterEqual(record["wall_ns"], 20_000_000)
        self.assertGreater(record["ops"], 0)

    def test_floor(self):
        self.assertEqual(self.record("bench_floor", 100000)["allocator"], "floor")

    def test_batch(self):
        self.assertEqual(self.record("bench_batch", "--count", 100, "--ops", 10000)["ops"], 10000)
        self.assertEqual(self.record("bench_batch", "--count", 300, "--order", "random", "--size",
                                     32, "--ops", 900, "--threads", 2)["ops"], 900)

    def test_larson(self):
        self.assertEqual(self.record("bench_larson", "--ops", 50000)["ops"], 50000)
        self.assertEqual(self.record("bench_larson", "--ops", 50000, "--threads", 3, "--churn",
                                     "--round", 1000)["ops"], 50000)

    def test_prodcons(self):
        self.assertEqual(self.record("bench_prodcons", "--ops", 50001)["ops"], 50001)
        for sides in ((3, 1), (1, 3), (2, 2)):
            self.assertEqual(self.record("bench_prodcons", "--ops", 20000, "--producers", sides[0],
                                         "--consumers", sides[1], "--min", 16, "--max",
                                         1024)["ops"], 20000)

    def test_hello(self):
        self.assertEqual(self.record("bench_hello")["ops"], 12)

    def test_help(self):
        done = start("bench_batch", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertTrue(re.match(r"usage: bench_batch .*--count N", done.stdout))

    def test_bad_input(self):
        self.refuses("bench_random_mixed", "many")
        self.refuses("bench_random_mixed", 1, 2, 3, 4)
        self.refuses("bench_random_mixed", 1, 0)
        self.refuses("bench_random_mixed", "--min", 64, "--max", 16)
        self.refuses("bench_random_mixed", "--seconds", "0")
        self.refuses("bench_random_mixed", "--ops")
        self.refuses("bench_random_mixed", 10, HAKMEM_BENCH_PREFAULT="lots")
        self.refuses("bench_batch", "--order", "backward")
        self.refuses("bench_batch", "--count", "-1")
        self.refuses("bench_larson", "--threads", 0)
        self.refuses("bench_prodcons", "--producers", 1000)
        self.refuses("bench_hello", "--size", 3)

    def test_markers_are_refused_by_the_kernel_and_do_no_harm(self):
        self.assertEqual(self.record("bench_batch", "--ops", 1000, "--markers")["ops"], 1000)


if __name__ == "__main__":
    unittest.main()
