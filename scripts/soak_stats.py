"""Statistics of a soak: pure functions over lists of numbers. What they share with the benchmark
driver (quantile) is bench/run_stats.py's."""
import math
import pathlib
import random
import sys
from statistics import mean, median

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
from run_stats import cv_percent, quantile

BINS_MOST = 60  # arbitrary: 1,770 pairs, so that a thousand resamples take seconds
POINTS_LEAST = 12  # arbitrary: fewer say too little of how neighbours resemble each other
RESAMPLES = 1000  # arbitrary: the interval's ends then repeat to about 3 % of its width
WARM_UP_STEPS = 50  # arbitrary: what a resample starts from is then forgotten (0.9^50 = 0.5 %)
CORRELATION_MOST = 0.99  # arbitrary: at 1 a series is a random walk, and no slope is unlikely
NORMAL_975 = 1.959964  # the 97.5 % point of the normal distribution


def bins_make(times, values, most=BINS_MOST):
    """At most so many points for the series, in order: the medians of equally many neighbours."""
    count = min(most, len(values))
    edges = [index * len(values) // count for index in range(count + 1)]
    return ([mean(times[a:b]) for a, b in zip(edges, edges[1:])],
            [median(values[a:b]) for a, b in zip(edges, edges[1:])])


def theil_sen(times, values):
    """The median of the slopes between all pairs: up to 29 % of the points may be outliers."""
    slopes = [(values[j] - values[i]) / (times[j] - times[i])
              for i in range(len(values)) for j in range(i + 1, len(values))]
    return median(slopes)


def neighbour_correlation(residuals):
    """Of a trend's residuals, corrected for what fitting the trend takes from it (Marriott and
    Pope 1954: (2 + 4 r) / n)."""
    power = sum(value * value for value in residuals[:-1])
    if power == 0:
        return 0.0
    raw = sum(a * b for a, b in zip(residuals, residuals[1:])) / power
    corrected = raw + (2 + 4 * raw) / len(residuals)
    return max(-CORRELATION_MOST, min(CORRELATION_MOST, corrected))


def student_975(freedom):
    """The 97.5 % point of Student's distribution (Cornish-Fisher expansion)."""
    z = NORMAL_975
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def slope_interval(times, values, seed=1, resamples=RESAMPLES):
    """(slope, [low, high]): the Theil-Sen slope of at most BINS_MOST bins and its 95 % interval.

    The interval is an autoregressive bootstrap's: residuals are redrawn with the correlation that
    neighbours have, so that a series that wanders without a trend does not look like one, and the
    interval is widened by Student's distribution for the effective number of points. Measured:
    of 200 series of 300 points without a trend and with correlations of 0 to 0.95, it held 0 in 90
    to 96 %.
    A constant series has the interval [0, 0]. Repeatable for a seed."""
    times, values = bins_make(times, values)
    count = len(values)
    slope = theil_sen(times, values)
    residuals = [value - slope * time for time, value in zip(times, values)]
    level = mean(residuals)
    residuals = [residual - level for residual in residuals]
    correlation = neighbour_correlation(residuals)
    steps = [b - correlation * a for a, b in zip(residuals, residuals[1:])]
    step_mean = mean(steps)
    scale = math.sqrt(count / (count - 3))  # level, slope and correlation were fitted
    steps = [(step - step_mean) * scale for step in steps]
    source = random.Random(seed)
    errors = []
    for _ in range(resamples):
        state, series = 0.0, []
        for step in source.choices(steps, k=WARM_UP_STEPS + count):
            state = correlation * state + step
            series.append(state)
        errors.append(theil_sen(times, series[WARM_UP_STEPS:]))
    errors.sort()
    effective = max(4.0, count * (1 - correlation) / (1 + correlation))
    widening = student_975(effective - 2) / NORMAL_975
    return slope, [slope + widening * quantile(errors, share) for share in (0.025, 0.975)]
