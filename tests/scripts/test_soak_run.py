#!/usr/bin/python3
"""Real soaks of seconds: both kinds, a signal midway, going on afterwards, what is refused."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

import soak_samples
from soak_samples import BUILD, call

import soak_csv

SINGLE, FRESH = "soak_mixed_single_process.sh", "soak_mixed_rss.sh"
HAKMEM = BUILD / "libhakmem.so"
BENCH = BUILD / "bench_random_mixed"
SHORT = {"BENCH_BIN": str(BENCH), "SOAK_PRELOAD": str(HAKMEM), "DURATION_SEC": "3",
         "EPOCH_SEC": "0.5"}
WAIT_SECONDS = 60

# In the place of bench_random_mixed: its record, or three epochs without a measurement.
CALLS_PROGRAM = """#!/usr/bin/python3
import ctypes, json, os, sys
libc = ctypes.CDLL(None)
print(json.dumps({"allocator": "libc.so.6", "bench": "bench_random_mixed"}), flush=True)
for epoch in range(0 if "--json" in sys.argv else 3):
    for calls in (3, 4):
        os.getuid()
        libc.prctl(0x48414b, 1, 0, 0, 0)
        for _ in range(calls):
            libc.getppid()
        libc.prctl(0x48414b, 2, 0, 0, 0)
    names = ["ops", "ops_per_s", "cpu_ns_per_op", "floor_ops_per_s", "rss_bytes", "faults",
             "rss_peak_bytes", "p50_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns"]
    print(json.dumps({"epoch": epoch, "time_ns": (epoch + 1) * 10**9, **dict.fromkeys(names, 1)}))
"""


def children_of(pid):
    """The process ids below this one, all generations."""
    found = []
    for line in subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        child, parent = map(int, line.split())
        if parent == pid:
            found += [child, *children_of(child)]
    return found


def is_alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


class SoakTest(soak_samples.ToolTest):
    def soaked(self, tool, path=None, *words, **env):
        """The CSV that a whole run prints."""
        status, out, err = call(tool, *words, **{**SHORT, **env})
        self.assertEqual((status, err), (0, ""))
        path = path or self.folder / "soak.csv"
        path.write_text(out, encoding="utf-8")
        return soak_csv.read(path)

    def running_below(self, child):
        """The processes below a tool that runs; between two epochs there may be none for a
        moment."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end and child.poll() is None:
            below = children_of(child.pid)
            if below:
                return below
        self.fail(f"no process below the tool (status {child.poll()})")

    def stopped(self, tool, number, rows, path, **env):
        """Starts a long run into `path`, sends the signal after so many rows and checks that all
        its processes end; its status."""
        with open(path, "w", encoding="utf-8") as file:
            child = subprocess.Popen([soak_samples.SCRIPTS / tool], stdout=subprocess.PIPE,
                                     text=True, env={**os.environ, **SHORT, "DURATION_SEC": "600",
                                                     **env})
            self.addCleanup(child.stdout.close)
            self.addCleanup(child.kill)
            for line in child.stdout:
                file.write(line)
                if line[0].isdigit():
                    rows -= 1
                    if rows == 0:
                        break
            below = self.running_below(child)
            child.send_signal(number)
            file.write(child.stdout.read())
            status = child.wait(timeout=WAIT_SECONDS)
        self.assertEqual([pid for pid in below if is_alive(pid)], [])
        return status


class Whole(SoakTest):
    def test_one_process(self):
        soak = self.soaked(SINGLE)
        about, rows = soak.about, soak.rows
        self.assertEqual((about["mode"], about["allocator"], about["ws"]),
                         ("single_process", "libhakmem.so", "400"))
        for key in ("bench", "cpu", "cores", "ram_gib", "kernel", "thp", "commit"):
            self.assertTrue(about[key], key)
        self.assertNotIn(os.uname().nodename,
                         json.dumps({**about, "cpu": "", "commit": ""}))
        self.assertGreaterEqual(rows[-1]["time_s"], 3)
        self.assertLess(rows[-2]["time_s"], 3)
        for row in rows:
            self.assertGreater(row["ops"], 0)
            for name in ("ops_per_s", "floor_ops_per_s", "cpu_ns_per_op"):
                self.assertGreater(row[name], 0)
            self.assertGreaterEqual(row["peak_kib"], row["rss_kib"])
            self.assertGreater(row["rss_kib"], 100)
            ordered = [row[name] for name in soak_csv.TAILS]
            self.assertEqual(ordered, sorted(ordered))
        self.assertEqual(call("analyze_epoch_tail_csv.py", self.folder / "soak.csv")[0], 0)

    def test_a_process_an_epoch(self):
        soak = self.soaked(FRESH)
        self.assertEqual(soak.about["mode"], "process_an_epoch")
        self.assertGreaterEqual(soak.rows[-1]["time_s"], 3)
        for row in soak.rows:
            self.assertGreater(row["faults"], 0)  # each starts cold

    def test_a_profile(self):
        for profile in ("lean", "speed"):
            soak = self.soaked(SINGLE, None, "--profile", profile, DURATION_SEC="1")
            self.assertEqual((soak.about["profile"], soak.about["options"]),
                             (profile, f"HAKMEM_PROFILE={profile}"))
            self.refuses("has options 'HAKMEM_PROFILE=.*', this run has 'none'", SINGLE,
                         **SHORT, SOAK_RESUME=str(self.folder / "soak.csv"))
        self.assertNotIn("profile", self.soaked(SINGLE, DURATION_SEC="1").about)

    def test_without_counting(self):
        soak = self.soaked(SINGLE, SOAK_SYSCALLS="0", DURATION_SEC="1")
        self.assertEqual({row["syscalls"] for row in soak.rows}, {None})
        self.assertIn("SOAK_SYSCALLS=0", soak.about["syscalls"])

    def test_where_strace_is_refused(self):
        strace = self.folder / "strace"
        strace.write_text("#!/bin/sh\necho 'strace: ptrace: not permitted' >&2\nexit 1\n",
                          encoding="ascii")
        strace.chmod(0o755)
        soak = self.soaked(SINGLE, DURATION_SEC="1", PATH=f"{self.folder}:{os.environ['PATH']}")
        self.assertEqual({row["syscalls"] for row in soak.rows}, {None})
        self.assertIn("not permitted", soak.about["syscalls"])

    def test_calls_between_the_markers_are_counted(self):
        """A program that makes 3 and 4 calls in an epoch's two slices, and others around them."""
        traced = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True,
                                check=False) if shutil.which("strace") else None
        if traced is None or traced.returncode != 0:
            self.skipTest("strace cannot trace here")
        bench = self.folder / "bench_random_mixed"
        bench.write_text(CALLS_PROGRAM, encoding="ascii")
        bench.chmod(0o755)
        soak = self.soaked(SINGLE, BENCH_BIN=str(bench), SOAK_PRELOAD="")
        self.assertEqual([row["syscalls"] for row in soak.rows], [7, 7, 7])

    def test_without_a_preload(self):
        soak = self.soaked(SINGLE, SOAK_PRELOAD="", DURATION_SEC="1")
        self.assertEqual(soak.about["allocator"], "libc.so.6")


class Stopped(SoakTest):
    def test_a_signal_keeps_every_finished_epoch(self):
        for tool in (SINGLE, FRESH):
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(tool=tool, number=number):
                    path = self.folder / "stopped.csv"
                    self.assertEqual(self.stopped(tool, number, 2, path), 128 + number)
                    self.assertGreaterEqual(len(soak_csv.read(path).rows), 2)

    def test_the_program_alone_ends_cleanly_too(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            child = subprocess.Popen([BENCH, "1", "400", "--epoch-seconds", "0.2", "--seconds",
                                      "600"], stdout=subprocess.PIPE, text=True)
            with child.stdout:
                self.assertEqual(json.loads(child.stdout.readline())["bench"],
                                 "bench_random_mixed")
                self.assertEqual(json.loads(child.stdout.readline())["epoch"], 0)
                child.send_signal(number)
                for line in child.stdout:
                    json.loads(line)
            self.assertEqual(child.wait(timeout=WAIT_SECONDS), 128 + number)

    def test_a_program_that_dies_ends_the_soak_with_a_line(self):
        bench = self.folder / "bench_random_mixed"
        for instead, said in (("echo early >&2; exit 7", "the program ended with 7: early"),
                              ("exit 0", "the program ended without an epoch: BENCH_BIN takes no "
                                         "--epoch-seconds")):
            bench.write_text(f'#!/bin/sh\ncase "$*" in *--epoch*) {instead};; esac\n'
                             f'exec "{BENCH}" "$@"\n', encoding="ascii")
            bench.chmod(0o755)
            for tool in (SINGLE, FRESH):
                status, _, err = call(tool, **{**SHORT, "BENCH_BIN": str(bench)})
                self.assertEqual((status, err), (2, f"soak: {said}\n"))

    def test_a_malformed_epoch_ends_the_soak_with_a_line(self):
        """Two whole epochs, the calls in them counted, then a line that is none."""
        bench = self.folder / "bench_random_mixed"
        ok = json.dumps({"epoch": 2, "time_ns": 3 * 10**9, "cpu_ns_per_op": 1.5, **dict.fromkeys(
            ["ops", "rss_bytes", "rss_peak_bytes", "faults", "ops_per_s", "floor_ops_per_s",
             "p50_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns"], 1)}, separators=(",", ":"))
        faults = [('{"epoch":2,"time', "no JSON"), ('"epoch"', "no JSON object"),
                  ('{"a":' + "[" * 50000 + '"epoch"', "no JSON"),
                  ('{"epoch":2}', "no time_ns"), (ok.replace(',"max_ns":1', ""), "no max_ns"),
                  (ok.replace('"ops":1,', '"ops":1.5,'), "ops is no whole number"),
                  (ok.replace('"faults":1', '"faults":true'), "faults is no whole number"),
                  (ok.replace(":1.5", ":NaN"), "cpu_ns_per_op is out of range"),
                  (ok.replace('"p99_ns":1', '"p99_ns":"1"'), "p99_ns is no number"),
                  (ok.replace("3000000000", "2000000000"),
                   "time_ns is 2000000000, not after 2000000000"),
                  (ok.replace("}", "\xff}"), "no JSON")]
        for line, said in faults:
            for counts, calls in (("1", ["7", ""]), ("0", [""])):
                with self.subTest(said=said, counts=counts):
                    text = CALLS_PROGRAM.replace("else 3)", "else 2)")
                    bench.write_text(f"{text}if '--json' not in sys.argv:\n"
                                     f"    sys.stdout.buffer.write({line.encode('latin1') !r}"
                                     f" + b'\\n')\n    sys.stdout.flush()\n"
                                     "    import time; time.sleep(600)\n", encoding="latin1")
                    bench.chmod(0o755)
                    status, out, err = call(SINGLE, **{**SHORT, "BENCH_BIN": str(bench),
                                                       "SOAK_PRELOAD": "", "SOAK_SYSCALLS": counts})
                    self.assertEqual(status, 2, err)
                    self.assertRegex(err, r"\Asoak: line 4 of bench_random_mixed's output is no "
                                          rf"epoch \({said}\): expected is [^\n]+\n\Z")
                    rows = soak_csv.read(self.write(out)).rows
                    self.assertEqual(len(rows), 2)
                    for row in rows:
                        self.assertIn(str(row["syscalls"] or ""), calls)

    def test_an_epoch_cut_off_by_the_programs_end(self):
        """What the program died of is said, where it did not die the line."""
        bench = self.folder / "bench_random_mixed"
        for ending, said in (("sys.exit('too late')", "the program ended with 1: too late"),
                             ("sys.exit(0)", r"line 5 of bench_random_mixed's output is no epoch")):
            bench.write_text(CALLS_PROGRAM + "if '--json' not in sys.argv:\n"
                             "    sys.stdout.write('{\"epoch\":3,'); sys.stdout.flush()\n"
                             f"    {ending}\n", encoding="ascii")
            bench.chmod(0o755)
            env = {**SHORT, "BENCH_BIN": str(bench), "SOAK_PRELOAD": ""}
            status, out, err = call(SINGLE, **env)
            self.assertEqual((status, err.count("\n")), (2, 1), err)
            self.assertRegex(err, said)
            self.assertEqual(len(soak_csv.read(self.write(out)).rows), 3)


class Resumed(SoakTest):
    def resume(self, tool, path, **env):
        status, out, err = call(tool, **{**SHORT, **env}, SOAK_RESUME=str(path))
        return status, out, err

    def test_a_stopped_run_goes_on(self):
        for tool in (SINGLE, FRESH):
            with self.subTest(tool=tool):
                path = self.folder / "soak.csv"
                self.stopped(tool, signal.SIGTERM, 2, path)
                before = path.read_text(encoding="utf-8")
                rows = len(soak_csv.read(path).rows)
                with open(path, "a", encoding="utf-8") as file:
                    file.write(f"{rows},1.5")  # a row cut off
                self.assertEqual(self.resume(tool, path), (0, "", ""))
                after = path.read_text(encoding="utf-8")
                self.assertTrue(after.startswith(before + "# resumed: after "))
                soak = soak_csv.read(path)
                self.assertEqual(soak.segments, [0, rows])
                self.assertGreaterEqual(soak.rows[-1]["time_s"], 3)
                self.assertLess(soak.rows[-2]["time_s"], 3)
                self.assertEqual(self.resume(tool, path), (0, "", ""))  # nothing left to do
                self.assertEqual(path.read_text(encoding="utf-8"), after)

    def test_a_file_of_something_else_is_left_alone(self):
        path = self.folder / "soak.csv"
        self.soaked(SINGLE, path, DURATION_SEC="1")
        text = path.read_text(encoding="utf-8")
        refusals = [
            (SINGLE, {"WS": "300"}, "has ws '400', this run has '300'"),
            (SINGLE, {"EPOCH_SEC": "1"}, "has epoch_s '0.5', this run has '1'"),
            (SINGLE, {"SOAK_PRELOAD": ""}, "'libhakmem.so', this run has 'libc.so.6'"),
            (SINGLE, {"HAKMEM_DEPOT_BYTES": "0"}, "has options 'none', this run"),
            (FRESH, {}, "has mode 'single_process', this run has 'process_an_epoch'"),
        ]
        for tool, env, said in refusals:
            with self.subTest(said=said):
                self.refuses(said, tool, **{**SHORT, **env, "SOAK_RESUME": str(path)})
                self.assertEqual(path.read_text(encoding="utf-8"), text)
        self.refuses("there is no file", SINGLE, **SHORT, SOAK_RESUME=str(path) + ".none")
        self.refuses("no header line", SINGLE, **SHORT, SOAK_RESUME=str(self.write("")))


class Refused(SoakTest):
    def test_bad_input_gets_one_line(self):
        not_a_library = self.folder / "not_a_library.so"
        not_a_library.write_text("no library\n", encoding="ascii")
        other = self.folder / "other"
        other.write_text("#!/bin/sh\necho hello\n", encoding="ascii")
        other.chmod(0o755)
        refusals = [
            ({"BENCH_BIN": "/nowhere/bench"}, "BENCH_BIN: there is no file"),
            ({"BENCH_BIN": str(not_a_library)}, "is no program"),
            ({"BENCH_BIN": str(other)}, "other prints no benchmark record"),
            ({"DURATION_SEC": "0"}, "DURATION_SEC must be a number of seconds above 0"),
            ({"DURATION_SEC": "nan"}, "DURATION_SEC must be"),
            ({"DURATION_SEC": ""}, "DURATION_SEC must be"),
            ({"EPOCH_SEC": "-1"}, "EPOCH_SEC must be"),
            ({"EPOCH_SEC": "4"}, r"EPOCH_SEC \(4\) is above DURATION_SEC \(3\)"),
            ({"WS": "0"}, "WS must be a whole number"),
            ({"WS": "4x"}, "WS must be a whole number"),
            ({"SOAK_SYSCALLS": "7"}, r"SOAK_SYSCALLS must be 1 \(.*\) or 0 \(.*\), not '7'"),
            ({"SOAK_SYSCALLS": ""}, "SOAK_SYSCALLS must be"),
            ({"SOAK_PRELOAD": "/nowhere/lib.so"}, "SOAK_PRELOAD: there is no file"),
            ({"SOAK_PRELOAD": str(not_a_library)},
             "not_a_library.so is not in place: bench_random_mixed runs on libc.so.6"),
        ]
        for tool in (SINGLE, FRESH):
            for env, said in refusals:
                with self.subTest(tool=tool, said=said):
                    self.refuses(said, tool, **{**SHORT, **env})
            for words, said in (
                    (["more"], f"{tool} takes no argument but --profile, and 'more' was given"),
                    (["--profile", "lean", "x"], "takes no argument but --profile, and 'x' was"),
                    (["--profile"], "--profile takes one of balanced, lean, speed$"),
                    (["--profile", "fat"], "--profile takes one of .*, not 'fat'")):
                self.refuses(said, tool, *words, **SHORT)
            self.refuses("--profile lean, but HAKMEM_PROFILE=speed is in the environment", tool,
                         "--profile", "lean", **SHORT, HAKMEM_PROFILE="speed")
            self.refuses("--profile lean: the program runs on libc.so.6, which has none", tool,
                         "--profile", "lean", **{**SHORT, "SOAK_PRELOAD": ""})

    def test_help_names_the_script(self):
        for tool, other in ((SINGLE, FRESH), (FRESH, SINGLE)):
            for word in ("--help", "-h"):
                status, out, err = call(tool, word)
                self.assertEqual((status, err), (0, ""))
                self.assertIn(f"\nusage: {tool} [--profile NAME], with", out)
                for name in (other, "soak.py"):
                    self.assertNotIn(name, out)
                for name in ("BENCH_BIN", "DURATION_SEC", "EPOCH_SEC", "WS", "SOAK_PRELOAD",
                             "SOAK_SYSCALLS", "SOAK_RESUME"):
                    self.assertIn(name, out)

    def test_the_program_refuses_what_epochs_cannot_have(self):
        for words, said in ((["--seconds", "1"], "--epoch-seconds is above --seconds"),
                            ([], "--epoch-seconds needs --seconds"),
                            (["--seconds", "9", "--ops", "5"], "takes no --ops"),
                            (["--seconds", "9", "--threads", "2"], "takes one thread"),
                            (["--seconds", "9", "--latency"], "no --latency")):
            done = subprocess.run([BENCH, "--epoch-seconds", "2", *words], capture_output=True,
                                  text=True, check=False, timeout=WAIT_SECONDS)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
            self.assertIn(said, done.stderr)


if __name__ == "__main__":
    unittest.main()
