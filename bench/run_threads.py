#!/usr/bin/python3
"""run_threads.py [--smoke] [--judge] [--rounds N] [--row TEXT] [--build DIR] [--json FILE]
[--from FILE]: threads beside the peers.

Every allocator runs every row in each round, in an order drawn anew; a figure is the median of the
rounds. Time is of the wall clock, an operation. Memory is the highest resident; for producers and
consumers with a backlog, less what the same run has without objects (--no-objects: the same threads
and the same full queue, right after it under the same allocator), of the bytes requested that were
alive at most. Producers only allocate and consumers only free: each of these rows has threads that
only free, and those that are 64 MiB behind free what was allocated long ago. Producers and
consumers run also on a library that does nothing (bench_nothing.c): what they take then is the
program's own, with a backlog the wait for memory that was used long ago too.

Targets are those of the last column. A ratio is the median of the rounds' with its 95 % bootstrap
interval, as bench/run.py has them: met where all of it is within the target, missed where none of
it is, else not settled. A smoke run has a hundredth of the operations in one round, and judges
nothing. --from FILE measures nothing: the table and verdicts are of what --json wrote. Exit 0, 1
with --judge where a target is missed for certain, 2 bad input.
"""
import sys
from collections import namedtuple
from statistics import median

import bench_allocators
import bench_rows
import run_targets
from bench_rows import Judged

Row = namedtuple("Row", "name program args time_targets memory")
BEST = ((None, 1.0),)
PASSED_ON = (("mimalloc", 0.7), (None, 0.9))
MIXED = ("--min", "16", "--max", "1024")
BEHIND = ("--backlog", "64M")
ONE, MANY, SPREAD = (), ("--producers", "4"), ("--consumers", "4")


def passed_on(name, threads, ops, more=()):
    """Two rows, of one size and of many; ops of either."""
    memory = "backlog" if more == BEHIND else None
    for size, count, flags in (("64 B", ops[0], ()), ("16-1024 B", ops[1], MIXED)):
        yield Row(f"{name}, {size}", "bench_prodcons",
                  ("--ops", str(count), *threads, *more, *flags), PASSED_ON, memory)


ROWS = [
    *passed_on("1 producer, 1 consumer that only frees", ONE, (8000000, 6000000)),
    *passed_on("4 producers, 1 consumer", MANY, (4000000, 4000000)),
    *passed_on("1 producer, 4 consumers", SPREAD, (4000000, 4000000)),
    *passed_on("a thread that only frees, 64 MiB behind", ONE, (6000000, 2000000), BEHIND),
    *passed_on("4 producers, 1 consumer 64 MiB behind", MANY, (4000000, 2000000), BEHIND),
    *passed_on("1 producer, 4 consumers 64 MiB behind", SPREAD, (4000000, 2000000), BEHIND),
    *(Row(f"larson, {threads} threads", "bench_larson",
          ("--threads", str(threads), "--ops", str(ops)), BEST, "peak")
      for threads, ops in ((2, 20000000), (16, 20000000), (256, 20000000), (2000, 60000000))),
    Row("false sharing, active", "bench_false_sharing", ("--mode", "active", "--ops", "300000"),
        ((None, 1.05),), None),
    Row("false sharing, passive", "bench_false_sharing", ("--mode", "passive", "--ops", "300000"),
        ((None, 1.05),), None),
]
SUBJECT, PEERS = "hakmem", bench_allocators.QUICK_PEERS
ALIVE = "what was alive"
NOTHING, NOTHING_FILE = "nothing", "bench_nothing.so"
NOTHING_BEHIND = (("BENCH_NOTHING_RING", str(80 << 20)),)  # a backlog and what is on its way
MEMORY_LIMITS = {"backlog": 1.10, "peak": 1.05}


def hundredth(row):
    args = list(row.args)
    at = args.index("--ops") + 1
    args[at] = str(int(args[at]) // 100)
    return row._replace(args=tuple(args))


def run(row, allocator, build):
    record = bench_rows.record_of(row.program, row.args, allocator, build)
    peak = record["rss_peak_bytes"]
    return record["wall_ns"] / record["ops"], peak, record.get("live_peak_bytes")


def of_the_backlog(row, peak, live, allocator, build):
    """What is resident at most beyond the same run without objects, of the bytes that were alive.
    """
    base = run(row._replace(args=(*row.args, "--no-objects")), allocator, build)[1]
    return (peak - base) / live


def measure(row, columns, options):
    """Of each allocator: the samples of time and of memory; None where it does not run the row."""
    def once(allocator):
        ns, peak, live = run(row, allocator, options.build)
        if row.memory == "backlog" and allocator.name != NOTHING:
            peak = of_the_backlog(row, peak, live, allocator, options.build)
        return ns, peak
    names = [column.name for column in columns]
    if row.program != "bench_prodcons":
        columns = [column for column in columns if column.name != NOTHING]
    elif row.memory == "backlog":
        columns = [column._replace(variables=NOTHING_BEHIND) if column.name == NOTHING else column
                   for column in columns]
    taken = bench_rows.in_turns(columns, options, once)
    return {name: tuple(map(list, zip(*taken[name]))) if name in taken else None
            for name in names}


def answer(text, limit, figures, peers):
    """run_targets.py's, of the subject's figures beside the best of the peers', round by round;
    with the ratio and its interval."""
    seen = {}

    def check(ours, theirs):
        ratio, interval, peer = run_targets.of_best(ours, theirs)
        seen.update(ratio=ratio, interval_95=interval)
        return run_targets.interval_check(limit, ratio, interval, peer)
    got = run_targets.against_peers(text, check)(figures, SUBJECT, peers)
    return {**got, **seen, "verdict": run_targets.verdict(got)}


def verdicts(row, samples):
    samples = {name: taken for name, taken in samples.items() if taken and name != NOTHING}
    times, memory = ({name: taken[at] for name, taken in samples.items()} for at in (0, 1))
    for peer, limit in row.time_targets:
        got = answer(f"time <= {limit} of {peer or 'the best peer'}", limit, times,
                     [peer] if peer else PEERS)
        yield Judged(f"{got['measured']}{'' if peer else ', the best'} ({limit})", got["verdict"],
                     got)
    if row.memory is not None:
        limit, of, peers = MEMORY_LIMITS[row.memory], "the leanest peer", PEERS
        if row.memory == "backlog":  # a sample is a multiple of that
            of, peers = ALIVE, [ALIVE]
            memory[ALIVE] = [1.0] * len(memory[SUBJECT])
        got = answer(f"memory <= {limit} of {of}", limit, memory, peers)
        yield Judged(f"memory {got['measured']} ({limit})", got["verdict"], got)


def memory_text(row, value):
    if row.memory is None:
        return ""
    return f", {value:.2f}" if row.memory == "backlog" else f", {value / 2**20:.1f}"


def texts(row, samples):
    yield row.name
    for name, sample in samples.items():
        if sample is None:
            yield "-"
            continue
        times, memory = sample
        yield f"{median(times):.1f} ({min(times):.0f}-{max(times):.0f})" + \
            ("" if name == NOTHING else memory_text(row, median(memory)))


def result(row, samples):
    return {"row": row.name, "samples": {name: taken for name, taken in samples.items() if taken}}


def rounds(samples):
    """As many times as sizes of memory, of each allocator; all above 0, but what a backlog has."""
    lengths = {len(values) for times, memory in samples.values() for values in (times, memory)}
    if len(lengths) != 1 or not all(min(times) > 0 for times, _ in samples.values()) \
            or SUBJECT not in samples:
        raise ValueError("samples")
    return lengths.pop()


def columns_find(options):
    return [bench_rows.find_subject(options.build),
            *bench_allocators.find_peers([], PEERS),
            bench_allocators.Allocator(NOTHING, str(options.build / NOTHING_FILE), NOTHING_FILE)]


DRIVER = bench_rows.Driver(
    name="bench/run_threads.py", doc=__doc__, rows=lambda options: ROWS, lessened=hundredth,
    columns=columns_find,
    heading=["ns an operation (wall), least and most; MiB or of the backlog"], measure=measure,
    texts=texts, verdicts=verdicts, result=result, rounds=rounds)

if __name__ == "__main__":
    sys.exit(bench_rows.main(DRIVER))
