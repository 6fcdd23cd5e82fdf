#!/usr/bin/python3
"""Runs a program with and without hakmem preloaded: the two transcripts must be the same.

usage: oracle_diff.py LIBRARY PROGRAM [ARGUMENT…]
HAK_EMULATOR: the words that run a program of another machine, by qemu-user.
"""

import difflib
import os
import subprocess
import sys


def transcript(command, preload):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    emulator = os.environ.get("HAK_EMULATOR", "").split()
    if preload and emulator:
        environment["QEMU_SET_ENV"] = "LD_PRELOAD=" + preload
    elif preload:
        environment["LD_PRELOAD"] = preload
    run = subprocess.run(emulator + command, env=environment, capture_output=True, text=True,
                         check=False)
    if run.returncode != 0 or run.stderr:
        sys.exit(
            f"{'with' if preload else 'without'} hakmem: exit {run.returncode}\n"
            f"{run.stdout[-2000:]}{run.stderr}"
        )
    return run.stdout.splitlines(keepends=True)


def main():
    library, command = os.path.abspath(sys.argv[1]), sys.argv[2:]
    oracle = transcript(command, None)
    ours = transcript(command, library)
    bad = [line for line in oracle + ours if line.rstrip().endswith("BAD")]
    difference = list(difflib.unified_diff(oracle, ours, "C library", "hakmem", n=1))
    sys.stdout.writelines(difference + bad)
    print(f"{len(oracle)} lines, {len(difference)} of difference, {len(bad)} bad")
    return 1 if difference or bad or not oracle else 0


if __name__ == "__main__":
    sys.exit(main())
