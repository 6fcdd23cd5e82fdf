#!/usr/bin/python3
"""Counts the instructions of malloc and free on a hit, as callgrind sees an ordinary program run
them out of the preloaded library, and compares them with hits.json.

The driver makes K malloc/free pairs of 64 B. Two runs with different K give the cost of the pairs
in between exactly: start and warm-up cancel. A count goes from the function's first instruction to
its last, callees included; the PLT entry belongs to the caller (callgrind counts it there) and the
one `ret` that every hit executes is subtracted. Bulk counts (1,000 objects allocated, then freed,
per pair; refill, flush and `ret` included) are held to a tolerance.

Exit status: 0 as recorded, 1 a difference or over a limit, 2 bad input, 77 skipped.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple

FOLDER = pathlib.Path(__file__).resolve().parent
GOLDEN = FOLDER / "hits.json"
FLAVOURS = {"standard": "libhakmem.so", "minimal": "libhakmem-minimal.so"}
HIT_ROUNDS = (1000, 3000)
BULK_ROUNDS = (20, 60)
BULK_OBJECTS = 1000  # of hit_driver.c
# Arbitrary: a flush's share depends a little on where slabs begin; a change of the paths is larger.
BULK_TOLERANCE = 0.02
VALGRIND_TIMEOUT_SECONDS = 300

Calls = namedtuple("Calls", "count instructions library")


class BadInput(Exception):
    """Ends the run with one line and exit 2."""


def parse_calls(profile, caller):
    """{"malloc": Calls, "free": Calls} made by `caller`, out of a callgrind profile written without
    compression. The library's function may go by an alias (__libc_malloc, hak_free): the role is
    told by the word in its name."""
    found = {"malloc": Calls(0, 0, None), "free": Calls(0, 0, None)}
    function = callee = library = None
    count = 0
    for line in profile.splitlines():
        key, equals, value = line.partition("=")
        if key == "fn" and equals:
            function = value
        elif key == "cob":
            library = value
        elif key == "cfn":
            callee = value
        elif key == "calls":
            count = int(value.split()[0])
        elif count and re.match(r"\S+ \d+$", line):
            role = re.search(r"malloc|free", callee)
            if function == caller and role:
                old = found[role.group()]
                found[role.group()] = Calls(old.count + count,
                                            old.instructions + int(line.split()[1]), library)
            count = 0
    return found


def profile_run(driver, library, mode, rounds):
    with tempfile.TemporaryDirectory(prefix="hakmem-golden-") as folder:
        output = os.path.join(folder, "profile")
        env = {name: value for name, value in os.environ.items() if not name.startswith("HAKMEM_")}
        env["LD_PRELOAD"] = str(library)
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--dump-instr=no", "--compress-strings=no",
             "--compress-pos=no", f"--callgrind-out-file={output}", str(driver), mode, str(rounds)],
            env=env, capture_output=True, text=True, check=False, timeout=VALGRIND_TIMEOUT_SECONDS)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            raise BadInput(f"hit_driver under callgrind: exit {done.returncode}: {said}")
        calls = parse_calls(pathlib.Path(output).read_text(encoding="utf-8"), mode + "_loop")
    for role, got in calls.items():
        if got.library is None or os.path.basename(got.library) != library.resolve().name:
            raise BadInput(f"{library.name} is not in place: {role} comes from {got.library}")
    return calls


def per_call(few, many):
    """Instructions a call, from the difference of two runs; an exact count leaves no remainder."""
    return (many.instructions - few.instructions) / (many.count - few.count)


def count_flavour(driver, library):
    few, many = (profile_run(driver, library, "hit", rounds) for rounds in HIT_ROUNDS)
    hits = {role: per_call(few[role], many[role]) - 1 for role in few}  # - 1: ret
    for role, count in hits.items():
        if count != int(count):
            raise BadInput(f"{library.name}: {role}: {count:.4f} instructions a hit: a slow path "
                           "ran inside the counted loop")
    few, many = (profile_run(driver, library, "bulk", rounds) for rounds in BULK_ROUNDS)
    pair = sum(per_call(few[role], many[role]) for role in few)
    return {"malloc": int(hits["malloc"]), "free": int(hits["free"]), "bulk_pair": round(pair, 1)}


def differences(flavour, counted, recorded, limits):
    """What is wrong with `counted`, one sentence each; `recorded` None: nothing to compare with."""
    for role in ("malloc", "free"):
        if counted[role] > limits[role]:
            yield (f"{flavour}: {role} takes {counted[role]} instructions on a hit, the limit is "
                   f"{limits[role]}")
    if recorded is None:
        yield f"{flavour}: nothing recorded in {GOLDEN.name}"
        return
    for role in ("malloc", "free"):
        if counted[role] != recorded[role]:
            yield (f"{flavour}: {role} takes {counted[role]} instructions on a hit, recorded are "
                   f"{recorded[role]}")
    was, now = recorded["bulk_pair"], counted["bulk_pair"]
    if abs(now - was) > BULK_TOLERANCE * was:
        yield f"{flavour}: a bulk pair takes {now} instructions, recorded are {was}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path,
                        default=os.environ.get("HAK_BUILD_DIR", "build"))
    parser.add_argument("--compiler", default="", help="what built the library, e.g. GNU-12")
    parser.add_argument("--update", action="store_true", help="record the counts")
    options = parser.parse_args()
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if shutil.which("valgrind") is None:
        print("SKIP: valgrind is not installed")
        return 77
    if options.compiler not in ("", golden["compiler"]):
        print(f"SKIP: the counts are those of {golden['compiler']}, this is {options.compiler}")
        return 77
    wrong = []
    for flavour, file in FLAVOURS.items():
        library = (options.build / file).absolute()
        if not library.exists():
            raise BadInput(f"{library} is missing: build it first")
        counted = count_flavour(options.driver.absolute(), library)
        print(f"{flavour}: malloc {counted['malloc']}, free {counted['free']} instructions on a "
              f"hit; {counted['bulk_pair']} a bulk pair")
        recorded = counted if options.update else golden["hits"].get(flavour)
        wrong += differences(flavour, counted, recorded, golden["limits"][flavour])
        golden["hits"][flavour] = counted
    for sentence in wrong:
        print(sentence)
    if wrong:
        print("If the change is meant, and within the limits, record it: "
              f"tests/golden/count_hits.py --driver {options.driver} "
              f"--build {options.build} --update")
        return 1
    if options.update:
        GOLDEN.write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BadInput, OSError, subprocess.TimeoutExpired) as error:
        print(f"count_hits.py: {error}", file=sys.stderr)
        sys.exit(2)
