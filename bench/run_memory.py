#!/usr/bin/python3
"""run_memory.py [--smoke] [--rounds N] [--row TEXT] [--build DIR] [--json FILE]: memory of each
profile beside the peers.

Every allocator runs every row in each round, in an order drawn anew; a figure is the median of the
rounds: resident MiB at the end or at most, what is kept of the most, or ns an operation. hakmem
runs once a profile. A smoke run does a hundredth of the work in one round, and judges nothing.
Exit 0, 2 bad input.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
from collections import namedtuple
from statistics import median

import bench_allocators
import bench_machine
import run_stats
from quiet_pipe import quiet  # by the path that bench_machine adds

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


def environment(allocator, profile):
    env = bench_allocators.environment(allocator)
    if profile is not None:
        env["HAKMEM_PROFILE"] = profile
    return env


def run(row, allocator, profile, build):
    command = [str(build / row.program), *row.args, "--json"]
    done = subprocess.run(command, env=environment(allocator, profile), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise bench_machine.BadInput(f"{allocator.name}: {' '.join(command)} ended with "
                                     f"{done.returncode}: {done.stderr.strip()[:200]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    if figures["allocator"] != allocator.expect:
        raise bench_machine.BadInput(f"{allocator.name} is not in place: "
                                     f"{figures['allocator']} is")
    if row.value == "time":
        return figures["cpu_ns"] / figures["ops"]
    if row.value == "kept":
        return figures["rss_end_bytes"] / figures["rss_peak_bytes"]
    return figures[f"rss_{row.value}_bytes"] / 2**20


def measure(row, columns, build, rounds, order):
    """Samples by the name of the column."""
    samples = {name: [] for name, _, _ in columns}
    for _ in range(rounds):
        for name, allocator, profile in order.sample(columns, len(columns)):
            samples[name].append(run(row, allocator, profile, build))
    return samples


def verdicts(row, values):
    """Pairs of a word for the target and whether it is met; of what was not measured, none."""
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


def row_print(row, samples, is_judged):
    values = {name: median(sample) for name, sample in samples.items()}
    cells = []
    for name, sample in samples.items():
        spread = run_stats.spread_percent(sample)
        text = f"{100 * values[name]:.1f} %" if row.value == "kept" else f"{values[name]:.2f}"
        cells.append(f"{text} ±{spread:.0f} %" if row.value == "time" else text)
    said = "smoke: not judged"
    if is_judged:
        said = "; ".join(text if met else f"**{text}**" for text, met in verdicts(row, values))
    print(f"| {row.name} | {row.value} | " + " | ".join(cells) + f" | {said} |", flush=True)


def find_columns(build):
    subjects = [allocator for allocator in bench_allocators.find_subjects(build)
                if allocator.name == "hakmem"]
    if not subjects:
        raise bench_machine.BadInput(f"--build {build}: no libhakmem.so there; make build")
    columns = [(profile, subjects[0], profile) for profile in PROFILES]
    peers = bench_allocators.find_peers([], bench_allocators.QUICK_PEERS)
    return columns + [(peer.name, peer, None) for peer in peers]


def compare():
    parser = argparse.ArgumentParser(description=__doc__.split(": ", 1)[1])
    parser.add_argument("--rounds", type=int, help="default: 7; of a smoke run 1")
    parser.add_argument("--smoke", action="store_true", help="does it work? Judges nothing")
    parser.add_argument("--row", default="", help="rows whose name has this")
    parser.add_argument("--build", type=pathlib.Path, default=bench_machine.ROOT / "build")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    rounds = args.rounds if args.rounds is not None else 1 if args.smoke else 7
    if rounds < 1:
        raise bench_machine.BadInput("--rounds: at least 1")
    rows = [row for row in ROWS if args.row in row.name]
    if not rows:
        raise bench_machine.BadInput(f"--row {args.row}: no row's name has that")
    if args.json is not None:
        bench_machine.check_writable("--json", args.json)
    columns = find_columns(args.build)
    machine = bench_machine.machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, Linux "
          f"{machine['kernel']}, THP {machine['thp']}, commit {machine['commit']}, "
          f"{rounds} rounds{', smoke: not to be judged' if args.smoke else ''}\n")
    print("| row | value | " + " | ".join(name for name, _, _ in columns)
          + " | target: bold is missed |")
    print("|---" * (len(columns) + 3) + "|")
    order, results = random.Random(1), []
    for row in map(lessened, rows) if args.smoke else rows:
        samples = measure(row, columns, args.build, rounds, order)
        row_print(row, samples, not args.smoke)
        results.append({"row": row.name, "value": row.value, "samples": samples})
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": machine, "smoke": args.smoke,
                                         "rows": results}, indent=1) + "\n",
                             encoding="utf-8")
    return 0


def main():
    try:
        return quiet(compare)
    except (bench_machine.BadInput, OSError) as error:
        print(f"bench/run_memory.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
