#!/usr/bin/python3
"""run_targets.py: each bound on both sides of its limit, and where something was not measured."""
import unittest

import run_targets

PEERS = ["glibc", "mimalloc"]


def answer(target, samples, peers=None):
    return target.bound(samples, "hakmem", peers or PEERS)


def word(target, samples, peers=None):
    return run_targets.verdict(answer(target, samples, peers))


class Time(unittest.TestCase):
    target = run_targets.time_best(1.02)

    def test_best_is_the_fastest_of_the_target_peers(self):
        samples = {"hakmem": [10.0], "glibc": [20.0], "mimalloc": [9.0], "other": [1.0]}
        got = answer(self.target, samples)
        self.assertEqual((got["met"], got["settled"]), (False, True))
        self.assertEqual(got["measured"], "1.111 (1.111-1.111) of mimalloc")
        samples["mimalloc"] = [10.0]
        self.assertEqual(word(self.target, samples), "met")

    def test_the_upper_end_of_the_interval_decides(self):
        theirs = [10.0] * 8
        self.assertEqual(word(self.target, {"hakmem": [10.1] * 8, "glibc": theirs,
                                            "mimalloc": theirs}), "met")
        # the median is well below the limit, but half of the rounds are above it
        self.assertEqual(word(self.target, {"hakmem": [9.0, 10.6] * 4, "glibc": theirs,
                                            "mimalloc": theirs}), "missed (not settled)")
        self.assertEqual(word(self.target, {"hakmem": [10.5, 10.6] * 4, "glibc": theirs,
                                            "mimalloc": theirs}), "missed")

    def test_all_workloads_together(self):
        compared = {"ratio": 0.8, "ratio_interval_95": [0.75, 0.87], "workloads": 22}
        got = run_targets.together("mimalloc", 0.87, compared)
        self.assertEqual((got["met"], got["measured"]),
                         (True, "0.800 (0.750-0.870) of mimalloc, 22 workloads"))
        compared["ratio_interval_95"] = [0.75, 0.88]
        got = run_targets.together("mimalloc", 0.87, compared)
        self.assertEqual(run_targets.verdict(got), "missed (not settled)")


class Memory(unittest.TestCase):
    def test_peak_tax_is_on_the_leanest(self):
        target = run_targets.peak_tax(1.08, 256 * 1024)
        lean, fat = [1_000_000], [9_000_000]
        limit = 1_080_000 + 256 * 1024
        for ours, met in ((limit, True), (limit + 1, False)):
            got = answer(target, {"hakmem": [ours], "glibc": fat, "mimalloc": lean})
            self.assertEqual(got["met"], met)
            self.assertEqual(got["measured"], "1.34 x mimalloc's, +334 KiB")

    def test_resident_memory(self):
        samples = {"hakmem": [1_256_000], "glibc": [1_000_000], "mimalloc": [1_300_000]}
        self.assertTrue(answer(run_targets.rss_peer_plus("glibc", 256_000), samples)["met"])
        self.assertFalse(answer(run_targets.rss_peer_plus("glibc", 255_999), samples)["met"])
        self.assertTrue(answer(run_targets.rss_peer("glibc", 1.26), samples)["met"])
        self.assertFalse(answer(run_targets.rss_peer("glibc", 1.25), samples)["met"])
        self.assertTrue(answer(run_targets.rss_below_others("glibc"), samples)["met"])
        samples["mimalloc"] = [1_256_000]
        self.assertFalse(answer(run_targets.rss_below_others("glibc"), samples)["met"])


class Bounds(unittest.TestCase):
    def test_the_worst_count_is_held_to_a_bound(self):
        target = run_targets.at_most("calls", 12, "calls")
        self.assertTrue(answer(target, {"hakmem": [3, 12]})["met"])
        self.assertFalse(answer(target, {"hakmem": [3, 13]})["met"])
        self.assertIsNone(answer(target, {})["met"])


class Absent(unittest.TestCase):
    targets = (run_targets.time_best(1.02), run_targets.peak_tax(1.0, 0),
               run_targets.rss_peer("mimalloc", 1.0), run_targets.rss_peer_plus("mimalloc", 0),
               run_targets.rss_below_others("glibc"))

    def test_a_bound_is_not_met_while_a_peer_is_missing(self):
        for target in self.targets:
            got = answer(target, {"hakmem": [1.0], "glibc": [2.0]})
            self.assertIsNone(got["met"])
            self.assertIn("no figures of mimalloc", got["measured"])
            self.assertEqual(run_targets.verdict(got), "not measured")

    def test_but_it_is_missed_against_the_others_alone(self):
        for target in self.targets[:2]:
            self.assertEqual(word(target, {"hakmem": [3.0], "glibc": [2.0]}), "missed")

    def test_nor_without_the_subject(self):
        for target in self.targets:
            self.assertEqual(word(target, {"glibc": [1.0], "mimalloc": [1.0]}), "not measured")


if __name__ == "__main__":
    unittest.main()
