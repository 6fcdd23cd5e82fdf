"""The table of run.py's workloads and the targets that each is held to. A row more is a line more.

A timed row measures the time of an operation, and besides its peak memory, its system calls and the
latency of its calls; an rss row what the process holds at its end.
"""
from collections import namedtuple

import bench_programs
import run_targets
from bench_limits import (CALLS_LIMIT_100M, CALLS_LIMIT_PER_OP, PEAK_LIMIT_EXTRA_BYTES,
                          PEAK_LIMIT_FACTOR, RSS_LIMIT_EXTRA_BYTES, RSS_LIMIT_FACTORS, RSS_PEER,
                          time_limit)
from bench_machine import ROOT

# metric: cpu or wall (ns an operation), rss (bytes at the end), calls (system calls), program (CPU
# seconds of a real program). ops: of one run of an rss or a calls row; the most that a counted run
# of a timed row does. pinned: to one core. prepare_seconds: of a run, beside what is timed, on a
# quiet machine of 2 cores (measured, rounded up; only the estimate of the time left rests on it).
Workload = namedtuple("Workload",
                      "name what program args ops metric targets floor pinned prepare_seconds")

# Every slot of the largest working set is drawn some five times in the warm-up, a tenth of them.
MIXED_CYCLES = 20_000_000

PEAK_TAX = run_targets.peak_tax(PEAK_LIMIT_FACTOR, PEAK_LIMIT_EXTRA_BYTES)
CALLS_FEW = run_targets.at_most("calls_per_op", CALLS_LIMIT_PER_OP, "system calls an operation")


def timed(name, what, program, args, ops, metric="cpu", floor=False, prepare=0.05, more=()):
    targets = [run_targets.time_best(time_limit(name)), PEAK_TAX, *more]
    return Workload(name, what, program, args, ops, metric, targets, floor, metric == "cpu",
                    prepare)


def rss(name, what, program, args, ops, prepare):
    factor = RSS_LIMIT_FACTORS.get(name)
    targets = TINY_RSS if factor is None else [run_targets.rss_peer(RSS_PEER, factor)]
    return Workload(name, what, program, args, ops, "rss", [*targets, PEAK_TAX], False, True,
                    prepare)


def program(entry):
    targets = [run_targets.time_best(time_limit(entry.name)), PEAK_TAX]
    return Workload(entry.name, entry.what, None, [], 1, "program", targets, False, True,
                    entry.run_seconds)


def mixed(ws):
    """A tenth of the cycles warms a run of --seconds up; --ops takes their place, and so a counted
    run and one for RSS warm up by a tenth of what they do."""
    return [str(MIXED_CYCLES), str(ws)]


def sizes(least, most):
    return ["--min", str(least), "--max", str(most)]


def replay(name):
    return [str(ROOT / "bench" / "traces" / (name + ".hkt")), "--threads", "1"]


TINY_RSS = [run_targets.rss_peer_plus(RSS_PEER, RSS_LIMIT_EXTRA_BYTES),
            run_targets.rss_below_others(RSS_PEER)]
BATCH = "allocate {}, free {}: 64 B, {} order"
WORKLOADS = [
    timed("mixed_400", "16-1024 B at random, 400 slots", "bench_random_mixed", mixed(400),
          100_000_000, floor=True, prepare=0.1, more=[CALLS_FEW]),
    timed("mixed_40000", "16-1024 B at random, 40,000 slots", "bench_random_mixed", mixed(40000),
          50_000_000, floor=True, prepare=0.2, more=[CALLS_FEW]),
    timed("mixed_400000", "16-1024 B at random, 400,000 slots", "bench_random_mixed", mixed(400000),
          20_000_000, floor=True, prepare=0.7, more=[CALLS_FEW]),
    timed("batch_1000_fwd", BATCH.format("1,000", "1,000", "their"), "bench_batch",
          ["--count", "1000", "--order", "forward"], 100_000_000),
    timed("batch_1000_rnd", BATCH.format("1,000", "1,000", "random"), "bench_batch",
          ["--count", "1000", "--order", "random"], 100_000_000),
    timed("batch_100000_fwd", BATCH.format("100,000", "100,000", "their"), "bench_batch",
          ["--count", "100000", "--order", "forward"], 50_000_000, prepare=0.1),
    timed("batch_100000_rnd", BATCH.format("100,000", "100,000", "random"), "bench_batch",
          ["--count", "100000", "--order", "random"], 50_000_000, prepare=0.1),
    timed("medium_400", "1-32 KiB at random, 400 slots", "bench_random_mixed",
          mixed(400) + sizes(1024, 32768), 50_000_000, floor=True, prepare=0.3),
    timed("medium_4000", "1-32 KiB at random, 4,000 slots", "bench_random_mixed",
          mixed(4000) + sizes(1024, 32768), 20_000_000, floor=True, prepare=0.5),
    timed("larson_2", "server: objects handed round, 2 threads", "bench_larson", ["--threads", "2"],
          50_000_000, metric="wall"),
    timed("prodcons_64", "1 producer, 1 consumer, 64 B", "bench_prodcons", sizes(64, 64),
          20_000_000, metric="wall"),
    timed("prodcons_mixed", "1 producer, 1 consumer, 16-1024 B", "bench_prodcons", sizes(16, 1024),
          20_000_000, metric="wall"),
    timed("prodcons_n_1", "2 producers, 1 consumer, 16-1024 B", "bench_prodcons",
          ["--producers", "2", "--consumers", "1", *sizes(16, 1024)], 20_000_000, metric="wall"),
    timed("prodcons_1_n", "1 producer, 2 consumers, 16-1024 B", "bench_prodcons",
          ["--producers", "1", "--consumers", "2", *sizes(16, 1024)], 20_000_000, metric="wall"),
    timed("prodcons_backlog", "1 producer, a thread that only frees 64 MiB behind it, 64 B",
          "bench_prodcons", ["--backlog", "64M"], 20_000_000, metric="wall", prepare=0.3),
    timed("thread_churn", "short threads that free half of their own and all left to them",
          "bench_thread_churn", [], 2_000_000),
    timed("bursts", "16 MiB in bursts, 50 ms of idle time between them", "bench_bursts",
          ["--mib", "16"], 500_000, prepare=0.3),
    timed("short_lived", "8-256 B: locals, temporaries, results", "bench_short_lived", [],
          50_000_000),
    timed("replay_python", "what a run of python3 asked of malloc", "bench_replay",
          replay("python3"), 2_000_000, prepare=0.5),
    timed("replay_redis", "what redis-server asked of malloc, in one thread", "bench_replay",
          replay("redis-server"), 2_000_000, prepare=0.5),
    timed("trees", "binary trees of 14 levels, built and dropped", "bench_trees", [], 50_000_000),
    timed("strings", "a hash table of 20,000 strings", "bench_strings", [], 20_000_000),
    timed("calloc", "16-4096 B zeroed, 1,000 slots", "bench_calloc", [], 10_000_000),
    timed("realloc", "1,000 buffers that grow by half up to 16 KiB", "bench_realloc", [],
          10_000_000),
    timed("large", "64 KiB to 4 MiB, 20 slots, every page written", "bench_large", [], 10_000,
          prepare=0.8),
    timed("fragment", "64 MiB filled, 95 % freed at random, filled with larger ones",
          "bench_fragment", [], 1_000_000, prepare=0.3),
    timed("sharing_active", "8 B objects, 2 threads that write to theirs", "bench_false_sharing",
          ["--mode", "active"], 500_000, metric="wall"),
    timed("sharing_passive", "the same, the first ones from one thread", "bench_false_sharing",
          ["--mode", "passive"], 500_000, metric="wall"),
    rss("rss_hello", "a dozen strings", "bench_hello", [], 12, 0.02),
    rss("rss_400", "RSS of mixed at 400 slots", "bench_random_mixed", mixed(400), 2_000_000, 0.08),
    rss("rss_4000", "RSS of mixed at 4,000 slots", "bench_random_mixed", mixed(4000), 2_000_000,
        0.1),
    rss("rss_40000", "RSS of mixed at 40,000 slots", "bench_random_mixed", mixed(40000), 4_000_000,
        0.2),
    rss("rss_400000", "RSS of mixed at 400,000 slots", "bench_random_mixed", mixed(400000),
        8_000_000, 1.5),
    Workload("syscalls_100m", "100 M mixed operations, 400 and 40,000 slots: the higher count",
             "bench_random_mixed", [], 100_000_000, "calls",
             [run_targets.at_most("calls", CALLS_LIMIT_100M, "calls")], False, True, 4),
    *map(program, bench_programs.PROGRAMS),
]
BY_NAME = {workload.name: workload for workload in WORKLOADS}
TIMED = ("cpu", "wall")  # metrics of timed rows
TIMED_ROWS = sum(workload.metric in TIMED for workload in WORKLOADS)  # what a mean must be over
CALLS_WORKING_SETS = [400, 40000]  # of the calls row
QUICK = ["mixed_400", "mixed_40000", "batch_1000_rnd", "larson_2", "prodcons_mixed", "strings"]
