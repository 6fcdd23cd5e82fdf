#!/usr/bin/python3
"""Benchmarks hakmem against the system's allocator and Debian's other allocators.

Rounds are interleaved (A B C A B C ...), the first is a warm-up and is dropped. A figure is printed
only for an allocator that was seen in place. Time ratios below 1 mean that hakmem is faster.
Exit status: 0 every target met, 1 a target missed, 2 bad input (an allocator that does not load
is bad input).
"""
import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, namedtuple

sys.dont_write_bytecode = True  # the source tree stays as it is
import run_stats

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUN_TIMEOUT_SECONDS = 600
RSS_ROUNDS_LEAST = 11
OPTION_NAMES = re.compile(r"(HAKMEM|MALLOC|MIMALLOC|TCMALLOC|TBB_MALLOC)_|GLIBC_TUNABLES$")
MARKER = "prctl(0x48414b"  # BENCH_MARKER of bench_common.h, as strace prints it

# The peers that targets are set against; what else is there is shown and never judged by.
TARGET_PEERS = ["glibc", "mimalloc", "jemalloc", "tcmalloc"]
PEER_FILES = {"mimalloc": "libmimalloc.so.2.0", "jemalloc": "libjemalloc.so.2",
              "tcmalloc": "libtcmalloc_minimal.so.4", "tbbmalloc": "libtbbmalloc_proxy.so.2"}
LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                   "/usr/lib"]
SUBJECTS = {"hakmem": "libhakmem.so", "hakmem-minimal": "libhakmem-minimal.so"}

Allocator = namedtuple("Allocator", "name path expect")
# metric: cpu or wall (ns an operation), rss (bytes at the end), calls (system calls).
# judge: which ratio the target is held against. A single thread's loop is bound by the CPU and its
# noise is one-sided: there the minima are compared. Else the median of the ratios, round by round.
Workload = namedtuple("Workload", "name what program args ops metric judge targets floor pinned")


def timed(name, what, program, args, ops, targets, metric="cpu", floor=False):
    single = metric == "cpu"
    return Workload(name, what, program, args, ops, metric, "of_minima" if single else "median",
                    targets, floor, single)


def rss(name, what, program, args, ops, targets):
    return Workload(name, what, program, args, ops, "rss", "median", targets, False, True)


def mixed(ws):
    return ["1", str(ws)]  # cycles are set by --ops


TINY_RSS = [run_stats.target_peer_plus("glibc", 256 * 1024), run_stats.target_below_others("glibc")]
MEDIUM = ["--min", "1024", "--max", "32768"]
SHAPE_TARGETS = [run_stats.target_best(1.02)]
MEDIUM_TARGETS = [run_stats.target_peer("mimalloc", 0.70), run_stats.target_best(1.05)]
BATCH = "allocate {}, free {}: 64 B, {} order"
WORKLOADS = [
    timed("mixed_400", "16-1024 B at random, 400 slots", "bench_random_mixed", mixed(400),
          50_000_000, [run_stats.target_best(1.00)], floor=True),
    timed("mixed_40000", "16-1024 B at random, 40,000 slots", "bench_random_mixed", mixed(40000),
          20_000_000, [run_stats.target_best(0.95)], floor=True),
    timed("mixed_400000", "16-1024 B at random, 400,000 slots", "bench_random_mixed", mixed(400000),
          10_000_000, [run_stats.target_best(0.90)], floor=True),
    timed("batch_1000_fwd", BATCH.format("1,000", "1,000", "their"), "bench_batch",
          ["--count", "1000", "--order", "forward"], 30_000_000, [run_stats.target_best(1.05)]),
    timed("batch_1000_rnd", BATCH.format("1,000", "1,000", "random"), "bench_batch",
          ["--count", "1000", "--order", "random"], 30_000_000, [run_stats.target_best(1.05)]),
    timed("batch_100000_fwd", BATCH.format("100,000", "100,000", "their"), "bench_batch",
          ["--count", "100000", "--order", "forward"], 20_000_000, [run_stats.target_best(1.15)]),
    timed("batch_100000_rnd", BATCH.format("100,000", "100,000", "random"), "bench_batch",
          ["--count", "100000", "--order", "random"], 10_000_000, [run_stats.target_best(1.15)]),
    timed("medium_400", "1-32 KiB at random, 400 slots", "bench_random_mixed", mixed(400) + MEDIUM,
          20_000_000, MEDIUM_TARGETS, floor=True),
    timed("medium_4000", "1-32 KiB at random, 4,000 slots", "bench_random_mixed",
          mixed(4000) + MEDIUM, 10_000_000, MEDIUM_TARGETS, floor=True),
    timed("larson_2", "server: objects handed round, 2 threads", "bench_larson", ["--threads", "2"],
          20_000_000, [run_stats.target_best(1.00)], metric="wall"),
    timed("prodcons_64", "1 producer, 1 consumer, 64 B", "bench_prodcons",
          ["--min", "64", "--max", "64"], 10_000_000, [run_stats.target_best(1.00)], metric="wall"),
    timed("prodcons_mixed", "1 producer, 1 consumer, 16-1024 B", "bench_prodcons",
          ["--min", "16", "--max", "1024"], 10_000_000, [run_stats.target_best(1.00)],
          metric="wall"),
    rss("rss_hello", "a dozen strings", "bench_hello", [], 12, TINY_RSS),
    rss("rss_400", "RSS of mixed at 400 slots", "bench_random_mixed", mixed(400), 2_000_000,
        TINY_RSS),
    rss("rss_4000", "RSS of mixed at 4,000 slots", "bench_random_mixed", mixed(4000), 2_000_000,
        TINY_RSS),
    rss("rss_40000", "RSS of mixed at 40,000 slots", "bench_random_mixed", mixed(40000), 4_000_000,
        [run_stats.target_peer("glibc", 1.08)]),
    rss("rss_400000", "RSS of mixed at 400,000 slots", "bench_random_mixed", mixed(400000),
        8_000_000, [run_stats.target_peer("glibc", 1.05)]),
    timed("trees", "binary trees of 14 levels, built and dropped", "bench_trees", [],
          10_000_000, SHAPE_TARGETS),
    timed("strings", "a hash table of 20,000 strings", "bench_strings", [], 10_000_000,
          SHAPE_TARGETS),
    timed("calloc", "16-4096 B zeroed, 1,000 slots", "bench_calloc", [], 5_000_000, SHAPE_TARGETS),
    timed("realloc", "1,000 buffers that grow by half up to 16 KiB", "bench_realloc", [],
          5_000_000, SHAPE_TARGETS),
    timed("large", "64 KiB to 4 MiB, 20 slots, every page written", "bench_large", [], 3_000,
          SHAPE_TARGETS),
    timed("fragment", "64 MiB filled, 95 % freed at random, filled with larger ones",
          "bench_fragment", [], 1_000_000, SHAPE_TARGETS),
    timed("sharing_active", "8 B objects, 2 threads that write to theirs", "bench_false_sharing",
          ["--mode", "active"], 200_000, SHAPE_TARGETS, metric="wall"),
    timed("sharing_passive", "the same, the first ones from one thread", "bench_false_sharing",
          ["--mode", "passive"], 200_000, SHAPE_TARGETS, metric="wall"),
    Workload("syscalls_100m", "100 M mixed operations, 400 and 40,000 slots: the higher count",
             "bench_random_mixed", [], 100_000_000, "calls", "median",
             [run_stats.target_at_most(12, "calls")], False, True),
]
QUICK = ["mixed_400", "mixed_40000", "batch_1000_rnd", "larson_2", "prodcons_mixed", "rss_400"]
QUICK_ROUNDS = 5
QUICK_SECONDS = 0.4
SYSCALL_WORKING_SETS = [400, 40000]
# A quiet machine's floor spreads by 0.2-0.5 % here, and gives two threads 1.95 cores and more.
FLOOR_SPREAD_QUIET_PERCENT = 1.3
CORES_QUIET = 1.8


class BadInput(Exception):
    """What ends the run with one line and exit 2."""


class RunFailed(Exception):
    """A benchmark program that ended badly under an allocator."""


# ---- allocators and the machine ----

def find_peers(extra):
    found = [Allocator("glibc", None, "libc.so.6")]
    for name, file in PEER_FILES.items():
        for folder in LIBRARY_FOLDERS:
            path = os.path.join(folder, file)
            if os.path.exists(path):
                found.append(Allocator(name, path, file))
                break
    names = {peer.name for peer in found} | set(SUBJECTS) | {"floor"}
    for text in extra:
        name, equals, path = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise BadInput(f"--peer takes NAME=PATH.so, not '{text}'")
        if name in names:
            raise BadInput(f"--peer: the name {name} is taken")
        if not os.path.isfile(path):
            raise BadInput(f"--peer {name}: there is no file {path}")
        names.add(name)
        found.append(Allocator(name, os.path.abspath(path), os.path.basename(path)))
    return found


def find_subjects(build):
    return [Allocator(name, str(build / file), file) for name, file in SUBJECTS.items()
            if (build / file).exists()]


def first_line(path, pattern, otherwise="unknown"):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                found = re.search(pattern, line)
                if found:
                    return found.group(1).strip()
    except OSError:
        pass
    return otherwise


def commit():
    def git(*words):
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                              check=False)
    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode != 0:
        return "none"
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return head.stdout.strip() + ("-changed" if changed else "")


def machine():
    """What a reader needs to judge the figures by, and nothing that names this host or user."""
    kib = first_line("/proc/meminfo", r"MemTotal:\s+(\d+)", "0")
    return {
        "cpu": first_line("/proc/cpuinfo", r"model name\s*:\s*(.*)"),
        "cores": os.cpu_count(),
        "ram_gib": round(int(kib) / 2**20, 1),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "thp": first_line("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]"),
        "commit": commit(),
        "load_1min": round(os.getloadavg()[0], 2),
        "options": {name: value for name, value in sorted(os.environ.items())
                    if OPTION_NAMES.match(name)
                    and name not in ("HAKMEM_REPORT", "HAKMEM_BENCH_PREFAULT")},
    }


# ---- one run ----

def environment(allocator, report=None):
    env = {name: value for name, value in os.environ.items()
           if name not in ("LD_PRELOAD", "HAKMEM_REPORT", "HAKMEM_BENCH_PREFAULT")}
    if allocator.path is not None:
        env["LD_PRELOAD"] = allocator.path
    if report is not None:
        env["HAKMEM_REPORT"] = report
    return env


def run_command(allocator, workload, command, env, pinned):
    """The program's JSON record. A pinned child inherits one core from this process: the call
    itself is cheaper than a wrapper and leaves the child's memory alone."""
    cores = os.sched_getaffinity(0)
    try:
        if pinned:
            os.sched_setaffinity(0, {max(cores)})
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False,
                              timeout=RUN_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{workload.name} under {allocator.name}: not done after "
                        f"{RUN_TIMEOUT_SECONDS} s") from None
    finally:
        os.sched_setaffinity(0, cores)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise RunFailed(f"{workload.name} under {allocator.name}: exit {done.returncode}: {said}")
    record = json.loads(done.stdout)
    if record["allocator"] != allocator.expect:
        raise BadInput(f"{allocator.name} is not in place: {workload.program} runs on "
                       f"{record['allocator']}, not on {allocator.expect}")
    return record


def report_check(allocator, path):
    """hakmem's own word that it served the process: objects > 0."""
    try:
        with open(path, encoding="utf-8") as file:
            objects = sum(json.loads(line)["objects"] for line in file)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{allocator.name} is not in place: no usable HAKMEM_REPORT ({error})") \
            from None
    if objects == 0:
        raise BadInput(f"{allocator.name} is not in place: HAKMEM_REPORT counts 0 objects")


def command_of(workload, build, allocator, bound, args=None):
    program = "bench_floor" if allocator.name == "floor" else workload.program
    return [str(build / program), *(workload.args if args is None else args), *bound, "--json"]


def run_once(workload, build, allocator, bound, check, scratch):
    report = None
    if check and allocator.expect.startswith("libhakmem"):
        report = os.path.join(scratch, "report")
        pathlib.Path(report).unlink(missing_ok=True)
    record = run_command(allocator, workload, command_of(workload, build, allocator, bound),
                         environment(allocator, report), workload.pinned)
    if report is not None:
        report_check(allocator, report)
    return record


def figure(workload, record):
    if workload.metric == "rss":
        return record["rss_end_bytes"]
    if workload.metric == "calls":
        return record["calls"]
    return record[workload.metric + "_ns"] / record["ops"]


def count_calls(text):
    """System calls by name between the two markers of strace's output, all threads."""
    calls, inside = Counter(), False
    for line in text.splitlines():
        if MARKER in line:
            inside = not inside
            continue
        call = re.match(r"\d+\s+(\w+)\(", line)  # not '<... resumed', '--- SIG', '+++ exited'
        if inside and call:
            calls[call.group(1)] += 1
    if inside or text.count(MARKER) != 2:
        raise RunFailed("the marker calls are not in strace's output")
    return calls


def run_counted(workload, build, allocator, ops, scratch):
    """A separate run under strace, for each working set; the highest count. The system call that
    stops at ptrace costs time, hence no times from here."""
    output = os.path.join(scratch, "strace")
    worst = None
    for ws in SYSCALL_WORKING_SETS:
        preload = [] if allocator.path is None else ["-E", f"LD_PRELOAD={allocator.path}"]
        command = ["strace", "-f", "-o", output, *preload,
                   *command_of(workload, build, allocator, ["--ops", str(ops), "--markers"],
                               mixed(ws))]
        env = {name: value for name, value in environment(allocator).items()
               if name != "LD_PRELOAD"}
        record = run_command(allocator, workload, command, env, workload.pinned)
        with open(output, encoding="utf-8", errors="replace") as file:
            by_name = count_calls(file.read())
        record["calls"] = sum(by_name.values())
        record["calls_by_name"] = dict(by_name)
        if worst is None or record["calls"] > worst["calls"]:
            worst = record
    return worst


# ---- a workload ----

def measure(workload, build, allocators, options, scratch):
    """Records by allocator, one a round, and the failures: {name: [record...]}, {name: text}."""
    records, failures = {}, {}
    if workload.metric == "calls":
        if shutil.which("strace") is None:
            return {}, {a.name: "strace is not installed" for a in allocators}
        for allocator in allocators:
            progress(f"{workload.name}: {allocator.name}")
            try:
                records[allocator.name] = [run_counted(workload, build, allocator, workload.ops,
                                                       scratch)]
            except RunFailed as failure:
                failures[allocator.name] = str(failure)
        return records, failures
    rounds = max(options.rounds, RSS_ROUNDS_LEAST) if workload.metric == "rss" else options.rounds
    by_time = options.seconds is not None and workload.metric != "rss"
    bound = ["--seconds", str(options.seconds)] if by_time else ["--ops", str(workload.ops)]
    running = list(allocators)
    if workload.floor:
        running.append(Allocator("floor", None, "floor"))
    for number in range(rounds + 1):
        progress(f"{workload.name}: round {number} of {rounds}")
        for allocator in list(running):
            try:
                record = run_once(workload, build, allocator, bound, number == 0, scratch)
            except RunFailed as failure:
                failures[allocator.name] = str(failure)
                records.pop(allocator.name, None)
                running.remove(allocator)
                continue
            if number > 0:
                records.setdefault(allocator.name, []).append(record)
    return records, failures


def noise_seen(workload, entries, records):
    """A sentence when other programs disturbed the run, else None. The least disturbed allocator
    tells: one whose threads wait for each other leaves cores idle by itself."""
    if "floor" in entries:
        spread = entries["floor"]["figure"]["spread_percent"]
        if spread > FLOOR_SPREAD_QUIET_PERCENT:
            return f"machine not quiet: the empty loop itself spreads by {spread:.1f} %"
    if workload.metric == "wall" and records:
        cores = max(run_stats.median([r["cpu_ns"] / r["wall_ns"] for r in rows])
                    for rows in records.values())
        if cores < CORES_QUIET:
            return f"machine not quiet: two threads got {cores:.1f} cores"
    return None


def evaluate(workload, records, failures, subjects):
    """What is printed and kept of a workload: summaries, the first subject's ratios, verdicts."""
    samples = {name: [figure(workload, record) for record in rows]
               for name, rows in records.items()}
    result = {"workload": workload.name, "what": workload.what, "metric": workload.metric,
              "judged_by": workload.judge, "allocators": {}, "failures": failures, "verdicts": []}
    for name, rows in records.items():
        entry = {"figure": run_stats.summary(samples[name])}
        for field in ("cpu_ns", "wall_ns"):
            entry[field + "_per_op"] = run_stats.median([r[field] / r["ops"] for r in rows])
        for field in ("rss_end_bytes", "rss_peak_bytes", "faults", "ops"):
            entry[field] = run_stats.median([r[field] for r in rows])
        if workload.metric == "calls":
            entry["calls_by_name"] = rows[0]["calls_by_name"]
        ours = samples.get(subjects[0]) if subjects else None
        if ours and name not in SUBJECTS and name != "floor":
            entry["subject_ratio"] = run_stats.compare(ours, samples[name])
        result["allocators"][name] = entry
    result["not_quiet"] = noise_seen(workload, result["allocators"], records)
    for subject in subjects:
        for target in workload.targets:
            answer = target(workload.judge, samples, subject, TARGET_PEERS)
            result["verdicts"].append({"subject": subject, **answer})
    return result


# ---- output ----

def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def number_text(metric, value):
    if metric == "rss":
        return f"{value / 1024:.0f}"
    return f"{value:.0f}" if metric == "calls" else f"{value:.2f}"


UNITS = {"cpu": "ns an operation, thread CPU time", "wall": "ns an operation, wall time",
         "rss": "KiB at the end", "calls": "system calls"}


def rows_of(result):
    metric = result["metric"]
    floor = result["allocators"].get("floor")
    head = ["allocator", "min", "median", "spread %"]
    head += ["above floor"] if floor else []
    head += ["other clock"] if metric == "wall" else []
    head += ["ratio", "95 %", "of minima", "RSS KiB", "peak KiB", "faults"]
    yield head
    for name, entry in result["allocators"].items():
        summary, ratio = entry["figure"], entry.get("subject_ratio")
        row = [name, number_text(metric, summary["min"]), number_text(metric, summary["median"]),
               f"{summary['spread_percent']:.1f}"]
        if floor:
            row.append(f"{summary['min'] - floor['figure']['min']:.2f}")
        if metric == "wall":
            row.append(f"{entry['cpu_ns_per_op']:.2f} CPU")
        if ratio:
            low, high = ratio["ratio_interval_95"]
            row += [f"{ratio['ratio_median']:.3f}", f"{low:.3f}-{high:.3f}",
                    f"{ratio['ratio_of_minima']:.3f}"]
        else:
            row += ["", "", ""]
        row += [f"{entry['rss_end_bytes'] / 1024:.0f}", f"{entry['rss_peak_bytes'] / 1024:.0f}",
                f"{entry['faults']:.0f}"]
        yield row


def table_print(rows, markdown):
    rows = [list(map(str, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for index, row in enumerate(rows):
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |" if markdown else "  " + "  ".join(cells).rstrip())
        if markdown and index == 0:
            print("|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":")
                                 for i, w in enumerate(widths)) + "|")


def result_print(result, markdown):
    title = f"{result['workload']}: {result['what']} ({UNITS[result['metric']]})"
    print(f"### {title}\n" if markdown else title)
    if result["allocators"]:
        table_print(rows_of(result), markdown)
    if result["not_quiet"]:
        print(f"  {result['not_quiet']}")
    for text in result["failures"].values():
        print(f"  FAILED {text}")
    print()


MET = {True: "met", False: "missed", None: "not measured"}


def verdicts_print(results, markdown):
    rows = [["workload", "allocator", "target", "measured", "verdict"]]
    rows += [[result["workload"], verdict["subject"], verdict["target"], verdict["measured"],
              MET[verdict["met"]]] for result in results for verdict in result["verdicts"]]
    if len(rows) > 1:
        print("### Targets\n" if markdown else "targets")
        table_print(rows, markdown)


# ---- the command ----

def parse_arguments(arguments):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise BadInput(message)

    parser = Parser(prog="bench/run.py", description=__doc__.splitlines()[0])
    parser.add_argument("--workload", metavar="NAME[,NAME]", help="only these (see --list)")
    parser.add_argument("--list", action="store_true", help="list the workloads and stop")
    parser.add_argument("--rounds", type=int, help="rounds after the warm-up (default 7)")
    parser.add_argument("--seconds", type=float, metavar="S",
                        help="bound each timed run by time instead of operations")
    parser.add_argument("--quick", action="store_true",
                        help=f"{len(QUICK)} workloads, {QUICK_ROUNDS} rounds, short runs")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH.so",
                        help="one more library to compare with; shown, no target")
    parser.add_argument("--peers-only", action="store_true", help="measure without hakmem")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", metavar="DIR",
                        help="where the libraries and programs are (default build/)")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else 7
    if options.seconds is None and options.quick:
        options.seconds = QUICK_SECONDS
    if options.rounds < 1:
        raise BadInput("--rounds must be at least 1")
    if options.seconds is not None and not 0 < options.seconds <= 3600:
        raise BadInput("--seconds must be above 0 and at most 3600")
    return options


def choose_workloads(options):
    by_name = {workload.name: workload for workload in WORKLOADS}
    if options.workload is None:
        return [by_name[name] for name in QUICK] if options.quick else WORKLOADS
    unknown = [name for name in options.workload.split(",") if name not in by_name]
    if unknown:
        raise BadInput(f"there is no workload '{unknown[0]}' (see --list)")
    return [by_name[name] for name in options.workload.split(",")]


def choose_allocators(options, workloads):
    peers = find_peers(options.peer)
    subjects = [] if options.peers_only else find_subjects(options.build)
    if not options.peers_only and not any(s.name == "hakmem" for s in subjects):
        raise BadInput(f"{options.build / SUBJECTS['hakmem']} is missing: build it, or pass "
                       "--peers-only")
    for program in sorted({w.program for w in workloads} | {"bench_floor"}):
        if not (options.build / program).exists():
            raise BadInput(f"{options.build / program} is missing: build the target bench_programs")
    return subjects, peers


def run(arguments):
    options = parse_arguments(arguments)
    if options.list:
        table_print([["workload", "what"]] + [[w.name, w.what] for w in WORKLOADS], False)
        return 0
    options.build = options.build.absolute()
    workloads = choose_workloads(options)
    subjects, peers = choose_allocators(options, workloads)
    about = machine()
    print("machine: {cpu}, {cores} cores, {ram_gib} GiB, Linux {kernel}, THP {thp}, "
          "commit {commit}, load {load_1min}".format(**about))
    absent = [name for name in TARGET_PEERS if name not in {peer.name for peer in peers}]
    if absent:
        print(f"not installed: {', '.join(absent)}")
    print()
    results = []
    with tempfile.TemporaryDirectory(prefix="hakmem-bench-") as scratch:
        for workload in workloads:
            records, failures = measure(workload, options.build, subjects + peers, options, scratch)
            progress("")
            results.append(evaluate(workload, records, failures, [s.name for s in subjects]))
            result_print(results[-1], options.markdown)
            sys.stdout.flush()
    verdicts_print(results, options.markdown)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"schema": 1, "machine": about, "rounds": options.rounds,
                       "seconds": options.seconds, "results": results}, file, indent=1)
            file.write("\n")
    # The default flavour is held to the targets; minimal's verdicts are for reading.
    judged = [verdict["met"] for result in results for verdict in result["verdicts"]
              if verdict["subject"] == "hakmem"]
    return 0 if all(judged) else 1


def main():
    try:
        return run(sys.argv[1:])
    except (BadInput, OSError) as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
