#!/usr/bin/python3
"""mutants.py [--list] [--sample N] [--seed S] [--json FILE] BUILD: is each atomic access needed?

Changes one atomic access of src/ at a time, as the model runs it (MODEL_MUTANT, model_memory.c),
and runs the model's programs until one fails: then the change was noticed ("killed"). What is not
noticed must stand in survivors.txt with a reason, and be at most 5 % of all.

  load_relaxed             gives 0
  load_acquire, load_seq   relaxed
  store_relaxed, bump      does not happen
  store_release, _seq      relaxed
  read-modify-write        falls apart into a load and a store

Exit: 0 as it should be, 1 an unexplained survivor, 2 bad input.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SURVIVORS = os.path.join(ROOT, "tests", "model", "survivors.txt")
ACCESS = re.compile(r"\b((?:load|store|swap|add|sub|or|and|cas|bump)"
                    r"_(?:relaxed|acquire|release|acq_rel|seq))\(")
KILLED_LEAST = 0.95
PROGRAMS = ("entry", "mail", "lock", "claim")  # the one that kills most comes first
TIMEOUT_S = 120
EXECUTIONS = "3000"  # of a scenario: what is not noticed in so many stays unnoticed


def kind_of(access):
    verb, _, order = access.partition("_")
    if verb == "load":
        return "zero" if order == "relaxed" else "relaxed"
    if verb in ("store", "bump"):
        return "drop" if order == "relaxed" else "relaxed"
    return "split"


def sources():
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, "src"))):
        for name in sorted(names):
            if name.endswith((".c", ".h")) and name != "base_atomic.h":
                yield os.path.join(folder, name)


def accesses():
    """(file name, line, access, occurrence on the line), comments included: as grep counts."""
    for path in sources():
        with open(path, encoding="utf-8") as source:
            for number, text in enumerate(source, 1):
                for i, found in enumerate(ACCESS.findall(text)):
                    yield os.path.basename(path), number, found, i


def key_of(mutant):
    file, line, access, i = mutant
    return f"{file}:{line}:{access}:{i}"


def statement_of(mutant):
    """What survivors.txt names: the text of the line, which stays when lines move."""
    file, line = mutant[0], mutant[1]
    for path in sources():
        if os.path.basename(path) == file:
            with open(path, encoding="utf-8") as source:
                return f"{file}: {source.read().splitlines()[line - 1].strip()}"
    raise KeyError(file)


def read_survivors():
    """Text of a line -> reason. Blocks: a line `file: text` each, then a line `  reason`."""
    reasons, names = {}, []
    with open(SURVIVORS, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith("  "):
                for name in names:
                    reasons[name] = line.strip()
                names = []
            else:
                names.append(line.strip())
    if names:
        sys.exit(f"{SURVIVORS}: no reason after {names[0]}")
    return reasons


def killer_of(build, mutant):
    """The program that fails, or None."""
    file, line, access, _ = mutant
    place = f"{file}:{line}:{kind_of(access)}"
    for program in PROGRAMS:
        path = os.path.join(os.path.abspath(build), f"test_model_{program}")
        try:
            done = subprocess.run([path, "--executions", EXECUTIONS],
                                  env={**os.environ, "MODEL_MUTANT": place}, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return program  # it does not end: noticed
        if done.returncode != 0:
            return program
    return None


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--sample", type=int, help="this many, drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="write the verdicts there")
    parser.add_argument("build", metavar="BUILD", nargs="?", help="the build folder")
    return parser.parse_args(arguments)


def report(mutants, killers, reasons):
    wrong = []
    for mutant, killer in zip(mutants, killers):
        reason = reasons.get(statement_of(mutant))
        if killer is None and reason is None:
            wrong.append(f"not noticed: {key_of(mutant)}  {statement_of(mutant)}")
    killed = sum(killer is not None for killer in killers)
    share = killed / len(mutants)
    print(f"{len(mutants)} mutants, {killed} killed ({share:.1%}), {len(wrong)} unexplained")
    for line in wrong:
        print(line)
    return wrong, share


def main():
    options = parse(sys.argv[1:])
    mutants = list(accesses())
    if options.list:
        for mutant in mutants:
            print(f"{key_of(mutant)} {kind_of(mutant[2])}")
        return 0
    if options.build is None or not os.path.isdir(options.build):
        print(f"mutants.py: {options.build}: no such build folder; run cmake first",
              file=sys.stderr)
        return 2
    if options.sample is not None:
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    reasons = read_survivors()
    with ThreadPoolExecutor(options.jobs) as pool:
        killers = list(pool.map(lambda mutant: killer_of(options.build, mutant), mutants))
    wrong, share = report(mutants, killers, reasons)
    if options.json:
        rows = [{"mutant": key_of(m), "kind": kind_of(m[2]), "killed_by": killer,
                 "reason": None if killer else reasons.get(statement_of(m))}
                for m, killer in zip(mutants, killers)]
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump({"schema": 1, "killed_share": share, "mutants": rows}, out, indent=1)
            out.write("\n")
    is_short = options.sample is None and share < KILLED_LEAST
    return 1 if wrong or is_short else 0


if __name__ == "__main__":
    sys.exit(main())
