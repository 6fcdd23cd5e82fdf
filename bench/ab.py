#!/usr/bin/python3
"""Decides between two variants of hakmem, or of any allocator: is B faster than A?

A variant is made of parts joined by '+', any of:
  base              build/libhakmem.so as it is
  lib:PATH          another library
  env:NAME=VALUE    an environment variable of the run
  flag:-DNAME=1     hakmem built once more with this compiler flag
  commit:REV        hakmem built of another commit
Rounds are interleaved (AB BA AB ...) until the verdict is GO (the whole interval of B's time over
A's below 0.99, and resident memory below 1.01), NO-GO (the whole interval above 0.995, or faster
but larger), or the budget is used up: undecided. The verdict is appended to docs/experiments.md.
Exit status: 0 GO, 1 NO-GO or undecided, 2 bad input.
"""
import argparse
import datetime
import os
import pathlib
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
import ab_stats
from bench_allocators import Allocator, environment
from bench_machine import ROOT, BadInput, RunFailed, commit
from bench_measure import command_of, run_command
from bench_workloads import BY_NAME, TIMED, WORKLOADS

LOG_HEAD = """# Experiments

What was tried, and whether it stayed. Written by `bench/ab.py`; `docs/decisions` has the reasons of
what did. time and RSS: B over A, below 1 B is better; interval: of the median of the rounds,
widened for each look.

| date | commit | experiment | A | B | workload | rounds | time | interval | RSS | verdict |
|---|---|---|---|---|---|---|---|---|---|---|
"""
BUILD_TIMEOUT_SECONDS = 900


def build_variant(source, flags, folder):
    """libhakmem.so of a source tree with compiler flags, built in `folder`."""
    steps = [["cmake", "-S", str(source), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release",
              "-DCMAKE_C_FLAGS=" + " ".join(flags)],
             ["cmake", "--build", str(folder), "--target", "hakmem"]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False,
                              timeout=BUILD_TIMEOUT_SECONDS)
        if done.returncode != 0:
            said = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line]
            raise BadInput(f"cannot build with {flags or 'no flags'}: "
                               f"{(said or ['no error was named'])[0].strip()}")
    return folder / "libhakmem.so"


def checkout(revision, scratch):
    """A work tree of the revision; its full name."""
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet",
                            revision + "^{commit}"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise BadInput(f"commit:{revision}: there is no such commit")
    name = found.stdout.strip()
    tree = scratch / ("source-" + name[:12])
    if not tree.exists():
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", name],
                                 capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree


def variant(text, build, scratch):
    """What a specification stands for: the library and the environment, as (Allocator, dict)."""
    library, source, flags, env = build / "libhakmem.so", None, [], {}
    for part in text.split("+"):
        kind, _, value = part.partition(":")
        if part == "base":
            continue
        if kind == "lib" and value:
            library = pathlib.Path(value)
        elif kind == "env" and re.fullmatch(r"[A-Za-z_]\w*=.*", value):
            env.update([value.split("=", 1)])
        elif kind == "flag" and value.startswith("-"):
            flags.append(value)
        elif kind == "commit" and value:
            source = checkout(value, scratch)
        else:
            raise BadInput(f"'{part}' is no part of a variant: base, lib:PATH, env:NAME=VALUE, "
                               "flag:-DNAME=1 or commit:REV")
    if source is not None or flags:
        name = re.sub(r"\W+", "_", " ".join(flags))
        tree = source or ROOT
        library = build_variant(tree, flags, scratch / f"build-{tree.name}{name}")
    if not library.is_file():
        raise BadInput(f"there is no library {library}")
    return Allocator(text, str(library.resolve().parent / library.name), library.name), env


def measure(workload, allocator, env, options):
    """(time an operation, resident bytes at the end) of one run."""
    merged = {**environment(allocator), **env}
    bound = ["--seconds", str(options.seconds)]
    record = run_command(allocator, workload,
                         command_of(workload, options.build, allocator, bound), merged,
                         workload.pinned)
    if record["ops"] == 0:
        raise RunFailed(f"{workload.name} under {allocator.name}: no operation in "
                            f"{options.seconds} s")
    return record[workload.metric + "_ns"] / record["ops"], record["rss_end_bytes"]


def decide(workload, variants, options):
    """Rounds until a verdict or the end of the budget; ab_stats.judge's answer."""
    pairs, look, end = [], 0, time.monotonic() + options.budget
    answer = None
    for allocator, env in variants:  # warm-up, dropped: page cache, first checks
        measure(workload, allocator, env, options)
    for wanted in ab_stats.looks():
        while len(pairs) < wanted and (time.monotonic() < end or len(pairs) < 2):
            order = (0, 1) if len(pairs) % 2 == 0 else (1, 0)
            got = {i: measure(workload, *variants[i], options) for i in order}
            pairs.append((got[0][0], got[1][0], got[0][1], got[1][1]))
        look += 1
        answer = ab_stats.judge(pairs, look)
        if options.progress:
            print(f"{answer['rounds']} rounds: {answer['ratio']:.4f} "
                  f"[{answer['low']:.4f}, {answer['high']:.4f}], RSS {answer['rss_ratio']:.4f}",
                  file=sys.stderr)
        if answer["verdict"] != "undecided" or time.monotonic() >= end:
            return answer


def shown(specification):
    """For the ledger: no folders of this machine."""
    return "+".join("lib:" + os.path.basename(part[4:]) if part.startswith("lib:") else part
                    for part in specification.split("+"))


def log(path, options, workload, answer):
    row = [datetime.date.today().isoformat(), commit(), options.name, shown(options.a),
           shown(options.b), workload.name, str(answer["rounds"]), f"{answer['ratio']:.4f}",
           f"{answer['low']:.4f}-{answer['high']:.4f}", f"{answer['rss_ratio']:.4f}",
           f"{answer['verdict']}: {answer['why']}"]
    text = path.read_text(encoding="utf-8") if path.exists() else LOG_HEAD
    path.write_text(text + "| " + " | ".join(cell.replace("|", "/") for cell in row) + " |\n",
                    encoding="utf-8")


def parse(words):
    names = [w.name for w in WORKLOADS if w.metric in TIMED]
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", required=True, metavar="VARIANT")
    parser.add_argument("--b", required=True, metavar="VARIANT")
    parser.add_argument("--name", required=True, help="what the ledger calls it")
    parser.add_argument("--workload", default="mixed_400", choices=names, metavar="NAME",
                        help="one of run.py --list (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=600, metavar="S",
                        help="seconds for all rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S",
                        help="of one run (default: %(default)s)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", metavar="FOLDER")
    parser.add_argument("--log", type=pathlib.Path, default=ROOT / "docs" / "experiments.md",
                        metavar="FILE")
    parser.add_argument("--progress", action="store_true", help="each look on stderr")
    options = parser.parse_args(words)
    if not options.budget > 0 or not options.seconds > 0:
        parser.error("--budget and --seconds must be above 0")
    return options


def main(words):
    options = parse(words)
    workload = BY_NAME[options.workload]
    try:
        scratch = options.build / "ab"
        variants = [variant(text, options.build, scratch) for text in (options.a, options.b)]
        answer = decide(workload, variants, options)
        log(options.log, options, workload, answer)
    except (BadInput, RunFailed, OSError) as error:
        print(f"ab.py: {error}", file=sys.stderr)
        return 2
    print(f"{answer['verdict']}: {answer['why']}; time {answer['ratio']:.4f} "
          f"[{answer['low']:.4f}, {answer['high']:.4f}], RSS {answer['rss_ratio']:.4f}, "
          f"{answer['rounds']} rounds of {workload.name}")
    return 0 if answer["verdict"] == "GO" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
