"""The CSV of a soak: its columns, the line of an epoch, writing a row, and reading a file back with
every fault named by line and column. Lines that start with `#` say what the run was
(`# key: value`)."""
import json
import math
from collections import namedtuple

from soak_input import BadInput

SCHEMA = "1"

# What a row holds, in its order. docs/soak.md has the meaning of each.
WHOLE = {"epoch", "rss_kib", "peak_kib", "faults", "syscalls", "ops"}
OPTIONAL = {"syscalls"}  # empty where the kernel refuses to count them
# What an epoch's line of bench_random_mixed holds: whole numbers, and numbers.
EPOCH_WHOLE = ["time_ns", "ops", "rss_bytes", "rss_peak_bytes", "faults"]
EPOCH_NUMBERS = ["ops_per_s", "cpu_ns_per_op", "floor_ops_per_s", "p50_ns", "p99_ns", "p99_9_ns",
                 "p99_99_ns", "max_ns"]
COLUMNS = ["epoch", "time_s", "ops_per_s", "rss_kib", "peak_kib", "faults", "syscalls", "p50_ns",
           "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns", "ops", "cpu_ns_per_op", "floor_ops_per_s"]
VALUE_END = 2.0**63  # arbitrary: above all that is counted, and no sum of such overflows
TAILS = ["p50_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns"]

# about: the `# key: value` lines; rows: dicts by column; segments: where each run's rows begin
# (the first at 0, one more a resumption); kept_bytes: the length of all whole lines.
Soak = namedtuple("Soak", "about rows segments kept_bytes")


def epoch_fault(record, after_ns):
    """What is wrong with a parsed line of an epoch that is to end later than after_ns; None: it can
    be a row."""
    if not isinstance(record, dict):
        return "no JSON object"
    for name in EPOCH_WHOLE + EPOCH_NUMBERS:
        if name not in record:
            return f"no {name}"
        value = record[name]
        if type(value) not in ((int,) if name in EPOCH_WHOLE else (int, float)):
            return f"{name} is no {'whole ' if name in EPOCH_WHOLE else ''}number"
        if not 0 <= value < VALUE_END:  # a NaN is not either
            return f"{name} is out of range"
    if record["time_ns"] <= after_ns:
        return f"time_ns is {record['time_ns']}, not after {after_ns}"
    return None


def epoch_read(where, line, after_ns):
    """The record of an epoch in a line of bench_random_mixed's output."""
    try:
        record = json.loads(line)
        fault = epoch_fault(record, after_ns)
    except (ValueError, RecursionError):
        fault = "no JSON"
    if fault is not None:
        raise BadInput(f"{where} is no epoch ({fault}): expected is an object with "
                       f"{', '.join(EPOCH_WHOLE + EPOCH_NUMBERS)}, as bench_random_mixed prints it")
    return record


def header():
    return ",".join(COLUMNS)


def row_text(row):
    cells = []
    for name in COLUMNS:
        value = row[name]
        if value is None:
            cells.append("")
        elif isinstance(value, float):
            cells.append(f"{value:.3f}")
        else:
            cells.append(str(value))
    return ",".join(cells)


def cell_read(where, name, text):
    if text == "" and name in OPTIONAL:
        return None
    try:
        value = int(text) if name in WHOLE else float(text)
    except ValueError:
        raise BadInput(f"{where}, column {name}: '{text[:40]}' is no number") from None
    if not 0 <= value < VALUE_END:  # a NaN is not either
        raise BadInput(f"{where}, column {name}: {text[:40]} is out of range")
    return value


def row_read(where, names, text, last):
    cells = text.split(",")
    if len(cells) != len(names):
        raise BadInput(f"{where}: {len(cells)} columns where the header has {len(names)}")
    row = {name: cell_read(where, name, cell) for name, cell in zip(names, cells)}
    due = 0 if last is None else last["epoch"] + 1
    if row["epoch"] != due:
        raise BadInput(f"{where}, column epoch: {row['epoch']} where {due} is due")
    if last is not None and row["time_s"] <= last["time_s"]:
        raise BadInput(f"{where}, column time_s: {row['time_s']} is not after {last['time_s']}")
    return row


def header_read(where, text):
    names = text.split(",")
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise BadInput(f"{where}: no column {missing[0]} in the header")
    if len(set(names)) != len(names):
        raise BadInput(f"{where}: a column is there twice")
    return names


def lines_read(path):
    """(the whole lines, what follows the last line end)"""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: no text file") from None
    torn = lines.pop()
    return lines, torn


def number_read(where, text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{where}: '{text}' is no number")
    return value


def column_read(path, name):
    """The numbers of one column of any CSV with a header line; empty cells are left out."""
    lines, torn = lines_read(path)
    if torn:
        lines.append(torn)  # a CSV in general may end without a line end
    numbered = [(number, line) for number, line in enumerate(lines, 1)
                if line.strip() and not line.startswith("#")]
    if not numbered:
        raise BadInput(f"{path}: no header line")
    names = numbered[0][1].rstrip("\r").split(",")
    if name not in names:
        raise BadInput(f"{path}: no column {name}; it has {', '.join(names)}")
    values = []
    for number, line in numbered[1:]:
        cells = line.rstrip("\r").split(",")
        where = f"{path}, line {number}"
        if len(cells) != len(names):
            raise BadInput(f"{where}: {len(cells)} columns where the header has {len(names)}")
        cell = cells[names.index(name)]
        if cell:
            values.append(number_read(f"{where}, column {name}", cell))
    return values


def read(path, drop_torn=False):
    """The file as a Soak. drop_torn: leave out a last line that has no line end (the run was
    killed while writing it) instead of refusing it."""
    lines, torn = lines_read(path)
    if torn and not drop_torn:
        raise BadInput(f"{path}, line {len(lines) + 1}: cut off (no line end)")
    about, rows, segments, names = {}, [], [0], None
    for number, text in enumerate(lines, 1):
        where, text = f"{path}, line {number}", text.rstrip("\r")
        if text.startswith("#"):
            key, colon, value = text[1:].partition(":")
            if key.strip() == "resumed":
                segments.append(len(rows))
            elif colon:
                about[key.strip()] = value.strip()
        elif names is None:
            names = header_read(where, text)
        else:
            rows.append(row_read(where, names, text, rows[-1] if rows else None))
    if names is None:
        raise BadInput(f"{path}: no header line, so no soak's CSV")
    if about.get("schema") != SCHEMA:
        raise BadInput(f"{path}: schema {about.get('schema', 'unknown')}, not {SCHEMA}")
    return Soak(about, rows, segments, sum(len(line.encode()) + 1 for line in lines))
