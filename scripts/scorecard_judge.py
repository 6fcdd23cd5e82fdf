"""Judges what scorecard_read.py read: one function a target, each answers a row per workload.

A verdict is one of the five words below. Where a figure has an interval, the target is met when
the whole interval is within it, missed when the whole interval is outside, else not settled. Fewer
than ROUNDS_LEAST rounds settle nothing but a count.
"""
import pathlib
import sys
from collections import namedtuple
from statistics import median

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import bench_workloads
import run_stats
from bench_allocators import PROFILES, TARGET_PEERS
from bench_limits import (CALLS_LIMIT_100M, CALLS_LIMIT_PER_OP, CV_LIMIT_PERCENT, MEAN_LIMIT,
                          MEAN_PEER, PEAK_LIMIT_EXTRA_BYTES, PEAK_LIMIT_FACTOR, ROUNDS_LEAST,
                          RSS_LIMIT_EXTRA_BYTES, RSS_LIMIT_FACTORS, RSS_PEER, TIME_LIMIT,
                          TIME_LIMITS_OF_PREFIX, time_limit)
from run_targets import MET, MISSED, NOT_MEASURED, NOT_SETTLED, verdict as verdict_word

NOT_QUIET = "machine not quiet"
WORST_FIRST = [MISSED, NOT_SETTLED, NOT_QUIET, NOT_MEASURED, MET]

FLAVOURS = ["hakmem", "hakmem-minimal"]  # in the scorecard even when they were not measured
FLAVOUR_PREFIX = "hakmem"
FLOOR = "floor"  # the empty loop
TIMED_METRICS = ("cpu", "wall", "program")  # program: CPU seconds of a real one

CALLS_HELD_PREFIX = "mixed_"  # random mixed; the workload that only counts has its own bound
SOAK_SECONDS_LEAST = 3600
RESAMPLES = run_stats.BOOTSTRAP_RESAMPLES

# ratios: {peer: median of the round-by-round ratios}; the rest is of the best peer, None without.
TimeRow = namedtuple("TimeRow", "result limit ratios best interval of_minima cv_percent verdict")
CvRow = namedtuple("CvRow", "result best cv_percent floor_percent floor_is_own verdict")
MeanRow = namedtuple("MeanRow", "peer mean interval workloads verdict")
CallsRow = namedtuple("CallsRow", "result flavour_calls peers_calls is_held verdict")
MemoryRow = namedtuple("MemoryRow", "result end end_leanest peak peak_leanest limit verdict")
BoundRow = namedtuple("BoundRow", "result bound measured verdict")
TailRow = namedtuple("TailRow", "result tail best")


def flavours(bench):
    """The expected ones, then every other that the file has, in its order."""
    names = list(FLAVOURS)
    for result in bench.results if bench else []:
        names += [name for name in result.entries
                  if name.startswith(FLAVOUR_PREFIX) and name not in names]
    return names


def other_peers(bench):
    """What is no flavour, no floor and no peer of the targets."""
    names = []
    for result in bench.results if bench else []:
        names += [name for name in result.entries if not name.startswith(FLAVOUR_PREFIX)
                  and name not in (FLOOR, *TARGET_PEERS, *names)]
    return names


def missing_workloads(bench):
    """What the file lacks of the run that it is of, and of run.py's table."""
    there = {result.name for result in bench.results}
    names = dict.fromkeys([*bench.workloads, *bench_workloads.BY_NAME])
    return [name for name in names if name not in there]


def timed(bench):
    return [result for result in bench.results if result.metric in TIMED_METRICS] if bench else []


def samples_of(result, name):
    entry = result.entries.get(name)
    return entry.samples if entry else None


def verdict_of(low, high, limit, rounds):
    if rounds < ROUNDS_LEAST:
        return NOT_SETTLED
    if high <= limit:
        return MET
    return MISSED if low > limit else NOT_SETTLED


def of_all_peers(verdict, result, has_figure):
    """A target peer that is absent, and did not fail, may be the best: only a settled miss stands
    without it."""
    absent = [peer for peer in TARGET_PEERS if peer not in result.failures
              and not (peer in result.entries and has_figure(result.entries[peer]))]
    return NOT_MEASURED if absent and verdict != MISSED else verdict


def overall(verdicts):
    """One word for many: the worst that occurs."""
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), NOT_MEASURED)


# ---- time ----

def ratios_to(result, flavour, peers):
    """{peer: [ratio of a round...]}, of the peers that ran."""
    ours = samples_of(result, flavour)
    if not ours:
        return {}
    return {peer: [a / b for a, b in zip(ours, samples_of(result, peer))]
            for peer in peers if samples_of(result, peer)}


def time_row(result, flavour):
    limit = time_limit(result.name)
    ratios = {peer: median(rounds)
              for peer, rounds in ratios_to(result, flavour, TARGET_PEERS).items()}
    if not ratios:
        return TimeRow(result, limit, {}, None, None, None, None, NOT_MEASURED)
    best = max(ratios, key=ratios.get)
    compared = run_stats.compare(samples_of(result, flavour), samples_of(result, best))
    low, high = compared["ratio_interval_95"]
    rounds = compared["ratios"]
    verdict = of_all_peers(verdict_of(low, high, limit, len(rounds)), result,
                           lambda entry: entry.samples)
    return TimeRow(result, limit, ratios, best, (low, high), compared["ratio_of_minima"],
                   cv_percent(rounds), verdict)


def cv_percent(samples):
    """None of fewer than two: one sample says nothing about noise."""
    return run_stats.cv_percent(samples) if samples and len(samples) > 1 else None


def floor_cv(result):
    return cv_percent(samples_of(result, FLOOR))


def cv_row(row, run_floor):
    """run_floor: what counts for a workload without an empty loop of its own."""
    own = floor_cv(row.result)
    floor = run_floor if own is None else own
    if row.cv_percent is None:
        verdict = NOT_MEASURED
    elif len(samples_of(row.result, row.best)) < ROUNDS_LEAST:
        verdict = NOT_SETTLED
    elif row.cv_percent <= CV_LIMIT_PERCENT:
        verdict = MET
    else:
        verdict = NOT_QUIET if floor is not None and floor > CV_LIMIT_PERCENT else MISSED
    return CvRow(row.result, row.best, row.cv_percent, floor, own is not None, verdict)


def cv_rows(bench, rows):
    floors = [cv for cv in map(floor_cv, timed(bench)) if cv is not None]
    return [cv_row(row, median(floors) if floors else None) for row in rows]


def mean_rows(bench, flavour):
    """The geometric mean of the median ratios, a row a peer; the target's peer has an interval, and
    is judged by where all of run.py's timed rows are there. Of the benchmark programs: real ones
    spend most of their time elsewhere."""
    rows = []
    loops = [result for result in timed(bench) if result.metric != "program"]
    for peer in TARGET_PEERS:
        rounds = {result.name: found[peer] for result in loops
                  if (found := ratios_to(result, flavour, [peer]))}
        mean = interval = None
        verdict = NOT_MEASURED if peer == MEAN_PEER else None
        if rounds and peer == MEAN_PEER:
            together = run_stats.compare_together(list(rounds.values()))
            mean, interval = together["ratio"], together["ratio_interval_95"]
            if len(rounds) >= bench_workloads.TIMED_ROWS:
                verdict = verdict_of(*interval, MEAN_LIMIT, min(map(len, rounds.values())))
        elif rounds:
            mean = run_stats.geometric_mean([median(each) for each in rounds.values()])
        rows.append(MeanRow(peer, mean, interval, list(rounds), verdict))
    return rows


# ---- system calls, memory, tail ----

def calls_per_op(result, name):
    entry = result.entries.get(name)
    if entry is None:
        return None
    if entry.calls_per_op is not None:
        return entry.calls_per_op
    if result.metric == "calls" and entry.samples and entry.ops:
        return max(entry.samples) / entry.ops
    return None


def calls_rows(bench, flavour):
    """A row a workload whose calls were counted for anyone, and each that the target is about."""
    rows = []
    for result in bench.results if bench else []:
        held = result.name.startswith(CALLS_HELD_PREFIX)
        peers = {peer: calls_per_op(result, peer) for peer in TARGET_PEERS}
        ours = calls_per_op(result, flavour)
        if ours is None and not any(calls is not None for calls in peers.values()):
            continue
        verdict = None
        if held:
            verdict = NOT_MEASURED if ours is None else \
                MET if ours <= CALLS_LIMIT_PER_OP else MISSED
        rows.append(CallsRow(result, ours, peers, held, verdict))
    return rows


def leanest(result, field):
    """(bytes, name) of the target peer that holds least, None without any."""
    held = [(getattr(result.entries[peer], field), peer) for peer in TARGET_PEERS
            if peer in result.entries and getattr(result.entries[peer], field)]
    return min(held) if held else None


def memory_rows(bench, flavour):
    """All workloads but those that only count calls: there each allocator shows the working set
    that it made most calls in, so memory does not compare."""
    rows = []
    for result in bench.results if bench else []:
        if result.metric == "calls":
            continue
        entry = result.entries.get(flavour)
        end, peak = (entry.rss_end_bytes, entry.rss_peak_bytes) if entry else (None, None)
        peak_leanest = leanest(result, "rss_peak_bytes")
        limit, verdict = None, NOT_MEASURED
        if peak_leanest:
            limit = PEAK_LIMIT_FACTOR * peak_leanest[0] + PEAK_LIMIT_EXTRA_BYTES
        if peak and limit:
            rounds = min(len(result.entries[name].samples or [])
                         for name in (flavour, peak_leanest[1]))
            verdict = of_all_peers(verdict_of(peak, peak, limit, rounds), result,
                                   lambda peer: peer.rss_peak_bytes)
        rows.append(MemoryRow(result, end, leanest(result, "rss_end_bytes"), peak, peak_leanest,
                              limit, verdict))
    return rows


def bound_rows(bench, flavour, figure):
    """A row a bound that run.py's table has on that figure, judged by that bound."""
    rows = []
    for result in bench.results if bench else []:
        workload = bench_workloads.BY_NAME.get(result.name)
        if workload is None or workload.metric != result.metric:
            continue
        samples = {name: entry.samples for name, entry in result.entries.items() if entry.samples}
        standing = [peer for peer in TARGET_PEERS if peer not in result.failures]
        for target in workload.targets:
            if target.figure == figure:
                answer = target.bound(samples, flavour, standing)
                rows.append(BoundRow(result, answer["target"], answer["measured"],
                                     verdict_word(answer)))
    return rows


def tail_rows(bench, flavour):
    """Latencies and, figure by figure, (ns, name) of the best peer; of workloads that have any."""
    rows = []
    for result in bench.results if bench else []:
        entry = result.entries.get(flavour)
        if entry is None or entry.tail is None:
            continue
        best = []
        for field in entry.tail._fields:
            peers = [(getattr(result.entries[peer].tail, field), peer) for peer in TARGET_PEERS
                     if peer in result.entries and result.entries[peer].tail]
            best.append(min((each for each in peers if each[0] is not None), default=None))
        rows.append(TailRow(result, entry.tail, best))
    return rows


# ---- soak ----

def soak_flavour(soak):
    """The flavour whose library the soak ran on."""
    return (soak.allocator or "").removeprefix("lib").removesuffix(".so") if soak else None


def soak_of(soaks, flavour, profile):
    return next((soak for soak in soaks
                 if soak_flavour(soak) == flavour and soak.profile == profile), None)


def soak_profiles(soaks):
    """The default, which is in the scorecard in any case, and the others that were soaked."""
    names = [PROFILES[0], *(soak.profile for soak in soaks)]
    return list(dict.fromkeys(names))


def is_long_enough(soak):
    return soak is not None and (soak.wall_seconds or 0) >= SOAK_SECONDS_LEAST


def drift_verdict(soak):
    """The rule is the analysis's; a run shorter than an hour settles nothing."""
    if not is_long_enough(soak) or soak.drift is None:
        return NOT_MEASURED
    drift = soak.drift
    if None in (drift.interval, drift.drift_kib, drift.limit_kib):
        return NOT_MEASURED
    low, high = drift.interval
    within = low <= 0 <= high and drift.drift_kib <= drift.limit_kib
    return MET if within and drift.met is not False else MISSED


def soak_calls_verdict(soak):
    if not is_long_enough(soak) or soak.calls_per_op is None:
        return NOT_MEASURED
    return MET if soak.calls_per_op <= CALLS_LIMIT_PER_OP else MISSED
