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


def judge(pairs, error):
    """pairs: (time of A, time of B, memory of A, memory of B) a round, all above 0; error: what
    this look may spend. Returns a dict with rounds, ratio, low, high, rss_ratio, verdict ('GO',
    'NO-GO' or 'undecided') and why. Faster but larger is undecided: what memory is worth is not
    for a rule to say."""
    times = [b / a for a, b, _, _ in pairs]
    low, high = median_interval(times, error)
    rss_ratio = median(b / a for _, _, a, b in pairs)
    if high < TIME_GO and rss_ratio < RSS_GO:
        verdict, why = "GO", "faster, no larger"
    elif low > TIME_NO_GO:
        verdict, why = "NO-GO", "not faster"
    elif high < TIME_GO:
        verdict, why = "undecided", "faster, but larger"
    elif low == -math.inf:
        verdict, why = "undecided", "too few rounds for an interval"
    else:
        why = "the interval is too wide" + (", and B is larger" if rss_ratio >= RSS_GO else "")
        verdict = "undecided"
    return {"rounds": len(pairs), "ratio": median(times), "low": low, "high": high,
            "rss_ratio": rss_ratio, "verdict": verdict, "why": why}


def looks():
    """After how many rounds to look: 10, 14, 20, 27, ... each 1.4 times the one before, so that few
    looks spend little of the error."""
    at = 10.0
    while True:
        yield round(at)
        at *= 1.4


def decide(measure_round, rounds_most, is_over, error_of=look_error, seen=lambda answer: None):
    """Rounds until a verdict or the end of the budget: judge's answer. measure_round(number) gives
    a pair; is_over() says that the time is used up; seen(answer) is told of each look. A round is
    never broken off, and there are at least two."""
    pairs = []
    for look, wanted in enumerate(looks(), 1):
        while len(pairs) < min(wanted, rounds_most) and (len(pairs) < 2 or not is_over()):
            pairs.append(measure_round(len(pairs)))
        answer = judge(pairs, error_of(look))
        seen(answer)
        if answer["verdict"] != "undecided" or len(pairs) >= rounds_most or is_over():
            return answer
