#!/usr/bin/python3
"""run_targets.py: each bound on both sides of its limit, and where something was not measured."""
import unittest

import run_targets
from bench_limits import ROUNDS_LEAST

PEERS = ["glibc", "mimalloc"]
LEAST = ROUNDS_LEAST


def answer(target, samples, peers=None):
    return target.bound(samples, "hakmem", peers or PEERS)


def word(target, samples, peers=None):
    return run_targets.verdict(answer(target, samples, peers))


class Time(unittest.TestCase):
    target = run_targets.time_best(1.02)

    def test_best_is_the_fastest_of_the_target_peers(self):
        samples = {"hakmem": [10.0] * LEAST, "glibc": [20.0] * LEAST, "mimalloc": [9.0] * LEAST,
                   "other": [1.0] * LEAST}
        got = answer(self.target, samples)
        self.assertEqual((got["met"], got["settled"]), (False, True))
        self.assertEqual(got["measured"], "1.111 (1.111-1.111) of mimalloc")
        samples["mimalloc"] = [10.0] * LEAST
        self.assertEqual(word(self.target, samples), "met")

    def test_the_upper_end_of_the_interval_decides(self):
        theirs = [10.0] * 8
        self.assertEqual(word(self.target, {"hakmem": [10.1] * 8, "glibc": theirs,
                                            "mimalloc": theirs}), "met")
        # the median is well below the limit, but half of the rounds are above it
        self.assertEqual(word(self.target, {"hakmem": [9.0, 10.6] * 4, "glibc": theirs,
                                            "mimalloc": theirs}), "not settled")
        self.assertEqual(word(self.target, {"hakmem": [10.5, 10.6] * 4, "glibc": theirs,
                                            "mimalloc": theirs}), "missed")

    def test_too_few_rounds_settle_neither(self):
        for rounds, expected in ((1, "not settled"), (LEAST - 1, "not settled"), (LEAST, None)):
            theirs = [10.0] * rounds
            for ours, otherwise in ((9.0, "met"), (11.0, "missed")):
                samples = {"hakmem": [ours] * rounds, "glibc": theirs, "mimalloc": theirs}
                self.assertEqual(word(self.target, samples), expected or otherwise)
        samples = {"hakmem": [9.0], "glibc": [10.0], "mimalloc": [10.0]}
        self.assertEqual(answer(self.target, samples)["measured"],
                         "0.900 (0.900-0.900) of glibc, of 1 round")
        samples["mimalloc"] = [10.0] * LEAST  # the fewest count
        self.assertEqual(word(self.target, samples), "not settled")

    def test_all_workloads_together(self):
        compared = {"ratio": 0.8, "ratio_interval_95": [0.75, 0.87], "workloads": 22,
                    "rounds": LEAST}
        got = run_targets.together("mimalloc", 0.87, compared)
        self.assertEqual((got["met"], got["measured"]),
                         (True, "0.800 (0.750-0.870) of mimalloc, 22 workloads"))
        compared["ratio_interval_95"] = [0.75, 0.88]
        got = run_targets.together("mimalloc", 0.87, compared)
        self.assertEqual(run_targets.verdict(got), "not settled")
        compared |= {"ratio_interval_95": [0.75, 0.8], "workloads": 1, "rounds": LEAST - 1}
        got = run_targets.together("mimalloc", 0.87, compared)
        self.assertEqual(run_targets.verdict(got), "not settled")
        self.assertEqual(got["measured"],
                         f"0.800 (0.750-0.800) of mimalloc, 1 workload, of {LEAST - 1} rounds")


class Memory(unittest.TestCase):
    def test_peak_tax_is_on_the_leanest(self):
        target = run_targets.peak_tax(1.08, 256 * 1024)
        lean, fat = [1_000_000] * LEAST, [9_000_000] * LEAST
        limit = 1_080_000 + 256 * 1024
        for ours, met in ((limit, True), (limit + 1, False)):
            got = answer(target, {"hakmem": [ours] * LEAST, "glibc": fat, "mimalloc": lean})
            self.assertEqual((got["met"], got["settled"]), (met, True))
            self.assertEqual(got["measured"], "1.34 x mimalloc's, +334 KiB")

    def test_resident_memory(self):
        samples = {"hakmem": [1_256_000] * LEAST, "glibc": [1_000_000] * LEAST,
                   "mimalloc": [1_300_000] * LEAST}
        self.assertEqual(word(run_targets.rss_peer_plus("glibc", 256_000), samples), "met")
        few = {name: sizes[1:] for name, sizes in samples.items()}
        self.assertEqual(word(run_targets.rss_peer_plus("glibc", 256_000), few), "not settled")
        self.assertTrue(answer(run_targets.rss_peer_plus("glibc", 256_000), samples)["met"])
        self.assertFalse(answer(run_targets.rss_peer_plus("glibc", 255_999), samples)["met"])
        self.assertTrue(answer(run_targets.rss_peer("glibc", 1.26), samples)["met"])
        self.assertFalse(answer(run_targets.rss_peer("glibc", 1.25), samples)["met"])
        self.assertTrue(answer(run_targets.rss_below_others("glibc"), samples)["met"])
        samples["mimalloc"] = [1_256_000] * LEAST
        self.assertFalse(answer(run_targets.rss_below_others("glibc"), samples)["met"])


class Bounds(unittest.TestCase):
    def test_the_worst_count_is_held_to_a_bound(self):
        target = run_targets.at_most("calls", 12, "calls")
        self.assertTrue(answer(target, {"hakmem": [3, 12]})["met"])
        self.assertFalse(answer(target, {"hakmem": [3, 13]})["met"])
        self.assertIsNone(answer(target, {})["met"])
        self.assertEqual(word(target, {"hakmem": [12]}), "met")  # a count, no median of rounds

    def test_only_a_settled_miss_is_exit_1(self):
        status = run_targets.exit_status
        self.assertEqual(status(["met", "not settled", "not measured"], False), 0)
        self.assertEqual(status(["met", "missed"], False), 1)
        self.assertEqual(status(["not measured"], True), 1)
        self.assertEqual(status([], False), 0)


class Absent(unittest.TestCase):
    targets = (run_targets.time_best(1.02), run_targets.peak_tax(1.0, 0),
               run_targets.rss_peer("mimalloc", 1.0), run_targets.rss_peer_plus("mimalloc", 0),
               run_targets.rss_below_others("glibc"))

    def test_a_bound_is_not_met_while_a_peer_is_missing(self):
        for target in self.targets:
            got = answer(target, {"hakmem": [1.0] * LEAST, "glibc": [2.0] * LEAST})
            self.assertIsNone(got["met"])
            self.assertIn("no figures of mimalloc", got["measured"])
            self.assertEqual(run_targets.verdict(got), "not measured")

    def test_but_it_is_missed_against_the_others_alone(self):
        for target in self.targets[:2]:
            samples = {"hakmem": [3.0] * LEAST, "glibc": [2.0] * LEAST}
            self.assertEqual(word(target, samples), "missed")
            few = {"hakmem": [3.0], "glibc": [2.0]}  # settles nothing, and the best may be absent
            self.assertEqual(word(target, few), "not measured")

    def test_nor_without_the_subject(self):
        for target in self.targets:
            samples = {"glibc": [1.0] * LEAST, "mimalloc": [1.0] * LEAST}
            self.assertEqual(word(target, samples), "not measured")


if __name__ == "__main__":
    unittest.main()
