#!/usr/bin/python3
"""run_threads.py [--smoke] [--rounds N] [--row TEXT] [--build DIR] [--json FILE]: threads beside
the peers.

Every allocator runs every row in each round, in an order drawn anew; a figure is the median of the
rounds. Time is of the wall clock, an operation. Memory is the highest resident; for producers and
consumers with a backlog, less an empty process's and the program's own queue, of the bytes
requested. Targets are those
of the last column: of the best peer where not said otherwise. A smoke run has a hundredth of the
operations in one round, and judges nothing. Exit 0, 2 bad input.
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

Row = namedtuple("Row", "name program args time_targets memory")
BEST = ((None, 1.0),)
PASSED_ON = (("mimalloc", 0.7), (None, 0.9))
MIXED = ("--min", "16", "--max", "1024")
BACKLOG_BYTES = 64 << 20
RING_BATCH_OBJECTS, RING_MOVING_BATCHES, RING_BATCH_BYTES = 64, 64, 1088
ROWS = [
    Row("producer, consumer, 64 B", "bench_prodcons", ("--ops", "8000000"), PASSED_ON, None),
    Row("producer, consumer, 16-1024 B", "bench_prodcons", ("--ops", "6000000", *MIXED), PASSED_ON,
        None),
    Row("4 producers, 1 consumer, 16-1024 B", "bench_prodcons",
        ("--ops", "4000000", "--producers", "4", *MIXED), PASSED_ON, None),
    Row("1 producer, 4 consumers, 16-1024 B", "bench_prodcons",
        ("--ops", "4000000", "--consumers", "4", *MIXED), PASSED_ON, None),
    Row("64 MiB behind, 64 B", "bench_prodcons", ("--ops", "6000000", "--backlog", "64M"),
        PASSED_ON, "backlog"),
    Row("64 MiB behind, 16-1024 B", "bench_prodcons",
        ("--ops", "2000000", "--backlog", "64M", *MIXED), PASSED_ON, "backlog"),
    *(Row(f"larson, {threads} threads", "bench_larson",
          ("--threads", str(threads), "--ops", str(ops)), BEST, "peak")
      for threads, ops in ((2, 20000000), (16, 20000000), (256, 20000000), (2000, 60000000))),
    Row("false sharing, active", "bench_false_sharing", ("--mode", "active", "--ops", "300000"),
        ((None, 1.05),), None),
    Row("false sharing, passive", "bench_false_sharing", ("--mode", "passive", "--ops", "300000"),
        ((None, 1.05),), None),
]
MEMORY_LIMITS = {"backlog": 1.10, "peak": 1.05}


def hundredth(row):
    args = list(row.args)
    at = args.index("--ops") + 1
    args[at] = str(int(args[at]) // 100)
    return row._replace(args=tuple(args))


def run(row, allocator, build, args=None):
    command = [str(build / row.program), *(args or row.args), "--json"]
    done = subprocess.run(command, env=bench_allocators.environment(allocator), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise bench_machine.BadInput(f"{allocator.name}: {' '.join(command)} ended with "
                                     f"{done.returncode}: {done.stderr.strip()[:200]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    if figures["allocator"] != allocator.expect:
        raise bench_machine.BadInput(f"{allocator.name} is not in place: "
                                     f"{figures['allocator']} is")
    return figures["wall_ns"] / figures["ops"], figures["rss_peak_bytes"]


def backlog(row):
    """Of a row with a backlog, at its most: bytes of objects, and of the program's own queue, in
    batches (bench_ring.h) of which so many are on their way besides."""
    mean = 520 if "--max" in row.args else 64
    batches = BACKLOG_BYTES // mean // RING_BATCH_OBJECTS + RING_MOVING_BATCHES
    return batches * RING_BATCH_OBJECTS * mean, batches * RING_BATCH_BYTES


def measure(row, allocators, build, rounds, order):
    """Of each allocator: the samples of time and of memory."""
    samples = {allocator.name: ([], []) for allocator in allocators}
    for _ in range(rounds):
        for allocator in order.sample(allocators, len(allocators)):
            ns, peak = run(row, allocator, build)
            if row.memory == "backlog":
                empty = run(row, allocator, build, ("--ops", "64"))[1]
                live, queue = backlog(row)
                peak = (peak - empty - queue) / live
            samples[allocator.name][0].append(ns)
            samples[allocator.name][1].append(peak)
    return samples


def verdicts(row, subject, samples, peers):
    """Pairs of a word for the target and whether it is met."""
    times = {name: median(samples[name][0]) for name in [subject, *peers]}
    for peer, limit in row.time_targets:
        if peer is not None and peer not in peers:
            continue
        than = times[peer] if peer else min(times[name] for name in peers)
        ratio = times[subject] / than
        yield f"{ratio:.2f} of {peer or 'the best'} ({limit})", ratio <= limit
    if row.memory is not None:
        memory = {name: median(samples[name][1]) for name in [subject, *peers]}
        limit = MEMORY_LIMITS[row.memory]
        ratio = memory[subject]
        if row.memory == "peak":
            ratio /= min(memory[name] for name in peers)
        yield f"memory {ratio:.2f} ({limit})", ratio <= limit


def memory_text(row, value):
    if row.memory is None:
        return ""
    return f", {value:.2f}" if row.memory == "backlog" else f", {value / 2**20:.1f}"


def row_print(row, subject, samples, peers, is_judged):
    cells = []
    for name in [subject, *peers]:
        ns = median(samples[name][0])
        spread = run_stats.spread_percent(samples[name][0])
        cells.append(f"{ns:.1f} ±{spread:.0f} %{memory_text(row, median(samples[name][1]))}")
    said = "smoke: not judged"
    if is_judged:
        said = "; ".join(text if met else f"**{text}**"
                         for text, met in verdicts(row, subject, samples, peers))
    print(f"| {row.name} | " + " | ".join(cells) + f" | {said} |", flush=True)


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
    subjects = [allocator for allocator in bench_allocators.find_subjects(args.build)
                if allocator.name == "hakmem"]
    if not subjects:
        raise bench_machine.BadInput(f"--build {args.build}: no libhakmem.so there; make build")
    peers = bench_allocators.find_peers([], bench_allocators.QUICK_PEERS)
    names = [peer.name for peer in peers]
    machine = bench_machine.machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, Linux "
          f"{machine['kernel']}, THP {machine['thp']}, commit {machine['commit']}, "
          f"{rounds} rounds{', smoke: not to be judged' if args.smoke else ''}\n")
    print("| ns an operation (wall), ± spread; MiB or of the backlog | "
          + " | ".join(["hakmem", *names]) + " | target: bold is missed |")
    print("|---" * (len(names) + 3) + "|")
    order, results = random.Random(1), []
    for row in map(hundredth, rows) if args.smoke else rows:
        samples = measure(row, subjects + peers, args.build, rounds, order)
        row_print(row, "hakmem", samples, names, not args.smoke)
        results.append({"row": row.name, "samples": samples})
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": machine, "smoke": args.smoke,
                                         "rows": results}, indent=1) + "\n",
                             encoding="utf-8")
    return 0


def main():
    try:
        return quiet(compare)
    except (bench_machine.BadInput, OSError) as error:
        print(f"bench/run_threads.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
