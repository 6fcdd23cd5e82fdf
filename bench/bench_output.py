"""What run.py prints: a table a workload, the targets, and on stderr how far it is.
"""
import sys
import time

UNITS = {"cpu": "ns an operation, thread CPU time", "wall": "ns an operation, wall time",
         "rss": "KiB at the end", "calls": "system calls", "program": "s of CPU time a run"}


def number_text(metric, value):
    if metric == "rss":
        return f"{value / 1024:.0f}"
    digits = {"calls": 0, "program": 3}.get(metric, 2)
    return f"{value:.{digits}f}"


def kib_text(count):
    return "" if count is None else f"{count / 1024:.0f}"


def duration_text(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def count_text(count, noun):
    """'1 round', '2 rounds'."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def rows_of(result):
    metric = result["metric"]
    floor = result["allocators"].get("floor")
    is_timed = any("latency" in entry for entry in result["allocators"].values())
    head = ["allocator", "min", "median", "spread %", "CV %"]
    head += ["above floor"] if floor else []
    head += {"wall": ["CPU"], "program": ["wall"]}.get(metric, [])
    head += ["ratio", "95 %", "of minima", "RSS KiB", "peak KiB", "faults"]
    head += ["calls/op", "p99 ns", "p99.99 ns"] if is_timed else []
    yield head
    for name, entry in result["allocators"].items():
        summary, ratio = entry["figure"], entry.get("subject_ratio")
        row = [name, number_text(metric, summary["min"]), number_text(metric, summary["median"]),
               f"{summary['spread_percent']:.1f}", f"{summary['cv_percent']:.1f}"]
        if floor:
            row.append(f"{summary['min'] - floor['figure']['min']:.2f}")
        if metric == "wall":
            row.append(f"{entry['cpu_ns_per_op']:.2f}")
        if metric == "program":
            row.append(f"{entry['wall_ns_per_op'] / 1e9:.3f}")
        if ratio:
            low, high = ratio["ratio_interval_95"]
            row += [f"{ratio['ratio_median']:.3f}", f"{low:.3f}-{high:.3f}",
                    f"{ratio['ratio_of_minima']:.3f}"]
        else:
            row += ["", "", ""]
        row += [kib_text(entry["rss_end_bytes"]), kib_text(entry["rss_peak_bytes"]),
                f"{entry['faults']:.0f}"]
        yield row + (extra_cells(entry) if is_timed else [])


def extra_cells(entry):
    calls, latency = entry.get("calls_per_op"), entry.get("latency")
    return ["" if calls is None else f"{calls:.2g}",
            str(latency["p99_ns"]) if latency else "",
            str(latency["p99_99_ns"]) if latency else ""]


def table_print(rows, markdown, words=1):
    """The first `words` columns are words, aligned left; the others numbers."""
    rows = [list(map(str, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for index, row in enumerate(rows):
        cells = [cell.ljust(width) if i < words else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |" if markdown else "  " + "  ".join(cells).rstrip())
        if markdown and index == 0:
            print("|" + "|".join("-" * (w + 1) + ("-" if i < words else ":")
                                 for i, w in enumerate(widths)) + "|")


def result_print(result, markdown):
    title = f"{result['workload']}: {result['what']} ({UNITS[result['metric']]})"
    print(f"### {title}\n" if markdown else title)
    if result["allocators"]:
        table_print(rows_of(result), markdown)
    if "skipped" in result:
        print(f"  SKIPPED {result['skipped']}")
    if result["not_quiet"]:
        print(f"  {result['not_quiet']}")
    for text in result["failures"].values():
        print(f"  FAILED {text}")
    print()


def verdicts_print(verdicts, markdown):
    """verdicts: (workload's name, verdict) pairs."""
    rows = [["workload", "allocator", "target", "measured", "verdict"]]
    rows += [[name, verdict["subject"], verdict["target"], verdict["measured"], verdict["verdict"]]
             for name, verdict in verdicts]
    if len(rows) > 1:
        print("### Targets\n" if markdown else "targets")
        table_print(rows, markdown, words=len(rows[0]))
        words = [verdict["verdict"] for _, verdict in verdicts]
        print("\n" + ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)))


class Progress:
    """On a terminal one line that is written over, with the time left; elsewhere, where asked, a
    line a workload. The estimate's own error so far is taken off what is left."""

    def __init__(self, seconds_by_workload, is_asked):
        self.estimates = dict(seconds_by_workload)
        self.is_terminal = sys.stderr.isatty()
        self.is_asked = is_asked
        self.begin = time.monotonic()
        self.done_seconds = 0.0  # of the estimates
        self.name = None

    def workload_begin(self, name):
        self.name = name
        if self.is_asked and not self.is_terminal:
            print(f"{name}: {self.times_text(0.0)}", file=sys.stderr, flush=True)

    def workload_end(self):
        self.done_seconds += self.estimates.pop(self.name)
        self.clear()

    def times_text(self, share):
        elapsed = time.monotonic() - self.begin
        done = self.done_seconds + share * self.estimates[self.name]
        left = sum(self.estimates.values()) - share * self.estimates[self.name]
        if done > 0:
            left *= elapsed / done
        return f"{duration_text(elapsed)} gone, about {duration_text(left)} left"

    def note(self, text, share):
        """What goes on, and which share of the workload is done."""
        if self.is_terminal:
            print(f"\r\x1b[K{self.name}: {text}, {self.times_text(share)}", end="", file=sys.stderr,
                  flush=True)

    def clear(self):
        if self.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
