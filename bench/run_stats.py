"""Statistics and verdicts of run.py: pure functions over lists of numbers, no measuring.

A sample is one round's figure of one allocator (time an operation, bytes, calls); lists of two
allocators are paired by round.
"""
import math
import random
from statistics import mean, median, stdev

BOOTSTRAP_RESAMPLES = 2000  # arbitrary: the interval's ends then repeat to about 1 % of its width


def spread_percent(samples):
    """Median absolute deviation from the median, in percent of the median."""
    middle = median(samples)
    if middle == 0:
        return 0.0
    return 100 * median(abs(sample - middle) for sample in samples) / middle


def cv_percent(samples):
    """Coefficient of variation: the sample standard deviation in percent of the mean."""
    if len(samples) < 2 or mean(samples) == 0:
        return 0.0
    return 100 * stdev(samples) / mean(samples)


def summary(samples):
    return {"min": min(samples), "median": median(samples),
            "spread_percent": spread_percent(samples), "samples": list(samples)}


def quantile(ordered, share):
    """The value below which `share` of the ordered values lie, interpolated."""
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def bootstrap_interval(resampled):
    """The 95 % percentile-bootstrap interval of what resampled(source) computes from values that it
    draws by `source`, a random.Random; repeatable."""
    source = random.Random(1)
    values = sorted(resampled(source) for _ in range(BOOTSTRAP_RESAMPLES))
    return [quantile(values, 0.025), quantile(values, 0.975)]


def median_resampled(values, source):
    return median(source.choices(values, k=len(values)))


def bootstrap_median_interval(values):
    return bootstrap_interval(lambda source: median_resampled(values, source))


def compare(ours, theirs):
    """How `ours` stands to `theirs`: ratios below 1 mean less time (or memory). Pairs with a zero
    on their side have no ratio; None when no pair is left."""
    ratios = [a / b for a, b in zip(ours, theirs) if b]
    if not ratios or not min(theirs):
        return None
    return {"ratio_median": median(ratios), "ratio_interval_95": bootstrap_median_interval(ratios),
            "ratio_of_minima": min(ours) / min(theirs), "ratios": ratios}


def geometric_mean(values):
    return math.exp(mean(math.log(value) for value in values))


def compare_together(rows):
    """One ratio for several workloads, from the ratios of each, round by round: the geometric mean
    of their medians, and its interval when the rounds of each are drawn anew."""
    return {"ratio": geometric_mean([median(ratios) for ratios in rows]),
            "ratio_interval_95": bootstrap_interval(lambda source: geometric_mean(
                [median_resampled(ratios, source) for ratios in rows])),
            "workloads": len(rows)}


# ---- targets: each takes (judge, samples by allocator, subject, target peers) and answers
# {"target": text, "measured": text, "met": True, False or None when it could not be measured} ----

def _ratio(judge, ours, theirs):
    result = compare(ours, theirs)
    return None if result is None else result["ratio_" + judge]


def _figure(judge, samples):
    return min(samples) if judge == "of_minima" else median(samples)


def _answer(text, measured, met):
    return {"target": text, "measured": measured, "met": met}


def _missing(names, samples):
    return ", ".join(name for name in names if not samples.get(name))


def target_best(limit):
    """Ratio to the best of the target peers; the best is the one that the ratio is highest to."""
    def judge_it(judge, samples, subject, peers):
        text = f"<= {limit:.2f} of the best peer"
        missing = _missing([subject, *peers], samples)
        if missing:
            return _answer(text, f"no figures of {missing}", None)
        ratios = {peer: _ratio(judge, samples[subject], samples[peer]) for peer in peers}
        best = max(ratios, key=ratios.get)
        return _answer(text, f"{ratios[best]:.3f} of {best}", ratios[best] <= limit)
    return judge_it


def target_peer(peer, limit):
    """Ratio to one named peer."""
    def judge_it(judge, samples, subject, peers):
        text = f"<= {limit:.2f} of {peer}"
        missing = _missing([subject, peer], samples)
        if missing:
            return _answer(text, f"no figures of {missing}", None)
        ratio = _ratio(judge, samples[subject], samples[peer])
        return _answer(text, f"{ratio:.3f} of {peer}", ratio <= limit)
    return judge_it


def target_peer_plus(peer, extra_bytes):
    """At most a peer's bytes and so many more."""
    def judge_it(judge, samples, subject, peers):
        text = f"<= {peer} + {extra_bytes // 1024} KiB"
        missing = _missing([subject, peer], samples)
        if missing:
            return _answer(text, f"no figures of {missing}", None)
        excess = _figure(judge, samples[subject]) - _figure(judge, samples[peer])
        return _answer(text, f"{peer} {excess / 1024:+.0f} KiB", excess <= extra_bytes)
    return judge_it


def target_below_others(but):
    """Less than each target peer except `but`."""
    def judge_it(judge, samples, subject, peers):
        text = f"below every peer but {but}"
        others = [peer for peer in peers if peer != but]
        missing = _missing([subject, *others], samples)
        if missing:
            return _answer(text, f"no figures of {missing}", None)
        lowest = min(others, key=lambda peer: _figure(judge, samples[peer]))
        excess = _figure(judge, samples[subject]) - _figure(judge, samples[lowest])
        return _answer(text, f"{lowest} {excess / 1024:+.0f} KiB", excess < 0)
    return judge_it


def target_at_most(limit, unit):
    """A plain bound on the subject's own figure; the worst sample counts."""
    def judge_it(judge, samples, subject, peers):
        text = f"<= {limit} {unit}"
        if not samples.get(subject):
            return _answer(text, f"no figures of {subject}", None)
        worst = max(samples[subject])
        return _answer(text, f"{worst:g} {unit}", worst <= limit)
    return judge_it
