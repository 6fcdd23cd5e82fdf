#!/usr/bin/python3
"""Runs a real program without and with hakmem preloaded: the result must be the same.

usage: run_programs.py [--flavour standard|minimal|twin] [--lib PATH] [--record] [NAME ...]
       run_programs.py --list

Each NAME is an entry of program_list.py; none means all. A program passes when
 - both runs end well, within their time limit, and give the same result;
 - hakmem took over: the lines that HAKMEM_REPORT gathered from the processes named in the
   entry (summed over all of them, helpers such as shells left out) show more objects than the
   entry's floor in floors.json;
 - nothing on the preloaded run's stderr says `hakmem:`.
Times and memory are printed for information and never judged.

--record writes half of the objects that this run showed as the new floor of each NAME.
Exit status: 0 passed, 1 failed, 77 skipped (every NAME is not installed).
"""

import argparse
import difflib
import glob
import json
import os
import sys
import tempfile
import time

import program_list
from program_run import Failure, Run, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
FLOORS = os.path.join(HERE, "floors.json")
LIBRARIES = {
    "standard": "libhakmem.so",
    "minimal": "libhakmem-minimal.so",
    "twin": "libhakmem-twin.so",
}
SKIPPED = 77
DIFF_LINES = 20  # arbitrary: enough to see what differs, short enough for a test log


def read_report(path):
    """The lines of a HAKMEM_REPORT file, each checked to hold what the contract says."""
    if not os.path.exists(path):
        return []
    lines = []
    with open(path, encoding="utf-8") as file:
        for text in file:
            try:
                line = json.loads(text)
                kinds = {"pid": int, "program": str, "version": str, "flavour": str}
                kinds.update(objects=int, peak_bytes=int)
                wrong = [key for key, kind in kinds.items() if not isinstance(line.get(key), kind)]
            except (ValueError, AttributeError):
                wrong = ["JSON"]
            if wrong:
                raise Failure(f"bad line in HAKMEM_REPORT ({', '.join(wrong)}): {text!r}")
            lines.append(line)
    return lines


def differences(before, after):
    """What differs between two results (dicts of name: text), as lines to print."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            lines.append(f"    {key} differs (- without, + with hakmem):")
            diff = difflib.unified_diff(
                str(old).splitlines(), str(new).splitlines(), lineterm="", n=0
            )
            lines += ["      " + line[:200] for line in list(diff)[2 : 2 + DIFF_LINES]]
    return lines


def megabytes(count):
    return f"{count / 1e6:.1f} MB"


def rss_text(count):
    """A child's ru_maxrss starts at what this driver held when it forked: say where that hides."""
    with open("/proc/self/status", encoding="ascii") as status:
        own = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return megabytes(count) if count > own else f"<= {megabytes(own)}"


def run_once(entry, kind, top, preload, report):
    run = Run(kind, top, preload, report, entry.limit_seconds)
    begin = time.monotonic()
    result = entry.work(run)
    seconds = time.monotonic() - begin
    if not result or not all(result.values()):
        raise Failure(f"the {kind} run gave an empty result: {result}")
    return run, result, seconds


def took_over(entry, lines, flavour, floor):
    """(problems, objects, text): whether hakmem served the processes that the entry names."""
    problems = []
    served = [line for line in lines if line["program"].startswith(entry.processes)]
    objects = sum(line["objects"] for line in served)
    peak = max((line["peak_bytes"] for line in served), default=0)
    names = " or ".join(entry.processes)
    if not served:
        others = sorted({line["program"] for line in lines})
        problems.append(f"no report line of {names}; lines came from: {others or 'nobody'}")
    elif floor is None:
        problems.append("no floor is recorded: run with --record on a machine that you trust")
    elif objects <= floor:
        problems.append(f"{objects} objects, not above the floor of {floor}")
    named = {line["flavour"] for line in served}
    if flavour != "twin" and named - {flavour}:
        problems.append(f"the report names flavour {sorted(named)}, wanted {flavour}")
    text = (
        f"{objects} objects (floor {floor}), reports of {names}: {len(served)}, "
        f"largest peak {megabytes(peak)}"
    )
    return problems, objects, text


def check_installed(entry):
    for pattern, package in entry.needs:
        if not glob.glob(pattern):
            raise Skip(f"{pattern} is not installed (package {package})")


def run_program(entry, library, flavour, floor):
    """(passed, objects) of one program; prints its part of the output."""
    check_installed(entry)
    print(f"{entry.name}: {entry.about}")
    with tempfile.TemporaryDirectory(prefix="hakmem-program-") as top:
        os.mkdir(os.path.join(top, "shared"))
        report = os.path.join(top, "report")
        if entry.prepare:
            entry.prepare(Run("preparing", top, None, None, entry.limit_seconds))
        first = run_once(entry, "baseline", top, entry.baseline_preload, None)
        second = run_once(entry, "preloaded", top, library, report)
        lines = read_report(report)
    (run_a, result_a, time_a), (run_b, result_b, time_b) = first, second
    changed = differences(result_a, result_b)
    problems, objects, text = took_over(entry, lines, flavour, floor)
    print("  same result  " + ("NO" if changed else f"yes ({', '.join(result_a)})"))
    print("\n".join(changed), end="\n" if changed else "")
    print(f"  took over    {'NO' if problems else 'yes'}: {text}")
    for problem in problems:
        print(f"    {problem}")
    if entry.note:
        print(f"  note         {entry.note}")
    print(
        f"  time         {time_a:.2f} s without, {time_b:.2f} s with "
        f"(CPU {run_a.cpu_seconds:.2f} s, {run_b.cpu_seconds:.2f} s)"
    )
    print(
        f"  peak RSS     {rss_text(run_a.peak_rss_bytes)} without, "
        f"{rss_text(run_b.peak_rss_bytes)} with"
    )
    noise = [line for line in run_b.stderr_text.splitlines() if "hakmem:" in line]
    if noise:
        print("  STDERR of the preloaded run: " + "\n    ".join(noise[:DIFF_LINES]))
    return not (changed or problems or noise), objects


def library_path(arguments):
    if arguments.lib:
        return os.path.abspath(arguments.lib)
    build = os.environ.get("HAK_BUILD_DIR") or os.path.join(HERE, "..", "..", "build")
    return os.path.abspath(os.path.join(build, LIBRARIES[arguments.flavour]))


def load_floors():
    if not os.path.exists(FLOORS):
        return {}
    with open(FLOORS, encoding="utf-8") as file:
        return json.load(file)


def record_floor(floors, name, objects):
    floors[name] = max(1, objects // 2)
    with open(FLOORS, "w", encoding="utf-8") as file:
        json.dump(floors, file, indent=2, sort_keys=True)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--flavour", choices=LIBRARIES, default="standard")
    parser.add_argument("--lib", metavar="PATH", help="preload this file instead of the build's")
    parser.add_argument("--record", action="store_true", help="write the floors of the NAMEs")
    parser.add_argument("--list", action="store_true", help="name;label;CTest timeout of each")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)

    entries = {entry.name: entry for entry in program_list.PROGRAMS}
    if arguments.list:
        for entry in entries.values():
            # Three limits: preparing and two runs; a minute for what is between them.
            print(f"{entry.name};{entry.label};{3 * entry.limit_seconds + 60}")
        return 0
    unknown = [name for name in arguments.names if name not in entries]
    if unknown:
        parser.error(f"unknown program {unknown[0]}; one of: {' '.join(entries)}")
    library = library_path(arguments)
    if not os.path.exists(library):
        parser.error(f"{library} does not exist: build it first")

    floors = load_floors()
    passed = failed = skipped = 0
    for name in arguments.names or entries:
        floor = 0 if arguments.record else floors.get(name)
        try:
            good, objects = run_program(entries[name], library, arguments.flavour, floor)
        except Skip as why:
            print(f"SKIP: {name}: {why}")
            skipped += 1
            continue
        except Failure as why:
            print(f"  FAILED: {why}")
            good = False
        if good and arguments.record:
            record_floor(floors, name, objects)
        passed += good
        failed += not good
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if failed:
        return 1
    return 0 if passed else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
