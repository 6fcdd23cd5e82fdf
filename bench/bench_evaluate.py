"""What is kept of a measured workload: summaries, ratios, verdicts, and how quiet the machine was.
"""
import bench_measure
import bench_workloads
import run_stats
import run_targets
from bench_allocators import SUBJECTS
from bench_limits import CV_LIMIT_PERCENT

# A quiet machine's empty loop varies by 0.2-0.5 % (measured), and two threads get 1.95 cores.
CORES_QUIET = 1.8
JUDGED_BY = {"cpu": "interval", "wall": "interval", "program": "interval", "rss": "median",
             "calls": "maximum"}


def noise_seen(workload, entries, records):
    """A sentence when other programs disturbed the run, else None. The least disturbed allocator
    tells: one whose threads wait for each other leaves cores idle by itself."""
    if "floor" in entries:
        cv = entries["floor"]["figure"]["cv_percent"]
        if cv > CV_LIMIT_PERCENT:
            return f"machine not quiet: the empty loop itself varies by {cv:.1f} % (CV)"
    if workload.metric == "wall" and records:
        cores = max(run_stats.median([r["cpu_ns"] / r["wall_ns"] for r in rows])
                    for rows in records.values())
        if cores < CORES_QUIET:
            return f"machine not quiet: two threads got {cores:.1f} cores"
    return None


def entry_of(workload, rows, extra):
    """One allocator's figures."""
    entry = {"figure": run_stats.summary([bench_measure.figure(workload, row) for row in rows])}
    entry["cv_percent"] = entry["figure"]["cv_percent"]
    for field in ("cpu_ns", "wall_ns"):
        entry[field + "_per_op"] = run_stats.median([row[field] / row["ops"] for row in rows])
    for field in ("rss_end_bytes", "rss_peak_bytes", "faults", "ops"):
        values = [row[field] for row in rows]
        entry[field] = None if None in values else run_stats.median(values)
    if workload.metric in bench_workloads.TIMED:
        counted = extra.get("calls")
        entry["latency"] = extra.get("latency")
        entry["calls_per_op"] = counted and counted["calls"] / counted["ops"]
        entry["calls_by_name"] = counted and counted["calls_by_name"]
    elif workload.metric == "calls":
        entry["calls_by_name"] = rows[0]["calls_by_name"]
    return entry


def samples_of(workload, measured, entries):
    """What the targets are held against: samples by figure and allocator."""
    def field(name):
        return {allocator: [row[name] for row in rows]
                for allocator, rows in measured.records.items()}
    main = {name: entry["figure"]["samples"] for name, entry in entries.items()}
    if workload.metric == "calls":
        return {"calls": main}
    if workload.metric == "rss":
        return {"rss_end_bytes": main, "rss_peak_bytes": field("rss_peak_bytes")}
    calls = {name: [entry["calls_per_op"]] for name, entry in entries.items()
             if entry.get("calls_per_op") is not None}
    return {"time": main, "rss_peak_bytes": field("rss_peak_bytes"), "calls_per_op": calls}


def evaluate(workload, measured, subjects, peers):
    """The workload's result. peers: the target peers of this run; one that failed here cannot be
    the best."""
    entries = {name: entry_of(workload, rows, measured.extras.get(name, {}))
               for name, rows in measured.records.items()}
    result = {"workload": workload.name, "what": workload.what, "metric": workload.metric,
              "judged_by": JUDGED_BY[workload.metric], "allocators": entries,
              "failures": measured.failures, "verdicts": []}
    if measured.skipped:
        result["skipped"] = measured.skipped
    ours = entries.get(subjects[0]) if subjects else None
    for name, entry in entries.items():
        if ours and name not in SUBJECTS and name != "floor":
            entry["subject_ratio"] = run_stats.compare(ours["figure"]["samples"],
                                                       entry["figure"]["samples"])
    result["not_quiet"] = noise_seen(workload, entries, measured.records)
    samples = samples_of(workload, measured, entries)
    standing = [peer for peer in peers if peer not in measured.failures]
    for subject in subjects:
        for target in workload.targets:
            answer = target.bound(samples[target.figure], subject, standing)
            result["verdicts"].append({"subject": subject, **answer,
                                       "verdict": run_targets.verdict(answer)})
    return result


def together(results, subjects, peer):
    """The geometric mean over all timed rows, by subject: run_stats.compare_together's answers."""
    answers = {}
    for subject in subjects:
        rows = []
        for result in results:
            entries = result["allocators"]
            if result["metric"] in bench_workloads.TIMED and subject in entries and peer in entries:
                rows.append(run_stats.ratios(entries[subject]["figure"]["samples"],
                                             entries[peer]["figure"]["samples"]))
        if rows and all(rows):
            answers[subject] = run_stats.compare_together(rows)
    return answers
