#!/usr/bin/python3
"""libhakmem-trace.so: a trace has every call of the recorded program, in an order that happened;
the program does what it does without; and when no trace can be had, one line says so."""
import ctypes
import fcntl
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import trace_file
from trace_file import Trace

WORKLOAD = str(trace_file.BUILD / "trace_workload")
CXX = str(trace_file.BUILD / "trace_cxx")
BOTH = ("glibc", "hakmem")
NEXT = {"glibc": "", "hakmem": trace_file.HAKMEM, "bump": str(trace_file.BUILD / "trace_bump.so")}
PR_SET_CHILD_SUBREAPER = 36
UNTRACED = r"\Ahakmem-trace: [^\n]+; the program runs untraced\n\Z"


class Recorded(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.file = self.folder / "trace.hkt"

    def environment(self, allocator="glibc", recorder=trace_file.RECORDER, **env):
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith("HAKMEM_")}
        return {**clean, "HAKMEM_TRACE": str(self.file),
                "LD_PRELOAD": f"{recorder} {NEXT[allocator]}", **env}

    def run_traced(self, *command, allocator="glibc", before=None, **more):
        return subprocess.run([*map(str, command)], env=self.environment(allocator, **more),
                              capture_output=True, text=True, check=False, timeout=100,
                              preexec_fn=before)

    def trace(self, *command, status=0, allocator="glibc", **env):
        done = self.run_traced(*command, allocator=allocator, **env)
        self.assertEqual((done.returncode, done.stderr), (status, ""))
        trace = Trace(self.file)
        self.assertEqual(trace.trailer["records"], len(trace.records))
        self.assertEqual(trace.trailer["lost"], 0)
        return done, trace

    def expect_own(self, done, trace, is_own=trace_file.is_own):
        """The trace has exactly the calls that the workload counted, and the same in its trailer
        and in a replay once those of the C library are there too."""
        own = json.loads(done.stdout.splitlines()[-1])
        seen = trace.counts(is_own)
        self.assertGreaterEqual(seen["nulls"], own.pop("nulls", 0))
        self.assertEqual({name: seen[name] for name in own}, own)
        everything = trace.all_counts()
        self.assertEqual({name: trace.trailer[name] for name in everything}, everything)
        replay = subprocess.run([trace_file.REPLAY, str(self.file), "--json"], check=True,
                                capture_output=True, text=True)
        self.assertEqual(json.loads(replay.stdout)["replayed"], everything)

    def refused(self, done):
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, UNTRACED)
        self.assertTrue(json.loads(done.stdout))

    # What is recorded

    def test_each_call_of_one_thread(self):
        for allocator in BOTH:
            with self.subTest(allocator):
                done, trace = self.trace(WORKLOAD, "mixed", 3000, allocator=allocator)
                self.assertEqual((trace.program, trace.end), ("trace_workload", trace_file.EXIT))
                self.expect_own(done, trace)
                self.assertEqual({thread for _, thread, _, _, _ in trace.records}, {0})

    def test_each_call_of_threads_that_free_each_others_objects(self):
        for allocator in BOTH:
            with self.subTest(allocator):
                done, trace = self.trace(WORKLOAD, "threads", 4, 2000, allocator=allocator)
                self.expect_own(done, trace)
                self.assertEqual(trace.trailer["threads"], 5)

    def test_each_operator_of_cxx_once(self):
        for allocator in BOTH:
            with self.subTest(allocator):
                done, trace = self.trace(CXX, allocator=allocator)
                # libstdc++ rounds the size of an aligned object up to the alignment, 64.
                self.expect_own(done, trace, lambda size: size % 8 == 5 or 0 < size < 2500 and
                                size % 64 == 0)

    def test_clock_and_alignment(self):
        _, trace = self.trace(WORKLOAD, "mixed", 3000)
        times = [size for kind, _, _, _, size in trace.records if kind == trace_file.CLOCK]
        self.assertEqual(times, sorted(times))
        self.assertGreater(len(times), len(trace.records) // 1100)
        self.assertLessEqual(times[-1], trace.trailer["duration_ns"])
        aligns = {align for kind, _, align, _, _ in trace.records if kind == trace_file.ALIGNED}
        self.assertEqual(aligns, {5, 6, 8, trace.page.bit_length() - 1})
        for kind, _, align, address, _ in trace.records:
            self.assertTrue(kind != trace_file.ALIGNED or address % (1 << align) == 0)

    def test_a_forked_child_is_not_recorded(self):
        self.expect_own(*self.trace(WORKLOAD, "fork", 500))
        self.assertEqual([path.name for path in self.folder.iterdir()], ["trace.hkt"])

    def test_closed_file_descriptors(self):
        self.expect_own(*self.trace(WORKLOAD, "close", 500))

    def test_a_killed_program(self):
        done, trace = self.trace(WORKLOAD, "kill", 3000, status=-signal.SIGKILL)
        self.assertEqual(trace.end, trace_file.KILLED)
        self.expect_own(done, trace)

    def test_signal_handlers_that_allocate(self):
        self.expect_own(*self.trace(WORKLOAD, "signals", 5000, allocator="bump"))

    def test_signal_handlers_that_get_the_address_of_the_call_they_come_into(self):
        done, trace = self.trace(WORKLOAD, "reuse", 100, allocator="bump")
        self.expect_own(done, trace)
        self.assertEqual(trace.counts(trace_file.is_own)["mallocs"], 300)

    def test_the_bound(self):
        done, trace = self.trace(WORKLOAD, "mixed", 3000, HAKMEM_TRACE_MAX="1000")
        self.assertEqual((trace.end, len(trace.records)), (trace_file.BOUND, 1000))
        whole, _ = self.trace(WORKLOAD, "mixed", 3000)
        self.assertEqual(done.stdout, whole.stdout)

    def test_more_records_than_the_ring_holds(self):
        self.expect_own(*self.trace(WORKLOAD, "threads", 2, 30000))

    # Which file

    def test_programs_that_a_traced_one_starts(self):
        script = f"{WORKLOAD} mixed 10; echo $$; exec /usr/bin/env A=1 {WORKLOAD} mixed 20"
        done = self.run_traced("/bin/sh", "-c", script)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        shell = done.stdout.splitlines()[1]
        names = os.listdir(self.folder)
        self.assertEqual(len(names), 4)  # the shell's, the first workload's, and two in its place
        programs = {name: Trace(self.folder / name).program for name in names}
        self.assertEqual(programs["trace.hkt"], "sh")
        self.assertEqual(programs[f"trace.hkt.{shell}"], "env")
        self.assertEqual(programs[f"trace.hkt.{shell}.2"], "trace_workload")

    def test_the_process_id_in_the_name(self):
        process = subprocess.Popen(
            [WORKLOAD, "mixed", "10"], stdout=subprocess.DEVNULL,
            env=self.environment(HAKMEM_TRACE=str(self.folder / "of.%p.hkt")))
        self.assertEqual(process.wait(), 0)
        self.assertEqual(os.listdir(self.folder), [f"of.{process.pid}.hkt"])

    # The program is left alone

    def test_same_output(self):
        script = ("import json, threading\n"
                  "t = [threading.Thread(target=lambda: json.dumps([9] * 999)) for _ in '123']\n"
                  "[x.start() for x in t]; [x.join() for x in t]\n"
                  "print(json.dumps({str(i): [i] * 9 for i in range(999)}))")
        command = ["/usr/bin/python3", "-c", script]
        plain = subprocess.run(command, capture_output=True, text=True, check=True)
        traced, trace = self.trace(*command, PYTHONMALLOC="malloc", allocator="hakmem")
        self.assertEqual(traced.stdout, plain.stdout)
        self.assertEqual(trace.trailer["threads"], 4)
        trace.counts()

    def test_nothing_is_recorded_unasked(self):
        for value in ("", None):
            env = self.environment(HAKMEM_TRACE="")
            if value is None:
                del env["HAKMEM_TRACE"]
            done = subprocess.run([WORKLOAD, "mixed", "10"], env=env, cwd=self.folder,
                                  capture_output=True, text=True, check=True)
            self.assertEqual(done.stderr, "")
            self.assertEqual(os.listdir(self.folder), [])

    def test_no_child_appears(self):
        """A traced program that waits for any child gets none but its own."""
        done, _ = self.trace("/usr/bin/python3", "-c", "import os\ntry:\n os.wait()\n"
                             "except ChildProcessError:\n print('none')")
        self.assertEqual(done.stdout, "none\n")

    # No trace to be had

    def test_a_file_that_cannot_be_written(self):
        for path in (self.folder / "absent" / "trace.hkt", self.folder, "/dev/full", "x" * 5000):
            with self.subTest(path):
                self.refused(self.run_traced(WORKLOAD, "mixed", 10, HAKMEM_TRACE=str(path)))

    def test_a_limit_of_file_size_below_the_shared_memory(self):
        self.refused(self.run_traced("/bin/sh", "-c", f"ulimit -f 64; exec {WORKLOAD} mixed 10",
                                     HAKMEM_TRACE=str(self.folder / "%p.hkt")))

    def test_a_limit_of_open_files(self):
        """Five are enough; with four what is missing has its right name."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        most = 5
        self.expect_own(*self.trace(WORKLOAD, "mixed", 10, before=limit))
        most = 4
        done = self.run_traced(WORKLOAD, "mixed", 10, before=limit)
        self.refused(done)
        self.assertIn("cannot start hakmem-trace-pack beside the library: Too many open files",
                      done.stderr)

    def test_no_packer(self):
        alone = self.folder / "libhakmem-trace.so"
        shutil.copy(trace_file.RECORDER, alone)
        self.refused(self.run_traced(WORKLOAD, "mixed", 10, recorder=alone))
        packer = self.folder / "hakmem-trace-pack"
        packer.write_text("#!/bin/sh\nexit 0\n")
        packer.chmod(0o755)
        self.refused(self.run_traced(WORKLOAD, "mixed", 10, recorder=alone))

    def test_a_packer_that_dies_is_noticed_at_once(self):
        """Also where nobody waits for its end: a process that adopts it, as the first of a
        container does, and is the recorded program. The recorder gives up after 10 s else."""
        def adopt():
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        alone = self.folder / "libhakmem-trace.so"
        shutil.copy(trace_file.RECORDER, alone)
        packer = self.folder / "hakmem-trace-pack"
        for ending in ("exit 0", "kill -9 $$"):
            packer.write_text(f"#!/bin/sh\n{ending}\n")
            packer.chmod(0o755)
            begin = time.monotonic()
            done = self.run_traced(WORKLOAD, "mixed", 10, recorder=alone, before=adopt)
            self.assertLess(time.monotonic() - begin, 5)
            self.refused(done)
            self.assertIn("hakmem-trace-pack ended before it was ready", done.stderr)
        for records in (10, 30000):  # less than the ring holds, and more
            out, errors, seconds = self.packer_killed("pause", records, 10 * records, before=adopt)
            self.assertLess(seconds, 5)
            self.assertTrue(json.loads(out))
            self.assertRegex(errors, r"\Ahakmem-trace: [^\n]+; the trace is cut short\n\Z")

    def test_a_bad_bound(self):
        for text in ("0", "many", "-1", "4294967297", ""):
            self.refused(self.run_traced(WORKLOAD, "mixed", 10, HAKMEM_TRACE_MAX=text))

    def test_a_killed_packer(self):
        """The program goes on, says so at its end, and what was written can be read."""
        out, errors, _ = self.packer_killed("pause", 30000, 90000)
        self.assertTrue(json.loads(out))
        self.assertRegex(errors, r"\Ahakmem-trace: [^\n]+; the trace is cut short\n\Z")
        summary = subprocess.run([trace_file.REPLAY, str(self.file), "--summary", "--json"],
                                 check=True, capture_output=True, text=True)
        self.assertTrue(json.loads(summary.stdout)["truncated"])

    def packer_killed(self, *words, before=None):
        """Kills the packer midway; what the program printed, and its seconds from then on."""
        process = subprocess.Popen([WORKLOAD, *map(str, words)], text=True, preexec_fn=before,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment())
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.kill(self.packer(), signal.SIGKILL)
        with open(self.file, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        begin = time.monotonic()
        out, errors = process.communicate("\n", timeout=100)
        self.assertEqual(process.returncode, 0)
        return out, errors, time.monotonic() - begin

    def packer(self):
        """The process that holds the file open."""
        for entry in pathlib.Path("/proc").glob("[0-9]*/fd/3"):
            try:
                if os.path.samefile(entry, self.file):
                    return int(entry.parts[2])
            except OSError:
                continue  # gone, or another user's
        self.fail("no packer has the file open")


if __name__ == "__main__":
    unittest.main()
