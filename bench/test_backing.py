#!/usr/bin/python3
"""bench_backing.py: how much is touched, where it stops, what a record and a heading say of it."""
import subprocess
import sys
import types
import unittest
from unittest import mock

import bench_backing
from bench_machine import ROOT

MIB = 2**20
# Its own parts: the first lines of bench_backing.py's process, with less to do. What is resident
# at the end has been touched.
BODY = """
import resource, sys
sys.path.insert(0, {bench!r})
import bench_backing
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{less}
status = bench_backing.main()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
sys.exit(status)
"""


def touch(less):
    """(GiB that it tells, MiB that became resident)"""
    done = subprocess.run([sys.executable, "-c", BODY.format(bench=str(ROOT / "bench"), less=less)],
                          capture_output=True, text=True, check=True, timeout=60)
    told, resident = done.stdout.split()
    return float(told), int(resident)


class Touching(unittest.TestCase):
    def test_every_page_of_what_it_tells(self):
        told, resident = touch(f"bench_backing.MOST_BYTES = {128 * MIB}")
        self.assertEqual(told, 0.1)  # of 0.125
        self.assertGreater(resident, 100)  # less what the process had to spare

    def test_it_leaves_what_is_to_be_spared(self):
        self.assertEqual(touch(f"bench_backing.SPARE_BYTES = {2**60}")[0], 0)

    def test_it_ends_in_time(self):
        self.assertEqual(touch("bench_backing.MOST_SECONDS = 0")[0], 0)


class Record(unittest.TestCase):
    def record(self, status, said="3.5\n"):
        done = types.SimpleNamespace(returncode=status, stdout=said)
        with mock.patch.object(bench_backing.subprocess, "run", return_value=done):
            return bench_backing.touched(types.SimpleNamespace(touch=True))

    def test_nothing_unasked(self):
        self.assertEqual(bench_backing.touched(types.SimpleNamespace(touch=False)), {})
        self.assertEqual(bench_backing.text({}), "")

    def test_what_the_process_tells(self):
        record = self.record(0)
        self.assertEqual(record, {"touched_gib": 3.5})
        self.assertEqual(bench_backing.text(record), ", 3.5 GiB touched before")

    def test_killed_is_none(self):
        self.assertEqual(self.record(-9, ""), {"touched_gib": 0})


if __name__ == "__main__":
    unittest.main()
