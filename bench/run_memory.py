#!/usr/bin/python3
"""run_memory.py [--smoke] [--rounds N] [--row TEXT] [--build DIR] [--json FILE]: memory of each
profile beside the peers.

Every allocator runs every row in each round, in an order drawn anew; a figure is the median of the
rounds: resident MiB at the end or at most, what is kept of the most, or ns an operation. hakmem
runs once a profile. A smoke run does a hundredth of the work in one round, and judges nothing.
Exit 0, 2 bad input.
"""
import sys
from collections import namedtuple
from statistics import median

import bench_allocators
import bench_rows
import run_stats

PROFILES = ("balanced", "lean", "speed")
# value: what is measured; less: options by which a smoke run does less.
Row = namedtuple("Row", "name program args value targets less")
# of: profile; than: peers of which the least, or a profile, or None for a limit by itself.
Target = namedtuple("Target", "of than factor plus")
PEERS = ("glibc", "mimalloc", "jemalloc", "tcmalloc")
SMALL_EXTRA_KIB = 192
OTHERS = tuple(peer for peer in PEERS if peer != "glibc")


def at_most(of, limit):
    return Target(of, None, limit, 0)


def of_peers(of, factor, *peers):
    return Target(of, peers, factor, 0)


def small(of="balanced"):
    return (Target(of, ("glibc",), 1, SMALL_EXTRA_KIB / 1024), Target(of, OTHERS, 1, 0))


def mixed(slots, ops, targets):
    return Row(f"{slots:,} slots, {ops // 1000000} M operations", "bench_random_mixed",
               (str(ops), str(slots)), "end", targets, None)


def grown_mib():
    """What the block of the realloc rows has at the end: 8 steps before the clock, 36 after."""
    size = 16
    for _ in range(8 + 36):
        size += size // 2 + 1
    return size / 2**20


RELEASE = ("--count", "400000")
THIN = (*RELEASE, "--min", "600", "--max", "600", "--keep", "64")
REFILL = ("--mib", "191", "--min", "200", "--max", "200", "--refill-min", "300", "--refill-max",
          "300", "--stop-full", "--ops", "1")
BULK = ("--count", "100000", "--order", "forward", "--ops", "20000000")
ROWS = [
    Row("hello", "bench_hello", (), "end", small(), None),
    mixed(400, 2000000, small()),
    mixed(4000, 2000000, small()),
    mixed(40000, 4000000, (of_peers("balanced", 1.05, "glibc"),)),
    mixed(40000, 50000000, (of_peers("balanced", 1.05, "glibc"),)),
    mixed(400000, 8000000, (of_peers("balanced", 1.03, "glibc"),)),
    Row("400,000 of 1,000 B freed, 1 s of small work", "bench_release", RELEASE, "kept",
        (at_most("balanced", 0.05), at_most("lean", 0.02), at_most("speed", 0.25)), "--count"),
    Row("the same, then 2 s of nothing", "bench_release",
        (*RELEASE, "--after", "nothing", "--wait-ms", "2000"), "kept",
        (at_most("balanced", 0.10),), "--count"),
    Row("63 of 64 of 600 B freed, malloc_trim", "bench_release", (*THIN, "--after", "trim"), "end",
        (of_peers("balanced", 1.05, "glibc"), of_peers("lean", 1.05, "glibc")), "--count"),
    Row("the same, 1 s of small work, no malloc_trim", "bench_release", THIN, "end", (),
        "--count"),
    Row("a million of 200 B, 95 % freed, refilled with 300 B", "bench_fragment", REFILL, "peak",
        (of_peers("balanced", 1.0, *PEERS),), "--mib"),
    Row("100,000 of 64 B in a loop", "bench_batch", BULK, "time",
        (of_peers("balanced", 1.10, *PEERS), of_peers("speed", 1.0, *PEERS)), "--ops"),
    Row("random mixed, 400 slots", "bench_random_mixed", ("40000000", "400"), "time",
        (Target("balanced", ("lean",), 0.90, 0), Target("speed", ("balanced",), 0.98, 0)), None),
    Row("random mixed, 40,000 slots", "bench_random_mixed", ("20000000", "40000"), "time",
        (Target("balanced", ("lean",), 0.90, 0), Target("speed", ("balanced",), 0.98, 0)), None),
    Row("random mixed, 400,000 slots", "bench_random_mixed", ("8000000", "400000"), "time",
        (Target("balanced", ("lean",), 0.90, 0), Target("speed", ("balanced",), 0.98, 0)), None),
    Row("one block to 1 GiB by realloc, time", "bench_realloc",
        ("--arrays", "1", "--min", "16", "--max", "1G", "--fill", "--ops", "36"), "time",
        (of_peers("balanced", 1.0, *PEERS),), "--max"),
    Row("one block to 1 GiB by realloc, peak", "bench_realloc",
        ("--arrays", "1", "--min", "16", "--max", "1G", "--fill", "--ops", "36"), "peak",
        (at_most("balanced", round(1.1 * grown_mib(), 1)),), "--max"),
]
LESS = {"--count": "4000", "--mib": "2", "--ops": "200000", "--max": "10M"}


def lessened(row):
    """The same in a hundredth of the time."""
    args = list(row.args)
    if row.less is not None:
        args[args.index(row.less) + 1] = LESS[row.less]
    if "--wait-ms" in args:
        args[args.index("--wait-ms") + 1] = "20"
    elif row.program == "bench_release" and "trim" not in args:
        args += ["--wait-ms", "20"]
    if row.program == "bench_random_mixed":
        args[0] = str(int(args[0]) // 100)
    return row._replace(args=tuple(args))


def figure(row, record):
    if row.value == "time":
        return record["cpu_ns"] / record["ops"]
    if row.value == "kept":
        return record["rss_end_bytes"] / record["rss_peak_bytes"]
    return record[f"rss_{row.value}_bytes"] / 2**20


def measure(row, columns, options):
    return bench_rows.in_turns(columns, options, lambda allocator: figure(
        row, bench_rows.record_of(row.program, row.args, allocator, options.build)))


def verdicts(row, samples):
    """Of what was not measured, none."""
    values = {name: median(sample) for name, sample in samples.items()}
    for target in row.targets:
        if target.than is None:
            yield f"{target.of} {values[target.of]:.3f} ({target.factor})", \
                values[target.of] <= target.factor
            continue
        there = [name for name in target.than if name in values]
        if not there:
            continue
        least = min(there, key=values.get)
        limit = values[least] * target.factor + target.plus
        if target.plus:
            more_kib = (values[target.of] - values[least]) * 1024
            said = f"{target.of} {more_kib:+.0f} KiB of {least} ({target.plus * 1024:+.0f})"
        elif least in PROFILES:  # a floor: throughput of the other against ours
            said = f"{least} at {values[target.of] / values[least]:.2f} of {target.of} " \
                   f"({target.factor})"
            yield said, values[target.of] >= values[least] * target.factor
            continue
        else:
            said = f"{target.of} {values[target.of] / values[least]:.2f} of {least} " \
                   f"({target.factor})"
        yield said, values[target.of] <= limit


def texts(row, samples):
    yield row.name
    yield row.value
    for sample in samples.values():
        value, spread = median(sample), run_stats.spread_percent(sample)
        text = f"{100 * value:.1f} %" if row.value == "kept" else f"{value:.2f}"
        yield f"{text} ±{spread:.0f} %" if row.value == "time" else text


def columns_find(options):
    subject = bench_rows.find_subject(options.build)
    return [*(subject._replace(name=profile, profile=profile) for profile in PROFILES),
            *bench_allocators.find_peers([], bench_allocators.QUICK_PEERS)]


DRIVER = bench_rows.Driver(
    name="bench/run_memory.py", doc=__doc__, rows=ROWS, lessened=lessened, columns=columns_find,
    heading=["row", "value"], measure=measure, texts=texts, verdicts=verdicts,
    result=lambda row, samples: {"row": row.name, "value": row.value, "samples": samples})

if __name__ == "__main__":
    sys.exit(bench_rows.main(DRIVER))
