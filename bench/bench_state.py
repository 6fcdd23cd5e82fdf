"""The JSON file of a run: written anew after each workload, by renaming, so that it is whole at any
time; and read again to go on with an interrupted run, where all that matters is as it was.
"""
import datetime
import hashlib
import json
import os
import re

from bench_machine import BadInput

SCHEMA = 1
VARYING = ("load_1min",)  # of the machine, from one run to the next


def library_digest(allocator):
    """So much of a library's SHA-256 that another build is seen."""
    if allocator.path is None:
        return "system"
    with open(allocator.path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def head(machine, options, workloads, allocators):
    """The file without results. Holds no paths, which say nothing elsewhere."""
    return {"schema": SCHEMA, "date": datetime.date.today().isoformat(), "machine": machine,
            "rounds": options.rounds, "seconds": options.seconds,
            "workloads": [workload.name for workload in workloads],
            "libraries": {allocator.name: library_digest(allocator) for allocator in allocators},
            "complete": False, "results": []}


def text_of(record):
    """Indented, but lists of numbers, and lists of those, in one line each: people read it too."""
    text = json.dumps(record, indent=1)
    for inside in (r"[-+\d.eE,\s]+?", r"(?:\[[-+\d.eE, ]+\],?\s*)+?"):
        text = re.sub(rf"\[\s+({inside})\s+\]",
                      lambda found: "[" + " ".join(found.group(1).split()) + "]", text)
    return text + "\n"


def write(path, record):
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text_of(record))
    os.replace(beside, path)


def difference(before, now):
    """What keeps two runs from being one, or None."""
    def fixed(machine):
        return {key: value for key, value in machine.items() if key not in VARYING}
    for key in ("schema", "rounds", "seconds", "workloads"):
        if before[key] != now[key]:
            return f"{key} {before[key]}, now {now[key]}"
    if before["machine"]["commit"] != now["machine"]["commit"]:
        return f"commit {before['machine']['commit']}, now {now['machine']['commit']}"
    if fixed(before["machine"]) != fixed(now["machine"]):
        return "another machine, or other options in the environment"
    if before["libraries"] != now["libraries"]:
        return "other allocators, or other builds of them"
    return None


def resume(path, now):
    """The results of the interrupted run that the file holds."""
    try:
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        changed = difference(before, now)
        results = before["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"--resume: {path} is no file of an interrupted run ({error})") from None
    if changed:
        raise BadInput(f"--resume: {path} is of another run: {changed}")
    return results
