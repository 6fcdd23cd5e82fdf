#!/usr/bin/python3
"""run_stats.py against known answers."""
import random
import unittest

import run_stats


class Summaries(unittest.TestCase):
    def test_spread_is_the_median_deviation(self):
        # median 10, deviations 0 0 1 2 90: the outlier does not count
        self.assertAlmostEqual(run_stats.spread_percent([10, 10, 9, 12, 100]), 10.0)
        self.assertEqual(run_stats.spread_percent([0, 0]), 0.0)

    def test_quantile_interpolates(self):
        self.assertEqual(run_stats.quantile([1, 2, 3, 4, 5], 0.5), 3)
        self.assertAlmostEqual(run_stats.quantile([0, 10], 0.25), 2.5)
        self.assertEqual(run_stats.quantile([7], 0.975), 7)

    def test_summary_keeps_the_samples(self):
        got = run_stats.summary([3.0, 1.0, 2.0])
        self.assertEqual((got["min"], got["median"], got["samples"]), (1.0, 2.0, [3.0, 1.0, 2.0]))


class Intervals(unittest.TestCase):
    def test_equal_values_have_no_width(self):
        self.assertEqual(run_stats.bootstrap_median_interval([2.0] * 9), [2.0, 2.0])

    def test_repeats_and_holds_the_median(self):
        values = [0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 0.97]
        low, high = run_stats.bootstrap_median_interval(values)
        self.assertEqual([low, high], run_stats.bootstrap_median_interval(values))
        self.assertTrue(min(values) <= low < 1.0 < high <= max(values))

    def test_covers_the_true_median_about_as_often_as_it_says(self):
        source, covered, trials = random.Random(7), 0, 200
        for _ in range(trials):
            low, high = run_stats.bootstrap_median_interval(
                [source.gauss(1.0, 0.1) for _ in range(15)])
            covered += low <= 1.0 <= high
        self.assertGreater(covered / trials, 0.88)
        self.assertLess(covered / trials, 1.0)


class Comparisons(unittest.TestCase):
    def test_rounds_are_paired(self):
        # both slow down alike in the second round: the ratio does not move
        got = run_stats.compare([1.0, 2.0, 1.0], [2.0, 4.0, 2.0])
        self.assertEqual(got["ratios"], [0.5, 0.5, 0.5])
        self.assertEqual(got["ratio_interval_95"], [0.5, 0.5])

    def test_minima_need_not_be_of_one_round(self):
        got = run_stats.compare([3.0, 9.0], [8.0, 2.0])
        self.assertEqual(got["ratio_of_minima"], 1.5)

    def test_a_zero_has_no_ratio(self):
        self.assertIsNone(run_stats.compare([1.0], [0]))


class Targets(unittest.TestCase):
    peers = ["glibc", "mimalloc"]

    def answer(self, target, samples, judge="median"):
        return target(judge, samples, "hakmem", self.peers)

    def test_best_is_the_fastest_peer(self):
        samples = {"hakmem": [10.0], "glibc": [20.0], "mimalloc": [9.0], "other": [1.0]}
        got = self.answer(run_stats.target_best(1.0), samples)
        self.assertFalse(got["met"])
        self.assertEqual(got["measured"], "1.111 of mimalloc")
        samples["mimalloc"] = [10.0]
        self.assertTrue(self.answer(run_stats.target_best(1.0), samples)["met"])

    def test_judge_selects_minima_or_medians(self):
        samples = {"hakmem": [8.0, 12.0, 12.0], "glibc": [20.0] * 3, "mimalloc": [10.0] * 3}
        target = run_stats.target_best(1.0)
        self.assertTrue(self.answer(target, samples, "of_minima")["met"])
        self.assertFalse(self.answer(target, samples, "median")["met"])

    def test_a_missing_peer_is_not_measured(self):
        for target in (run_stats.target_best(1.0), run_stats.target_peer("mimalloc", 1.0),
                       run_stats.target_below_others("glibc"),
                       run_stats.target_peer_plus("mimalloc", 0)):
            got = self.answer(target, {"hakmem": [1.0], "glibc": [1.0]})
            self.assertIsNone(got["met"])
            self.assertIn("mimalloc", got["measured"])
        self.assertIsNone(self.answer(run_stats.target_at_most(12, "calls"), {})["met"])

    def test_one_peer(self):
        samples = {"hakmem": [7.0], "mimalloc": [10.0]}
        self.assertTrue(self.answer(run_stats.target_peer("mimalloc", 0.70), samples)["met"])
        self.assertFalse(self.answer(run_stats.target_peer("mimalloc", 0.69), samples)["met"])

    def test_bytes(self):
        samples = {"hakmem": [1_256_000], "glibc": [1_000_000], "mimalloc": [1_300_000]}
        self.assertTrue(self.answer(run_stats.target_peer_plus("glibc", 256_000), samples)["met"])
        self.assertFalse(self.answer(run_stats.target_peer_plus("glibc", 255_999), samples)["met"])
        self.assertTrue(self.answer(run_stats.target_below_others("glibc"), samples)["met"])
        samples["mimalloc"] = [1_256_000]
        self.assertFalse(self.answer(run_stats.target_below_others("glibc"), samples)["met"])

    def test_the_worst_count_is_held_to_a_bound(self):
        target = run_stats.target_at_most(12, "calls")
        self.assertTrue(self.answer(target, {"hakmem": [3, 12]})["met"])
        self.assertFalse(self.answer(target, {"hakmem": [3, 13]})["met"])


if __name__ == "__main__":
    unittest.main()
