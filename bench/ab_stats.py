"""Verdicts of ab.py: pure functions over paired samples, no measuring.

The figure is the median of B's time over A's, round by round. Its interval comes from order
statistics (the sign test): it holds for any noise, and one slow round moves it by one place only.
Who looks after every few rounds and stops when he likes what he sees is wrong more often than his
intervals say; so the k-th look's interval is for 1 - 0.05 * 6 / (pi k)^2, and all of them together
are wrong in at most 5 % of the experiments.
"""
import math
from statistics import median

TIME_GO = 0.99      # GO: the whole interval below
TIME_NO_GO = 0.995  # NO-GO: the whole interval above
RSS_GO = 1.01       # GO: the median ratio of resident memory below
ERROR_SHARE = 0.05


def look_error(look):
    """The share of error that the look-th look (from 1) may spend; their sum is ERROR_SHARE."""
    return ERROR_SHARE * 6 / (math.pi * look) ** 2


def median_interval(values, error):
    """The narrowest pair of order statistics that misses the median with a probability of `error`
    at most, whatever the distribution; (-inf, inf) where there are too few values for any."""
    ordered, n = sorted(values), len(values)
    below, outside = 0.0, 0
    for k in range(n // 2):
        below += math.comb(n, k) / 2 ** n  # P(at most k of n values lie below the median)
        if 2 * below > error:
            break
        outside = k + 1
    if outside == 0:
        return -math.inf, math.inf
    return ordered[outside - 1], ordered[n - outside]


def judge(pairs, look):
    """pairs: (time of A, time of B, memory of A, memory of B) a round, all above 0. Returns a dict
    with rounds, ratio, low, high, rss_ratio, verdict ('GO', 'NO-GO' or 'undecided') and why."""
    times = [b / a for a, b, _, _ in pairs]
    low, high = median_interval(times, look_error(look))
    rss_ratio = median(b / a for _, _, a, b in pairs)
    answer = {"rounds": len(pairs), "ratio": median(times), "low": low, "high": high,
              "rss_ratio": rss_ratio}
    if high < TIME_GO and rss_ratio < RSS_GO:
        return answer | {"verdict": "GO", "why": "faster, no larger"}
    if high < TIME_GO:
        return answer | {"verdict": "NO-GO", "why": "faster, but larger"}
    if low > TIME_NO_GO:
        return answer | {"verdict": "NO-GO", "why": "not faster"}
    return answer | {"verdict": "undecided", "why": "the interval is too wide"}


def looks():
    """After how many rounds to look: 10, 14, 20, 28, ... each 1.4 times the one before, so that few
    looks spend little of the error."""
    at = 10.0
    while True:
        yield round(at)
        at *= 1.4
