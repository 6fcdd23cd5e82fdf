#!/usr/bin/python3
"""Each benchmark program: its record is complete and true, it takes every common flag, a missed
target is exit 1, bad input is one line and exit 2."""
import json
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import unittest

import bench_workloads

BUILD = pathlib.Path(os.environ.get("HAK_BUILD_DIR", "build"))
FIELDS = {"schema": int, "bench": str, "args": list, "ops": int, "cpu_ns": int, "wall_ns": int,
          "rss_end_bytes": int, "rss_peak_bytes": int, "faults": int, "allocator": str}
IDLE = {"rss_idle_bytes": int}
FILLED = {"rss_filled_bytes": int}
MAPPINGS = {"mappings": int, "live_bytes": int}
GROWN = {"requested_bytes": int, "rss_begin_bytes": int}
LATE = {"late_faults": int}
BEHIND = {"live_peak_bytes": int}

# Every program: words for a short run, its operations, calls of the allocator an operation (None:
# not a constant), fields of its own. Operations None: as many as whole rounds give.
SHORT = {
    "bench_random_mixed": (["--ops", 20000], 20000, 1, {}),
    "bench_random_mixed_system": (["--ops", 20000], 20000, 1, {}),
    "bench_batch": (["--count", 500, "--ops", 20000], 20000, 2, LATE),
    "bench_larson": (["--ops", 20000], 20000, 2, {}),
    "bench_prodcons": (["--ops", 20001], 20001, 2, {}),
    "bench_trees": (["--depth", 8, "--ops", 25500], 25500, 2, {}),
    "bench_realloc": (["--arrays", 50, "--ops", 20000], 20000, None, {}),
    "bench_strings": (["--keys", 500, "--ops", 20000], 20000, 2, {}),
    "bench_calloc": (["--slots", 100, "--ops", 20000], 20000, 2, {}),
    "bench_large": (["--slots", 4, "--ops", 100], 100, 2, {}),
    "bench_fragment": (["--mib", 1, "--ops", 10000], None, 2, {}),
    "bench_false_sharing": (["--writes", 20, "--ops", 5000], 5000, 2, {}),
    "bench_hello": (["--ops", 30], 30, None, {}),
    "bench_short_lived": (["--ops", 20001], 20001, 2, {}),
    "bench_thread_churn": (["--objects", 50, "--ops", 2000], 2000, 2, {}),
    "bench_bursts": (["--mib", 1, "--idle-ms", 2, "--ops", 4000], None, 2, IDLE),
    "bench_release": (["--count", 1000, "--wait-ms", 2], None, None, FILLED),
    "bench_mappings": (["--mib", 1, "--times", 1], None, None, MAPPINGS),
    "bench_grow": (["--mib", 1], None, None, GROWN),
}
# A producer needs a consumer.
LEAST_THREADS = {"bench_prodcons": 2}


def start(program, *words, **env):
    clean = {name: value for name, value in os.environ.items()
             if name not in ("LD_PRELOAD", "HAKMEM_BENCH_PREFAULT", "HAKMEM_REPORT")}
    return subprocess.run([str(BUILD / program), *map(str, words)], env={**clean, **env},
                          capture_output=True, text=True, check=False, timeout=60)


class Case(unittest.TestCase):
    def record(self, program, *words, fields=None, allocator=r"^(libc\.so|ld-musl)", **env):
        done = start(program, *words, "--json", **env)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return self.read(done.stdout, program, words, fields, allocator)

    def read(self, out, program, words, fields=None, allocator=r"^(libc\.so|ld-musl)"):
        record = json.loads(out)
        self.assertEqual({name: type(value) for name, value in record.items()},
                         {**FIELDS, **(fields or {})})
        self.assertEqual(record["schema"], 1)
        self.assertIn(record["bench"], (program, "bench_random_mixed"))
        self.assertEqual(record["args"], [*map(str, words), "--json"])
        self.assertGreater(record["rss_end_bytes"], 100_000)
        self.assertGreaterEqual(record["rss_peak_bytes"],
                                max(record["rss_end_bytes"], record.get("rss_idle_bytes", 0)))
        self.assertGreater(record["wall_ns"], 0)
        self.assertGreater(record["ops"], 0)
        self.assertRegex(record["allocator"], allocator)
        return record

    def refuses(self, program, *words, saying="", **env):
        done = start(program, *words, **env)
        self.assertEqual((done.returncode, done.stdout), (2, ""), (program, words))
        self.assertRegex(done.stderr, rf"\Abench_\w+: [^\n]*{saying}[^\n]*\n\Z")


class EveryProgram(Case):
    def test_the_table_has_every_program(self):
        built = {path.name for path in BUILD.glob("bench_*") if os.access(path, os.X_OK)}
        archives = {name for name in built if "_hakmem_" in name}
        libraries = {"bench_nothing.so"}
        self.assertEqual(built - archives - {"bench_replay"}, {*SHORT, "bench_floor", *libraries})

    def test_threads(self):
        for program, (words, ops, _, fields) in SHORT.items():
            for threads in (1, 2, 3):
                words_all = [*words, "--threads", threads]
                if threads < LEAST_THREADS.get(program, 1):
                    self.refuses(program, *words_all)
                    continue
                record = self.record(program, *words_all, fields=fields)
                if ops is not None:
                    self.assertEqual(record["ops"], ops, words_all)

    def test_sizes(self):
        for program, (words, _, _, fields) in SHORT.items():
            sizes = ("--min", 128, "--max", "1K")
            self.record(program, *words, *sizes, "--seed", 3, fields=fields)
            self.record(program, *words, "--size", 256, fields=fields)
            self.refuses(program, "--min", "2K", "--max", 1024, saying="--min")
            self.refuses(program, "--size", 64, "--min", 64, saying="--size")
            for bad in ("0", "1T", "K", "1KB", "-1", "2G", "99999999999999999999"):
                self.refuses(program, "--min", bad, saying="--min must be a number of bytes")

    def test_seconds_and_markers(self):
        for program, (_, _, _, fields) in SHORT.items():
            words = ["--seconds", "0.02", "--markers", "--threads", LEAST_THREADS.get(program, 1)]
            words += {"bench_fragment": ["--mib", 1],
                      "bench_release": ["--count", 1000, "--wait-ms", 2],
                      "bench_mappings": ["--mib", 1], "bench_grow": ["--mib", 1],
                      "bench_bursts": ["--mib", 1, "--idle-ms", 2]}.get(program, [])
            self.assertGreaterEqual(self.record(program, *words, fields=fields)["wall_ns"],
                                    20_000_000)

    def test_latency(self):
        for program, (words, _, calls_an_op, own) in SHORT.items():
            fields = {**own, "latency": dict}
            for threads in (LEAST_THREADS.get(program, 1), 3):
                words_all = [*words, "--latency", "--threads", threads]
                record = self.record(program, *words_all, fields=fields)
                self.check_latency(record["latency"], program)
                if calls_an_op is not None:
                    self.assertEqual(record["latency"]["calls"], calls_an_op * record["ops"],
                                     words_all)

    def check_latency(self, latency, program):
        buckets = latency["buckets"]
        self.assertEqual(sum(count for _, count in buckets), latency["calls"], program)
        self.assertTrue(all(count > 0 for _, count in buckets), program)
        uppers = [upper for upper, _ in buckets]
        self.assertEqual(uppers, sorted(set(uppers)), program)
        self.assertEqual(uppers[-1], latency["max_ns"], program)
        told = []
        for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99_9"),
                            (0.9999, "p99_99")):
            seen = 0
            for upper, count in buckets:
                seen += count
                if seen >= share * latency["calls"]:
                    break
            self.assertEqual(latency[f"{name}_ns"], upper, (program, name))
            told.append(upper)
        self.assertEqual(told, sorted(told))
        self.assertGreater(latency["timer_ns"], 0)

    def test_targets(self):
        slow = r"[\d.]+ ns an operation, target 0\.001"
        large = r"RSS \d+ bytes, target 1024"
        for program, (words, _, _, fields) in SHORT.items():
            self.record(program, *words, "--target-ns", "1e11", "--target-rss", "1G", fields=fields)
            for target, line in ((["--target-ns", "0.001"], slow),
                                 (["--target-rss", "1K"], large),
                                 (["--target-ns", "0.001", "--target-rss", "1K"],
                                  f"{slow}; {large}")):
                done = start(program, *words, *target, "--json")
                self.assertEqual(done.returncode, 1, (program, target))
                self.assertRegex(done.stderr, rf"\Abench_\w+: target missed: {line}\n\Z")
                self.read(done.stdout, program, [*words, *target], fields)

    def test_bad_input(self):
        for program in (*SHORT, "bench_floor"):
            for words in (["--ops", 0], ["--ops"], ["--threads", 0], ["--threads", 2049],
                          ["--seconds", "0"], ["--seconds", "1s"], ["--target-ns", 0],
                          ["--target-ns", "fast"], ["--target-rss", "small"], ["--target-rss", 0],
                          ["--seed", "1K"], ["--nothing"], ["--json", "many"]):
                self.refuses(program, *words)

    def test_a_limit_of_file_size_is_told(self):
        """The first write beyond it is a SIGXFSZ to a program that has not ignored that."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        epochs = ["--epoch-seconds", "0.01", "--seconds", "0.1"]
        runs = [(program, words, "the record") for program, (words, _, _, _) in SHORT.items()]
        runs += [("bench_floor", ["--ops", 1000], "the record"),
                 ("bench_random_mixed", epochs, "an epoch")]
        for program, words, what in runs:
            for most_bytes in (0, 100):
                with self.subTest(program=program, most_bytes=most_bytes), \
                        tempfile.TemporaryFile() as file:
                    done = subprocess.run([BUILD / program, *map(str, words), "--json"],
                                          stdout=file, stderr=subprocess.PIPE, text=True,
                                          check=False, timeout=60, preexec_fn=limit)
                    self.assertEqual((done.returncode, file.tell()), (2, most_bytes))
                    self.assertRegex(done.stderr,
                                     rf"\A\w+: cannot write {what}: File too large\n\Z")

    def test_help_names_all_flags(self):
        for program in (*SHORT, "bench_floor"):
            done = start(program, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for flag in ("--threads N", "--ops N", "--seconds S", "--min BYTES", "--max BYTES",
                         "--latency", "--json", "--target-ns NS", "--target-rss BYTES"):
                self.assertIn(f"[{flag}]", done.stdout)


class Shapes(Case):
    """What is a program's own."""

    def test_latency_in_words(self):
        done = start("bench_batch", "--ops", 1000, "--latency")
        self.assertRegex(done.stdout.splitlines()[-1], r"latency of 2000 calls .* p99\.99 \d+, max")
        self.refuses("bench_floor", "--latency", saying="no calls")

    def test_size_suffixes(self):
        def rss(*words):
            return self.record("bench_random_mixed", 1, 4000, *words)["rss_end_bytes"]
        plain, suffix, small = rss("--size", 1024), rss("--size", "1K"), rss("--size", 16)
        # What of the libraries' files is mapped besides differs from run to run, by 64 KiB blocks.
        self.assertLess(abs(plain - suffix), 600_000)
        self.assertGreater(min(plain, suffix) - small, 1_500_000)

    def test_random_mixed(self):
        self.assertEqual(self.record("bench_random_mixed", 100000, 500, 7)["ops"], 100000)
        self.assertEqual(self.record("bench_random_mixed", 100000, 4000, "--min", 1024, "--max",
                                     32768, "--threads", 2)["ops"], 100000)
        self.refuses("bench_random_mixed", "many")
        self.refuses("bench_random_mixed", 1, 2, 3, 4)
        self.refuses("bench_random_mixed", 1, 0)
        self.refuses("bench_random_mixed", 10, HAKMEM_BENCH_PREFAULT="lots")

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

    def test_cycles_warm_up_a_run_of_seconds(self):
        """As run.py's timed rows ask for it; --ops takes the place of the cycles."""
        words = bench_workloads.mixed(40000)
        warm = self.record("bench_random_mixed", *words, "--seconds", "0.02")
        cold = self.record("bench_random_mixed", *words, "--seconds", "0.02",
                           HAKMEM_BENCH_PREFAULT="0")
        self.assertLess(warm["faults"], cold["faults"])
        few = self.record("bench_random_mixed", *words, "--ops", 20000)
        tenth = self.record("bench_random_mixed", *words, "--ops", 20000,
                            HAKMEM_BENCH_PREFAULT="2000")
        self.assertEqual(few["ops"], 20000)
        self.assertAlmostEqual(few["faults"], tenth["faults"], delta=20)

    def test_floor(self):
        for words in ([100000], ["--ops", 1000, "--threads", 2, "--size", "4K", "--markers"]):
            self.record("bench_floor", *words, allocator="^floor$")

    def test_batch(self):
        for words in (["--size", 32], ["--min", 16, "--max", 2048]):
            self.assertEqual(self.record("bench_batch", "--count", 300, "--order", "random", *words,
                                         "--ops", 900, "--threads", 2, fields=LATE)["ops"], 900)
        self.refuses("bench_batch", "--order", "backward")
        self.refuses("bench_batch", "--count", "-1")

    def test_larson_on_short_threads(self):
        words = ["--ops", 20000, "--threads", 3, "--churn", "--round", 1000, "--latency"]
        record = self.record("bench_larson", *words, fields={"latency": dict})
        self.assertEqual((record["ops"], record["latency"]["calls"]), (20000, 40000))

    def test_cpu_time_of_short_threads_counts(self):
        """What ten threads of a program's own do is in cpu_ns with --threads 1 too. No processor
        frees and allocates within a nanosecond; to start ten threads takes less than 2 ms."""
        for words in (["bench_larson", "--churn", "--round", 200000],
                      ["bench_thread_churn", "--objects", 200000]):
            record = self.record(*words, "--ops", 2000000, "--threads", 1)
            self.assertGreater(record["cpu_ns"], record["ops"])

    def test_prodcons_sides(self):
        for words in (["--producers", 3], ["--consumers", 3], ["--producers", 2, "--consumers", 2],
                      ["--threads", 5], ["--threads", 4, "--producers", 1],
                      ["--threads", 4, "--consumers", 3],
                      ["--threads", 3, "--producers", 2, "--consumers", 1]):
            self.assertEqual(self.record("bench_prodcons", "--ops", 20000, *words, "--min", 16,
                                         "--max", 1024)["ops"], 20000)
        for words in (["--threads", 2, "--producers", 2], ["--threads", 2, "--consumers", 3],
                      ["--threads", 4, "--producers", 1, "--consumers", 1],
                      ["--threads", 1]):
            self.refuses("bench_prodcons", *words, saying="--threads")
        self.refuses("bench_prodcons", "--producers", 2000)

    def test_mappings(self):
        """With glibc, which maps objects of 1 MiB one by one: some 8 live ones, and no others."""
        one = self.record("bench_mappings", "--mib", 16, "--size", "1M", fields=MAPPINGS)
        self.assertEqual(one["live_bytes"], 8 << 20)
        self.assertLessEqual(one["mappings"], 12)
        none = self.record("bench_mappings", "--mib", 16, "--size", 64, fields=MAPPINGS)
        self.assertLessEqual(none["mappings"], one["mappings"])

    def test_growth(self):
        """Every byte is written, and nothing is resident beside the objects but their headers."""
        record = self.record("bench_grow", "--mib", 16, "--size", 1024, fields=GROWN)
        grown = record["rss_end_bytes"] - record["rss_begin_bytes"]
        self.assertEqual((record["requested_bytes"], record["ops"]), (16 << 20, 16 << 10))
        self.assertGreaterEqual(grown, 16 << 20)
        self.assertLess(grown, 1.05 * (16 << 20))
        self.assertGreaterEqual(record["faults"], 4096 * 4096 // os.sysconf("SC_PAGESIZE") / 2)
        self.refuses("bench_grow", "--min", 4, saying="--min must be a number of bytes")

    def test_backlog_stays_alive_and_memory_bounded(self):
        mib = 1 << 20
        none = self.record("bench_prodcons", "--ops", 100000)
        for sides in ([], ["--producers", 2], ["--consumers", 2]):
            words = ["--backlog", "8M", "--ops", 1000000, *sides]  # 64 MB come and go
            record = self.record("bench_prodcons", *words, fields=BEHIND)
            self.assertEqual(record["ops"], 1000000)
            self.assertGreaterEqual(record["live_peak_bytes"], 8 * mib)
            self.assertLessEqual(record["live_peak_bytes"], 8 * mib + 65 * 64 * 64)
            self.assertGreater(record["rss_end_bytes"] - none["rss_end_bytes"], 8 * mib)
            self.assertLess(record["rss_peak_bytes"], 32 * mib)
        words = ["--backlog", "1M", "--ops", 100000, "--latency"]
        fields = {"latency": dict, **BEHIND}
        calls = self.record("bench_prodcons", *words, fields=fields)["latency"]["calls"]
        self.assertLess(abs(calls - 200000), 64)
        self.refuses("bench_prodcons", "--backlog", "all")

    def test_without_objects_the_queue_alone_is_resident(self):
        """17 bytes an object of 64, and the queue is as full as with them."""
        def run(*words):
            return self.record("bench_prodcons", "--ops", 100000, "--producers", 2, *words,
                               fields=BEHIND if "--backlog" in words else None)
        none = run("--no-objects")
        self.assertEqual(none["ops"], 100000)
        record = run("--backlog", "32M", "--no-objects")
        self.assertEqual((record["ops"], record["live_peak_bytes"]), (100000, 0))
        batches = (32 << 20) // 64 // 64 + 1
        grown = record["rss_peak_bytes"] - none["rss_peak_bytes"]
        self.assertLess(abs(grown - batches * 1088), 500_000)
        whole = run("--backlog", "32M")
        self.assertGreater(whole["rss_peak_bytes"] - record["rss_peak_bytes"], 32 << 20)
        run("--no-objects", "--min", 16, "--max", 1024, "--seed", 3)
        self.refuses("bench_prodcons", "--no-objects", "--latency", saying="no calls")

    def test_nothing_does_what_a_program_needs(self):
        for words in (["--producers", 4], ["--consumers", 4, "--min", 16, "--max", 1024]):
            record = self.record("bench_prodcons", "--ops", 300000, *words,
                                 allocator=r"^bench_nothing\.so$",
                                 LD_PRELOAD=str(BUILD / "bench_nothing.so"))
            self.assertEqual(record["ops"], 300000)

    def test_fragmentation_is_seen(self):
        full = self.record("bench_fragment", "--mib", 16, "--stop-full")
        least = self.record("bench_fragment", "--mib", 1, "--stop-full")
        self.assertGreater(full["rss_end_bytes"] - least["rss_end_bytes"], 15 << 20)
        for word in ("--refill-min", "--min"):
            self.refuses("bench_fragment", word, 100000)

    def test_bursts_come_and_go(self):
        words = ["--mib", 16, "--idle-ms", 2, "--ops", 40000]
        record = self.record("bench_bursts", *words, fields=IDLE)
        self.assertGreater(record["rss_peak_bytes"], 16 << 20)
        self.assertGreater(record["rss_idle_bytes"], 16 << 20 >> 5)  # a twentieth is live
        self.assertGreaterEqual(record["wall_ns"], 2 * 2_000_000)
        self.refuses("bench_bursts", "--idle-ms", 0)

    def test_what_is_freed_is_told_from_what_is_kept(self):
        words = ["--count", 20000, "--after", "nothing", "--wait-ms", 1]
        record = self.record("bench_release", *words, fields=FILLED)
        self.assertGreater(record["rss_filled_bytes"], 20_000_000)
        all_kept = self.record("bench_release", *words, "--keep", 1, fields=FILLED)
        self.assertGreater(all_kept["rss_end_bytes"], 20_000_000)
        for order in ([], ["--regular"]):
            trimmed = self.record("bench_release", "--count", 20000, "--after", "trim", "--keep",
                                  64, *order, fields=FILLED)
            self.assertLess(trimmed["rss_end_bytes"], 8_000_000)  # this is glibc
        self.refuses("bench_release", "--after", "other")

    def test_no_memory_is_above_the_peak(self):
        """glibc gives back what is above the last object: the end is far below the idle time, and
        the kernel's own peak, which it counts in batches, is below that too."""
        words = ["--mib", 4, "--idle-ms", 1, "--ops", 3, "--size", "64K"]
        for _ in range(3):
            record = self.record("bench_bursts", *words, fields=IDLE)
            self.assertLess(record["rss_end_bytes"], record["rss_idle_bytes"])

    def test_passive_and_active_sharing(self):
        for mode in ("active", "passive"):
            self.assertEqual(self.record("bench_false_sharing", "--mode", mode, "--writes", 10,
                                         "--ops", 5000)["ops"], 5000)
        self.refuses("bench_false_sharing", "--mode", "other")

    def test_hello(self):
        self.assertEqual(self.record("bench_hello")["ops"], 12)
        self.assertEqual(self.record("bench_hello", "--threads", 3)["ops"], 36)
        self.refuses("bench_hello", "--size", 3)

    def test_help(self):
        done = start("bench_batch", "--help")
        self.assertTrue(re.match(r"usage: bench_batch .*--count N", done.stdout))


class Linked(Case):
    """Which allocator served the program is told truly, whatever is preloaded."""

    def static(self, flavour):
        program = f"bench_random_mixed_hakmem_{flavour}"
        if not (BUILD / program).exists():
            self.skipTest(f"SKIP: this build has no {program}")
        return program

    def check_flavour(self, flavour):
        program = self.static(flavour)
        with tempfile.TemporaryDirectory() as folder:
            report = os.path.join(folder, "report")
            self.record(program, 100000, allocator=r"^hakmem \(static\)$", HAKMEM_REPORT=report)
            with open(report, encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
        self.assertEqual([line["flavour"] for line in lines], [flavour])
        self.assertGreater(lines[0]["objects"], 0)

    def test_minimal(self):
        self.check_flavour("minimal")

    def test_observe(self):
        self.check_flavour("observe")

    def test_no_preload_replaces_an_archive(self):
        self.record(self.static("minimal"), 10000, allocator=r"^hakmem \(static\)$",
                    LD_PRELOAD=str(BUILD / "libhakmem.so"))

    def test_a_preload_serves_the_program_that_is_linked_with_nothing(self):
        for program in ("bench_random_mixed_system", "bench_short_lived"):
            self.record(program, "--ops", 10000, allocator=r"^libhakmem\.so$",
                        LD_PRELOAD=str(BUILD / "libhakmem.so"))


if __name__ == "__main__":
    unittest.main()
