"""Runs of one workload under every allocator: in rounds, turn by turn, the first a warm-up that is
dropped; then, for a timed row, one run that times each call, and one that strace counts.
"""
import json
import os
import pathlib
from collections import namedtuple

import bench_allocators
import bench_calls
import bench_process
import bench_programs
import bench_workloads
import run_stats
from bench_machine import BadInput, RunFailed

RSS_ROUNDS_LEAST = 11
# Arbitrary: a program's run takes seconds, so 9 rounds of ten programs and eight allocators take a
# quarter of an hour.
PROGRAM_ROUNDS_MOST = 9
LATENCY_SECONDS_MOST = 0.5  # arbitrary: millions of calls, so p99.99 is the mean of hundreds
# A counted run does what the timed ones do in four times their time, a second at most.
COUNTED_SHARE, COUNTED_SECONDS_MOST = 4, 1.0

# records: one a round, by allocator. failures: text by allocator, or by 'allocator, what' where
# only an extra run failed. extras: {"latency", "calls"} by allocator, None where there is none.
# skipped: why nothing was measured at all, or None.
Measured = namedtuple("Measured", "records failures extras skipped", defaults=(None,))


# ---- one run ----

def run_command(allocator, workload, command, env, pinned):
    """The program's JSON record."""
    what = f"{workload.name} under {allocator.name}"
    status, out, err = bench_process.run(command, what, pinned, env=env)
    if status != 0:
        raise bench_process.failure(what, status, err)
    try:
        record = json.loads(out)
    except ValueError as error:
        raise RunFailed(f"{what}: no JSON on stdout ({error})") from None
    if record["allocator"] != allocator.expect:
        raise BadInput(f"{allocator.name} is not in place: {workload.program} runs on "
                       f"{record['allocator']}, not on {allocator.expect}")
    return record


def command_of(workload, build, allocator, bound, args=None):
    program = "bench_floor" if allocator.name == "floor" else workload.program
    return [str(build / program), *(workload.args if args is None else args), *bound, "--json"]


def run_once(workload, build, allocator, bound, check, scratch):
    report = None
    if check and bench_allocators.reports(allocator):
        report = os.path.join(scratch, "report")
        pathlib.Path(report).unlink(missing_ok=True)
    record = run_command(allocator, workload, command_of(workload, build, allocator, bound),
                         bench_allocators.environment(allocator, report), workload.pinned)
    if report is not None:
        bench_allocators.report_check(allocator, report)
    return record


def run_counted(workload, build, allocator, ops, scratch, args=None):
    """A run under strace: {"ops", "calls", "calls_by_name"}, and the record. The system call that
    stops at ptrace costs time, hence no times from here."""
    output = os.path.join(scratch, "strace")
    command = bench_calls.traced(
        command_of(workload, build, allocator, ["--ops", str(ops), "--markers"], args), output,
        allocator.path)
    env = bench_allocators.environment(allocator)
    env.pop("LD_PRELOAD", None)
    record = run_command(allocator, workload, command, env, workload.pinned)
    with open(output, encoding="utf-8", errors="replace") as file:
        by_name = bench_calls.count_calls(file.read())
    record.update(calls=sum(by_name.values()), calls_by_name=dict(by_name))
    return record


def figure(workload, record):
    if workload.metric == "rss":
        return record["rss_end_bytes"]
    if workload.metric == "calls":
        return record["calls"]
    if workload.metric == "program":
        return record["cpu_ns"] / 1e9
    return record[workload.metric + "_ns"] / record["ops"]


# ---- a workload ----

def rounds_of(workload, options):
    if workload.metric == "rss":
        return max(options.rounds, RSS_ROUNDS_LEAST)
    if workload.metric == "program":
        return min(options.rounds, PROGRAM_ROUNDS_MOST)
    return options.rounds


def counted_seconds(options):
    return min(COUNTED_SHARE * options.seconds, COUNTED_SECONDS_MOST)


def estimate_seconds(workload, allocators, options):
    """How long measure() takes of a quiet machine."""
    if workload.metric == "calls":
        return len(allocators) * workload.prepare_seconds
    rounds = rounds_of(workload, options) + 1
    if workload.metric in ("rss", "program"):
        return len(allocators) * rounds * workload.prepare_seconds
    extra = (min(options.seconds, LATENCY_SECONDS_MOST) + counted_seconds(options)
             + 2 * workload.prepare_seconds)
    run = options.seconds + workload.prepare_seconds
    return (len(allocators) + workload.floor) * rounds * run + len(allocators) * extra


def run_rounds(once, workload, allocators, rounds, note):
    """once(allocator, check) in turns; (records, failures)."""
    records, failures = {}, {}
    running = list(allocators)
    for number in range(rounds + 1):
        note(f"round {number} of {rounds}" if number else "warm-up", number / (rounds + 1))
        for allocator in list(running):
            try:
                record = once(allocator, number == 0)
            except RunFailed as failure:
                failures[allocator.name] = str(failure)
                records.pop(allocator.name, None)
                running.remove(allocator)
                continue
            if number > 0:
                records.setdefault(allocator.name, []).append(record)
    return records, failures


def measure_loop(workload, allocators, options, scratch, note):
    by_time = workload.metric in bench_workloads.TIMED
    bound = ["--seconds", str(options.seconds)] if by_time else ["--ops", str(workload.ops)]

    def once(allocator, check):
        return run_once(workload, options.build, allocator, bound, check, scratch)
    running = [*allocators, bench_allocators.FLOOR] if workload.floor else allocators
    records, failures = run_rounds(once, workload, running, rounds_of(workload, options), note)
    extras = {}
    for allocator in allocators if by_time else ():
        if allocator.name in records:
            note(f"calls of {allocator.name}", 1)
            extras[allocator.name] = measure_extras(workload, allocator, records[allocator.name],
                                                    options, scratch, failures)
    return Measured(records, failures, extras)


def measure_extras(workload, allocator, rows, options, scratch, failures):
    extras = {"latency": None, "calls": None}
    seconds = min(options.seconds, LATENCY_SECONDS_MOST)
    try:
        extras["latency"] = run_once(workload, options.build, allocator,
                                     ["--seconds", str(seconds), "--latency"], False,
                                     scratch)["latency"]
    except RunFailed as failure:
        failures[allocator.name + ", latency"] = str(failure)
    if options.counts_calls:
        a_second = run_stats.median([1e9 * row["ops"] / row["wall_ns"] for row in rows])
        ops = min(max(int(a_second * counted_seconds(options)), 1), workload.ops)
        try:
            extras["calls"] = run_counted(workload, options.build, allocator, ops, scratch)
        except RunFailed as failure:
            failures[allocator.name + ", system calls"] = str(failure)
    return extras


def measure_calls(workload, allocators, options, scratch, note):
    """Counted runs alone, at each working set; the higher count."""
    if not options.counts_calls:
        return Measured({}, {}, {}, "system calls are not counted")
    records, failures = {}, {}
    for number, allocator in enumerate(allocators):
        note(allocator.name, number / len(allocators))
        try:
            runs = [run_counted(workload, options.build, allocator, workload.ops, scratch,
                                bench_workloads.mixed(ws))
                    for ws in bench_workloads.CALLS_WORKING_SETS]
        except RunFailed as failure:
            failures[allocator.name] = str(failure)
            continue
        records[allocator.name] = [max(runs, key=lambda run: run["calls"])]
    return Measured(records, failures, {})


def measure_program(workload, allocators, options, scratch, note):
    note("inputs", 0)
    try:
        runs = bench_programs.Runs(bench_programs.BY_NAME[workload.name], options.build, scratch)
    except bench_programs.Missing as missing:
        return Measured({}, {}, {}, str(missing))
    except RunFailed as failure:
        return Measured({}, {"glibc": str(failure)}, {})
    try:
        return Measured(*run_rounds(runs.run, workload, allocators, rounds_of(workload, options),
                                    note), {})
    finally:
        runs.close()


def measure(workload, allocators, options, scratch, note):
    """Everything that is measured of a workload. note(text, share) hears what goes on."""
    by_metric = {"calls": measure_calls, "program": measure_program}
    return by_metric.get(workload.metric, measure_loop)(workload, allocators, options, scratch,
                                                        note)
