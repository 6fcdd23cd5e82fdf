"""The targets of run.py: each is a bound and the figure that it is held against. Pure functions.

A bound takes (samples by allocator, subject, target peers) and answers {"target", "measured",
"met", "settled"}. met is None when it could not be measured. A bound on time is met by the upper
end of the interval, and not settled where the interval lies on both sides. Nothing that is a median
of rounds is settled by fewer than ROUNDS_LEAST of them. A peer without samples may be the best:
what is no settled miss against the others is then not measured.
"""
from collections import namedtuple
from statistics import median

import run_stats
from bench_limits import ROUNDS_LEAST
from bench_output import count_text

MET, MISSED, NOT_SETTLED, NOT_MEASURED = "met", "missed", "not settled", "not measured"

# figure: whose samples the bound takes: time (an operation's), rss_end_bytes, rss_peak_bytes, calls
# or calls_per_op.
Target = namedtuple("Target", "figure bound")


def answer(text, measured, met, settled=True):
    return {"target": text, "measured": measured, "met": met, "settled": settled}


def verdict(of):
    if of["met"] is None:
        return NOT_MEASURED
    if not of["settled"]:
        return NOT_SETTLED
    return MET if of["met"] else MISSED


def exit_status(verdicts, is_failed):
    """Of the run, from the words of its targets. is_failed: a workload ended badly under the
    allocator that is judged, which no target tells."""
    return 1 if MISSED in verdicts or is_failed else 0


def settled_by(rounds, got):
    """The answer, not settled when it is of too few rounds."""
    if rounds < ROUNDS_LEAST:
        got["settled"] = False
        got["measured"] += f", of {count_text(rounds, 'round')}"
    return got


def against_peers(text, check, chosen=lambda peers: peers):
    """A bound of check(ours, theirs by peer), which answers (measured, met) or (measured, met,
    settled), against the chosen of the target peers."""
    def bound(samples, subject, peers):
        peers = chosen(peers)
        there = {peer: samples[peer] for peer in peers if samples.get(peer)}
        absent = ", ".join(name for name in [subject, *peers] if not samples.get(name))
        if not samples.get(subject) or not there:
            return answer(text, f"no figures of {absent}", None)
        got = settled_by(min(map(len, [samples[subject], *there.values()])),
                         answer(text, *check(samples[subject], there)))
        if absent:
            got["measured"] += f" (no figures of {absent})"
            got["met"] = None if got["met"] or not got["settled"] else False
        return got
    return bound


def interval_check(limit, ratio, interval, peer):
    low, high = interval
    return (f"{ratio:.3f} ({low:.3f}-{high:.3f}) of {peer}", high <= limit,
            high <= limit or low > limit)


def of_best(ours, theirs):
    """(ratio, its interval, the peer) of the best peer: the one that the ratio is highest to."""
    ratios = {peer: run_stats.compare(ours, samples) for peer, samples in theirs.items()}
    best = max(ratios, key=lambda peer: ratios[peer]["ratio_median"])
    return ratios[best]["ratio_median"], ratios[best]["ratio_interval_95"], best


def time_best(limit):
    def check(ours, theirs):
        return interval_check(limit, *of_best(ours, theirs))
    return Target("time", against_peers(f"time <= {limit:.2f} of the best peer", check))


def least_median(theirs):
    """(peer, its median) of the one that has least."""
    medians = {peer: median(samples) for peer, samples in theirs.items()}
    return min(medians.items(), key=lambda item: item[1])


def peak_tax(factor, extra_bytes):
    """At most so many times the leanest peer's peak, and so many bytes more."""
    def check(ours, theirs):
        peer, least = least_median(theirs)
        excess = median(ours) - least
        return (f"{median(ours) / least:.2f} x {peer}'s, {excess / 1024:+.0f} KiB",
                median(ours) <= factor * least + extra_bytes)
    text = f"peak RSS <= {factor:.2f} x the leanest peer's + {extra_bytes // 1024} KiB"
    return Target("rss_peak_bytes", against_peers(text, check))


def rss_peer(peer, limit):
    """The ratio of resident memory to one named peer's."""
    def check(ours, theirs):
        ratio = median(ours) / median(theirs[peer])
        return f"{ratio:.3f} of {peer}", ratio <= limit
    return Target("rss_end_bytes", against_peers(f"RSS <= {limit:.2f} of {peer}", check,
                                                 lambda _: [peer]))


def rss_peer_plus(peer, extra_bytes):
    """At most a peer's resident memory and so many bytes more."""
    def check(ours, theirs):
        excess = median(ours) - median(theirs[peer])
        return f"{peer} {excess / 1024:+.0f} KiB", excess <= extra_bytes
    return Target("rss_end_bytes", against_peers(f"RSS <= {peer} + {extra_bytes // 1024} KiB",
                                                 check, lambda _: [peer]))


def rss_below_others(but):
    """Less resident memory than each target peer except `but`."""
    def check(ours, theirs):
        peer, least = least_median(theirs)
        excess = median(ours) - least
        return f"{peer} {excess / 1024:+.0f} KiB", excess < 0
    return Target("rss_end_bytes", against_peers(f"RSS below every peer but {but}", check,
                                                 lambda peers: [p for p in peers if p != but]))


def at_most(figure, limit, unit):
    """A plain bound on the subject's own figure; the worst sample counts."""
    text = f"<= {limit:g} {unit}"

    def bound(samples, subject, _):
        if not samples.get(subject):
            return answer(text, f"no figures of {subject}", None)
        worst = max(samples[subject])
        return answer(text, f"{worst:.3g} {unit}", worst <= limit)
    return Target(figure, bound)


def together(peer, limit, compared):
    """The answer for run_stats.compare_together's of one peer."""
    measured, met, settled = interval_check(limit, compared["ratio"],
                                            compared["ratio_interval_95"], peer)
    return settled_by(compared["rounds"],
                      answer(f"time, geometric mean <= {limit:.2f} of {peer}",
                             f"{measured}, {count_text(compared['workloads'], 'workload')}", met,
                             settled))
