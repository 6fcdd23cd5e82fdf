#!/usr/bin/python3
"""scorecard.py [--check] [--partial] [--results FOLDER] [--output FILE]: targets beside figures.

Writes docs/PERFORMANCE_TARGETS_SCORECARD.md from bench.json, soak.json and soak-*.json (a profile
each) of docs/results, and from nothing else, so the same files give the same bytes. --check writes
nothing. --partial: what a missing file, or what is missing of a run, would tell is 'not measured';
without it both are refused.
Exit: 0 done or equal, 1 differs (--check), 2 bad usage, a missing, a malformed or an unfinished
file.
"""
import argparse
import pathlib
import sys
from statistics import median

sys.dont_write_bytecode = True  # the source tree stays as it is
import scorecard_judge as judge
import scorecard_read
from quiet_pipe import quiet
from bench_output import count_text  # by the path that the judge adds

ROOT = pathlib.Path(__file__).resolve().parent.parent
NONE = "-"
KIB = 1024
NAMES_SHOWN = 4  # arbitrary: of missing workloads, in a line
WORD_COLUMNS = ("flavour", "bound", "measured", "verdict")  # left in a table, as the first one

GROUPS = [("Real programs", lambda result: result.name.startswith("prog_")),
          ("Random mixed", lambda result: result.name.startswith(("mixed_", "medium_"))),
          ("Batches", lambda result: result.name.startswith("batch_")),
          ("Several threads", lambda result: result.metric == "wall"),
          ("Memory alone", lambda result: result.metric == "rss"),
          ("Other shapes", lambda result: True)]
GROUP_ORDER = ["Random mixed", "Batches", "Other shapes", "Several threads", "Real programs",
               "Memory alone"]

KINDS_OF_METRICS = {"timed workloads": ("cpu", "wall"), "memory alone": ("rss",),
                    "real programs": ("program",), "system calls alone": ("calls",)}

METHODS = f"""## How each figure is made

- **Ratio.** The flavour's time an operation over the peer's in the same round; the median of
  the rounds. CPU time of one thread, wall time of several. Below 1 the flavour is faster. The
  best peer (bold) is the one that the ratio is highest to. Only Debian's packages set targets,
  and only those that ran and were seen in place.
- **95 %.** Percentile bootstrap of that median over the rounds, {judge.RESAMPLES:,} resamples,
  fixed seed. *Met*: the upper end is within the target. *Missed*: the lower end is outside.
  *Not settled*: the target lies between, or there are fewer than {judge.ROUNDS_LEAST} rounds, which
  settle no CV and no peak either.
  *Of minima* is the ratio of the two fastest rounds, for reading. Where a target's peer has no
  figure, and did not fail, it may be the best: then only a miss stands, all else is not measured.
- **Geometric mean.** Of the median ratios to one peer, over the timed workloads that both have
  a figure of; judged only where those are all that `bench/run.py` has. Its interval comes from
  the same bootstrap, each workload's rounds resampled apart.
- **CV.** Sample standard deviation of the round-by-round ratio to the best peer, in percent of
  the ratio's mean. *Machine not quiet* instead of missed: the empty loop's own time had a CV
  above the target. In parentheses: the workload has no empty loop, the median of the run's
  loops stands for it.
- **System calls.** Counted by `strace` in a run of its own, between start and end of the timed
  part. Of a workload that was counted more than once, the highest count, over its operations.
- **Memory.** Medians of the rounds: `smaps_rollup`'s RSS at the end; and the peak, the higher of
  the process's `VmHWM` and that RSS. A real program's peak is `ru_maxrss`: of it and what it
  starts, the process that held most. The leanest peer is the one with the smallest figure of the
  workload. RSS at the end has targets where memory alone is measured.
- **Drift.** The soak's RSS after its first 10 minutes: the slope's 95 % interval contains 0,
  and the median of the last 10 minutes is above that of the first 10 by no more than the limit.
  Of a soak shorter than {judge.SOAK_SECONDS_LEAST:,} s: not measured.
- **Tail.** Each malloc and free timed by itself in a run of its own, the clock's cost included.
"""


# ---- cells ----

def ratio_text(value):
    if value is None:
        return NONE
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def interval_text(interval):
    return f"{ratio_text(interval[0])} to {ratio_text(interval[1])}" if interval else NONE


def percent_text(value):
    return NONE if value is None else f"{value:.1f}"


def kib_text(size_bytes):
    return f"{size_bytes / KIB:,.0f}" if size_bytes else NONE


def calls_text(calls):
    if calls is None:
        return NONE
    return f"{calls:.3g}".replace("e-0", "e-")


def ns_text(value):
    return NONE if value is None else f"{value:,.0f}"


def named(pair, text):
    return f"{text(pair[0])} {pair[1]}" if pair else NONE


def table(head, rows):
    """A Markdown table that is aligned as text too: words left, numbers right."""
    rows = [head, *rows]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(head))]
    is_left = [i == 0 or name in WORD_COLUMNS for i, name in enumerate(head)]
    lines = ["| " + " | ".join(cell.ljust(width) if left else cell.rjust(width)
                               for cell, width, left in zip(row, widths, is_left)) + " |"
             for row in rows]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if left else ":")
                          for width, left in zip(widths, is_left)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def grouped(rows):
    """(group, its rows) in GROUP_ORDER, without empty ones."""
    by_group = {}
    for row in rows:
        name = next(name for name, fits in GROUPS if fits(row.result))
        by_group.setdefault(name, []).append(row)
    return [(name, by_group[name]) for name in GROUP_ORDER if name in by_group]


# ---- parts of the page ----

def source_text(file, source):
    """A line of the head: the file, the machine and the run that it is of."""
    if source is None:
        return f"- `{file}`: there is none"
    machine = source.machine
    facts = [machine.get("cpu") or "CPU not told"]
    facts += [text.format(machine[name]) for name, text in
              (("cores", "{} cores"), ("ram_gib", "{} GiB"), ("kernel", "Linux {}"),
               ("thp", "THP {}"), ("load_1min", "load {} at the start"),
               ("touched_gib", "{} GiB touched before"))
              if machine.get(name) is not None]
    facts += [f"{name}={value}" for name, value in machine.get("options", {}).items()]
    return (f"- `{file}`: commit {machine.get('commit') or 'not told'}, "
            f"date {source.date or 'not told'}; " + ", ".join(facts))


def head(bench, soaks):
    lines = ["# Performance targets: scorecard", "",
             "Generated by `make scorecard` (`scripts/scorecard.py`) from",
             "`bench.json`, `soak.json` and `soak-*.json` of `docs/results`; do not edit.",
             "`docs/results/README.md` has the reasons of what falls short. The runs:", "",
             source_text("bench.json", bench),
             *(source_text(soak.file, soak) for soak in soaks)]
    if not soaks:
        lines.append(source_text("soak.json", None))
    if bench:
        bound = "operations as `bench/run.py` has them" if bench.seconds is None else \
            f"{bench.seconds:g} s a run"
        lines.append(f"- Rounds, without the warm-up: {rounds_text(bench)}; {bound}")
        ran = {name for result in bench.results for name, entry in result.entries.items()
               if entry.samples}
        versions = bench.machine.get("versions", {})
        lines.append("- Peers that targets are held against: " + ", ".join(
            " ".join(filter(None, (peer, versions.get(peer),
                                   None if peer in ran else "(not in this run)")))
            for peer in judge.TARGET_PEERS))
        lines.append("- " + quiet_text(bench))
        if missing_text(bench):
            lines.append(f"- In no verdict, as the run has {missing_text(bench)}")
    return "\n".join(lines) + "\n"


def rounds_text(bench):
    """How many the samples are of, by kind of workload: a file's rows need not agree."""
    kinds = []
    for kind, metrics in KINDS_OF_METRICS.items():
        rounds = {len(entry.samples) for result in bench.results if result.metric in metrics
                  for entry in result.entries.values() if entry.samples}
        if rounds:
            least, most = min(rounds), max(rounds)
            kinds.append(f"{kind} {least}" + (f" to {most}" if most > least else ""))
    return ", ".join(kinds) or "none"


def missing_text(bench):
    """'no result of a, b and 3 more', empty of a whole run."""
    missing = judge.missing_workloads(bench)
    more = f" and {len(missing) - NAMES_SHOWN} more" if len(missing) > NAMES_SHOWN else ""
    return f"no result of {', '.join(missing[:NAMES_SHOWN])}{more}" if missing else ""


def quiet_text(bench):
    loops = [(result.name, cv) for result in judge.timed(bench)
             if (cv := judge.floor_cv(result)) is not None]
    loud = [f"{name} ({cv:.1f} %)" for name, cv in loops if cv > judge.CV_LIMIT_PERCENT]
    if not loops:
        return "No empty loop was measured: how quiet the machine was is not known"
    if not loud:
        return f"The machine was quiet: the empty loop's CV was at most {judge.CV_LIMIT_PERCENT} %"
    return (f"Machine not quiet: the empty loop's own CV was above {judge.CV_LIMIT_PERCENT} % in "
            + ", ".join(loud))


def counted(verdicts):
    """'3 met, 1 missed': how often each word occurs."""
    words = [judge.MET, *judge.WORST_FIRST[:-1]]
    return ", ".join(f"{verdicts.count(word)} {word}" for word in words if word in verdicts)


def furthest(rows, share, text):
    """'; furthest: NAME (TEXT)' of the row that its target is least kept in."""
    rows = [row for row in rows if share(row) is not None]
    if not rows:
        return ""
    worst = max(rows, key=share)
    return f"; furthest: {worst.result.name} ({text(worst)})"


def bounds_summary(rows):
    """(measured, verdict) of rows with bounds of their own."""
    verdicts = [row.verdict for row in rows]
    missed = ", ".join(f"{row.result.name} ({row.measured})" for row in rows
                       if row.verdict == judge.MISSED)
    return ((counted(verdicts) or NONE) + (f"; missed: {missed}" if missed else ""),
            judge.overall(verdicts))


class Flavour:
    """All rows of one flavour."""

    def __init__(self, name, bench, soaks):
        self.name, self.soaks = name, soaks
        self.time = [judge.time_row(result, name) for result in judge.timed(bench)]
        self.cv = judge.cv_rows(bench, self.time)
        self.means = judge.mean_rows(bench, name)
        self.calls = judge.calls_rows(bench, name)
        self.calls_100m = judge.bound_rows(bench, name, "calls")
        self.memory = judge.memory_rows(bench, name)
        self.end = judge.bound_rows(bench, name, "rss_end_bytes")
        self.tail = judge.tail_rows(bench, name)

    def summary(self):
        """(target, measured, verdict) of each target."""
        return [self.summary_time(), self.summary_mean(), self.summary_cv(), self.summary_calls(),
                self.summary_calls_100m(), self.summary_peak(), self.summary_end(),
                *map(self.summary_drift, judge.soak_profiles(self.soaks)),
                *map(self.summary_soak_calls, judge.soak_profiles(self.soaks)),
                self.summary_tail()]

    def summary_time(self):
        verdicts = [row.verdict for row in self.time]
        target = f"time <= {judge.TIME_LIMIT} of the best peer, each workload (" + ", ".join(
            f"{prefix}* {limit}" for prefix, limit in judge.TIME_LIMITS_OF_PREFIX.items()) + ")"
        worst = furthest(self.time, lambda row: row.interval and row.ratios[row.best] / row.limit,
                         lambda row: f"{ratio_text(row.ratios[row.best])} of {row.best}")
        return target, (counted(verdicts) or NONE) + worst, judge.overall(verdicts)

    def summary_mean(self):
        row = next(row for row in self.means if row.peer == judge.MEAN_PEER)
        wanted = judge.bench_workloads.TIMED_ROWS
        measured = NONE if row.mean is None else \
            (f"{ratio_text(row.mean)} ({interval_text(row.interval)}), "
             + count_text(len(row.workloads), "workload") +
             (f" of {wanted}" if len(row.workloads) < wanted else ""))
        return (f"geometric mean of the time <= {judge.MEAN_LIMIT} of {judge.MEAN_PEER}", measured,
                row.verdict)

    def summary_cv(self):
        verdicts = [row.verdict for row in self.cv]
        worst = furthest(self.cv, lambda row: row.cv_percent,
                         lambda row: f"{row.cv_percent:.1f} %")
        return (f"CV of the round-by-round ratio <= {judge.CV_LIMIT_PERCENT} %",
                (counted(verdicts) or NONE) + worst, judge.overall(verdicts))

    def summary_calls(self):
        held = [row for row in self.calls if row.is_held]
        worst = furthest(held, lambda row: row.flavour_calls,
                         lambda row: calls_text(row.flavour_calls))
        verdicts = [row.verdict for row in held]
        limit = calls_text(judge.CALLS_LIMIT_PER_OP)
        return (f"system calls an operation <= {limit} (random mixed)",
                (counted(verdicts) or NONE) + worst, judge.overall(verdicts))

    def summary_calls_100m(self):
        return (f"system calls in 100 M operations <= {judge.CALLS_LIMIT_100M} (random mixed)",
                *bounds_summary(self.calls_100m))

    def summary_end(self):
        factors = ", ".join(f"{name} {factor}"
                            for name, factor in judge.RSS_LIMIT_FACTORS.items())
        return (f"RSS at the end <= {judge.RSS_PEER} + {judge.RSS_LIMIT_EXTRA_BYTES // KIB} KiB, "
                f"below every other peer ({factors} of {judge.RSS_PEER})",
                *bounds_summary(self.end))

    def summary_peak(self):
        verdicts = [row.verdict for row in self.memory]
        worst = furthest(self.memory,
                         lambda row: row.peak / row.limit if row.peak and row.limit else None,
                         lambda row: f"{kib_text(row.peak)} KiB, at most {kib_text(row.limit)}")
        return (f"peak RSS <= {judge.PEAK_LIMIT_FACTOR} x the leanest peer's "
                f"+ {judge.PEAK_LIMIT_EXTRA_BYTES // KIB} KiB",
                (counted(verdicts) or NONE) + worst, judge.overall(verdicts))

    def summary_drift(self, profile):
        soak = judge.soak_of(self.soaks, self.name, profile)
        return (f"no drift of the RSS in a soak of {judge.SOAK_SECONDS_LEAST:,} s"
                + profile_text(profile), drift_text(soak) if soak else NONE,
                judge.drift_verdict(soak))

    def summary_soak_calls(self, profile):
        soak = judge.soak_of(self.soaks, self.name, profile)
        return (f"system calls an operation <= {calls_text(judge.CALLS_LIMIT_PER_OP)} in the soak"
                + profile_text(profile), calls_text(soak.calls_per_op) if soak else NONE,
                judge.soak_calls_verdict(soak))

    def summary_tail(self):
        return ("tail latency (no target)",
                f"{count_text(len(self.tail), 'workload')}, see below" if self.tail else NONE,
                "for reading" if self.tail else judge.NOT_MEASURED)


def profile_text(profile):
    return "" if profile == judge.PROFILES[0] else f", profile {profile}"


def drift_text(soak):
    wall = NONE if soak.wall_seconds is None else f"{soak.wall_seconds:,.0f} s"
    drift = soak.drift
    if drift is None or None in (drift.slope_kib_per_hour, drift.interval, drift.drift_kib,
                                 drift.limit_kib):
        return f"{wall}; no drift worked out"
    return (f"{wall}; slope {drift.slope_kib_per_hour:+.1f} KiB/h "
            f"({drift.interval[0]:+.1f} to {drift.interval[1]:+.1f}); medians "
            f"{drift.drift_kib:+.0f} KiB, at most {drift.limit_kib:.0f}")


def summary_part(flavours):
    rows = [[target if i == 0 else "", flavour.name, measured, verdict]
            for targets in zip(*(flavour.summary() for flavour in flavours))
            for i, (flavour, (target, measured, verdict)) in enumerate(zip(flavours, targets))]
    return "## Summary\n\n" + table(["target", "flavour", "measured", "verdict"], rows)


def time_part(flavour):
    text = ""
    for group, rows in grouped(flavour.time):
        cells = [[row.result.name, f"{row.limit:.2f}",
                  *(f"**{ratio_text(row.ratios[peer])}**" if peer == row.best else
                    peer_cell(row, peer) for peer in judge.TARGET_PEERS),
                  interval_text(row.interval), ratio_text(row.of_minima), row.verdict]
                 for row in rows]
        text += f"\n{group}:\n\n" + table(
            ["workload", "target", *judge.TARGET_PEERS, "95 % of the best", "of minima", "verdict"],
            cells)
    return f"### {flavour.name}: time, ratio to each peer\n" + (text or "\nnot measured\n")


def peer_cell(row, peer):
    return "failed" if peer in row.result.failures else ratio_text(row.ratios.get(peer))


def mean_part(flavours):
    rows = []
    for flavour in flavours:
        cells = [ratio_text(row.mean) for row in flavour.means]
        held = next(row for row in flavour.means if row.peer == judge.MEAN_PEER)
        rows.append([flavour.name, *cells, interval_text(held.interval), str(judge.MEAN_LIMIT),
                     held.verdict])
    names = next((row.workloads for flavour in flavours for row in flavour.means
                  if row.peer == judge.MEAN_PEER and row.workloads), [])
    text = "## Geometric mean of the time ratios\n\n" + table(
        ["flavour", *judge.TARGET_PEERS, f"95 % of {judge.MEAN_PEER}",
         f"target, {judge.MEAN_PEER}", "verdict"], rows)
    if names:
        text += f"\nOver {count_text(len(names), 'workload')}: {', '.join(names)}.\n"
    return text


def others_part(flavours, bench):
    """Libraries of --peer: reported, never targets."""
    peers = judge.other_peers(bench)
    if not peers:
        return ""
    rows = []
    for result in judge.timed(bench):
        for flavour in flavours:
            ratios = judge.ratios_to(result, flavour.name, peers)
            if ratios:
                rows.append([result.name, flavour.name,
                             *(ratio_text(median(ratios[peer])) if peer in ratios else NONE
                               for peer in peers)])
    return ("## Other libraries\n\nGiven by `--peer`: reported, no targets. Median of the "
            "round-by-round time ratios.\n\n" + table(["workload", "flavour", *peers], rows))


def cv_part(flavours):
    rows = []
    for columns in zip(*(flavour.cv for flavour in flavours)):
        floor = percent_text(columns[0].floor_percent)
        row = [columns[0].result.name, floor if columns[0].floor_is_own else f"({floor})"]
        for each in columns:
            row += [percent_text(each.cv_percent), each.verdict]
        rows.append(row)
    names = [name for flavour in flavours for name in (f"{flavour.name}, %", "verdict")]
    return (f"## CV of the round-by-round ratio\n\nTarget: {judge.CV_LIMIT_PERCENT} %.\n\n"
            + (table(["workload", "empty loop, %", *names], rows) if rows else "not measured\n"))


def calls_part(flavours):
    rows = [[row.result.name, flavour.name,
             calls_text(judge.CALLS_LIMIT_PER_OP) if row.is_held else NONE,
             calls_text(row.flavour_calls), *(calls_text(row.peers_calls[peer])
                                              for peer in judge.TARGET_PEERS), row.verdict or NONE]
            for flavour in flavours for row in flavour.calls]
    return "## System calls an operation\n\n" + (
        table(["workload", "flavour", "target", "calls", *judge.TARGET_PEERS, "verdict"], rows)
        if rows else "not measured\n") + "\n" + bounds_table(
            "In 100 M operations:", [(flavour, flavour.calls_100m) for flavour in flavours])


def bounds_table(heading, rows_of_flavours):
    rows = [[row.result.name, flavour.name, row.bound, row.measured, row.verdict]
            for flavour, rows in rows_of_flavours for row in rows]
    return f"{heading}\n\n" + (
        table(["workload", "flavour", "bound", "measured", "verdict"], rows)
        if rows else "not measured\n")


def memory_part(flavour):
    text = ""
    for group, rows in grouped(flavour.memory):
        cells = [[row.result.name, kib_text(row.end), named(row.end_leanest, kib_text),
                  over(row.end, row.end_leanest), kib_text(row.peak),
                  named(row.peak_leanest, kib_text), over(row.peak, row.peak_leanest),
                  kib_text(row.limit), row.verdict] for row in rows]
        text += f"\n{group}:\n\n" + table(
            ["workload", "at the end", "leanest peer", "ratio", "peak", "leanest peer", "ratio",
             "peak at most", "verdict"], cells)
    return f"### {flavour.name}: RSS, KiB\n" + (text or "\nnot measured\n")


def over(ours, leanest):
    return ratio_text(ours / leanest[0]) if ours and leanest else NONE


def soak_part(soaks):
    return "## Soak\n\n" + ("\n".join(map(soak_table, soaks)) or "not measured\n")


def soak_table(soak):
    rows = [["drift", drift_text(soak)],
            ["system calls an operation", calls_text(soak.calls_per_op)],
            ["CV of the operations a second, %", percent_text(soak.ops_cv)]]
    if soak.tail:
        rows.append(["p99, p99.99, max, ns", ", ".join(map(ns_text, soak.tail))])
    profile = f", {soak.profile}" if judge.soak_flavour(soak) in judge.FLAVOURS else ""
    return f"{soak.allocator}{profile}:\n\n" + table(["what", "measured"], rows)


def tail_part(flavours):
    rows = []
    for flavour in flavours:
        for row in flavour.tail:
            cells = [cell for ours, best in zip(row.tail, row.best)
                     for cell in (ns_text(ours), named(best, ns_text))]
            rows.append([row.result.name, flavour.name, *cells])
    columns = [column for name in ("p99", "p99.99", "max") for column in (name, "best peer")]
    return ("## Tail latency, ns\n\nNo target. The best peer of each figure beside it.\n\n"
            + (table(["workload", "flavour", *columns], rows) if rows else "not measured\n"))


def page(bench, soaks):
    flavours = [Flavour(name, bench, soaks) for name in judge.flavours(bench)]
    parts = [head(bench, soaks), summary_part(flavours),
             "## Time\n\n" + "\n".join(map(time_part, flavours)), mean_part(flavours),
             others_part(flavours, bench), cv_part(flavours), calls_part(flavours),
             "## Memory\n\n" + "\n".join(map(memory_part, flavours)),
             bounds_table("### RSS at the end, memory alone",
                          [(flavour, flavour.end) for flavour in flavours]), soak_part(soaks),
             tail_part(flavours), METHODS]
    return "\n".join(part for part in parts if part)


# ---- the command ----

MADE_BY = {"bench.json": "bench/run.py --json {}",
           "soak.json": "scripts/analyze_soak.py {folder}/soak.csv --json {}"}


def check_there(folder):
    """A page without its figures must not take the place of one that has them."""
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    for name, command in MADE_BY.items():
        if not (folder / name).exists():
            raise scorecard_read.BadInput(
                f"{shown / name} is missing: `{command.format(shown / name, folder=shown)}` makes "
                "it (--partial: go on without it)")


def check_output(options):
    """A page must not take the place of the figures that it is made from."""
    for path in (options.results / "bench.json", *options.results.glob("soak*.json")):
        if options.output.exists() and path.exists() and options.output.samefile(path):
            raise scorecard_read.BadInput(f"--output {options.output}: is an input; name another "
                                          "file")


def check_whole(bench):
    """Nor must a page of some workloads: what is not in it would not be seen to be missed."""
    what = missing_text(bench) or (None if bench.complete else "the run is not complete")
    if what:
        raise scorecard_read.BadInput(f"bench.json: {what}: `bench/run.py --json FILE` without "
                                      "--workload makes all (--partial: go on without)")


class Parser(argparse.ArgumentParser):
    def error(self, message):  # one line, without the usage
        self.exit(2, f"scorecard.py: {message} (see --help)\n")


def main(words):
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    parser.add_argument("--partial", action="store_true",
                        help="a missing file or workload is 'not measured' instead of an error")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "docs" / "results",
                        metavar="FOLDER", help="where bench.json and soak.json are")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE",
                        default=ROOT / "docs" / "PERFORMANCE_TARGETS_SCORECARD.md")
    options = parser.parse_args(words)
    try:
        check_output(options)
        if not options.partial:
            check_there(options.results)
        bench = scorecard_read.read_bench(options.results / "bench.json")
        if not options.partial:
            check_whole(bench)
        text = page(bench, scorecard_read.read_soaks(options.results))
        if not options.check:
            options.output.write_text(text, encoding="utf-8")
        elif not options.output.exists() or options.output.read_text(encoding="utf-8") != text:
            print(f"docs/{options.output.name} is not what the JSON files of docs/results say: run "
                  "`make scorecard`", file=sys.stderr)
            return 1
    except (scorecard_read.BadInput, OSError) as error:
        print(f"scorecard.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(quiet(main, sys.argv[1:]))
