#!/usr/bin/python3
"""bench_backing.py: touches free memory once, before a measurement, and prints how many GiB.

A page that a virtual machine touches for the first time has to be found by its host: 4 ms for 2 MiB
were seen, where the kernel's own share is 0.2 ms. Who meets such pages is chance, and it was half
of the time of a block that grows to 1 GiB. Touched once, they stay with the machine. A process of
its own does it, the first to be killed where memory runs out (a cgroup's, say); it leaves
SPARE_BYTES of what is free, and what the kernel keeps of files.
"""
import contextlib
import mmap
import pathlib
import subprocess
import sys
import time

import bench_machine
from quiet_pipe import quiet  # by the path that bench_machine adds

PART_BYTES = 64 * 2**20
SPARE_BYTES = 512 * 2**20
MOST_BYTES = 64 * 2**30
MOST_SECONDS = 120
HELP = "touch the machine's free memory once before: a virtual one may not have it yet"


def free_bytes():
    return int(bench_machine.first_line("/proc/meminfo", r"MemFree:\s+(\d+)", "0")) * 1024


def part_touch():
    """Owned by the caller; touched in each page, by pages of 2 MiB where the machine has them."""
    part = mmap.mmap(-1, PART_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        part.madvise(mmap.MADV_HUGEPAGE)
    memoryview(part)[::mmap.PAGESIZE] = bytes(PART_BYTES // mmap.PAGESIZE)
    return part


def main():
    pathlib.Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    parts, start = [], time.monotonic()
    while (free_bytes() > SPARE_BYTES + PART_BYTES and len(parts) * PART_BYTES < MOST_BYTES
           and time.monotonic() - start < MOST_SECONDS):
        parts.append(part_touch())
    print(f"{len(parts) * PART_BYTES / 2**30:.1f}")
    return 0


def touched(options):
    """What the record of the machine has of it: nothing where it was not asked for; 0 where the
    process was killed, and pages are as they were."""
    if not options.touch:
        return {}
    done = subprocess.run([sys.executable, __file__], stdout=subprocess.PIPE, text=True,
                          check=False)
    return {"touched_gib": float(done.stdout) if done.returncode == 0 else 0}


def text(machine):
    return f", {machine['touched_gib']} GiB touched before" if "touched_gib" in machine else ""


if __name__ == "__main__":
    sys.exit(quiet(main))
