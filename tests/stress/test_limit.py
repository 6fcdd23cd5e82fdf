#!/usr/bin/python3
"""test_limit.py PROGRAM LIBRARY: under a real limit memory is refused before the kernel kills.

A control group of version 1 or 2 below this process's own, of 64 MiB, where root may make one
(else those cases are skipped, and said so); RLIMIT_AS; MEMORY_LIMIT as a number. The C library's
allocator is run in the group too: it must be killed there, else the group limits nothing.
"""
import os
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


class Group:
    """A control group of this process's own that limits memory, or why there is none."""

    def __init__(self):
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
                self.put(name, LIMIT)
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
        sizes = [int(line.split()[-2]) * 1024 for line in done.stdout.splitlines()]
        self.assertGreaterEqual(len(sizes), 1)
        for size in sizes:
            self.assertGreater(size, least)
            self.assertLessEqual(size, most)

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
            off = run(["--rounds", "1"], group.enter, HAKMEM_MEMORY_LIMIT="off")
            self.assertEqual(off.returncode, -signal.SIGKILL, off)
        finally:
            group.remove()

    def test_address_space(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (4 * LIMIT, 4 * LIMIT))
        for size in SIZES:
            with self.subTest(size=size):
                self.rounds(run(["--size", size], limit), 2 * LIMIT, 4 * LIMIT)

    def test_number(self):
        for size in SIZES:
            with self.subTest(size=size):
                self.rounds(run(["--size", size], HAKMEM_MEMORY_LIMIT="64M"))
        for percent in ("5", "50"):  # what one lets go of, moving, is not granted to the other
            with self.subTest(percent=percent):
                grown = run(["--grow-percent", percent, "--threads", "2", "--rounds", "20"],
                            HAKMEM_MEMORY_LIMIT="64M")
                self.rounds(grown, LEAST / (1 + int(percent) / 100))
        done = run(["--rounds", "1", "--most-mib", "100"], HAKMEM_MEMORY_LIMIT="off")
        self.assertIn("nothing is refused", done.stderr)


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], exit=False).result
    for _, why in result.skipped:
        print(f"SKIP: {why}")
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
