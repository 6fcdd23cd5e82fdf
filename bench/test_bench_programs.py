#!/usr/bin/python3
"""The real programs of run.py: a run of two of them, redis, outputs that differ, allocators that
are not in place, and servers that are not left over. A program that is not installed is a skip."""
import os
import pathlib
import signal
import subprocess
import tempfile
import types
import unittest

import bench_allocators
import bench_measure
import bench_process
import bench_programs
import bench_workloads
import left_over
from bench_machine import ROOT, RunFailed

BUILD = pathlib.Path(os.environ.get("HAK_BUILD_DIR", str(ROOT / "build")))
SUBJECT = bench_allocators.find_subjects(BUILD)[0]


class Programs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.scratch = folder.name
        left_over.adopt()

    def runs(self, name, **changes):
        program = bench_programs.BY_NAME[name]._replace(**changes)
        try:
            return bench_programs.Runs(program, BUILD, self.scratch)
        except bench_programs.Missing as missing:
            self.skipTest(str(missing))

    def nothing_left_over(self):
        self.assertLessEqual(left_over.endings(), {-signal.SIGKILL})

    def test_two_programs_have_every_figure(self):
        allocators = [SUBJECT, *bench_allocators.find_peers([], ["glibc", "jemalloc"])]
        options = types.SimpleNamespace(rounds=1, build=BUILD)
        for name in ("prog_git", "prog_gcc"):
            measured = bench_measure.measure(bench_workloads.BY_NAME[name], allocators, options,
                                             self.scratch, lambda text, share: None)
            if measured.skipped:
                self.skipTest(measured.skipped)
            self.assertEqual(measured.failures, {})
            self.assertEqual(list(measured.records), [a.name for a in allocators])
            for record, in measured.records.values():
                self.assertGreater(record["cpu_ns"], 0)
                self.assertGreater(record["wall_ns"], 0)
                self.assertGreater(record["faults"], 0)
                self.assertGreater(record["rss_peak_bytes"], 1 << 20)
        self.assertEqual(os.listdir(self.scratch), [])

    def test_redis_answers_and_ends(self):
        runs = self.runs("prog_redis")
        for allocator in (SUBJECT, bench_allocators.SYSTEM):
            self.assertGreater(runs.run(allocator, check=True)["rss_peak_bytes"], 1 << 20)
        self.nothing_left_over()

    def test_a_server_is_killed_whatever_happens(self):
        def drive(server, folder):
            bench_programs.redis_ready(server)
            raise RunFailed("a client that fails")
        with self.assertRaisesRegex(RunFailed, "a client that fails"):
            self.runs("prog_redis", drive=drive)
        self.nothing_left_over()

    def test_a_server_that_does_not_start_is_told(self):
        with self.assertRaisesRegex(RunFailed, "redis-server ended: "):
            self.runs("prog_redis", command="exec ../inputs/redis-server --port many")
        self.nothing_left_over()

    def test_an_output_that_differs_is_a_failure(self):
        runs = self.runs("prog_lua", command="echo ${LD_PRELOAD:-none}; exec /usr/bin/lua5.4 -v")
        runs.run(bench_allocators.SYSTEM)
        with self.assertRaisesRegex(RunFailed, "under hakmem: the output differs"):
            runs.run(SUBJECT)

    def test_a_file_that_is_not_written_is_a_failure(self):
        with self.assertRaisesRegex(RunFailed, "no output unit.o"):
            self.runs("prog_gcc", command="true")

    def test_a_program_that_fails_is_told(self):
        with self.assertRaisesRegex(RunFailed, "under glibc: exit 3: no luck"):
            self.runs("prog_lua", command="echo no luck >&2; exit 3")

    def test_a_library_that_does_not_serve_is_not_in_place(self):
        runs = self.runs("prog_lua", command="exec /usr/bin/lua5.4 -e 'print(1)'")
        libm = bench_allocators.Allocator("math", "libm.so.6", "libm.so.6")
        with self.assertRaisesRegex(RunFailed, "math is not in place: lua5.4 runs on libc.so.6"):
            runs.run(libm, check=True)
        runs.run(bench_allocators.SYSTEM, check=True)

    def test_a_result_that_cannot_be_written_is_told(self):
        result = os.path.join(self.scratch, "result")
        script = f"ulimit -f 0; exec '{BUILD}/hak-measure' '{result}' 'exit 3'"
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (125, "", f"{result}: File too large\n"))

    def test_what_is_not_installed_is_named(self):
        program = bench_programs.PROGRAMS[0]._replace(needs=[("/no/such/program", "some-package")])
        with self.assertRaisesRegex(bench_programs.Missing, "package some-package"):
            bench_programs.Runs(program, BUILD, self.scratch)

    def test_the_inputs_are_the_same_each_time(self):
        for program in bench_programs.PROGRAMS:
            if program.make is bench_programs.bench_inputs.redis_server:
                continue
            try:
                bench_programs.needs_check(program)
            except bench_programs.Missing:
                continue
            trees = []
            for number in (1, 2):
                top = pathlib.Path(self.scratch, program.name, str(number))
                top.mkdir(parents=True)
                program.make(top)
                trees.append({path.relative_to(top): path.read_bytes()
                              for path in sorted(top.rglob("*"))
                              if path.is_file() and ".git" not in path.parts})
            self.assertTrue(trees[0])
            self.assertEqual(trees[0], trees[1], program.name)


class Processes(unittest.TestCase):
    def test_a_session_is_killed_with_what_it_started(self):
        left_over.adopt()
        with self.assertRaises(KeyError):
            with bench_process.started(["/bin/sh", "-c", "sleep 600 & echo on; wait"],
                                       False, stdin=-1, stdout=-1) as child:
                child.stdout.readline()
                raise KeyError
        self.assertEqual(child.returncode, -signal.SIGKILL)
        self.assertEqual(left_over.endings(), {-signal.SIGKILL})  # of the shell's own child


if __name__ == "__main__":
    unittest.main()
