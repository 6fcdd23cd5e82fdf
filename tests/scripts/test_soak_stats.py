#!/usr/bin/python3
"""soak_stats.py against known answers."""
import unittest

import soak_samples
import soak_stats

TIMES = [10.0 * index for index in range(300)]


def holds_0(values, seed=1):
    low, high = soak_stats.slope_interval(TIMES, values, seed, resamples=200)[1]
    return low <= 0 <= high


class Slopes(unittest.TestCase):
    def test_a_constant_series_has_no_slope_and_no_width(self):
        self.assertEqual(soak_stats.slope_interval(TIMES, [2000] * 300), (0, [0, 0]))

    def test_a_line_is_found_exactly(self):
        slope, (low, high) = soak_stats.slope_interval(TIMES, [2000 + 0.5 * t for t in TIMES])
        for value in (slope, low, high):
            self.assertAlmostEqual(value, 0.5)

    def test_a_drift_below_noise_is_found(self):
        noise = soak_samples.wandering(300, 0.5, seed=3)
        series = [0.01 * time + step for time, step in zip(TIMES, noise)]
        slope, (low, high) = soak_stats.slope_interval(TIMES, series)
        self.assertTrue(0 < low < 0.01 < high, (low, high))
        self.assertAlmostEqual(slope, 0.01, delta=0.001)

    def test_a_falling_series_does_not_hold_0(self):
        self.assertFalse(holds_0([2000 - 0.5 * time for time in TIMES]))

    def test_outliers_do_not_move_it(self):
        series = [2000 if index % 7 else 9000 for index in range(300)]
        self.assertEqual(soak_stats.theil_sen(TIMES[:60], series[:60]), 0)

    def test_the_interval_holds_0_about_as_often_as_it_says(self):
        """Each row: a series' own correlation, and how many of 40 seeds may miss. At 95 % two
        do; seeded, so that the counts are the same in every run."""
        for correlation, most in ((0.0, 5), (0.8, 5), (0.95, 6)):
            missed = [seed for seed in range(40)
                      if not holds_0(soak_samples.wandering(300, correlation, 100 + seed), seed)]
            self.assertLessEqual(len(missed), most, f"correlation {correlation}: seeds {missed}")

    def test_it_is_repeatable(self):
        series = soak_samples.wandering(300, 0.8, seed=9)
        self.assertEqual(soak_stats.slope_interval(TIMES, series),
                         soak_stats.slope_interval(TIMES, series))


class Parts(unittest.TestCase):
    def test_variation(self):
        self.assertEqual(soak_stats.cv_percent([7, 7, 7]), 0)
        self.assertAlmostEqual(soak_stats.cv_percent([90, 100, 110]), 10)

    def test_bins_keep_order_and_lose_no_value(self):
        times, values = soak_stats.bins_make(list(range(10)), list(range(10)), most=5)
        self.assertEqual((times, values), ([0.5, 2.5, 4.5, 6.5, 8.5], [0.5, 2.5, 4.5, 6.5, 8.5]))
        self.assertEqual(soak_stats.bins_make([1, 2], [3, 4])[1], [3, 4])

    def test_student(self):
        for freedom, known in ((10, 2.228), (30, 2.042), (100, 1.984)):
            self.assertAlmostEqual(soak_stats.student_975(freedom), known, places=2)

    def test_the_correlation_of_neighbours(self):
        self.assertEqual(soak_stats.neighbour_correlation([0, 0, 0, 0]), 0)
        series = soak_samples.wandering(2000, 0.8, seed=1)
        self.assertAlmostEqual(soak_stats.neighbour_correlation(series), 0.8, delta=0.05)


if __name__ == "__main__":
    unittest.main()
