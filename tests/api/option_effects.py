#!/usr/bin/python3
"""option_effects.py PROGRAM LIBRARY KNOBS: each option does what it says, seen from outside.

Under each value of an option the program prints one figure (option_effect.c says which), which must
grow from each value of the case to the next by more than the case's margin: set in the environment
and, where the option is live, by a call. An option of KNOBS (knobs.def) without a case fails.
"""
import os
import re
import subprocess
import sys
import unittest

PROGRAM, LIBRARY, KNOBS = sys.argv[1:4]
MIB = 1 << 20

# Option, or option.figure: the values in the order in which the figure grows, by how much at least,
# and what else is set. Add a case here, and its figure to option_effect.c. A case whose option is
# not in knobs.def is not run.
CASES = {
    "PROFILE": (("lean", "balanced", "speed"), 10 * MIB, {}),
    "SS_MEM_LEAN": (("1", "0"), 10 * MIB, {}),
    "REGION_BYTES": (("1G", "64G"), 60 << 30, {}),
    "HEAPS": (("2", "64"), MIB // 2, {}),
    "DEPOT_BYTES": (("0", "1M", "64M"), MIB // 2, {}),
    "WARM_POOL_BYTES": (("0", "16M", "64M"), 10 * MIB, {}),
    "CLASS_REFINE": (("1", "0"), 1000, {}),
    "REFINE_BYTES": (("64K", "1G"), 1000, {}),
    "SS_RELEASE": (("dontneed", "off"), 60 * MIB, {}),
    "SS_RELEASE.free": (("dontneed", "free"), 60 * MIB, {}),
    "PURGE_DELAY_MS": (("100", "0"), 4 * MIB, {}),
    "BORROW": (("0", "1"), 30, {}),
    "BIN_BYTES": (("4K", "1M"), MIB // 4, {"DEPOT_BYTES": "0"}),
    "SUBSLAB_PURGE": (("1", "0"), 40 * MIB, {}),
    "MEMORY_LIMIT": (("32M", "64M", "off"), 25 * MIB, {}),
    "THP": (("never", "always"), 30 * MIB, {}),
    "TINY_MEM_DUMP": (("0", "1"), 1, {}),
    "SS_STATS_DUMP": (("0", "1"), 0, {}),
    "WARM_POOL_STATS": (("0", "1"), 0, {}),
    "CONF_STRICT": (("0", "1"), 77, {"NO_SUCH_OPTION": "1"}),
    "BACKGROUND": (("1", "0"), 4 * MIB, {"PURGE_DELAY_MS": "500"}),
    "PREWARM": (("64M", "0"), 500, {}),
}
# What no figure of the program's shows: lines of a dump, the exit status.
LINES = re.compile(r"^hakmem (?:tiny|superslabs|warm): ", re.M)
DUMPS = ("TINY_MEM_DUMP", "SS_STATS_DUMP", "WARM_POOL_STATS")
TIMES_FEWER = {"PREWARM": 5}
THP_PATH = "/sys/kernel/mm/transparent_hugepage/enabled"


def has_huge_pages():
    try:
        with open(THP_PATH, encoding="utf-8") as modes:
            return "[never]" not in modes.read()
    except FileNotFoundError:
        return False


def knobs():
    """{option: whether it is live}, of KNOBS."""
    with open(KNOBS, encoding="utf-8") as file:
        found = re.findall(r'^KNOB\((\w+), (?:[^,"]+, ){4}(live|start), ', file.read(), re.M)
    return {name: when == "live" for name, when in found}


def run(case, value, by_call, others):
    """What the program printed; memory that is short on this machine must not tighten options."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("HAKMEM_")}
    env.update({"HAKMEM_MEMORY_LIMIT": "off", "LD_PRELOAD": LIBRARY})
    env.update({"HAKMEM_" + name: text for name, text in others.items()})
    if not by_call:
        env["HAKMEM_" + case.split(".")[0]] = value
    return subprocess.run([PROGRAM, case, *([value] if by_call else [])], env=env,
                          capture_output=True, text=True, check=False, timeout=60)


def figure(case, value, by_call, others):
    done = run(case, value, by_call, others)
    if case == "CONF_STRICT":
        return done.returncode
    if case in DUMPS:
        return len(LINES.findall(done.stderr))
    if done.returncode != 0 or done.stderr != "":
        raise AssertionError(f"{case}={value}: {done}")
    return int(done.stdout)


class Effects(unittest.TestCase):
    def check(self, case, by_call):
        if case == "THP" and not has_huge_pages():
            self.skipTest("THP: this system has no huge pages")
        values, margin, others = CASES[case]
        figures = [figure(case, value, by_call, others) for value in values]
        print(f"{case}{' by a call' if by_call else ''}:",
              *(f"{value} {f}," for value, f in zip(values, figures)))
        for less, more in zip(figures, figures[1:]):
            self.assertGreater(more - less, margin, (case, values, figures))
            self.assertGreaterEqual(more, less * TIMES_FEWER.get(case, 1), (case, figures))

    def check_all(self, by_call):
        known = knobs()
        for case in CASES:
            option = case.split(".")[0]
            if option not in known or (by_call and not known[option]):
                continue
            with self.subTest(case=case, by_call=by_call):
                self.check(case, by_call)

    def test_in_the_environment(self):
        self.check_all(False)

    def test_by_a_call(self):
        self.check_all(True)

    def test_every_option_has_a_case(self):
        cases = {case.split(".")[0] for case in CASES}
        self.assertGreater(len(knobs()), 10, "is knobs.def written otherwise now?")
        self.assertEqual(sorted(set(knobs()) - cases), [], "without a case in CASES")
        shown = subprocess.run([PROGRAM, "list"], capture_output=True, text=True, check=True)
        self.assertEqual(sorted(shown.stdout.split()), sorted(CASES))


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], exit=False).result
    for _, why in result.skipped:
        print(f"SKIP: {why}")
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
