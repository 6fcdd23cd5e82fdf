#!/usr/bin/python3
"""run_compare.py [--build DIR] [--rounds N] [CMD]: run CMD on the system's allocator and on hakmem,
turn by turn, say whether hakmem took over, and print time, peak memory and page faults of both.

CMD is a shell command; without it $HAK_CMD, without that a Python + SQLite workload. Its output is
shown once, its standard input is empty. Times and faults are of CMD and all its children together,
the peak is that of the largest of them; every figure is the median of the rounds.

Took over: the process that CMD became (or, where CMD is several commands, the one that allocated
most) has reported at exit that it got objects from hakmem.

Exit: 0 hakmem took over and CMD behaved the same, 1 it did not or nothing says so, 2 bad usage or
no build, 3 CMD fails on the system's allocator too, 4 CMD ended differently under hakmem.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEMO = ("PYTHONMALLOC=malloc exec /usr/bin/python3 "
        + shlex.quote(os.path.relpath(os.path.join(ROOT, "scripts", "demo_workload.py"))))
ROWS = [("time, user + sys", "s", lambda m: m["user"] + m["sys"]),
        ("time, wall", "s", lambda m: m["wall"]),
        ("peak memory (RSS)", "MiB", lambda m: m["peak_kib"] / 1024),
        ("page faults", "", lambda m: m["faults"])]


def run_once(build, command, preload, folder, show_output):
    """One run; returns (measurements, list of reports)."""
    result = os.path.join(folder, "measure.json")
    report = os.path.join(folder, "report.json")
    environment = dict(os.environ)
    environment.pop("HAK_CMD", None)
    if preload:
        old = environment.get("LD_PRELOAD")
        environment["HAK_PRELOAD"] = preload + (":" + old if old else "")
        environment["HAKMEM_REPORT"] = report
    sys.stdout.flush()
    done = subprocess.run([os.path.join(build, "hak-measure"), result, command], check=False,
                          env=environment, stdin=subprocess.DEVNULL,
                          stdout=None if show_output else subprocess.DEVNULL,
                          stderr=None if show_output or preload else subprocess.DEVNULL)
    if not os.path.exists(result):
        sys.exit(f"run_compare.py: hak-measure failed with status {done.returncode}")
    with open(result, encoding="utf-8") as file:
        measured = json.load(file)
    os.unlink(result)
    reports = []
    if os.path.exists(report):
        with open(report, encoding="utf-8") as file:
            reports = [json.loads(line) for line in file if line.strip()]
        os.unlink(report)
    return measured, reports


def main_report(measured, reports):
    """The report that decides whether hakmem took over, or None."""
    own = [r for r in reports if r["pid"] == measured["pid"]]
    pool = own or reports
    return max(pool, key=lambda r: r["objects"]) if pool else None


def verdict(measured, reports):
    """Prints whether hakmem took over; returns True if so."""
    main = main_report(measured, reports)
    if main is None:
        print("took over: unknown. No process reported: CMD is static, set-user-ID or built into "
              "the shell, could not load the library, asked for no memory, was killed, or left by "
              "_exit.")
        return False
    if main["objects"] == 0:
        print(f"took over: NO. {main['program']} reported 0 objects: it brings an allocator of its "
              "own, or allocated nothing.")
        return False
    others = sum(1 for r in reports if r is not main and r["objects"] > 0)
    more = f", and {others} more of {len(reports) - 1} processes" if len(reports) > 1 else ""
    print(f"took over: yes. {main['program']} got at least {main['objects']:,} objects from hakmem "
          f"{main['version']} ({main['flavour']}){more}.")
    return True


def statuses(values):
    """Exit statuses as a user reads them: 'status 1', 'status 127 (not found)'."""
    words = {126: " (cannot be run)", 127: " (not found)"}
    return "status " + ", ".join(f"{v}{words.get(v, '')}" for v in sorted(values))


def table(system, hakmem):
    print(f"{'':20}{'system':>14}{'hakmem':>14}{'ratio':>8}")
    for name, unit, value in ROWS:
        a = statistics.median(value(m) for m in system)
        b = statistics.median(value(m) for m in hakmem)
        form = "{:,.0f}" if unit == "" else "{:.3f} " + unit
        ratio = f"{b / a:.2f}" if a > 0 else "-"
        print(f"{name:20}{form.format(a):>14}{form.format(b):>14}{ratio:>8}")


def parse(arguments):
    parser = argparse.ArgumentParser(description="Run CMD on the system's allocator and on hakmem.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("cmd", nargs="?", default=os.environ.get("HAK_CMD") or DEMO)
    options = parser.parse_args(arguments)
    options.build = os.path.abspath(options.build)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    for file in ("libhakmem.so", "hak-measure"):
        if not os.path.exists(os.path.join(options.build, file)):
            parser.error(f"{file} is not built, run make first")
    return options


def main():
    options = parse(sys.argv[1:])
    library = os.path.join(options.build, "libhakmem.so")
    system, hakmem = [], []
    first_run, first_reports = None, []
    print(f"command: {options.cmd}")
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):
            system.append(run_once(options.build, options.cmd, None, folder, turn == 0)[0])
            measured, reports = run_once(options.build, options.cmd, library, folder, False)
            hakmem.append(measured)
            if turn == 0:
                first_run, first_reports = measured, reports
                if not reports and measured["status"] == system[0]["status"] != 0:
                    break  # nothing to compare: further rounds would only repeat the complaint
    print()
    system_status = {m["status"] for m in system}
    hakmem_status = {m["status"] for m in hakmem}
    if system_status == hakmem_status != {0} and not first_reports:
        print(f"CMD failed on both allocators, {statuses(system_status)}. "
              "Nothing can be said about hakmem")
        return 3
    took_over = verdict(first_run, first_reports)
    table(system, hakmem)
    print(f"medians of {options.rounds} rounds, turn by turn; ratio below 1: hakmem needs less")
    if system_status != hakmem_status:
        print(f"CMD ended differently: {statuses(system_status)} on the system's allocator, "
              f"{statuses(hakmem_status)} under hakmem")
        return 4
    if not took_over:
        return 1
    if system_status != {0}:
        print(f"CMD failed on both allocators, {statuses(system_status)}: the figures above are of "
              "runs that failed")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(quiet(main))
