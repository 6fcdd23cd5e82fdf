#!/usr/bin/python3
"""ab.py: verdicts on samples whose truth is known, intervals, variants, refusals, the ledger."""
import contextlib
import io
import math
import os
import pathlib
import random
import tempfile
import unittest

import ab
import ab_stats
from bench_machine import ROOT

BUILD = os.environ.get("HAK_BUILD_DIR", str(ROOT / "build"))


def experiment(seed, effect, noise=0.01, rounds_most=400, rss=1.0, slow_share=0.0):
    """The verdict of a synthetic experiment: B's time is A's times `effect`; some rounds of either
    are three times as slow, as on a shared machine."""
    source = random.Random(seed)

    def sample(scale):
        slow = 3 if source.random() < slow_share else 1
        return scale * slow * math.exp(source.gauss(0, noise))
    pairs, answer = [], None
    for look, wanted in enumerate(ab_stats.looks(), 1):
        if wanted > rounds_most:
            return answer
        while len(pairs) < wanted:
            pairs.append((sample(10), sample(10 * effect), 1000, 1000 * rss))
        answer = ab_stats.judge(pairs, look)
        if answer["verdict"] != "undecided":
            return answer
    return answer


class Verdicts(unittest.TestCase):
    def test_a_against_a_is_never_go(self):
        verdicts = [experiment(seed, 1.0)["verdict"] for seed in range(200)]
        self.assertNotIn("GO", verdicts)
        self.assertGreater(verdicts.count("NO-GO"), 100)  # once the interval is narrow

    def test_a_against_a_in_few_rounds_is_undecided(self):
        verdicts = [experiment(seed, 1.0, noise=0.03, rounds_most=20)["verdict"]
                    for seed in range(100)]
        self.assertNotIn("GO", verdicts)
        self.assertGreater(verdicts.count("undecided"), 80)

    def test_two_percent_slower_is_no_go(self):
        for seed in range(100):
            self.assertEqual(experiment(seed, 1.02)["verdict"], "NO-GO", seed)

    def test_two_percent_faster_is_go(self):
        for seed in range(100):
            self.assertEqual(experiment(seed, 0.98)["verdict"], "GO", seed)

    def test_slow_rounds_do_not_decide(self):
        for seed in range(50):
            self.assertEqual(experiment(seed, 0.97, slow_share=0.1)["verdict"], "GO", seed)
            self.assertNotEqual(experiment(seed, 1.0, slow_share=0.1)["verdict"], "GO", seed)

    def test_faster_but_larger_is_no_go(self):
        answer = experiment(1, 0.9, rss=1.02)
        self.assertEqual((answer["verdict"], answer["why"]), ("NO-GO", "faster, but larger"))


class Intervals(unittest.TestCase):
    def test_known_order_statistics(self):
        values = list(range(1, 11))  # of 10, outer pair: 2 / 2^10; second: 22 / 2^10
        self.assertEqual(ab_stats.median_interval(values, 0.03), (2, 9))
        self.assertEqual(ab_stats.median_interval(values, 0.02), (1, 10))
        self.assertEqual(ab_stats.median_interval(values, 0.001), (-math.inf, math.inf))

    def test_coverage(self):
        source = random.Random(5)
        missed = 0
        for _ in range(2000):
            low, high = ab_stats.median_interval([source.expovariate(1) for _ in range(25)], 0.05)
            missed += not low <= math.log(2) <= high
        self.assertLess(missed / 2000, 0.05)

    def test_all_looks_together_spend_the_error(self):
        self.assertAlmostEqual(sum(ab_stats.look_error(k) for k in range(1, 200000)), 0.05, 5)


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.log = pathlib.Path(self.folder.name) / "experiments.md"

    def call(self, a, b, *words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = ab.main(["--a", a, "--b", b, "--name", "a test", "--build", BUILD, "--log",
                                  str(self.log), *words])
            except SystemExit as stop:
                status = stop.code
        return status, out.getvalue(), err.getvalue()

    def test_a_run_is_judged_and_logged(self):
        library = os.path.join(BUILD, "libhakmem.so")
        for _ in range(2):
            status, out, err = self.call("base", f"lib:{library}+env:HAKMEM_DEPOT_BYTES=128K",
                                         "--seconds", "0.01", "--budget", "0.5")
            self.assertEqual(err, "")
            self.assertIn(status, (0, 1))
            self.assertRegex(out, r"\A(GO|NO-GO|undecided): .* rounds of mixed_400\n\Z")
        lines = self.log.read_text(encoding="utf-8").splitlines()
        self.assertEqual(len([line for line in lines if "| a test |" in line]), 2)
        self.assertIn("| base | lib:libhakmem.so+env:HAKMEM_DEPOT_BYTES=128K |", lines[-1])
        self.assertNotIn(BUILD, self.log.read_text(encoding="utf-8"))
        self.assertEqual(len(set(line.count("|") for line in lines[-4:])), 1)

    def test_bad_input_is_one_line_and_changes_nothing(self):
        not_a_library = os.path.join(BUILD, "bench_hello")
        for bad in ("lib:/nowhere/libx.so", "env:=1", "flag:x", "commit:no-such-revision", "other",
                    "lib:" + not_a_library):
            status, out, err = self.call("base", bad, "--seconds", "0.01", "--budget", "0.1")
            self.assertEqual((status, out), (2, ""), bad)
            self.assertRegex(err, r"\Aab\.py: [^\n]+\n\Z")
        self.assertFalse(self.log.exists())

    def test_flags_that_do_not_fit(self):
        for words in (("--budget", "0"), ("--seconds", "-1"), ("--workload", "rss_400")):
            self.assertEqual(self.call("base", "base", *words)[0], 2)


if __name__ == "__main__":
    unittest.main()
