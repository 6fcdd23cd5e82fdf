#!/usr/bin/python3
"""The statistics at exit: they come only when asked for, their parts sum, and the observe flavour's
counts are what the program did."""
import os
import pathlib
import re
import subprocess
import unittest

BUILD = pathlib.Path(os.environ.get("HAK_BUILD_DIR", "build"))
DUMPS = ("TINY_MEM_DUMP", "SS_STATS_DUMP", "WARM_POOL_STATS")
ROUNDS = 100


def run(flavour, command, *dumps):
    """(stdout, lines of stderr) of a command under a flavour that prints these dumps."""
    library = BUILD / ("libhakmem.so" if flavour == "standard" else f"libhakmem-{flavour}.so")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HAKMEM_")}
    env.update({"HAKMEM_" + name: "1" for name in dumps}, LD_PRELOAD=str(library))
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True,
                          check=True, timeout=120)
    return done.stdout, done.stderr.splitlines()


def parse(lines):
    """{head: {name: number}}; a class's line under ("tiny", bytes of the class)."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"hakmem (\w+):( total)?((?: \w+=\d+)+)", line)
        if not match:
            raise AssertionError(f"no line of a dump: {line}")
        pairs = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", match.group(3))}
        key = match.group(1) if match.group(2) else (match.group(1), pairs.pop("class_bytes"))
        if key in found:
            raise AssertionError(f"twice: {line}")
        found[key] = pairs
    return found


def classes(dump):
    return {key[1]: pairs for key, pairs in dump.items() if isinstance(key, tuple)}


MIXED = [BUILD / "bench_random_mixed", "300000", "2000"]
DRIVER = [BUILD / "observe_driver"]


class Dumps(unittest.TestCase):
    def test_nothing_unasked(self):
        for flavour in ("standard", "minimal", "observe"):
            self.assertEqual(run(flavour, MIXED)[1], [])

    def test_each_alone(self):
        for flavour in ("standard", "observe"):
            for dump, head in zip(DUMPS, ("tiny", "superslabs", "warm")):
                heads = {line.split(":")[0] for line in run(flavour, MIXED, dump)[1]}
                allowed = {"hakmem " + head, "hakmem operations"}
                self.assertIn("hakmem " + head, heads)
                self.assertLessEqual(heads, allowed if dump == DUMPS[0] else {"hakmem " + head})

    def test_minimal_has_none(self):
        self.assertEqual(run("minimal", MIXED, *DUMPS)[1], [])

    def check_sums(self, dump):
        tiny, superslabs, warm = dump["tiny"], dump["superslabs"], dump["warm"]
        for name in ("slabs", "slab_bytes", "untouched_bytes", "slack_bytes"):
            self.assertEqual(sum(c[name] for c in classes(dump).values()), tiny[name], name)
        for name in ("live", "cached", "free"):
            self.assertEqual(sum(c[name] * size for size, c in classes(dump).items()),
                             tiny[name + "_bytes"], name)
        for size, c in classes(dump).items():
            objects = c["live"] + c["cached"] + c["free"]
            self.assertEqual(objects * size + c["slack_bytes"], c["slab_bytes"], size)
            self.assertLessEqual(c["untouched_bytes"], c["free"] * size)
        self.assertEqual(tiny["live_bytes"] + tiny["cached_bytes"] + tiny["free_bytes"] +
                         tiny["slack_bytes"], tiny["slab_bytes"])
        out = sum(c["live"] + c["cached"] for c in classes(dump).values())
        self.assertEqual(tiny["taken"] - tiny["returned"], out)
        self.assertEqual(superslabs["slab_bytes"], tiny["slab_bytes"])
        self.assertEqual(superslabs["slab_bytes"] + superslabs["run_bytes"] +
                         superslabs["free_bytes"], superslabs["bytes"])
        self.assertGreaterEqual(superslabs["peak_bytes"],
                                superslabs["slab_bytes"] + superslabs["run_bytes"])
        self.assertEqual(warm["free_bytes"], superslabs["free_bytes"])
        self.assertEqual(warm["dirty_bytes"] + warm["clean_bytes"], warm["free_bytes"])
        self.assertEqual(warm["warm_claims"] + warm["fresh_claims"], superslabs["claims"])
        self.assertLessEqual(warm["empty_bytes"], warm["free_bytes"])
        self.assertEqual(warm["purged_bytes"] % 65536, 0)
        self.assertGreaterEqual(warm["purged_bytes"], warm["purges"] * 65536)
        self.assertLessEqual(warm["purged_bytes"], warm["purges"] * (2 << 20))

    def test_parts_sum(self):
        for flavour in ("standard", "observe"):
            for command in (MIXED, [*DRIVER, "50"], [BUILD / "bench_larson", "--ops", "50000"],
                            [BUILD / "bench_large", "--ops", "300"], ["/bin/true"]):
                with self.subTest(flavour=flavour, command=command[0]):
                    self.check_sums(parse(run(flavour, command, *DUMPS)[1]))

    def test_operations_sum(self):
        dump = parse(run("observe", [*DRIVER, "50"], *DUMPS)[1])
        total = dump["operations"]
        for name in ("mallocs", "frees"):
            self.assertEqual(sum(c[name] for c in classes(dump).values()) + total["run_" + name] +
                             total["outside_" + name], total[name])
        for size, c in classes(dump).items():
            self.assertEqual(c["mallocs"] - c["frees"], c["live"], size)
        self.assertEqual(total["outside_mallocs"] - total["outside_frees"],
                         dump["superslabs"]["mappings"])

    def test_counts_are_what_the_program_did(self):
        """The driver against itself with nothing to do: what is left is its own counts."""
        idle = parse(run("observe", [*DRIVER, "0"], "TINY_MEM_DUMP")[1])
        said, lines = run("observe", [*DRIVER, str(ROUNDS)], "TINY_MEM_DUMP")
        busy = parse(lines)

        def counted(dump, kind):
            if kind in ("run", "outside"):
                return (dump["operations"][kind + "_mallocs"], dump["operations"][kind + "_frees"])
            pairs = classes(dump).get(int(kind), {"mallocs": 0, "frees": 0})
            return pairs["mallocs"], pairs["frees"]

        rows = [line.split() for line in said.splitlines()]
        self.assertEqual(rows.pop(), ["stays", str(busy["operations"]["stays"])])
        self.assertGreater(len(rows), 10)
        for kind, out, back in rows:
            got = [b - i for b, i in zip(counted(busy, kind), counted(idle, kind))]
            self.assertEqual(got, [int(out), int(back)], kind)
        everything = busy["operations"]["mallocs"] - idle["operations"]["mallocs"]
        self.assertEqual(everything, sum(int(row[1]) for row in rows))

    def test_a_bad_value_is_told(self):
        env = {**os.environ, "HAKMEM_TINY_MEM_DUMP": "yes", "LD_PRELOAD": str(BUILD /
                                                                              "libhakmem.so")}
        done = subprocess.run(["/bin/true"], env=env, capture_output=True, text=True, check=True,
                              timeout=60)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("HAKMEM_TINY_MEM_DUMP=yes: expected bool", done.stderr)


if __name__ == "__main__":
    unittest.main()
