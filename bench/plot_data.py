"""What plot.py draws, read and checked: points, distributions and time series. No drawing here."""
import csv
import hashlib
import json
import math
from collections import namedtuple
from statistics import StatisticsError, geometric_mean, median, quantiles

import bench_workloads
from bench_machine import BadInput
from bench_output import count_text

MIB = 2**20
# One allocator: how fast, with the quarter and three-quarter points of its rounds, and how large.
Point = namedtuple("Point", "name speed speed_low speed_high peak")
# starts: where a line of its own begins, the first at 0: another process, whose memory does not
# follow from the one before.
Curve = namedtuple("Curve", "name x y starts", defaults=([0],))
PER_SECOND = {"cpu": "operations per second of CPU time", "wall": "operations per second",
              "program": "runs per second of CPU time"}


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise BadInput(f"{path} holds no JSON object")
    return record


def entry_check(entry):
    """Raises TypeError, KeyError or ValueError where an allocator's figures cannot be drawn."""
    figures = [*entry["figure"]["samples"], entry["rss_peak_bytes"]]
    if len(figures) < 2 or not all(figure >= 0 for figure in figures):
        raise ValueError("figures")


def read_results(path):
    """The results of run.py's JSON file, as {workload's name: result}."""
    record = read_json(path)
    try:
        results = {result["workload"]: result for result in record["results"]}
        for result in results.values():
            if not {"metric", "what"} <= result.keys():
                raise ValueError("no metric")
            for entry in result["allocators"].values():
                entry_check(entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is no result of bench/run.py ({error})") from None
    if not results:
        raise BadInput(f"{path} holds no finished workload")
    return results


def result_named(results, name, path):
    if name not in results:
        raise BadInput(f"{path} has no workload '{name}'; it has {', '.join(results)}")
    return results[name]


def quarters_of(samples):
    return quantiles(samples, n=4) if len(samples) > 1 else [samples[0]] * 3


def points_of(result):
    """Operations (or runs) a second and peak MiB of each allocator."""
    unit = 1 if result["metric"] == "program" else 1e9
    points = []
    for name, entry in result["allocators"].items():
        if name == "floor":
            continue
        samples = entry["figure"]["samples"]
        quarters = quarters_of(samples)
        points.append(Point(name, unit / median(samples), unit / quarters[2], unit / quarters[0],
                            entry["rss_peak_bytes"] / MIB))
    return points


def timed_results(results):
    return [r for r in results.values() if r["metric"] in bench_workloads.TIMED and r["allocators"]]


def together_of(results, base="glibc"):
    """(points, number of workloads): geometric means over the timed workloads of speed and peak,
    each over the base's. A workload that an allocator failed is left out for all."""
    timed = timed_results(results)
    names = [name for name in dict.fromkeys(n for r in timed for n in r["allocators"])
             if name != "floor"]
    whole = [{point.name: point for point in points_of(r)} for r in timed]
    whole = [points for points in whole if all(name in points for name in names)]
    if not whole or base not in names:
        raise BadInput(f"no timed workload has figures of {base} and of every other allocator")
    points = []
    for name in names:
        speed = geometric_mean(p[name].speed / p[base].speed for p in whole)
        peak = geometric_mean(p[name].peak / p[base].peak for p in whole)
        points.append(Point(name, speed, speed, speed, peak))
    return points, len(whole)


def distribution_of(buckets):
    """Buckets ([upper end in ns, calls], rising) as lists: the upper end, and the share of calls
    that are above it."""
    total = sum(calls for _, calls in buckets)
    x, y, seen = [], [], 0
    for upper_ns, calls in buckets:
        seen += calls
        x.append(upper_ns)
        y.append((total - seen) / total)
    return x, y


def latencies_of(result, path):
    curves = []
    for name, entry in result["allocators"].items():
        buckets = (entry.get("latency") or {}).get("buckets")
        if not buckets:
            continue
        try:
            curves.append(Curve(name, *distribution_of(buckets)))
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise BadInput(f"{path}: bad buckets of {name}: {error}") from None
    if not curves:
        raise BadInput(f"{path} has no latency buckets of workload '{result['workload']}'")
    return curves


# ---- hakmem's profiles beside the peers ----

# One picture of run_memory.py's figures. time, size: names of the rows that the axes are of.
Panel = namedtuple("Panel", "title time size x_label y_label")
# points: as above, where the panel's rows were measured.
Drawn = namedtuple("Drawn", "title x_label y_label points")
A_SECOND = "operations per second of CPU time"
MIXED_PANELS = [Panel(f"random mixed, {slots} slots", f"random mixed, {slots} slots",
                      f"{slots} slots, {ops} M operations", "RSS at the end (MiB)", A_SECOND)
                for slots, ops in (("400", 2), ("40,000", 4), ("400,000", 8))]
SHRINKS = Panel("a heap that shrinks, a loop that does not", "100,000 of 64 B in a loop",
                "the same, 1 s of small work, no malloc_trim",
                "RSS 1 s after 63 of 64 were freed (MiB)",
                "operations per second, 100,000 in a loop")


def read_memory(path):
    """The rows of run_memory.py's JSON file but those that were skipped, by their names."""
    record = read_json(path)
    try:
        if record["smoke"]:
            raise BadInput(f"{path} is of a smoke run, whose figures mean nothing")
        rows = {row["row"]: row for row in record["rows"] if "samples" in row}
        for row in rows.values():
            if not all(math.isfinite(sum(samples)) and samples
                       for samples in row["samples"].values()):
                raise ValueError(f"samples of {row['row']}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is no result of bench/run_memory.py ({error})") from None
    return rows


def panel_points(rows, panel):
    sizes = rows[panel.size]["samples"]
    points = []
    for name, samples in rows[panel.time]["samples"].items():
        low, _, high = quarters_of(samples)
        points.append(Point(name, 1e9 / median(samples), 1e9 / high, 1e9 / low,
                            median(sizes[name])))
    return points


def programs_of(rows):
    """[(samples of CPU time, samples of the peak)] of each real program that has both."""
    found = {}
    for row in rows.values():
        if row.get("program", "").startswith("prog_"):
            found.setdefault(row["program"], {})[row["value"]] = row["samples"]
    return [(each["seconds"], each["peak"]) for each in found.values()
            if {"seconds", "peak"} <= each.keys()]


def programs_points(programs, base="glibc"):
    """Geometric means over the programs, each over the base's."""
    points = []
    for name in programs[0][0]:
        time, peak = (geometric_mean(median(figures[axis][name]) / median(figures[axis][base])
                                     for figures in programs) for axis in (0, 1))
        points.append(Point(name, 1 / time, 1 / time, 1 / time, peak))
    return points


def profile_panels(path):
    """Of what the file has; BadInput where that is nothing."""
    rows = read_memory(path)
    try:
        drawn = [Drawn(panel.title, panel.x_label, panel.y_label, panel_points(rows, panel))
                 for panel in (*MIXED_PANELS, SHRINKS)
                 if panel.time in rows and panel.size in rows]
        if programs := programs_of(rows):
            drawn.append(Drawn(count_text(len(programs), "real program"),
                               "peak RSS, times glibc's", "throughput, times glibc's",
                               programs_points(programs)))
    except (KeyError, ZeroDivisionError, StatisticsError) as error:
        raise BadInput(f"{path}: rows whose figures do not go together ({error})") from None
    if not drawn:
        raise BadInput(f"{path} has no rows of time and memory")
    return drawn


def digest_of(panels):
    """What a picture says it was drawn from; the same of the same figures."""
    return hashlib.sha256(json.dumps(panels).encode()).hexdigest()


# ---- resident memory over time ----

def soak_lines(path):
    """(the lines of header and rows, numbered; the numbers of the lines that mark a resumption). A
    soak of a process an epoch has a new one in each row: there a resumption marks nothing."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(enumerate(file, 1))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from None
    numbered = [(number, line) for number, line in lines
                if line.strip() and not line.startswith("#")]
    about = {number: [word.strip() for word in line[1:].partition(":")[::2]]
             for number, line in lines if line.startswith("#")}
    if ["mode", "process_an_epoch"] in about.values():
        return numbered, []
    return numbered, [number for number, (key, _) in about.items() if key == "resumed"]


def soak_curve(path, name):
    """Seconds and MiB of a soak's CSV: columns time_s and rss_kib; lines with # are about it.
    Another process begins where the soak was resumed, and where time goes back."""
    x, y, starts, last_number = [], [], [0], 0
    numbered, resumed = soak_lines(path)
    rows = csv.DictReader(line for _, line in numbered)
    for column in ("time_s", "rss_kib"):
        if column not in (rows.fieldnames or []):
            raise BadInput(f"{path} has no column {column}")
    for (number, _), row in zip(numbered[1:], rows):
        try:
            time_s, rss_kib = float(row["time_s"]), float(row["rss_kib"])
        except (TypeError, ValueError):
            raise BadInput(f"{path}, line {number}: time_s and rss_kib must be numbers") from None
        if not (math.isfinite(time_s) and math.isfinite(rss_kib)):
            raise BadInput(f"{path}, line {number}: time_s and rss_kib must be finite")
        if x and (time_s <= x[-1] or any(last_number < mark < number for mark in resumed)):
            starts.append(len(x))
        last_number = number
        x.append(time_s)
        y.append(rss_kib / 1024)
    if len(x) < 2:
        raise BadInput(f"{path} has {count_text(len(x), 'row')}; a line needs 2")
    return Curve(name, x, y, starts)


def replay_curve(path, name):
    """Operations and MiB of a record of bench_replay."""
    samples = read_json(path).get("rss_samples")
    try:
        x = [float(ops) for ops, _ in samples]
        y = [rss_bytes / MIB for _, rss_bytes in samples]
    except (TypeError, ValueError):
        raise BadInput(f"{path} has no rss_samples of [operations, bytes]") from None
    if len(x) < 2:
        raise BadInput(f"{path} has {count_text(len(x), 'sample')} in rss_samples; a line needs 2")
    return Curve(name, x, y)


def rss_curve(path, name):
    """(what x is: 'time' or 'operations', curve)."""
    if path.endswith(".json"):
        return "operations", replay_curve(path, name)
    return "time", soak_curve(path, name)
