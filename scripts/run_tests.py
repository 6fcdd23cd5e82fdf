#!/usr/bin/python3
"""run_tests.py short|long: build the presets and run the CTest tests of that label.

short: every short test of the release, then the sanitizer builds (unit tests and the programs that
       call the hak_ API), then the build with clang and its unit tests. Any order of failures is
       run to the end. The last line is `N passed, N failed, N skipped`.
long:  part by part (a part is one test folder of one preset). A part writes
       docs/results/long-PRESET-FOLDER.txt, line by line as its tests end; a test that has passed
       there for the current commit is not run again, so that an interrupted run can be resumed.
Exit: 0 all passed (or skipped), 1 a failure, 2 bad usage.
"""
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "docs", "results")
SUMMARY = os.path.join(ROOT, "build", "tests-summary.txt")
# What each preset runs of the short tests (a regular expression of test names, None = all).
SHORT = [("release", None), ("asan", None), ("tsan", None), ("clang", r"^unit\.")]
LONG = ["release", "asan", "tsan", "aarch64"]
# The cross build has no long tests of its own: its long part runs these short ones under qemu,
# which is much slower than the machine: all of the short ones would take an hour. Those
# that bound resident memory would measure the emulator.
CROSS = "aarch64"
CROSS_TESTS = r"^api\.|^stress\.remote_(pair|exchange|churn)\.(standard|minimal)$"


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


def finish(counts, failures, skips):
    for line in skips:
        print("skipped:", line)
    for line in failures:
        print("FAILED:", line)
    line = "%d passed, %d failed, %d skipped" % (counts["passed"], counts["failed"],
                                                 counts["skipped"])
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


def long_tests(preset):
    """Folder -> names of the tests of its long part."""
    choice = ["-L", "short", "-R", CROSS_TESTS] if preset == CROSS else ["-L", "long"]
    command = ["ctest", "--test-dir", build_dir(preset), "--show-only=json-v1"] + choice
    done = subprocess.run(command,
                          capture_output=True, text=True, check=True)
    parts = {}
    for test in json.loads(done.stdout)["tests"]:
        labels = next((p["value"] for p in test.get("properties", []) if p["name"] == "LABELS"), [])
        folder = next(l for l in labels if l.startswith("part-"))[len("part-"):]
        parts.setdefault(folder, []).append(test["name"])
    return parts


def last_line(output):
    lines = [l.strip() for l in output.replace(ROOT, ".").splitlines() if l.strip()]
    return lines[-1] if lines else ""


def run_part(preset, folder, names, commit):
    """Runs what this part lacks; returns (state, name, output) of all its tests."""
    path = os.path.join(RESULTS, f"long-{preset}-{folder}.txt")
    head = f"commit: {commit or 'changed since the last one'}"
    done = {}
    if commit and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        if lines and lines[0] == head:
            for line in lines:
                found = re.match(r"(passed|skipped) (\S+) ", line)
                if found:
                    done[found.group(2)] = (found.group(1), line)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{head}\nmachine: {machine()}\n")
        for name in names:
            if name in done:
                state, line = done[name]
                yield state, name, line
                file.write(line + "\n")
        file.flush()
        for name in names:
            if name in done:
                continue
            results = ctest(preset, ["-R", "^" + re.escape(name) + "$"])
            _, state, output, seconds = results[0] if results else (name, "failed", "", 0)
            tail = skip_reason(output) if state == "skipped" else last_line(output)
            file.write(f"{state} {name} {seconds:.1f} s: {tail}\n")
            file.flush()
            yield state, name, tail


def run_long():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures, skips = [], []
    commit = commit_tested()
    os.makedirs(RESULTS, exist_ok=True)
    for preset in LONG:
        if not build(preset):
            counts["failed"] += 1
            failures.append(f"{preset}: the build")
            continue
        for folder, names in sorted(long_tests(preset).items()):
            for state, name, text in run_part(preset, folder, sorted(names), commit):
                counts[state] += 1
                if state == "failed":
                    failures.append(f"{preset}: {name}")
                elif state == "skipped":
                    skips.append(f"{preset}: {name}: {text}")
    return finish(counts, failures, skips)


def main():
    if sys.argv[1:] == ["short"]:
        return run_short()
    if sys.argv[1:] == ["long"]:
        return run_long()
    print("usage: scripts/run_tests.py short|long", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
