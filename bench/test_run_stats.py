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

    def test_cv_is_the_sample_deviation_over_the_mean(self):
        # mean 10, squared deviations 4 0 4, over n - 1: deviation 2
        self.assertAlmostEqual(run_stats.cv_percent([8, 10, 12]), 20.0)
        self.assertAlmostEqual(run_stats.cv_percent([1, 3]), 100 * 2 ** 0.5 / 2)
        self.assertEqual(run_stats.cv_percent([5, 5, 5]), 0.0)
        self.assertEqual(run_stats.cv_percent([5]), 0.0)
        self.assertEqual(run_stats.cv_percent([0, 0]), 0.0)

    def test_quantile_interpolates(self):
        self.assertEqual(run_stats.quantile([1, 2, 3, 4, 5], 0.5), 3)
        self.assertAlmostEqual(run_stats.quantile([0, 10], 0.25), 2.5)
        self.assertEqual(run_stats.quantile([7], 0.975), 7)

    def test_summary_keeps_the_samples(self):
        got = run_stats.summary([3.0, 1.0, 2.0])
        self.assertEqual((got["min"], got["median"], got["samples"]), (1.0, 2.0, [3.0, 1.0, 2.0]))
        self.assertAlmostEqual(got["cv_percent"], 50.0)


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
        self.assertEqual(got["ratio_cv_percent"], 0.0)

    def test_cv_of_the_ratio(self):
        got = run_stats.compare([8.0, 20.0, 36.0], [10.0, 20.0, 30.0])  # 0.8, 1.0, 1.2
        self.assertAlmostEqual(got["ratio_cv_percent"], 20.0)

    def test_minima_need_not_be_of_one_round(self):
        got = run_stats.compare([3.0, 9.0], [8.0, 2.0])
        self.assertEqual(got["ratio_of_minima"], 1.5)

    def test_a_zero_has_no_ratio(self):
        self.assertIsNone(run_stats.compare([1.0], [0]))
        self.assertIsNone(run_stats.compare([1.0, 1.0], [0, 1.0]))

    def test_geometric_mean_of_medians(self):
        got = run_stats.compare_together([[0.5, 0.5, 9.0], [2.0, 2.0, 2.0], [0.5, 0.5, 0.5],
                                          [0.5, 0.5, 0.5]])
        self.assertAlmostEqual(got["ratio"], 0.5 ** 0.5)
        self.assertEqual(got["workloads"], 4)
        low, high = got["ratio_interval_95"]
        self.assertAlmostEqual(low, got["ratio"])
        self.assertGreater(high, got["ratio"])


if __name__ == "__main__":
    unittest.main()
