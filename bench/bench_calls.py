"""System calls of the timed part of a benchmark program, counted by strace between two markers.
"""
import re
import shutil
import subprocess
from collections import Counter

from bench_machine import RunFailed

MARKER = "prctl(0x48414b"  # BENCH_MARKER of bench_common.h, as strace prints it
# The programs' own: a thread that waits for another yields its core.
LEFT_OUT = "sched_yield"


def refused():
    """Why system calls cannot be counted here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True,
                          text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["strace fails"])[-1]


def traced(command, output, preload):
    """The command under strace, which is not preloaded itself."""
    into = [] if preload is None else ["-E", f"LD_PRELOAD={preload}"]
    return ["strace", "-f", "-o", output, "-e", f"trace=!{LEFT_OUT}", *into, *command]


def count_calls(text):
    """System calls by name between the two markers of strace's output, all threads."""
    calls, inside = Counter(), False
    for line in text.splitlines():
        if MARKER in line:
            inside = not inside
            continue
        call = re.match(r"\d+\s+(\w+)\(", line)  # not '<... resumed', '--- SIG', '+++ exited'
        if inside and call:
            calls[call.group(1)] += 1
    if inside or text.count(MARKER) != 2:
        raise RunFailed("the marker calls are not in strace's output")
    return calls
