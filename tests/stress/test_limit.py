#!/usr/bin/python3
"""test_limit.py PROGRAM LIBRARY: under a real limit memory is refused before the kernel kills.

A control group of version 1 or 2 below this process's own, of 64 MiB, where root may make one
(else those cases are skipped, and said so); RLIMIT_AS; MEMORY_LIMIT as a number. The C library's
allocator is run in the group too: it must be killed there, else the group limits nothing.
Under each of the three, hak_limit_callback's program is called, and what it frees is had; and what
stays resident of free memory becomes less by the steps of docs/tuning.md.
"""
import os
import re
import resource
import signal
import subprocess
import sys
import unittest

PROGRAM, LIBRARY = sys.argv[1:3]
MIB = 1 << 20
LIMIT = 64 * MIB
LEAST = 0.75 * LIMIT  # of the limit that a program must get, in a mixture of sizes
SIZES = ("0", "100", "3000", "100000", "3000000")
STEPS_LIMIT = 512 * MIB  # a step is then wide enough for what the kernel counts in batches
# MiB of free memory that may stay, of 6 that were freed last, and half a MiB of tables beside. The
# warm pool has 16, a quarter of that, what lean has, nothing; a purge takes up to 2 MiB at once.
NONE, NEAR, CLOSE, TIGHT = (6, 18), (2, 5.2), (1, 2), (0, 1)
STEPS = (NONE, NEAR, CLOSE, TIGHT, NONE)  # at 60 % of a limit, 87, 92, 95.2, and 60 again


class Group:
    """A control group of this process's own that limits memory, or why there is none."""

    def __init__(self, limit=LIMIT):
        self.path = None
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
        found = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes", path)
                 for _, names, path in lines if "memory" in names.split(",")]
        found += [("/sys/fs/cgroup", "memory.max", path) for _, names, path in lines if not names]
        for mount, name, path in found:
            folder = f"{mount}{path.rstrip('/')}/hakmem-test-{os.getpid()}"
            try:
                os.mkdir(folder)
            except OSError:
                continue
            self.path = folder
            try:
                self.put(name, limit)
                return
            except OSError:
                self.remove()

    def put(self, name, value):
        with open(os.path.join(self.path, name), "w", encoding="utf-8") as file:
            file.write(str(value))

    def enter(self):
        self.put("cgroup.procs", os.getpid())

    def remove(self):
        os.rmdir(self.path)
        self.path = None


def run(arguments, before=None, library=LIBRARY, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    if library:
        variables["LD_PRELOAD"] = library
    return subprocess.run([PROGRAM, *arguments], env=dict(environment, **variables),
                          preexec_fn=before, capture_output=True, text=True, check=False)


class Limits(unittest.TestCase):
    def rounds(self, done, least=LEAST, most=LIMIT):
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        found = re.findall(r" round \d+: (\d+) KiB$", done.stdout, re.M)
        sizes = [int(size) * 1024 for size in found]
        self.assertGreaterEqual(len(sizes), 1)
        for size in sizes:
            self.assertGreater(size, least)
            self.assertLessEqual(size, most)

    def calls(self, before=None, limit=LIMIT, **variables):
        """With a cache of half the limit three quarters are had in each round only if it is given
        up each time."""
        for size in ("100", "100000"):
            with self.subTest(size=size, cache=limit // 2):
                done = run(["--size", size, "--threads", "1", "--rounds", "3",
                            "--cache-mib", str(limit // 2 // MIB)], before, **variables)
                print(done.stdout, end="")
                self.rounds(done, 0.75 * limit, limit)
                count, used, of_all, _, of_all_at_last, freed = map(int, re.search(
                    r"called (\d+) times, at first with (\d+) of (\d+) KiB used, at last with "
                    r"(\d+) of (\d+); (\d+) KiB were given up", done.stdout).groups())
                self.assertGreaterEqual(count, 3, done)
                self.assertEqual((of_all, of_all_at_last), (limit // 1024, limit // 1024), done)
                self.assertGreaterEqual(used * 1024, 0.9 * limit - 1024, done)
                self.assertLessEqual(used * 1024, limit, done)
                self.assertEqual(freed * 1024, 3 * (limit // 2), done)

    def steps(self, *arguments, before=None, expected=STEPS, **variables):
        """Without the time that free memory stays, and huge pages, which go as a whole."""
        ranges = ",".join(f"{int(least * 1024)}-{int(most * 1024)}" for least, most in expected)
        done = run(["--steps-mib", str(STEPS_LIMIT // MIB), "--stays-kib", ranges, *arguments],
                   before, HAKMEM_PURGE_DELAY_MS="0", HAKMEM_THP="never", **variables)
        print(done.stdout, end="")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        stay = [int(kib) / 1024 for kib in re.findall(r"(\d+) KiB stay", done.stdout)]
        self.assertEqual(len(stay), len(expected), done)
        for mib, (least, most) in zip(stay, expected):
            self.assertGreaterEqual(mib, least, done)
            self.assertLess(mib, most, done)

    def test_group(self):
        group = Group()
        if group.path is None:
            self.skipTest("no control group of memory can be made here (it takes root)")
        try:
            killed = run(["--rounds", "1"], group.enter, None)
            self.assertEqual(killed.returncode, -signal.SIGKILL, killed)
            for size in SIZES:
                with self.subTest(size=size):
                    self.rounds(run(["--size", size, "--threads", "1"], group.enter))
            for size in ("100", "3000"):  # what two may not have written to yet is little
                with self.subTest(size=size, threads=2):
                    self.rounds(run(["--size", size, "--threads", "2"], group.enter))
            for percent in ("10", "50", "100"):  # what would be one step more is refused
                with self.subTest(percent=percent):
                    grown = run(["--grow-percent", percent, "--threads", "1"], group.enter)
                    self.rounds(grown, LEAST / (1 + int(percent) / 100))
            for size in ("3000", "100000"):  # what was given back so is in use again in the second
                with self.subTest(size=size, release="free"):
                    self.rounds(run(["--size", size, "--threads", "1"], group.enter,
                                    HAKMEM_SS_RELEASE="free"))
            off = run(["--rounds", "1"], group.enter, HAKMEM_MEMORY_LIMIT="off")
            self.assertEqual(off.returncode, -signal.SIGKILL, off)
            self.calls(group.enter)
        finally:
            group.remove()

    def processes(self, before, *arguments, **variables):
        done = run(["--processes", *arguments], before, **variables)
        print(done.stdout, end="")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return map(int, re.search(r": (\d+) KiB beside (\d+), (\d+) killed$", done.stdout,
                                  re.M).groups())

    def test_processes(self):
        group = Group(2 * LIMIT)
        if group.path is None:
            self.skipTest("no control group of memory can be made here (it takes root)")
        try:
            *_, killed = self.processes(group.enter, "4", HAKMEM_MEMORY_LIMIT="off")
            self.assertGreater(killed, 0)
            for count in ("4", "8"):
                for size in ("100", "3000", "100000"):
                    for mib in ("0", "60"):  # the latter they have from the one that forks them
                        with self.subTest(processes=count, size=size, before=mib):
                            got, had, killed = self.processes(
                                group.enter, count, "--size", size, "--before-mib", mib)
                            self.assertEqual(killed, 0)
                            self.assertGreater((got + had) * 1024, 0.75 * 2 * LIMIT)
        finally:
            group.remove()

    def test_group_by_steps(self):
        group = Group(STEPS_LIMIT)
        if group.path is None:
            self.skipTest("no control group of memory can be made here (it takes root)")
        try:
            self.steps(before=group.enter)
        finally:
            group.remove()

    def test_address_space(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (4 * LIMIT, 4 * LIMIT))
        for size in SIZES:
            with self.subTest(size=size):
                self.rounds(run(["--size", size], limit), 2 * LIMIT, 4 * LIMIT)
        self.calls(limit, 4 * LIMIT)

    def test_address_space_by_steps(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (STEPS_LIMIT, STEPS_LIMIT))
        # What is given back keeps its addresses: lean at most, and no way back.
        self.steps("--addresses", before=limit, expected=(NONE, NEAR, CLOSE, CLOSE, CLOSE))

    def test_number(self):
        for size in SIZES:
            with self.subTest(size=size):
                self.rounds(run(["--size", size], HAKMEM_MEMORY_LIMIT="64M"))
        for percent in ("5", "50"):  # what one lets go of, moving, is not granted to the other
            with self.subTest(percent=percent):
                grown = run(["--grow-percent", percent, "--threads", "2", "--rounds", "20"],
                            HAKMEM_MEMORY_LIMIT="64M")
                self.rounds(grown, LEAST / (1 + int(percent) / 100))
        self.calls(HAKMEM_MEMORY_LIMIT="64M")
        self.steps(HAKMEM_MEMORY_LIMIT=f"{STEPS_LIMIT // MIB}M")
        done = run(["--rounds", "1", "--most-mib", "100"], HAKMEM_MEMORY_LIMIT="off")
        self.assertIn("nothing is refused", done.stderr)


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], exit=False).result
    for _, why in result.skipped:
        print(f"SKIP: {why}")
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
