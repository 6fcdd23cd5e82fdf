#!/usr/bin/python3
"""Says whether the memory of a soaked allocator drifts, and how steady its figures are.

Drift, after a settling time of 10 minutes: the 95 % interval of the RSS slope must contain 0, and
the median of the last 10 minutes may lie above that of the first 10 by at most 0.1 % or 64 KiB.
Exit status: 0 met, 1 missed, 2 bad input or too short for a verdict. docs/soak.md has the methods.
"""
import json
import sys
from statistics import median

sys.dont_write_bytecode = True  # the source tree stays as it is
import soak_csv
import soak_input
import soak_stats

SETTLE_SECONDS = 600  # the target's: the settling time, and the length of both windows
ALLOWED_SHARE, ALLOWED_KIB = 0.001, 64  # the target's
VARYING = ["ops_per_s", "cpu_ns_per_op", "floor_ops_per_s", "ops_per_floor_op"]


class TooShort(soak_input.BadInput):
    """No verdict can be had from so few rows; says what is missing."""

    def __init__(self, missing):
        super().__init__(f"too short for a verdict: {missing}")


# ---- what is judged ----

def segments_of(soak):
    """Runs of rows from one start, as (the time before the first, rows). A process an epoch starts
    anew in each row, so there a resumption changes nothing."""
    starts = [0] if soak.about.get("mode") == "process_an_epoch" else sorted(set(soak.segments))
    ends = [*starts[1:], len(soak.rows)]
    return [(soak.rows[start - 1]["time_s"] if start else 0.0, soak.rows[start:end])
            for start, end in zip(starts, ends) if end > start]


def drift_of(begin_s, rows, settle_s):
    """The drift of one segment; TooShort when it has no settling time and two windows."""
    settled = [row for row in rows if row["time_s"] - begin_s >= settle_s]
    needed_s = 3 * settle_s
    span_s = rows[-1]["time_s"] - begin_s
    if span_s < needed_s or len(settled) < soak_stats.POINTS_LEAST:
        raise TooShort(f"{span_s:.0f} s and {len(settled)} epochs after settling, where "
                       f"{needed_s:.0f} s and {soak_stats.POINTS_LEAST} are needed")
    times = [row["time_s"] for row in settled]
    rss = [row["rss_kib"] for row in settled]
    slope, interval = soak_stats.slope_interval(times, rss)
    first = median(kib for time_s, kib in zip(times, rss) if time_s <= times[0] + settle_s)
    last = median(kib for time_s, kib in zip(times, rss) if time_s >= times[-1] - settle_s)
    allowed = max(ALLOWED_SHARE * first, ALLOWED_KIB)
    contains_0 = interval[0] <= 0 <= interval[1]
    return {"begin_s": begin_s, "end_s": rows[-1]["time_s"],
            "slope_kib_per_hour": slope * 3600,
            "slope_interval_95_kib_per_hour": [end * 3600 for end in interval],
            "slope_contains_0": contains_0, "first_median_kib": first, "last_median_kib": last,
            "difference_kib": last - first, "allowed_kib": allowed,
            "met": contains_0 and last - first <= allowed}


def drifts_of(soak, settle_s):
    """The drift of each segment that is long enough; TooShort when none is."""
    drifts, short = [], None
    for begin_s, rows in segments_of(soak):
        try:
            drifts.append(drift_of(begin_s, rows, settle_s))
        except TooShort as error:
            short = error
    if not drifts:
        raise short or TooShort("no epoch at all")
    return drifts


# ---- what is reported beside it ----

def settled_rows(soak, settle_s):
    return [row for begin_s, rows in segments_of(soak) for row in rows
            if row["time_s"] - begin_s >= settle_s]


def varying_of(rows):
    """Median and coefficient of variation of each rate over the settled epochs."""
    series = {name: [row[name] for row in rows] for name in VARYING if name in rows[0]}
    series["ops_per_floor_op"] = [row["ops_per_s"] / row["floor_ops_per_s"] for row in rows
                                  if row["floor_ops_per_s"]]
    return {name: {"median": median(values), "cv_percent": soak_stats.cv_percent(values)}
            for name, values in series.items() if values}


def count_of(rows, name):
    """A count over the rows that have it, and by operation; None when no row has it."""
    counted = [row for row in rows if row[name] is not None]
    ops = sum(row["ops"] for row in counted)
    if not ops:
        return None
    total = sum(row[name] for row in counted)
    return {"total": total, "ops": ops, "per_op": total / ops}


def tails_of(rows):
    result = {}
    for name in soak_csv.TAILS:
        ordered = sorted(row[name] for row in rows)
        result[name] = {"median": median(ordered), "p90": soak_stats.quantile(ordered, 0.9),
                        "max": ordered[-1]}
    return result


def analysis_make(soak, settle_s):
    drifts = drifts_of(soak, settle_s)
    rows = settled_rows(soak, settle_s)
    return {
        "schema": 1, "about": soak.about, "settle_seconds": settle_s,
        "epochs": len(soak.rows), "wall_s": soak.rows[-1]["time_s"],
        "resumed": len(soak.segments) - 1, "drift": drifts,
        "rss_kib": {"median": median(row["rss_kib"] for row in rows),
                    "max": max(row["rss_kib"] for row in soak.rows)},
        "peak_kib": max(row["peak_kib"] for row in soak.rows), "varying": varying_of(rows),
        "faults": count_of(soak.rows, "faults"), "faults_settled": count_of(rows, "faults"),
        "syscalls": count_of(soak.rows, "syscalls"),
        "syscalls_settled": count_of(rows, "syscalls"), "tails": tails_of(rows),
        "met": all(drift["met"] for drift in drifts),
    }


# ---- output ----

def drift_print(drift):
    low, high = drift["slope_interval_95_kib_per_hour"]
    says = "contains" if drift["slope_contains_0"] else "does not contain"
    print(f"drift from {drift['begin_s']:.0f} to {drift['end_s']:.0f} s: "
          f"{'met' if drift['met'] else 'missed'}")
    print(f"  RSS slope {drift['slope_kib_per_hour']:+.2f} KiB an hour, 95 % interval "
          f"[{low:+.2f}, {high:+.2f}]: {says} 0")
    print(f"  last window's median {drift['last_median_kib']:.0f} KiB, the first's "
          f"{drift['first_median_kib']:.0f}: {drift['difference_kib']:+.0f} KiB, "
          f"allowed {drift['allowed_kib']:.0f}")


def count_print(name, total, settled):
    if total is None:
        print(f"{name}: not counted")
        return
    print(f"{name}: {total['total']} in {total['ops']:.3g} operations "
          f"({total['per_op']:.3g} an operation)"
          + (f", after settling {settled['total']} ({settled['per_op']:.3g})" if settled else ""))


def analysis_print(path, analysis):
    about = analysis["about"]
    print(f"{path}: {about.get('bench')}, {about.get('ws')} slots, {about.get('allocator')}, "
          f"{about.get('mode')}: {analysis['epochs']} epochs, {analysis['wall_s']:.0f} s, resumed "
          f"{analysis['resumed']} times")
    for drift in analysis["drift"]:
        drift_print(drift)
    print(f"RSS: median {analysis['rss_kib']['median']:.0f} KiB, highest "
          f"{analysis['rss_kib']['max']}, peak {analysis['peak_kib']}")
    for name, figures in analysis["varying"].items():
        print(f"{name}: median {figures['median']:.6g}, CV {figures['cv_percent']:.2f} %")
    count_print("faults", analysis["faults"], analysis["faults_settled"])
    count_print("system calls", analysis["syscalls"], analysis["syscalls_settled"])
    for name, figures in analysis["tails"].items():
        print(f"{name} over the epochs: median {figures['median']:.0f}, p90 {figures['p90']:.0f}, "
              f"worst {figures['max']:.0f}")
    print(f"verdict: drift target {'met' if analysis['met'] else 'missed'}")


def series_plot(axes, parts, value_of, label):
    """One line a part, all in one colour and with one entry in the legend."""
    colour = None
    for _, rows in parts:
        line, = axes.plot([row["time_s"] / 60 for row in rows], [value_of(row) for row in rows],
                          color=colour, label=None if colour else label,
                          marker="." if len(rows) == 1 else None)  # else a point is invisible
        colour = line.get_color()


def plot_write(path, soak, title):
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as pyplot
    except ImportError:
        raise soak_input.BadInput("--plot needs matplotlib (scripts/deps.sh bench)") from None
    parts = segments_of(soak)  # a line each: another process does not go on where one ended
    figure, (memory, speed, tail) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 9))
    for name, label in (("rss_kib", "RSS"), ("peak_kib", "peak")):
        series_plot(memory, parts, lambda row, name=name: row[name], label)
    memory.set_ylabel("KiB")
    series_plot(speed, parts, lambda row: row["ops_per_s"] / 1e6, "million ops/s")
    speed.set_ylabel("million ops/s")
    speed.set_ylim(bottom=0)
    for name in soak_csv.TAILS[1:]:
        series_plot(tail, parts, lambda row, name=name: row[name], name)
    tail.set_yscale("log")
    tail.set_ylabel("ns")
    tail.set_xlabel("minutes")
    for axes in (memory, speed, tail):
        for start in soak.segments[1:]:
            if start < len(soak.rows):
                axes.axvline(soak.rows[start]["time_s"] / 60, linestyle=":", color="grey")
        axes.legend(loc="upper right")
        axes.grid(alpha=0.3)
    memory.set_title(title)
    figure.tight_layout()
    try:
        figure.savefig(path)
    except ValueError as error:
        raise soak_input.BadInput(f"--plot {path}: {str(error).splitlines()[0]}") from None


# ---- the command ----

def arguments_parse(words):
    parser = soak_input.Parser(prog="analyze_soak.py", description=__doc__.splitlines()[0])
    parser.add_argument("csv", metavar="FILE.csv")
    parser.add_argument("--settle-seconds", type=soak_input.positive, default=SETTLE_SECONDS,
                        metavar="S", help="settling time, and length of the two windows "
                                          f"(default {SETTLE_SECONDS})")
    parser.add_argument("--json", metavar="OUT", help="write every figure there")
    parser.add_argument("--plot", metavar="OUT.png", help="RSS, ops/s and tails over time")
    return parser.parse_args(words)


def run(words):
    options = arguments_parse(words)
    for option, path in (("--json", options.json), ("--plot", options.plot)):
        soak_input.check_output(option, path, options.csv)
    soak = soak_csv.read(options.csv)
    analysis = analysis_make(soak, options.settle_seconds)  # what is refused leaves no picture
    if options.plot:
        about = soak.about
        plot_write(options.plot, soak, f"{about.get('bench')}, {about.get('ws')} slots, "
                                       f"{about.get('allocator')}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(analysis, file, indent=1)
            file.write("\n")
    analysis_print(options.csv, analysis)
    return 0 if analysis["met"] else 1


if __name__ == "__main__":
    sys.exit(soak_input.exit_status("analyze_soak.py", run))
