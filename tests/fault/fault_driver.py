#!/usr/bin/python3
"""Has OS calls fail under fault_workload, through libhakmem-twin.so.

  fault_driver.py MODE WORKLOAD [--preload LIB] [--step N] [--page BYTES]

  nth    the Nth OS call fails, N = 1, 2, 3, ... until a run ends with nothing injected
  from   every OS call from the Nth on fails, N rising likewise
  call   every use of one kind of call fails, from its first or from a later one on, for each kind
  page   another page size, no failure: the workload must get all it asks for

Each run must end with exit status 0: the workload accepts nothing but NULL with ENOMEM. The last
line says how many failures were injected; run_tests.py shows it of a passed test too.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

CALLS = ("mmap", "munmap", "madvise", "mprotect", "mremap", "prctl", "thp")
RUN_SECONDS = 60  # a hang; a run takes far below a second
RUNS_MAX = 20000
NULLS_MAX_ONCE = 8  # what one failed OS call may cost, so that a refusal that sticks is seen


class Failure(Exception):
    pass


def run(args, env, options):
    """One run of the workload: (calls, injected, refusals seen)."""
    with tempfile.NamedTemporaryFile("r") as count_file:
        full = dict(os.environ, HAKMEM_TWIN_COUNT=count_file.name, **env)
        if args.page:
            full["HAKMEM_TWIN_PAGE"] = str(args.page)
        if args.preload:
            full["LD_PRELOAD"] = args.preload
        what = " ".join(f"{key}={value}" for key, value in env.items())
        try:
            done = subprocess.run([args.workload, *options], env=full, text=True,
                                  capture_output=True, timeout=RUN_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Failure(f"[{what}]: hung for {RUN_SECONDS} s") from None
        if done.returncode != 0:
            raise Failure(f"[{what}]: status {done.returncode}\n{done.stdout}{done.stderr}")
        lines = re.findall(r"^calls=(\d+) injected=(\d+)$", count_file.read(), re.M)
        nulls = re.search(r"^nulls=(\d+)$", done.stdout, re.M)
        if not lines or not nulls:
            raise Failure(f"[{what}]: no count: is this the fault-injecting library?")
        return (max(int(calls) for calls, _ in lines), sum(int(count) for _, count in lines),
                int(nulls.group(1)))


def clean(args):
    calls, injected, _ = run(args, {}, ["--strict"])
    if injected != 0 or calls == 0:
        raise Failure(f"without a fault: calls={calls} injected={injected}")
    print(f"no fault: {calls} OS calls, every request served")


def rising(args, name, options, nulls_max):
    runs = most_nulls = total = 0
    n = 1
    while True:
        _, injected, nulls = run(args, {name: str(n)}, options)
        if injected == 0:
            break
        runs += 1
        total += injected
        most_nulls = max(most_nulls, nulls)
        if nulls_max is not None and nulls > nulls_max:
            raise Failure(f"[{name}={n}]: {nulls} requests refused, at most {nulls_max} expected")
        if runs >= RUNS_MAX:
            raise Failure(f"{name}: no run without an injected failure up to {n}")
        n += args.step
    if runs == 0:
        raise Failure(f"{name}=1 injected nothing")
    print(f"{name}: N = 1 to {n - args.step}, then {n} without a failure; at most {most_nulls} "
          "requests refused in one run")
    print(f"{total} failures injected in {runs} runs")


def each_call(args):
    total = runs = 0
    for call in CALLS:
        for n in (1, 2, 3, 5, 10, 30):
            _, injected, nulls = run(args, {"HAKMEM_TWIN_FAIL_CALL": call,
                                            "HAKMEM_TWIN_FAIL_FROM": str(n)}, [])
            total += injected
            runs += injected > 0
            print(f"{call} fails from {n} on: {injected} injected, {nulls} requests refused")
            if call == "mmap" and n == 1 and injected == 0:
                raise Failure("no mmap was made to fail")
            if injected == 0:
                break
    print(f"{total} failures injected in {runs} runs")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("nth", "from", "call", "page"))
    parser.add_argument("workload")
    parser.add_argument("--preload")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--page", type=int)
    args = parser.parse_args()
    try:
        clean(args)
        if args.mode == "nth":
            rising(args, "HAKMEM_TWIN_FAIL_NTH", ["--once"], NULLS_MAX_ONCE)
        elif args.mode == "from":
            rising(args, "HAKMEM_TWIN_FAIL_FROM", [], None)
        elif args.mode == "call":
            each_call(args)
    except Failure as failure:
        print(f"fault_driver: FAILED {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
