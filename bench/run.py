#!/usr/bin/python3
"""Benchmarks hakmem against the system's allocator and Debian's other allocators.

Rounds are interleaved (A B C A B C ...), the first is a warm-up and is dropped. A figure is printed
only for an allocator that was seen in place. Time ratios below 1 mean that hakmem is faster.
Exit status: 0 no target of hakmem is missed (some may be not settled or not measured: the last line
counts them), 1 one is, or hakmem failed a workload, 2 bad input (an allocator that does not load is
bad input), 128 + the signal after SIGINT, SIGTERM or SIGPIPE (the reader of the output went away):
finished workloads stay in the JSON file.
"""
import argparse
import math
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True  # the source tree stays as it is
import bench_allocators
import bench_backing
import bench_calls
import bench_evaluate
import bench_interrupt
import bench_machine
import bench_measure
import bench_output
import bench_state
import bench_workloads
import run_targets
from bench_interrupt import Interrupted
from bench_limits import MEAN_LIMIT, MEAN_PEER
from bench_machine import BadInput
from quiet_pipe import quiet  # by the path that bench_machine adds

# 19 rounds of a quarter of a second settle more than 7 of 1 s do: a disturbance takes some seconds,
# and then spoils few of them (measured).
FULL_ROUNDS, FULL_SECONDS = 19, 0.25
QUICK_ROUNDS, QUICK_SECONDS = 5, 2.0
SMOKE_ROUNDS, SMOKE_SECONDS = 3, 0.2


def parse_arguments(arguments):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise BadInput(message)

    parser = Parser(prog="bench/run.py", description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--workload", metavar="NAME[,NAME]", help="only these (see --list)")
    which.add_argument("--programs", action="store_true", help="only the real programs")
    which.add_argument("--quick", action="store_true",
                       help=f"{len(bench_workloads.QUICK)} workloads, hakmem and 4 peers, "
                            f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS:g} s")
    which.add_argument("--smoke", action="store_true",
                       help=f"the same, {SMOKE_ROUNDS} rounds of {SMOKE_SECONDS:g} s")
    parser.add_argument("--list", action="store_true", help="list the workloads and stop")
    parser.add_argument("--rounds", type=int,
                        help=f"rounds after the warm-up (default {FULL_ROUNDS})")
    parser.add_argument("--seconds", type=float, metavar="S",
                        help=f"of a timed run (default {FULL_SECONDS:g})")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH.so",
                        help="one more library to compare with; shown, no target")
    parser.add_argument("--peers-only", action="store_true", help="measure without hakmem")
    parser.add_argument("--build", type=pathlib.Path, default=bench_machine.ROOT / "build",
                        metavar="DIR", help="where the libraries and programs are (default build/)")
    parser.add_argument("--touch", action="store_true", help=bench_backing.HELP)
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    parser.add_argument("--resume", action="store_true",
                        help="go on with the interrupted run whose figures are in --json's FILE")
    parser.add_argument("--progress", action="store_true",
                        help="a line a workload on stderr where that is no terminal")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = parser.parse_args(arguments)
    rounds, seconds = ((QUICK_ROUNDS, QUICK_SECONDS) if options.quick else
                       (SMOKE_ROUNDS, SMOKE_SECONDS) if options.smoke else
                       (FULL_ROUNDS, FULL_SECONDS))
    options.rounds = rounds if options.rounds is None else options.rounds
    options.seconds = seconds if options.seconds is None else options.seconds
    if options.rounds < 1:
        raise BadInput("--rounds must be at least 1")
    if not 0 < options.seconds <= 3600:
        raise BadInput("--seconds must be above 0 and at most 3600")
    if options.resume and not options.json:
        raise BadInput("--resume needs --json FILE")
    if options.json:
        bench_machine.check_writable("--json", options.json)
    options.build = options.build.absolute()
    return options


def choose_workloads(options):
    by_name = bench_workloads.BY_NAME
    if options.programs:
        return [w for w in bench_workloads.WORKLOADS if w.metric == "program"]
    if options.quick or options.smoke:
        return [by_name[name] for name in bench_workloads.QUICK]
    if options.workload is None:
        return bench_workloads.WORKLOADS
    names = options.workload.split(",")
    for index, name in enumerate(names):
        if name not in by_name:
            raise BadInput(f"there is no workload '{name}' (see --list)")
        if name in names[:index]:
            raise BadInput(f"--workload names {name} twice")
    return [by_name[name] for name in names]


def choose_allocators(options):
    """(subjects, peers, the names of the target peers)."""
    short = options.quick or options.smoke
    wanted = bench_allocators.QUICK_PEERS if short else bench_allocators.TARGET_PEERS
    peers = bench_allocators.find_peers(options.peer, wanted)
    subjects = [] if options.peers_only else bench_allocators.find_subjects(options.build)
    if not options.peers_only and not any(s.name == "hakmem" for s in subjects):
        raise BadInput(f"{options.build / bench_allocators.SUBJECTS['hakmem']} is missing: build "
                       "it, or pass --peers-only")
    if short:
        subjects = [subject for subject in subjects if subject.name == "hakmem"]
    return subjects, peers, wanted


def check_built(options, workloads):
    wanted = {workload.program or "hak-measure" for workload in workloads}
    if any(workload.floor for workload in workloads):
        wanted.add("bench_floor")
    for program in sorted(wanted):
        if not (options.build / program).exists():
            raise BadInput(f"{options.build / program} is missing: build the target {program}")


def heading_print(options, about, workloads, allocators, target_peers):
    print("machine: {cpu}, {cores} cores, {ram_gib} GiB, Linux {kernel}, THP {thp}, "
          "commit {commit}, load {load_1min}".format(**about) + bench_backing.text(about))
    absent = [name for name in target_peers if name not in {a.name for a in allocators}]
    if absent:
        print(f"not installed: {', '.join(absent)}")
    refusal = bench_calls.refused()
    options.counts_calls = refusal is None
    if refusal:
        print(f"system calls are not counted: {refusal}")
    estimates = {w.name: bench_measure.estimate_seconds(w, allocators, options) for w in workloads}
    count_text = bench_output.count_text
    print(f"{count_text(len(workloads), 'workload')}, {count_text(len(allocators), 'allocator')}, "
          f"{count_text(options.rounds, 'round')}: about "
          f"{bench_output.duration_text(math.ceil(sum(estimates.values())))}\n")
    return estimates


def measure_all(options, record, workloads, allocators, subjects, target_peers, estimates):
    """Each workload that the record has no result of, printed and kept as soon as it is done."""
    finished = {result["workload"] for result in record["results"]}
    left = [workload for workload in workloads if workload.name not in finished]
    shown = bench_output.Progress({w.name: estimates[w.name] for w in left}, options.progress)
    for result in record["results"]:
        bench_output.result_print(result, options.markdown)
    with tempfile.TemporaryDirectory(prefix="hakmem-bench-") as scratch:
        for workload in left:
            shown.workload_begin(workload.name)
            try:
                measured = bench_measure.measure(workload, allocators, options, scratch, shown.note)
            except BaseException:
                shown.clear()
                raise
            shown.workload_end()
            record["results"].append(bench_evaluate.evaluate(
                workload, measured, [s.name for s in subjects], target_peers))
            if options.json:
                bench_state.write(options.json, record)
            bench_output.result_print(record["results"][-1], options.markdown)
            sys.stdout.flush()


def together_verdicts(record, subjects):
    """Judged where every timed row was measured; of fewer rows it is shown."""
    answers = bench_evaluate.together(record["results"], [s.name for s in subjects], MEAN_PEER)
    record["together"] = {MEAN_PEER: answers}
    wanted = bench_workloads.TIMED_ROWS
    verdicts = []
    for subject, compared in answers.items():
        answer = run_targets.together(MEAN_PEER, MEAN_LIMIT, compared)
        if compared["workloads"] < wanted:
            answer["met"] = None
            answer["measured"] += f" of {wanted}"
        verdicts.append({"subject": subject, **answer, "verdict": run_targets.verdict(answer)})
    record["verdicts"] = verdicts
    return verdicts


def run(arguments):
    options = parse_arguments(arguments)
    if options.list:
        bench_output.table_print([["workload", "what"]] + [
            [w.name, w.what] for w in bench_workloads.WORKLOADS], False, words=2)
        return 0
    workloads = choose_workloads(options)
    subjects, peers, target_peers = choose_allocators(options)
    check_built(options, workloads)
    allocators = subjects + peers
    about = bench_machine.machine()
    about |= bench_backing.touched(options)
    record = bench_state.head(about, options, workloads, allocators)
    if options.resume:
        record["results"] = bench_state.resume(options.json, record)
    estimates = heading_print(options, about, workloads, allocators, target_peers)
    try:
        measure_all(options, record, workloads, allocators, subjects, target_peers, estimates)
    except Interrupted as stop:
        kept = f", {len(record['results'])} of {len(workloads)} workloads finished"
        is_kept = options.json and record["results"]
        where = f" in {options.json} (--resume goes on)" if is_kept else ""
        print(f"bench/run.py: {stop}{kept}{where}", file=sys.stderr)
        return 128 + stop.number
    together = together_verdicts(record, subjects)
    record["complete"] = True
    if options.json:
        bench_state.write(options.json, record)
    verdicts = [(result["workload"], verdict) for result in record["results"]
                for verdict in result["verdicts"]]
    bench_output.verdicts_print(verdicts + [("all timed", one) for one in together],
                                options.markdown)
    # The default flavour is held to the targets; minimal's verdicts are for reading.
    judged = [one["verdict"] for _, one in verdicts + [("", one) for one in together]
              if one["subject"] == "hakmem"]
    return run_targets.exit_status(judged, any("hakmem" in result["failures"]
                                               for result in record["results"]))


def main():
    bench_interrupt.install()
    try:
        return quiet(run, sys.argv[1:])
    except (BadInput, OSError) as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:  # before the first workload or after the last
        return 128 + stop.number


if __name__ == "__main__":
    sys.exit(main())
