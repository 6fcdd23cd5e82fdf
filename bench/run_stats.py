"""Statistics of run.py: pure functions over lists of numbers, no measuring.

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
            "spread_percent": spread_percent(samples), "cv_percent": cv_percent(samples),
            "samples": list(samples)}


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


def ratios(ours, theirs):
    """Round by round; theirs are above 0."""
    return [a / b for a, b in zip(ours, theirs)]


def compare(ours, theirs):
    """How `ours` stands to `theirs`: ratios below 1 mean less time (or memory). None where one of
    theirs is zero."""
    if not theirs or not min(theirs):
        return None
    pairs = ratios(ours, theirs)
    return {"ratio_median": median(pairs), "ratio_interval_95": bootstrap_median_interval(pairs),
            "ratio_cv_percent": cv_percent(pairs), "ratio_of_minima": min(ours) / min(theirs),
            "ratios": pairs}


def geometric_mean(values):
    return math.exp(mean(math.log(value) for value in values))


def compare_together(rows):
    """One ratio for several workloads, from the ratios of each, round by round: the geometric mean
    of their medians, and its interval when the rounds of each are drawn anew. rounds: of the
    workload that has fewest."""
    return {"ratio": geometric_mean([median(row) for row in rows]),
            "ratio_interval_95": bootstrap_interval(lambda source: geometric_mean(
                [median_resampled(row, source) for row in rows])),
            "workloads": len(rows), "rounds": min(map(len, rows))}
