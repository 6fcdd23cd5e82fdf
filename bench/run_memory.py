#!/usr/bin/python3
"""run_memory.py [--smoke] [--judge] [--rounds N] [--row TEXT] [--heap-mib N] [--build DIR]
[--json FILE]: memory of each profile beside the peers.

Every allocator runs every row in each round, in an order drawn anew; a figure is the median of the
rounds (VALUES says of what). hakmem runs once a profile. Rows of the same runs are taken of the
same ones. Targets are those of the last column, each with the median of the rounds' ratios (or
differences) and its 95 % bootstrap interval: met where all of it is within the target, missed where
none of it is, else not settled. A smoke run does a hundredth of the work in one round, without real
programs and without switching the machine's huge pages, and judges nothing. Exit 0, 1 a real
program failed or, with --judge, a target is missed for certain (a row that is skipped misses none),
2 bad input.
"""
import sys
import tempfile
from collections import namedtuple
from statistics import median

import bench_allocators
import bench_machine
import bench_programs
import bench_rows
import bench_thp
import run_stats
import run_targets
from bench_allocators import PROFILES

# value: of VALUES; less: options by which a smoke run does less.
Row = namedtuple("Row", "name program args value targets less")
MIB = 2**20
MAPPING_MIB = 8
# What a row shows: how it is taken of a run's record, and how it is written.
VALUES = {
    "end": (lambda r: r["rss_end_bytes"] / MIB, "{:.2f}"),  # MiB
    "peak": (lambda r: r["rss_peak_bytes"] / MIB, "{:.2f}"),
    "kept": (lambda r: r["rss_end_bytes"] / r["rss_peak_bytes"], "{:.1%}"),  # of the most
    "time": (lambda r: r["cpu_ns"] / r["ops"], "{:.2f}"),  # ns an operation
    "seconds": (lambda r: r["cpu_ns"] / 1e9, "{:.3f}"),  # of CPU time, of a program
    "faults": (lambda r: r["faults"], "{:,.0f}"),
    "late": (lambda r: r["late_faults"], "{:,.0f}"),  # page faults after the second round
    # What became resident, over what was requested.
    "over": (lambda r: (r["rss_peak_bytes"] - r["rss_begin_bytes"]) / r["requested_bytes"] - 1,
             "{:+.1%}"),
    "mappings": (lambda r: r["mappings"] / (r["live_bytes"] / MIB / MAPPING_MIB), "{:.2f}"),
    # RSS under THP always, of that under never.
    "always": (lambda r: r["always"] / r["never"], "{:.2f}"),
}
TIMES = ("time", "seconds")
# of: profile; than: peers of which the least, or a profile whose speed it is to have a share of, or
# None for a limit by itself; row: of which the peers' figures are, None: of its own; huge: judged
# only where huge pages can be had.
Target = namedtuple("Target", "of than factor plus row huge", defaults=(None, False))
PEERS = ("glibc", "mimalloc", "jemalloc", "tcmalloc")
SMALL_EXTRA_KIB = 192
OTHERS = tuple(peer for peer in PEERS if peer != "glibc")


class Beside(dict):
    """Samples of a row, with those of the rows that its targets name."""
    rows = {}


def at_most(of, limit):
    return Target(of, None, limit, 0)


def of_peers(of, factor, *peers, **more):
    return Target(of, peers, factor, 0, **more)


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


def grown(name, least, most):
    """Where huge pages can be had, faults should be a fiftieth of a peer's that takes none. For
    mixed sizes they are more: docs/decisions/0029 says why."""
    args = ("--mib", "1024", "--min", least, "--max", most)
    return (Row(f"1 GiB of {name}: faults", "bench_grow", args, "faults",
                (of_peers("balanced", 0.02, "mimalloc"),), "--mib"),
            Row(f"1 GiB of {name}: resident beyond", "bench_grow", args, "over",
                (at_most("balanced", 0.06),), "--mib"))


def real(name):
    """Rows of a real program."""
    short = name.removeprefix("prog_")
    return (Row(f"{short}, peak", name, (), "peak",
                (of_peers("balanced", 1.03, "glibc"), of_peers("balanced", 1.0, *OTHERS)), None),
            Row(f"{short}, time", name, (), "seconds", THROUGHPUT, None))


RELEASE = ("--count", "400000")
THIN = (*RELEASE, "--min", "600", "--max", "600", "--keep", "64")
REFILL = ("--mib", "191", "--min", "200", "--max", "200", "--refill-min", "300", "--refill-max",
          "300", "--stop-full", "--ops", "1")
# lean at 0.90 of balanced's speed at least, balanced at 0.98 of speed's.
THROUGHPUT = (Target("lean", ("balanced",), 0.90, 0), Target("balanced", ("speed",), 0.98, 0))
REAL = ("prog_python", "prog_sqlite", "prog_redis", "prog_gcc", "prog_z3", "prog_ghostscript",
        "prog_ruby")
# Four chunks that were purged and are needed again; all of it is 100. hakmem's own structures grow
# a little meanwhile: 3, 9, 34 were seen.
LATE_FAULTS = 64
BULK = ("--count", "100000", "--order", "forward", "--ops", "20000000")
TRIMMED = Row("63 of 64 of 600 B freed, malloc_trim", "bench_release", (*THIN, "--after", "trim"),
              "end", (of_peers("balanced", 1.05, "glibc"), of_peers("lean", 1.05, "glibc")),
              "--count")
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
    TRIMMED,
    Row("the same, 1 s of small work, no malloc_trim", "bench_release", THIN, "end",
        (of_peers("lean", 1.05, "glibc", row=TRIMMED),), "--count"),
    Row("a million of 200 B, 95 % freed, refilled with 300 B", "bench_fragment", REFILL, "peak",
        (of_peers("balanced", 1.0, *PEERS),), "--mib"),
    Row("100,000 of 64 B in a loop", "bench_batch", BULK, "time",
        (of_peers("balanced", 1.10, *PEERS), of_peers("speed", 1.0, *PEERS)), "--ops"),
    Row("the same, page faults after the second round", "bench_batch", BULK, "late",
        tuple(at_most(profile, LATE_FAULTS) for profile in PROFILES), "--ops"),
    Row("random mixed, 400 slots", "bench_random_mixed", ("40000000", "400"), "time",
        THROUGHPUT, None),
    Row("random mixed, 40,000 slots", "bench_random_mixed", ("20000000", "40000"), "time",
        THROUGHPUT, None),
    Row("random mixed, 400,000 slots", "bench_random_mixed", ("8000000", "400000"), "time",
        THROUGHPUT, None),
    Row("one block to 1 GiB by realloc, time", "bench_realloc",
        ("--arrays", "1", "--min", "16", "--max", "1G", "--fill", "--ops", "36"), "time",
        (of_peers("balanced", 1.0, *PEERS), of_peers("balanced", 0.6, *PEERS, huge=True)),
        "--max"),
    Row("one block to 1 GiB by realloc, peak", "bench_realloc",
        ("--arrays", "1", "--min", "16", "--max", "1G", "--fill", "--ops", "36"), "peak",
        (at_most("balanced", round(1.1 * grown_mib(), 1)),), "--max"),
    *grown("64 B", "64", "64"),
    *grown("64 KiB", "64K", "64K"),
    *grown("16-1,024 B", "16", "1024"),
    *(Row(f"{slots:,} slots, THP always of never", "bench_random_mixed", (str(ops), str(slots)),
          "always", tuple(at_most(profile, 1.15) for profile in PROFILES), None)
      for slots, ops in ((400, 2000000), (40000, 4000000), (400000, 8000000))),
    *(row for name in REAL for row in real(name)),
]
MAPPINGS = Row("16 B to 8 MiB, 67 % freed 3 times", "bench_mappings", ("--mib", "1024"),
               "mappings", (at_most("balanced", 1.0),), "--mib")
HEAP_SHARE, HEAP_MIB_LEAST, HEAP_MIB_MOST = 16, 1024, 16384  # of the machine's memory
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


def figures(row, samples):
    """{name: [the row's value of each record]}"""
    value = VALUES[row.value][0]
    return {name: [value(record) for record in records] for name, records in samples.items()}


def measure_loop(row, columns, options):
    key = row.program, row.args
    if key not in options.taken:
        options.taken[key] = bench_rows.in_turns(
            columns, options, lambda allocator: bench_rows.record_of(
                row.program, row.args, allocator, options.build))
    return options.taken[key]


def measure_program(row, columns, options):
    if options.smoke:
        raise bench_rows.Skipped("a smoke run leaves out real programs")
    if row.program not in options.taken:
        with tempfile.TemporaryDirectory(prefix="hakmem-memory-") as scratch:
            try:
                runs = bench_programs.Runs(bench_programs.BY_NAME[row.program], options.build,
                                           scratch)
            except bench_programs.Missing as missing:
                raise bench_rows.Skipped(str(missing)) from None
            for allocator in columns:  # a warm-up, in which each is seen to be in place
                runs.run(allocator, check=True)
            options.taken[row.program] = bench_rows.in_turns(columns, options, runs.run)
    return options.taken[row.program]


def measure_thp(row, columns, options):
    """RSS at the end under each mode, in MiB; the machine's is back after each run."""
    if options.smoke:
        raise bench_rows.Skipped("a smoke run leaves the machine's huge pages alone")
    if (refused := bench_thp.refusal()) is not None:
        raise bench_rows.Skipped(refused)

    def once(allocator):
        ends = {}
        for mode in bench_thp.MODES:
            with bench_thp.restored():
                bench_thp.write(mode)
                record = bench_rows.record_of(row.program, row.args, allocator, options.build)
            ends[mode] = VALUES["end"][0](record)
        return ends
    return bench_rows.in_turns(columns, options, once)


def measure_all(row, columns, options):
    if row.value == "always":
        return measure_thp(row, columns, options)
    if row.program in bench_programs.BY_NAME:
        return measure_program(row, columns, options)
    return measure_loop(row, columns, options)


def measure(row, columns, options):
    own = measure_all(row, columns, options)
    others = {target.row for target in row.targets} - {None}
    if not others or options.smoke:  # which judges nothing
        return own
    samples = Beside(own)
    samples.rows = {other: measure_all(other, columns, options) for other in others}
    return samples


def within(limit, figure, interval, text):
    """What run_targets.against_peers wants of a figure that is not to be above the limit."""
    low, high = interval
    return text.format(figure, low, high), high <= limit, high <= limit or low > limit


def own_check(target):
    def check(ours, _):
        return within(target.factor, median(ours), run_stats.bootstrap_median_interval(ours),
                      "{:.3f} ({:.3f}-{:.3f})")
    return check, f"<= {target.factor}"


def plus_check(target):
    def check(ours, theirs):
        peer, _ = run_targets.least_median(theirs)
        more = [(own - their) * 1024 for own, their in zip(ours, theirs[peer])]
        return within(target.plus * 1024, median(more), run_stats.bootstrap_median_interval(more),
                      "{:+.0f} ({:+.0f} to {:+.0f}) KiB of " + peer)
    return check, f"<= {target.plus * 1024:+.0f} KiB"


def ratio_check(target):
    def check(ours, theirs):
        ratio, interval, peer = run_targets.of_best(ours, theirs)
        return run_targets.interval_check(target.factor, ratio, interval, peer)
    return check, f"<= {target.factor}"


def floor_check(target):
    """Throughput is at least so much of the other profile's."""
    def check(ours, theirs):
        (profile, samples), = theirs.items()
        compared = run_stats.compare(samples, ours)
        low, high = compared["ratio_interval_95"]
        return (f"at {compared['ratio_median']:.3f} ({low:.3f}-{high:.3f}) of {profile}",
                low >= target.factor, low >= target.factor or high < target.factor)
    return check, f">= {target.factor}"


def answer(target, values):
    """run_targets.py's, with the verdict. values: samples by allocator."""
    if target.than is None:  # in a peer's place it has itself
        check, limit = own_check(target)
    elif target.plus:
        check, limit = plus_check(target)
    elif target.than[0] in PROFILES:
        check, limit = floor_check(target)
    else:
        check, limit = ratio_check(target)
    got = run_targets.against_peers(limit, check)(values, target.of, target.than or (target.of,))
    return {"of": target.of, **got, "verdict": run_targets.verdict(got)}


def verdicts(row, samples):
    own = figures(row, samples)
    has_huge = bench_thp.mode() in ("always", "madvise")
    for target in row.targets:
        if (target.huge or row.value == "faults") and not has_huge:
            yield bench_rows.Judged("no huge pages here", run_targets.NOT_MEASURED)
            continue
        values = own
        if target.row is not None:
            values = figures(target.row, samples.rows[target.row]) | {target.of: own[target.of]}
        got = answer(target, values)
        yield bench_rows.Judged(f"{target.of} {got['measured']} ({got['target']})", got["verdict"],
                                got)


def texts(row, samples):
    yield row.name
    yield row.value
    for sample in figures(row, samples).values():
        text = VALUES[row.value][1].format(median(sample))
        yield f"{text} ±{run_stats.spread_percent(sample):.0f} %" if row.value in TIMES else text


def result(row, samples):
    """For the JSON."""
    kept = {"row": row.name, "program": row.program, "args": list(row.args), "value": row.value,
            "samples": figures(row, samples)}
    if row.value == "always":
        kept["mib"] = samples
    return kept


def flags_add(parser):
    parser.add_argument("--heap-mib", type=int, metavar="N",
                        help="of the row of mappings; default: a sixteenth of the machine's "
                             f"memory, {HEAP_MIB_LEAST} to {HEAP_MIB_MOST}")


def rows_of(options):
    """ROWS and that of mappings, whose heap is 16 GiB scaled down to the machine."""
    options.taken = {}
    mib = options.heap_mib
    if mib is None:
        share_mib = int(bench_machine.machine()["ram_gib"]) // HEAP_SHARE * 1024
        mib = min(max(share_mib, HEAP_MIB_LEAST), HEAP_MIB_MOST)
    elif not 1 <= mib <= 65536:
        raise bench_machine.BadInput("--heap-mib: from 1 to 65536")
    return [*ROWS, MAPPINGS._replace(args=("--mib", str(mib)))]


def columns_find(options):
    subject = bench_rows.find_subject(options.build)
    return [*(subject._replace(name=profile, profile=profile) for profile in PROFILES),
            *bench_allocators.find_peers([], bench_allocators.QUICK_PEERS)]


DRIVER = bench_rows.Driver(
    name="bench/run_memory.py", doc=__doc__, rows=rows_of, lessened=lessened, columns=columns_find,
    heading=["row", "value"], measure=measure, texts=texts, verdicts=verdicts, result=result,
    flags=flags_add)

if __name__ == "__main__":
    sys.exit(bench_rows.main(DRIVER))
