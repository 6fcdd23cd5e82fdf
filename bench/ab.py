#!/usr/bin/python3
"""Decides between two variants of hakmem, or of any allocator: is B faster than A?

A variant is made of parts joined by '+', any of:
  base              hakmem of this tree: build/libhakmem.so, or built like the other variant
  lib:PATH          another library
  env:NAME=VALUE    an environment variable of the run
  flag:-DNAME=1     hakmem built once more with this compiler flag
  commit:REV        hakmem built of another commit
Rounds are interleaved (AB BA AB ...) until the verdict is GO (the whole interval of B's time over
A's below 0.99, and resident memory below 1.01), NO-GO (the whole interval above 0.995), or the
budget is used up: undecided. Many short rounds settle more than few long ones: a disturbance then
costs one round, not a tenth of them. A row of docs/experiments.md keeps the verdict.
Exit status: 0 GO, 1 NO-GO or undecided, 2 bad input, 128 + the signal after SIGINT, SIGTERM or
SIGPIPE (the reader of the output went away).
"""
import argparse
import datetime
import fcntl
import hashlib
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

sys.dont_write_bytecode = True  # the source tree stays as it is
import ab_stats
import bench_interrupt
import bench_process
from bench_allocators import Allocator, environment as allocator_environment, report_check
from bench_interrupt import Interrupted
from bench_machine import BadInput, ROOT, RunFailed, check_writable, first_line, machine
from bench_measure import command_of, run_command
from bench_workloads import TIMED, WORKLOADS
from quiet_pipe import quiet  # by the path that bench_machine adds

LOG_COLUMNS = ["date", "commit", "machine", "experiment", "A", "B", "workload", "rounds", "time",
               "interval", "RSS", "instructions", "verdict"]
LOG_HEAD = f"""# Experiments

What was tried, and whether it stayed. Written by `bench/ab.py`; `docs/decisions` has the reasons
of what did. Commit: of the tree, `-changed` where files other than pages differ from
it. Time, RSS, instructions: B over A, below 1 B is better. Interval: of the median of the rounds,
widened for each look. Instructions: an operation's, by callgrind, where they were counted.

The gates of the first four entries of `docs/experiments.md` are in commit 7105c4c; today's tree has
none. To repeat one: `bench/ab.py --a commit:7105c4c --b
commit:7105c4c+flag:-DHAKMEM_ALLOC_PASSDOWN_SSOT=1 --name again --workload batch_1000_rnd`, with
`--log FILE` where the row is not to stay.

| {" | ".join(LOG_COLUMNS)} |
|{"---|" * len(LOG_COLUMNS)}
"""
LOG_HEADING = LOG_HEAD.splitlines()[-2]  # what tells a ledger from any other file
BUILD_TIMEOUT_SECONDS = 900
BUDGET_SECONDS_MOST, RUN_SECONDS_MOST = 7 * 86400, 3600  # arbitrary: a week, an hour
# Under callgrind: two runs, so that start and warm-up cancel. Arbitrary, and a few seconds each.
COUNT_OPS_MOST = 400_000
COUNT_RUNS = (1, 3)

# shown: for the ledger, without folders of this machine.
Variant = namedtuple("Variant", "shown allocator env")


# ---- variants ----

def build_library(source, flags, folder):
    """libhakmem.so of a source tree with compiler flags, built in `folder`; what is built there
    already is not built again. The flags stand behind the tree's own, so that they win, and there
    are no debug sections, which would tell two builds of the same code apart."""
    rule = ["<CMAKE_C_COMPILER> <DEFINES> <INCLUDES> <FLAGS>", *flags,
            "-g0 -o <OBJECT> -c <SOURCE>"]
    steps = [["cmake", "-S", str(source), "-B", str(folder), "-G", "Ninja",
              "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_COMPILE_OBJECT=" + " ".join(rule)],
             ["cmake", "--build", str(folder), "--target", "libhakmem.so"]]
    is_new = not folder.exists()
    for step in steps:
        status, out, err = bench_process.run(step, "the build", timeout=BUILD_TIMEOUT_SECONDS)
        if status != 0:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)  # no later run can use it
            said = [line for line in (out + err).splitlines()
                    if re.search(r"\berror:|CMake Error", line)]
            raise BadInput(f"cannot build with {' '.join(flags) or 'no flags'}: "
                               f"{(said or ['no error was named'])[0].strip()}")
    return folder / "libhakmem.so"


def commit_name(revision):
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet",
                            revision + "^{commit}"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise BadInput(f"commit:{revision}: there is no such commit")
    return found.stdout.strip()[:12]


def checkout(name, scratch):
    """The source tree of a commit; complete or not there."""
    tree = scratch / ("source-" + name)
    if not tree.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", name],
                                 capture_output=True, check=True)
        part = tempfile.mkdtemp(prefix="part-", dir=scratch)
        try:
            subprocess.run(["tar", "-x", "-C", part], input=archive.stdout, check=True)
            os.rename(part, tree)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # gone already where all went well
    return tree


def is_built(text):
    return any(part.startswith(("flag:", "commit:")) for part in text.split("+"))


def variant(text, build, must_build):
    """What a specification stands for. must_build: also `base` is, so that A and B differ in
    nothing else."""
    library, commit, flags, env, shown = None, None, [], {}, []
    for part in text.split("+"):
        kind, _, value = part.partition(":")
        if kind == "lib" and value:
            library = pathlib.Path(value)
            if not library.is_file():
                raise BadInput(f"there is no library {library}")
            content = hashlib.sha256(library.read_bytes()).hexdigest()[:8]
            part = f"lib:{library.name}@{content}"
        elif kind == "env" and re.fullmatch(r"[A-Za-z_]\w*=.*", value):
            env.update([value.split("=", 1)])
        elif kind == "flag" and value.startswith("-"):
            flags.append(value)
        elif kind == "commit" and value:
            commit = commit_name(value)
            part = "commit:" + commit
        elif part != "base":
            raise BadInput(f"'{part}' is no part of a variant: base, lib:PATH, env:NAME=VALUE, "
                               "flag:-DNAME=1 or commit:REV")
        shown.append(part)
    if library is not None and is_built(text):
        raise BadInput(f"'{text}': a library is there or is built, not both")
    if library is None and (must_build or is_built(text)):
        scratch = build / "ab"
        key = hashlib.sha256("\0".join([commit or "", *flags]).encode()).hexdigest()[:12]
        source = ROOT if commit is None else checkout(commit, scratch)
        library = build_library(source, flags, scratch / f"build-{key}")
    library = library or build / "libhakmem.so"
    if not library.is_file():
        raise BadInput(f"there is no library {library}")
    path = str(library.resolve().parent / library.name)
    return Variant("+".join(shown), Allocator(text, path, library.name), env)


def both_variants(options):
    must_build = is_built(options.a) or is_built(options.b)
    a, b = (variant(text, options.build, must_build) for text in (options.a, options.b))
    same_library = pathlib.Path(a.allocator.path).read_bytes() == \
        pathlib.Path(b.allocator.path).read_bytes()
    if must_build and a.shown != b.shown and a.env == b.env and same_library:
        raise BadInput(f"{a.shown} and {b.shown} are the same library, byte for byte: the "
                           "difference is in nothing that is compiled")
    return a, b


def check_in_place(subject, options):
    """Runs a small program on the variant: it must serve it (hakmem says so itself), and must not
    complain, as about an option that it does not know and leaves as it is."""
    with tempfile.TemporaryDirectory(prefix="hakmem-ab-") as scratch:
        report = os.path.join(scratch, "report")
        env = {**allocator_environment(subject.allocator, report), **subject.env}
        status, _, err = bench_process.run([str(options.build / "bench_hello"), "--json"],
                                           f"bench_hello under {subject.shown}", env=env)
        if err or status != 0:
            said = (err.strip().splitlines() or [bench_process.how_ended(status)])[0]
            raise BadInput(f"{subject.shown}: {said}")
        if subject.allocator.expect.startswith("libhakmem"):
            report_check(subject.allocator, report)


# ---- measuring ----

def environment(subject):
    return {**allocator_environment(subject.allocator), **subject.env}


def measure(workload, subject, options):
    """(time an operation, resident bytes at the end) of one run."""
    bound = ["--seconds", str(options.seconds)]
    record = run_command(subject.allocator, workload,
                             command_of(workload, options.build, subject.allocator, bound),
                             environment(subject), workload.pinned)
    if record["ops"] == 0:
        raise RunFailed(f"{workload.name} under {subject.shown}: no operation in "
                            f"{options.seconds} s")
    return record[workload.metric + "_ns"] / record["ops"], record["rss_end_bytes"]


def count_instructions(workload, subject, options):
    """Instructions an operation, the program's own included; repeats to about one in 10,000."""
    counts = []
    ops = max(1, min(COUNT_OPS_MOST, workload.ops // 20))  # some workloads' operations are long
    with tempfile.TemporaryDirectory(prefix="hakmem-ab-") as scratch:
        output = os.path.join(scratch, "profile")
        for times in COUNT_RUNS:
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}",
                       *command_of(workload, options.build, subject.allocator,
                                       ["--ops", str(ops * times)])]
            record = run_command(subject.allocator, workload, command, environment(subject),
                                     workload.pinned)
            total = first_line(output, r"^(?:totals|summary): (\d+)$", None)
            if total is None:
                raise RunFailed(f"{workload.name} under {subject.shown}: callgrind counted "
                                    "nothing")
            counts.append((record["ops"], int(total)))
    (few_ops, few), (many_ops, many) = counts
    return (many - few) / (many_ops - few_ops)


def interval_text(answer, form):
    """form: of the two ends. Of few rounds there is no interval."""
    return form.format(answer["low"], answer["high"]) if math.isfinite(answer["low"]) else \
        "no interval yet"


def decide(workload, subjects, options):
    """Rounds until a verdict or the end of the budget; ab_stats.judge's answer."""
    for subject in subjects:  # warm-up, dropped: page cache, first checks
        check_in_place(subject, options)
        measure(workload, subject, options)
    end = time.monotonic() + options.budget

    def measure_round(number):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        got = {i: measure(workload, subjects[i], options) for i in order}
        return got[0][0], got[1][0], got[0][1], got[1][1]

    def seen(answer):
        if options.progress:
            print(f"{answer['rounds']} rounds: {answer['ratio']:.4f} "
                  f"{interval_text(answer, '[{:.4f}, {:.4f}]')}, RSS {answer['rss_ratio']:.4f}",
                  file=sys.stderr)

    return ab_stats.decide(measure_round, options.rounds, lambda: time.monotonic() >= end,
                           seen=seen)


# ---- the ledger ----

def rounds_text(options, answer):
    """The rounds, and what would have ended them: 'undecided' is of a budget."""
    most = "" if options.rounds == sys.maxsize else f" or {options.rounds} rounds"
    return (f"{answer['rounds']} of {options.seconds:g} s, "
            f"budget {options.budget:.15g} s{most}")


def row_of(options, workload, subjects, answer, instructions):
    about = machine()
    name = options.name + "".join(f" ({option}={value})"
                                  for option, value in about["options"].items())
    cells = [datetime.date.today().isoformat(), about["commit"],
             f"{about['cpu']}, {about['cores']} cores", name, *(s.shown for s in subjects),
             workload.name, rounds_text(options, answer),
             f"{answer['ratio']:.4f}", interval_text(answer, "{:.4f} to {:.4f}"),
             f"{answer['rss_ratio']:.4f}", "-" if instructions is None else f"{instructions:.4f}",
             f"{answer['verdict']}: {answer['why']}"]
    return "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |\n"


def check_ledger(path):
    """A file that is there gets a row only if it is a ledger, or empty."""
    check_writable("--log", path)
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if lines and LOG_HEADING not in lines:
        raise BadInput(f"--log {path}: is no ledger (it lacks the table's heading, as "
                       "docs/experiments.md has it): name one, or a new file")


def log(path, row):
    """Appends one row by one write, whoever else writes: all of it or nothing."""
    with open(path, "ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        is_new = os.fstat(file.fileno()).st_size == 0
        file.write(((LOG_HEAD if is_new else "") + row).encode())


# ---- the command ----

class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"ab.py: {message} (see --help)\n")


def parse(words):
    workloads = {w.name: w for w in WORKLOADS if w.metric in TIMED}
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", required=True, metavar="VARIANT")
    parser.add_argument("--b", required=True, metavar="VARIANT")
    parser.add_argument("--name", required=True, help="what the ledger calls it")
    parser.add_argument("--workload", default="mixed_400", metavar="NAME",
                        help="a timed one of run.py --list (default: %(default)s)")
    parser.add_argument("--budget", type=float, default=600, metavar="S",
                        help="seconds for all rounds (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=sys.maxsize, metavar="N",
                        help="the most rounds (default: as many as the seconds allow)")
    parser.add_argument("--seconds", type=float, default=0.25, metavar="S",
                        help="of one run (default: %(default)s)")
    parser.add_argument("--count", action="store_true",
                        help="count instructions as well, by callgrind")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", metavar="FOLDER")
    parser.add_argument("--log", type=pathlib.Path, default=ROOT / "docs" / "experiments.md",
                        metavar="FILE")
    parser.add_argument("--progress", action="store_true", help="each look on stderr")
    options = parser.parse_args(words)
    if options.workload not in workloads:
        parser.error(f"--workload: '{options.workload}' is no timed workload of run.py --list")
    options.name = " ".join(options.name.split())
    if not options.name:
        parser.error("--name is empty: say what the ledger is to call the experiment")
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    for name, most in (("seconds", RUN_SECONDS_MOST), ("budget", BUDGET_SECONDS_MOST)):
        if not 0 < getattr(options, name) <= most:  # a NaN is not either
            parser.error(f"--{name} must be above 0 and at most {most}")
    least = 2 * 2 * options.seconds  # two rounds are always measured
    if options.budget < least:
        parser.error(f"--budget {options.budget:g}: two rounds of two runs of {options.seconds:g} "
                     f"s take {least:g} s already")
    workload = workloads[options.workload]
    if options.count and (workload.metric != "cpu" or shutil.which("valgrind") is None):
        parser.error("--count takes a workload of one thread, and valgrind")
    return options, workload


def run(words):
    options, workload = parse(words)
    instructions = None
    check_ledger(options.log)
    options.build = options.build.absolute()
    subjects = both_variants(options)
    answer = decide(workload, subjects, options)
    if options.count:
        a, b = (count_instructions(workload, subject, options) for subject in subjects)
        instructions = b / a
    log(options.log, row_of(options, workload, subjects, answer, instructions))
    counted = "" if instructions is None else f", instructions {instructions:.4f}"
    print(f"{answer['verdict']}: {answer['why']}; time {answer['ratio']:.4f} "
          f"{interval_text(answer, '[{:.4f}, {:.4f}]')}, RSS {answer['rss_ratio']:.4f}{counted}, "
          f"{answer['rounds']} rounds of {workload.name}")
    return 0 if answer["verdict"] == "GO" else 1


def main(words):
    try:
        return quiet(run, words)
    except (BadInput, RunFailed, subprocess.SubprocessError, OSError) as error:
        print(f"ab.py: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        return 128 + stop.number


if __name__ == "__main__":
    bench_interrupt.install()
    sys.exit(main(sys.argv[1:]))
