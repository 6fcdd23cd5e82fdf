"""What hakmem holds itself to: the numbers that run.py judges by and the scorecard shows."""

# Time: the upper end of the interval of the ratio to the best peer, by the start of a workload's
# name.
TIME_LIMIT = 1.02
TIME_LIMITS_OF_PREFIX = {"batch_1000_": 1.05, "batch_100000_": 1.15}
# The geometric mean of the ratios to one peer, over all timed workloads.
MEAN_PEER, MEAN_LIMIT = "mimalloc", 0.87
# Of the round-by-round ratio; an empty loop that spreads by more was not on a quiet machine.
CV_LIMIT_PERCENT = 1.3
CALLS_LIMIT_PER_OP = 1.25e-7  # system calls an operation of random mixed
# Highest RSS, against that of the leanest peer.
PEAK_LIMIT_FACTOR, PEAK_LIMIT_EXTRA_BYTES = 1.08, 256 * 1024
# RSS at the end: of small processes glibc's and so much more, of larger ones a multiple of glibc's.
RSS_PEER, RSS_LIMIT_EXTRA_BYTES = "glibc", 256 * 1024
RSS_LIMIT_FACTORS = {"rss_40000": 1.08, "rss_400000": 1.05}
CALLS_LIMIT_100M = 12  # system calls in 100 M operations
# Below, no figure of rounds settles a target. Arbitrary: the interval of fewer rounds is little
# more than their minimum and maximum.
ROUNDS_LEAST = 5


def time_limit(name):
    found = [limit for prefix, limit in TIME_LIMITS_OF_PREFIX.items() if name.startswith(prefix)]
    return found[0] if found else TIME_LIMIT
