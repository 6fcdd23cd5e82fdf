#!/usr/bin/python3
"""bench_replay: it makes the calls of the trace and no others, under any allocator and number of
threads, and refuses what is no trace with one line and exit 2."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import trace_file
from trace_file import (CALLOC, CLOCK, FREE, MALLOC, REALLOC_FROM, REALLOC_TO, header, record,
                        trailer, write)

TRACES = sorted((trace_file.SOURCE / "bench" / "traces").glob("*.hkt"))
FIELDS = {"schema", "bench", "args", "ops", "cpu_ns", "wall_ns", "rss_end_bytes",
          "rss_peak_bytes", "faults", "allocator", "threads", "replayed", "foreign", "truncated"}


def start(*words, preload=""):
    env = {name: value for name, value in os.environ.items() if not name.startswith("HAKMEM_")}
    return subprocess.run([trace_file.REPLAY, *map(str, words)], env={**env, "LD_PRELOAD": preload},
                          capture_output=True, text=True, check=False, timeout=100)


class Replay(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name) / "trace.hkt"

    def json(self, *words, preload=""):
        done = start(*words, "--json", preload=preload)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return json.loads(done.stdout)

    def refuses(self, text, *words):
        done = start(*words)
        self.assertEqual((done.returncode, done.stdout), (2, ""), words)
        self.assertRegex(done.stderr, rf"\Abench_replay: [^\n]*{text}[^\n]*\n\Z")

    def refuses_frames(self, text, *frames):
        write(self.file, *frames)
        self.refuses(text, self.file)

    # The committed traces

    def test_there_are_three(self):
        self.assertEqual(len(TRACES), 3)
        for path in TRACES:
            self.assertLessEqual(path.stat().st_size, 2_000_000)

    def test_counts_are_the_trailers(self):
        for path in TRACES:
            recorded = trace_file.Trace(path)
            counts = recorded.all_counts()
            self.assertEqual({name: recorded.trailer[name] for name in counts}, counts)
            self.assertEqual(path.stem, recorded.program)
            for library in ("libc.so.6", "libhakmem.so"):
                preload = trace_file.HAKMEM if library == "libhakmem.so" else ""
                got = self.json(path, preload=preload)
                self.assertEqual(got.keys(), FIELDS)
                self.assertEqual((got["replayed"], got["allocator"]), (counts, library))
                self.assertEqual((got["ops"], got["foreign"], got["truncated"]),
                                 (sum(counts.values()), 0, False))
                self.assertGreater(got["rss_peak_bytes"], 1_000_000)

    def test_summary(self):
        for path in TRACES:
            got = self.json(path, "--summary")
            live, most = 0, 0
            sizes = {}
            for kind, _, _, address, size in trace_file.Trace(path).records:
                if kind in (FREE, REALLOC_FROM):
                    live -= sizes.pop(address, 0)
                elif kind != CLOCK:
                    sizes[address] = size
                    live += size
                    most = max(most, live)
            self.assertEqual((got["program"], got["end"], got["truncated"]),
                             (path.stem, "exit", False))
            self.assertEqual((got["live_bytes"], got["peak_bytes"]), (live, most))
            self.assertEqual(sum(count for _, count in got["classes"]),
                             sum(got["calls"].values()) - got["calls"]["frees"])
            words = start(path, "--summary").stdout
            self.assertIn(f"program    {path.stem}\n", words)

    def test_output_that_cannot_be_written(self):
        for words in (["--summary"], ["--summary", "--json"], []):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([trace_file.REPLAY, TRACES[0], *words], stdout=full,
                                      stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, r"\Abench_replay: cannot write [^\n]+\n\Z")

    def test_a_limit_of_file_size(self):
        """It counts for the shared memory of the records too, where nothing is written."""
        done = subprocess.run(["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", trace_file.REPLAY,
                               TRACES[0]], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"\Abench_replay: no shared memory of \d+ bytes [^\n]+: File "
                                      r"too large: raise the limit [^\n]+\n\Z")

    def test_options(self):
        path = next(path for path in TRACES if path.stem == "redis-server")
        recorded = self.json(path)
        self.assertGreaterEqual(recorded["threads"], 2)
        for threads in (1, 2):
            got = self.json(path, "--threads", threads, "--latency")
            self.assertEqual((got["threads"], got["replayed"]), (threads, recorded["replayed"]))
            self.assertEqual(got["latency"]["calls"], got["ops"])
        got = self.json(path, "--ops", 2 * recorded["ops"] + 1, "--touch", "ends")
        self.assertEqual(got["replayed"],
                         {name: 3 * count for name, count in recorded["replayed"].items()})
        self.assertEqual(self.json(path, "--seconds", "0.000001")["ops"], recorded["ops"])
        for threads in (1, 2):
            got = self.json(path, "--threads", threads, "--rss-samples")
            samples = got["rss_samples"]
            self.assertEqual(samples, sorted(samples))
            self.assertLessEqual(len(samples), 257)
            self.assertGreater(len(samples), 100)
            self.assertEqual(samples[-1][0], got["ops"])
            self.assertGreater(max(rss for _, rss in samples), 10_000_000)
        self.refuses("--threads 99", path, "--threads", 99)

    def test_sizes_are_the_traces(self):
        """Neither a good size nor a bad one is taken, and --help does not offer them."""
        for flag in ("--size", "--min", "--max"):
            for value in ("", "0", "8", "many"):
                self.refuses(f"{flag} is refused: this program takes its sizes from its input",
                             TRACES[0], flag, value)
            self.assertNotIn(flag, start("--help").stdout)
        self.assertIn("[--ops N]", start("--help").stdout)

    # Made-up traces

    def test_objects_of_more_than_one_thread(self):
        """Each object is had by one thread, resized by another, freed by a third."""
        body = b""
        for i in range(5000):
            address = 4096 * (i % 7 + 1)
            body += record(MALLOC, address, 100 + i % 50, thread=i % 3)
            body += record(REALLOC_FROM, address, thread=(i + 1) % 3)
            body += record(REALLOC_TO, address + 8, 300, thread=(i + 1) % 3)
            body += record(FREE, address + 8, thread=(i + 2) % 3)
        write(self.file, header(), body,
              trailer(mallocs=5000, reallocs=5000, frees=5000, records=20000, threads=3))
        for preload in ("", trace_file.HAKMEM):
            for threads in ((), ("--threads", 2), ("--threads", 1)):
                got = self.json(self.file, *threads, "--ops", 30000, preload=preload)
                self.assertEqual(got["threads"], threads[1] if threads else 3)
                self.assertEqual((got["ops"], got["replayed"]["reallocs"]), (30000, 10000))

    def test_threads_of_which_one_follows_another(self):
        body = b"".join(record(MALLOC, 64 * (i + 1), 8, thread=i) for i in range(300))
        write(self.file, header(), body, trailer(mallocs=300, live=300, records=300, threads=300))
        self.assertEqual(self.json(self.file)["threads"], 1)
        got = self.json(self.file, "--summary")
        self.assertEqual((got["threads"], got["threads_at_a_time"]), (300, 1))

    def test_calls_that_gave_nothing(self):
        low = trace_file.LOW
        body = (record(MALLOC, 0, low) + record(MALLOC, 64, 0) + record(FREE, 0) +
                record(REALLOC_FROM, 64) + record(REALLOC_TO, 0, low) +
                record(REALLOC_FROM, 64) + record(REALLOC_TO, 0, 0) +
                record(REALLOC_FROM, 0) + record(REALLOC_TO, 64, 40) +
                record(FREE, 99) + record(REALLOC_FROM, 77) + record(REALLOC_TO, 80, 8))
        write(self.file, header(), body, trailer(mallocs=2, reallocs=4, frees=2, records=12))
        for preload in ("", trace_file.HAKMEM):
            got = self.json(self.file, preload=preload)
            self.assertEqual((got["ops"], got["foreign"]), (8, 2))
        got = self.json(self.file, "--summary")
        self.assertEqual((got["live_count"], got["live_bytes"]), (2, 48))

    # Files that are cut short

    def test_every_length(self):
        write(self.file, header(), record(MALLOC, 64, 8) + record(CALLOC, 128, 8),
              record(FREE, 64), trailer(mallocs=1, callocs=1, frees=1, records=3, live=1))
        whole = self.file.read_bytes()
        seen = set()
        for length in range(len(whole)):
            self.file.write_bytes(whole[:length])
            done = start(self.file, "--json")
            if done.returncode != 2:
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertTrue(json.loads(done.stdout)["truncated"])
                seen.add(json.loads(done.stdout)["ops"])
            else:
                self.assertRegex(done.stderr, r"\Abench_replay: [^\n]+\n\Z")
        self.assertEqual(seen, {2, 3})
        done = self.json(self.file, "--summary")
        self.assertEqual((done["end"], done["truncated"]), ("cut short: no trailer", True))

    # Files that are no traces

    def test_damage(self):
        whole = bytearray(TRACES[0].read_bytes())
        for place in (0, 20, len(whole) // 2, len(whole) - 40):
            damaged = whole.copy()
            damaged[place] ^= 0x10
            self.file.write_bytes(damaged)
            self.refuses("", self.file)

    def test_no_trace(self):
        self.refuses("which trace")
        self.refuses("cannot open", self.file)
        self.refuses("not a regular file", self.file.parent)
        for data, text in ((b"", "empty"), (b"HAKTRACE" * 20, "no zstd frame")):
            self.file.write_bytes(data)
            self.refuses(text, self.file)
        self.refuses_frames("does not begin with HAKTRACE", header(magic=b"HAKTRICK"))
        self.refuses_frames("version 2", header(version=2))
        self.refuses_frames("no whole frame", header()[:32])
        self.refuses_frames("size that no recorder", header() + b"123")
        self.refuses_frames("no call to replay", header(), trailer())

    def test_impossible_records(self):
        had = record(MALLOC, 64, 8)
        for body, text in ((had + had, "record 1 .address 0x40.: the object lives already"),
                           (record(0), "record 0 .*no such record"),
                           (record(9), "no such record"), (record(trace_file.END), "no such"),
                           (record(MALLOC, 64, 8, align=50), "no such record"),
                           (record(REALLOC_TO, 64, 8), "did not begin"),
                           (had + record(REALLOC_FROM) + record(REALLOC_TO, 64, 8), "lives")):
            self.refuses_frames(text, header() + body, trailer(mallocs=1, records=1, live=1))

    def test_a_trailer_of_another_trace(self):
        right = {"mallocs": 1, "records": 1, "live": 1}
        frames = header(), record(MALLOC, 64, 8)
        write(self.file, *frames, trailer(**right))
        self.json(self.file)
        for name in ("mallocs", "callocs", "reallocs", "frees", "aligned", "live", "records"):
            self.refuses_frames("trailer", *frames, trailer(**{**right, name: 7}))
        self.refuses_frames("trailer", *frames, trailer(end=9, **right))


if __name__ == "__main__":
    unittest.main()
