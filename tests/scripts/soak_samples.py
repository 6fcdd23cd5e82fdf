"""What the tests of the soak tools share: calling a tool, and soaks made of a series of RSS."""
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("HAK_BUILD_DIR", SOURCE / "build"))
SCRIPTS = SOURCE / "scripts"
RECORDED = SOURCE / "tests" / "scripts" / "soak" / "recorded.csv"
DUMP = SOURCE / "tests" / "scripts" / "soak" / "observe_dump.stderr"
sys.path.insert(0, str(SCRIPTS))
import soak_csv

CALL_SECONDS_MOST = 100
HEAD = "# schema: 1\n# mode: single_process\n# bench: bench_random_mixed\n# ws: 400\n"


def call(tool, *words, text=None, **env):
    """A tool's (status, output, error text)."""
    done = subprocess.run([SCRIPTS / tool, *words], input=text, env={**os.environ, **env},
                          capture_output=True, text=True, check=False, timeout=CALL_SECONDS_MOST)
    return done.returncode, done.stdout, done.stderr


class ToolTest(unittest.TestCase):
    """A folder of its own, and the check of a refusal."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hakmem-test-"))
        self.addCleanup(subprocess.run, ["rm", "-rf", self.folder], check=True)

    def write(self, text):
        path = self.folder / "soak.csv"
        path.write_text(text, encoding="utf-8")
        return path

    def refuses(self, said, tool, *words, **more):
        """One line on stderr that holds `said`, nothing on stdout, status 2."""
        status, out, err = call(tool, *words, **more)
        self.assertEqual((status, out, err.count("\n")), (2, "", 1), err)
        self.assertRegex(err, said)


def soak_text(rss_series, epoch_s=10, **columns):
    """A soak's CSV with this RSS, an epoch each; the other columns as given or steady."""
    source = random.Random(5)
    rows = []
    for index, rss_kib in enumerate(rss_series):
        row = {"epoch": index, "time_s": (index + 1) * float(epoch_s),
               "ops_per_s": 1e8 * (1 + source.gauss(0, 0.01)), "rss_kib": rss_kib,
               "peak_kib": max(rss_series), "faults": 0, "syscalls": 0, "p50_ns": 30,
               "p99_ns": 31, "p99_9_ns": 71, "p99_99_ns": 400, "max_ns": 50000, "ops": 1000,
               "cpu_ns_per_op": 9.5, "floor_ops_per_s": 5e8}
        row.update({name: series[index] for name, series in columns.items()})
        rows.append(soak_csv.row_text(row))
    return HEAD + soak_csv.header() + "\n" + "".join(row + "\n" for row in rows)


def wandering(count, correlation, seed, scale=1.0):
    """Seeded noise without a trend, in which neighbours resemble each other (AR(1))."""
    source = random.Random(seed)
    state, series = 0.0, []
    for _ in range(200 + count):
        state = correlation * state + source.gauss(0, scale)
        series.append(state)
    return series[200:]
