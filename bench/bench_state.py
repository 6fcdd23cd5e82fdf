"""The JSON file of a run: written anew after each workload, by renaming, so that it is whole at any
time; and read again to go on with an interrupted run, where all that matters is as it was.
"""
import datetime
import hashlib
import json
import os
import re
import subprocess

from bench_machine import BadInput

SCHEMA = 1
VARYING = ("load_1min", "touched_gib")  # of the machine, from one run to the next


def library_digest(allocator):
    """So much of a library's SHA-256 that another build is seen."""
    if allocator.path is None:
        return "system"
    with open(allocator.path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def package_version(path):
    """Of the Debian package that a file is from; None where there is no dpkg or no such package."""
    def query(*words):
        return subprocess.run(["dpkg-query", *words], capture_output=True, text=True,
                              check=False).stdout
    try:
        owners = [line for line in query("-S", os.path.realpath(path)).splitlines()
                  if not line.startswith("diversion ")]
        if not owners:
            return None
        package = owners[0].partition(": ")[0].partition(",")[0]
        return query("-W", "-f", "${Version}", package).strip() or None
    except OSError:
        return None


def library_version(allocator):
    """glibc's own, else that of the library's package; None where nobody tells."""
    if allocator.path is not None:
        return package_version(allocator.path)
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ") or None
    except (OSError, ValueError):  # another C library
        return None


def library_versions(allocators):
    versions = {allocator.name: library_version(allocator) for allocator in allocators}
    return {name: version for name, version in versions.items() if version}


def head(machine, options, workloads, allocators):
    """The file without results. Holds no paths, which say nothing elsewhere."""
    return {"schema": SCHEMA, "date": datetime.date.today().isoformat(),
            "machine": machine | {"versions": library_versions(allocators)},
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
    versions = [record["machine"].get("versions", {}) for record in (before, now)]
    for name in sorted(set(versions[0]) | set(versions[1])):
        then, today = (each.get(name, "not told") for each in versions)
        if then != today:
            return f"{name} {then}, now {today}"
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
