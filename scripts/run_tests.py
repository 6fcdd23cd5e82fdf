#!/usr/bin/python3
"""run_tests.py short | long [--part PRESET-FOLDER]: build presets, run their tests of that label.

short: every short test of the release, then the sanitizer builds (unit tests and the programs that
       call the hak_ API), then the build with clang and its unit tests. Any order of failures is
       run to the end. The last line is `N passed, N failed, N skipped`.
long:  the long tests of each preset: those of one thread one a core at a time, then the others by
       themselves. A part (one test folder of one preset) writes docs/results/
       long-PRESET-FOLDER.txt, line by line as its tests end, and their counts once all have. A
       test that has passed there for the current commit is not run again, so that an interrupted
       run can be resumed. --part PRESET-FOLDER: that part only.
Exit: 0 all passed (or skipped), 1 a failure, 2 bad usage.
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "docs", "results")
SUMMARY = os.path.join(ROOT, "build", "tests-summary.txt")
# What each preset runs of the short tests (a regular expression of test names, None = all).
SHORT = [("release", None), ("asan", None), ("tsan", None), ("clang", r"^unit\.")]
LONG = ["release", "asan", "tsan", "aarch64"]
# The cross build has no long tests of its own: its long part runs these short ones under qemu,
# some forty times as slow as the machine. Those that bound resident memory would measure the
# emulator.
CROSS = "aarch64"
FAILED_LINES = 20  # of the output of a failed test, kept in its result file; arbitrary
CROSS_TESTS = r"^api\.|^stress\.(model_|remote_(pair|exchange|churn)\.)"


def build_dir(preset):
    return os.path.join(ROOT, "build" if preset == "release" else "build-" + preset)


def build(preset):
    """Configures and builds a preset; False if that fails."""
    print(f"== build {preset}", flush=True)
    for command in (["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            print(done.stdout, flush=True)
            return False
    return True


def skip_reason(output):
    found = re.search(r"SKIP: (.*)", output or "")
    return found.group(1).strip() if found else "no reason printed"


def read_junit(path):
    """Yields (name, state, output, seconds); state is passed, failed or skipped."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        output = case.findtext("system-out") or ""
        state = {"run": "passed", "fail": "failed"}.get(case.get("status"), "skipped")
        skipped = case.find("skipped")
        # CTest reports a test that could not be started as "not run", as it does a skip.
        if state == "skipped" and (skipped is None or
                                   "SKIP_RETURN_CODE" not in skipped.get("message", "")):
            state = "failed"
        yield case.get("name"), state, output, float(case.get("time") or 0)


def ctest(preset, arguments):
    """Runs ctest in a preset; returns the list of read_junit, or None if it made none."""
    junit = os.path.join(build_dir(preset), "junit.xml")
    if os.path.exists(junit):
        os.unlink(junit)
    subprocess.run(["ctest", "--test-dir", build_dir(preset), "--output-on-failure",
                    "--test-output-size-passed", "65536", "--no-tests=ignore",
                    "--output-junit", junit] + arguments, check=False)
    return list(read_junit(junit)) if os.path.exists(junit) else None


def count_line(counts):
    return "%d passed, %d failed, %d skipped" % (counts["passed"], counts["failed"],
                                                 counts["skipped"])


def finish(counts, failures, skips):
    for line in skips:
        print("skipped:", line)
    for line in failures:
        print("FAILED:", line)
    line = count_line(counts)
    os.makedirs(os.path.dirname(SUMMARY), exist_ok=True)
    with open(SUMMARY, "w", encoding="utf-8") as file:
        file.write("".join(f"skipped: {s}\n" for s in skips))
        file.write("".join(f"FAILED: {f}\n" for f in failures))
        file.write(line + "\n")
    print(line)
    return 1 if counts["failed"] else 0


def run_short():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures, skips = [], []
    for preset, only in SHORT:
        ok = build(preset)
        counts["passed" if ok else "failed"] += 1
        if not ok:
            failures.append(f"{preset}: the build")
            continue
        arguments = ["-L", "short", "-j", str(os.cpu_count() or 1)]
        if only:
            arguments += ["-R", only]
        results = ctest(preset, arguments)
        if not results:
            counts["failed"] += 1
            failures.append(f"{preset}: no test ran")
            continue
        for name, state, output, _ in results:
            counts[state] += 1
            if state == "failed":
                failures.append(f"{preset}: {name}")
            elif state == "skipped":
                skips.append(f"{preset}: {name}: {skip_reason(output)}")
            elif name.startswith("fault."):
                # A fault test that injects little passes as well: let the log say how much.
                print(f"{preset}: {name}: {last_line(output)}")
    return finish(counts, failures, skips)


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT] + list(arguments), capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit_tested():
    """The newest commit that touches more than results, or "" when files differ from it."""
    scope = ["--", ".", ":!docs/results"]
    if git("status", "--porcelain", *scope):
        return ""
    return git("log", "-1", "--format=%H", *scope)


def machine():
    def first(path, pattern):
        with open(path, encoding="utf-8") as file:
            found = re.search(pattern, file.read(), re.M)
        return found.group(1) if found else "unknown"
    ram = int(first("/proc/meminfo", r"^MemTotal:\s+(\d+)")) / (1 << 20)
    try:
        thp = first("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]")
    except OSError:
        thp = "absent"
    model = first("/proc/cpuinfo", r"^model name\s*:\s*(.*)$")
    kernel = ".".join(os.uname().release.split(".")[:2])
    return f"{model}, {os.cpu_count()} cores, {ram:.0f} GiB RAM, Linux {kernel}, THP {thp}"


def last_line(output):
    lines = [l.strip() for l in output.replace(ROOT, ".").splitlines() if l.strip()]
    return lines[-1] if lines else ""


class LongTest:
    """One test of a long run, as CTest describes it."""

    def __init__(self, preset, described):
        properties = {p["name"]: p["value"] for p in described.get("properties", [])}
        labels = properties["LABELS"]
        self.preset, self.name, self.command = preset, described["name"], described.get("command")
        self.part = preset + "-" + next(l for l in labels if l.startswith("part-"))[len("part-"):]
        self.one_core = "one-core" in labels
        self.environment = dict(v.split("=", 1) for v in properties.get("ENVIRONMENT", []))
        self.seconds_max = properties["TIMEOUT"]
        self.place = properties["WORKING_DIRECTORY"]
        self.wanted = properties.get("PASS_REGULAR_EXPRESSION", [])

    def run(self):
        """Returns (state, output, seconds). Not through ctest: two at once in a build directory
        would write the same log."""
        start = time.monotonic()
        try:
            process = subprocess.Popen(self.command, env=dict(os.environ, **self.environment),
                                       cwd=self.place, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                       errors="replace", start_new_session=True)
        except (OSError, TypeError) as error:  # TypeError: CTest found no program, so no command
            return "failed", f"not started: {error}", 0.0
        RUNNING.add(process)
        if STOPPING.is_set():  # set after this test was chosen, and before it could be found
            kill_session(process)
        try:
            output = process.communicate(timeout=self.seconds_max)[0]
            state = {0: "passed", 77: "skipped"}.get(process.returncode, "failed")
            if self.wanted:  # as CTest has it: what is said decides, whatever the exit status
                said = any(re.search(text, output) for text in self.wanted)
                state = "passed" if said else "failed"
        except subprocess.TimeoutExpired:
            kill_session(process)
            output = process.communicate()[0] + f"\nhung for {self.seconds_max:.0f} s\n"
            state = "failed"
        finally:
            RUNNING.discard(process)
        return state, output, time.monotonic() - start


RUNNING = set()  # processes of tests, so that an interrupted run leaves none behind
STOPPING = threading.Event()


def kill_session(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def long_tests(preset):
    choice = ["-L", "short", "-R", CROSS_TESTS] if preset == CROSS else ["-L", "^long$"]
    command = ["ctest", "--test-dir", build_dir(preset), "--show-only=json-v1"] + choice
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [LongTest(preset, test) for test in json.loads(done.stdout)["tests"]]


class Part:
    """The result file of one part. lock: of file and counts, since tests end in any order."""

    def __init__(self, name, names, commit):
        self.lock = threading.Lock()
        self.left = set(names)
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        path = os.path.join(RESULTS, f"long-{name}.txt")
        head = f"commit: {commit or git('rev-parse', 'HEAD') + ', with changes'}"
        lines = []
        if commit and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        found = [(line, re.match(r"(passed|skipped) (\S+) ", line)) for line in lines]
        self.known = {m.group(2): (m.group(1), line) for line, m in found
                      if m and lines[0] == head and m.group(2) in self.left}
        # The old lines leave the disk only once they are in the new file.
        self.file = open(path + ".new", "w", encoding="utf-8")
        self.file.write(f"{head}\nmachine: {machine()}\n")
        for name_known, (state, line) in self.known.items():
            self.write(name_known, state, line)
        self.file.flush()
        os.replace(path + ".new", path)

    def write(self, name, state, text):
        """A line of the file; after that of the last test its counts, which say that all ran."""
        with self.lock:
            self.left.discard(name)
            self.counts[state] += 1
            self.file.write(text + "\n")
            if not self.left:
                self.file.write(count_line(self.counts) + "\n")
            self.file.flush()


def result_text(state, output):
    """What a result file keeps of a test's output, without the place of this tree."""
    lines = [l.rstrip() for l in output.replace(ROOT, ".").splitlines() if l.strip()]
    if state == "skipped":
        return skip_reason(output)
    if state == "failed":
        return "".join("\n  " + l for l in lines[-FAILED_LINES:])
    return last_line(output)


def run_long_test(test, part):
    """Runs a test unless its part's file has it; returns (test, state, text)."""
    if test.name in part.known:
        return (test, *part.known[test.name])
    state, output, seconds = test.run()
    if STOPPING.is_set():  # it was killed: no result
        return test, "failed", "interrupted"
    text = result_text(state, output)
    part.write(test.name, state, f"{state} {test.name} {seconds:.1f} s: {text}")
    print(f"{time.strftime('%H:%M:%S')} {test.part}: {state} {test.name} {seconds:.1f} s",
          flush=True)
    if state == "failed":
        print(output, flush=True)
    return test, state, text


def build_long(preset, commit):
    """Builds; a failure leaves a result file that says so, which the next success takes away."""
    path = os.path.join(RESULTS, f"long-{preset}.txt")
    if build(preset):
        if os.path.exists(path):
            os.unlink(path)
        return True
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"commit: {commit or git('rev-parse', 'HEAD') + ', with changes'}\n"
                   f"machine: {machine()}\nfailed the build\n0 passed, 1 failed, 0 skipped\n")
    return False


def run_long(only):
    """only: the one part to run, or None for all."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures, skips, tests = [], [], []
    commit = commit_tested()
    os.makedirs(RESULTS, exist_ok=True)
    for preset in LONG:
        if only and not only.startswith(preset + "-"):
            continue
        if build_long(preset, commit):
            tests += [t for t in long_tests(preset) if only in (None, t.part)]
        else:
            counts["failed"] += 1
            failures.append(f"{preset}: the build")
    if not tests and not failures:
        print(f"run_tests.py: no tests in part {only}", file=sys.stderr)
        return 2
    parts = {name: Part(name, [t.name for t in tests if t.part == name], commit)
             for name in sorted({t.part for t in tests})}
    # The longest first, so that no core waits long for the last one.
    tests.sort(key=lambda test: (-test.seconds_max, test.part, test.name))
    for workers, one_core in ((os.cpu_count() or 1, True), (1, False)):
        chosen = [t for t in tests if t.one_core == one_core]
        for test, state, text in run_side_by_side(workers, chosen, parts):
            counts[state] += 1
            if state == "failed":
                failures.append(f"{test.part}: {test.name}")
            elif state == "skipped":
                skips.append(f"{test.part}: {test.name}: {text}")
    return finish(counts, failures, skips)


def run_side_by_side(workers, tests, parts):
    """Yields run_long_test of each. What an interrupt stops has no result, and runs next time."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run_long_test, test, parts[test.part]) for test in tests]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            STOPPING.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                kill_session(process)
            raise


def main():
    arguments = sys.argv[1:]
    if arguments == ["short"]:
        return run_short()
    if arguments == ["long"] or len(arguments) == 3 and arguments[:2] == ["long", "--part"]:
        # As an interrupt: what runs is ended with us.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        return run_long(arguments[2] if len(arguments) == 3 else None)
    print("usage: scripts/run_tests.py short | long [--part PRESET-FOLDER]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(quiet(main))
