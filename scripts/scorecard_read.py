"""Reads what the scorecard is made from: bench.json (bench/run.py), and soak.json and soak-*.json
(analyze_soak.py).

A file or a field that is not there is None and shows up as 'not measured'. One that is there and
is not what it should be is BadInput, whose text names the file, the place and what was expected.
"""
import json
import pathlib
import sys
from collections import namedtuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
from bench_allocators import PROFILES

SCHEMA = 1
METRICS = ("cpu", "wall", "rss", "calls", "program")
NUMBER_LEAST, NUMBER_MOST = 1e-15, 1e18  # arbitrary: far beyond any time, size or count of a run

# seconds, date: None when the file does not tell. complete: whether the run came to its end.
# workloads: names of those that it was to have.
Bench = namedtuple("Bench", "machine date seconds complete workloads results")
# entries: {allocator: Entry}; failures: names of allocators that did not run or were not in place.
Result = namedtuple("Result", "name what metric entries failures")
# samples: one figure a round, in the order of the rounds.
Entry = namedtuple("Entry", "samples rss_end_bytes rss_peak_bytes ops calls_per_op tail")
Tail = namedtuple("Tail", "p99_ns p99_99_ns max_ns")
# file: its name; profile: hakmem's that it ran under, the default where the file names none.
Soak = namedtuple("Soak", "file profile machine date allocator wall_seconds drift tail "
                  "calls_per_op ops_cv")
# interval: of the slope; met: the analysis's own verdict.
Drift = namedtuple("Drift", "slope_kib_per_hour interval drift_kib limit_kib met")


class BadInput(Exception):
    """One line: which file, where in it, what was expected."""


def is_number(value):
    """Finite, and of a size that ratios and means can be taken of."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value == 0 or NUMBER_LEAST <= abs(value) <= NUMBER_MOST


KINDS = {"a number": is_number,
         "a number above 0": lambda value: is_number(value) and value > 0,
         "a number of at least 0": lambda value: is_number(value) and value >= 0,
         "a string": lambda value: isinstance(value, str) and "\n" not in value,
         "true or false": lambda value: isinstance(value, bool),
         "a list": lambda value: isinstance(value, list),
         "an object": lambda value: isinstance(value, dict)}


class Node:
    """A JSON object and its place, for messages."""

    def __init__(self, value, place):
        self.value, self.place = value, place
        self.must_be("an object", value, "")

    def must_be(self, kind, value, name):
        if not KINDS[kind](value):
            raise BadInput(f"{self.place}{name}: expected {kind}, found {json.dumps(value)[:40]}")
        return value

    def get(self, kind, name):
        """The member, None when it is absent or null."""
        value = self.value.get(name)
        return None if value is None else self.must_be(kind, value, "." + name)

    def need(self, kind, name):
        return self.must_be(kind, self.value.get(name), "." + name)

    def node(self, name):
        value = self.value.get(name)
        return None if value is None else Node(value, f"{self.place}.{name}")

    def items(self, kind, name):
        """The members of a list, each of one kind; None when there is no list."""
        values = self.get("a list", name)
        if values is None:
            return None
        return [self.must_be(kind, value, f".{name}[{i}]") for i, value in enumerate(values)]


def load(path):
    """The file's object, of a known schema; None when there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            root = Node(json.load(file), path.name)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise BadInput(f"{path.name}: no JSON: {error}") from None
    except RecursionError:
        raise BadInput(f"{path.name}: no JSON: lists or objects too deep in each other") from None
    schema = root.need("a number", "schema")
    if schema != SCHEMA:
        raise BadInput(f"{path.name}.schema: {schema} is unknown, this program reads {SCHEMA}")
    return root


def read_tail(node):
    if node is None:
        return None
    return Tail(*(node.get("a number of at least 0", field) for field in Tail._fields))


def read_machine(root):
    node = root.node("machine")
    if node is None:
        return {}
    machine = {name: node.get("a string", name) for name in ("cpu", "kernel", "thp", "commit")}
    machine |= {name: node.get("a number", name)
                for name in ("cores", "ram_gib", "load_1min", "touched_gib")}
    options = node.node("options")
    machine["options"] = {name: options.need("a string", name)
                          for name in sorted(options.value)} if options else {}
    versions = node.node("versions")  # of the allocators; files of before have none
    machine["versions"] = {name: versions.need("a string", name)
                           for name in versions.value} if versions else {}
    return machine


def read_entry(node, metric):
    figure = node.node("figure")
    samples = None
    if figure is not None:
        kind = "a number of at least 0" if metric == "calls" else "a number above 0"
        samples = figure.items(kind, "samples")
    numbers = [node.get("a number of at least 0", name)
               for name in ("rss_end_bytes", "rss_peak_bytes", "ops", "calls_per_op")]
    return Entry(samples or None, *numbers, read_tail(node.node("latency")))


def read_result(node):
    name = node.need("a string", "workload")
    metric = node.need("a string", "metric")
    if metric not in METRICS:
        raise BadInput(f"{node.place}.metric: '{metric}' is none of {', '.join(METRICS)}")
    allocators = node.node("allocators")
    entries = {each: read_entry(allocators.node(each), metric)
               for each in allocators.value if allocators.value[each] is not None} \
        if allocators else {}
    rounds = {len(entry.samples) for entry in entries.values() if entry.samples}
    if len(rounds) > 1:
        raise BadInput(f"{node.place}: the allocators of {name} have {sorted(rounds)} samples: "
                       "they cannot be paired by round")
    failures = node.node("failures")
    return Result(name, node.get("a string", "what") or "", metric, entries,
                  sorted(failures.value) if failures else [])


def read_bench(path):
    root = load(path)
    if root is None:
        return None
    items = root.items("an object", "results") or []
    results = [read_result(Node(value, f"{path.name}.results[{i}]"))
               for i, value in enumerate(items)]
    names = [result.name for result in results]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"{path.name}.results: {twice[0]} is there twice")
    return Bench(read_machine(root), root.get("a string", "date"),
                 root.get("a number", "seconds"), bool(root.get("true or false", "complete")),
                 root.items("a string", "workloads") or [], results)


def read_drift(node):
    interval = node.items("a number", "slope_interval_95_kib_per_hour")
    if interval is None or len(interval) != 2 or interval[0] > interval[1]:
        raise BadInput(f"{node.place}.slope_interval_95_kib_per_hour: expected [low, high], "
                       f"found {interval}")
    numbers = [node.need("a number", name)
               for name in ("slope_kib_per_hour", "difference_kib", "allowed_kib")]
    return Drift(numbers[0], interval, numbers[1], numbers[2], node.need("true or false", "met"))


def read_soak_machine(about):
    """The soak's head lines are text, numbers too."""
    machine = {name: about.get("a string", name) for name in ("cpu", "kernel", "thp", "commit",
                                                              "cores", "ram_gib")}
    options = about.get("a string", "options")
    machine["options"] = {} if options in (None, "none") else {"options": options}
    return machine


def read_soak(path):
    """What analyze_soak.py writes. A resumed soak has a drift each process: the worst one counts,
    one that missed before one that met."""
    root = load(path)
    if root is None:
        return None
    about = Node(root.need("an object", "about"), f"{path.name}.about")
    drifts = [read_drift(Node(value, f"{path.name}.drift[{i}]"))
              for i, value in enumerate(root.need("a list", "drift"))]
    if not drifts:
        raise BadInput(f"{path.name}.drift: expected one verdict at least, found none")
    tails = Node(root.need("an object", "tails"), f"{path.name}.tails")
    tail = Tail(*(Node(tails.need("an object", field), f"{tails.place}.{field}").need(
        "a number of at least 0", "max" if field == "max_ns" else "median")
        for field in Tail._fields))
    calls, varying = root.node("syscalls_settled"), root.node("varying")
    speed = varying.node("ops_per_s") if varying else None
    return Soak(path.name, about.get("a string", "profile") or PROFILES[0],
                read_soak_machine(about), about.need("a string", "started_utc")[:10],
                about.need("a string", "allocator"), root.need("a number of at least 0", "wall_s"),
                min(drifts, key=lambda drift: drift.met), tail,
                calls.get("a number of at least 0", "per_op") if calls else None,
                speed.get("a number of at least 0", "cv_percent") if speed else None)


def read_soaks(folder):
    """soak.json and those beside it; one at most of an allocator under a profile."""
    soaks = {}
    for path in sorted(folder.glob("soak*.json")):
        soak = read_soak(path)
        key = soak.allocator, soak.profile
        if key in soaks:
            raise BadInput(f"{path.name}: {soaks[key].file} is of {soak.allocator} under "
                           f"{soak.profile} too")
        soaks[key] = soak
    return sorted(soaks.values(), key=lambda soak: soak.file != "soak.json")
