#!/usr/bin/python3
"""check_models.py [--verify FOLDER [--long] | --accept]: are the Spin models of today's C source?

Without an option: each function that a model (tests/spin/*.pml) names in a comment `C: one, other`
is a function of src/ whose text, comments and spaces aside, is the one that functions.txt has a
digest of. A function that was changed makes this fail until its model has been read against it and
`--accept` writes the new digest. Each inline and proctype has such a comment before it, with names
and nothing else, or one that says `Not C: why`. Where two files have a function of that name,
`file.c:name` says which.
--verify: Spin tries every order of each model's steps, in FOLDER; the last line has the number of
states of each. With --long also those variants that take gigabytes.
What it looks for: an assertion that is wrong, and a state in which some process waits for ever.
Besides, in smaller variants, steps that go round for ever: a cycle without a label `progress`,
which is at the one loop that may be endless. test_edits.py has edits that it must find.
Not looked for: that a thread gets its turn (a lock goes to anybody who waits), how often something
is tried again, and weak memory (tests/model); all of it with as many threads and rounds as the
models have, and no more.
Exit: 0, 1 found something, 2 bad input, 77 no Spin, or not as much memory.
"""
import argparse
import functools
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.join(os.path.dirname(os.path.dirname(HERE)), "src")
DIGESTS = os.path.join(HERE, "functions.txt")
COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
CALLED_C = re.compile(r"(?<!`)\bC:")  # what begins a list of names; in backticks it is spoken of
NAME = r"(?:\w+\.[ch]:)?\w+"
NAMES = re.compile(rf"C:\s+{NAME}(?:,\s+{NAME})*")
STEP = re.compile(r"^(?:inline|(?:active\s+)?proctype)\s+(\w+)", re.M)
BEFORE = re.compile(r"(?:/\*(?:[^*]|\*(?!/))*\*/\s*)+$")
PARTS = re.compile(r"\s*([A-Za-z_0-9]+|[^\sA-Za-z_0-9])")
VARIANTS = {"mail.pml": ("-DSENDERS=2", "-DSENDERS=1 -DOWNERS=2")}
LONG_VARIANTS = {"pull.pml": ("-DREMOTES=2 -DROUNDS=0",)}
CYCLE_VARIANTS = {"fork.pml": "-DROUNDS=1", "mail.pml": "-DSENDERS=1", "pull.pml": "-DROUNDS=0"}
CYCLES = "cycles"  # what to look for; else errors
LONG_MIB = 3072  # what the largest of them may take; seen: 2.4 GB


def models():
    return sorted(glob.glob(os.path.join(HERE, "*.pml")))


def functions_of(path):
    """The functions that a model names, and what is wrong with how it names them."""
    with open(path, encoding="utf-8") as opened:
        text = opened.read()
    names, faults = [], []
    for comment in COMMENTS.findall(text):
        said = comment.strip("/* \n")
        if NAMES.fullmatch(said):
            names += re.findall(NAME, said[len("C:"):])
        elif CALLED_C.search(said) and not said.startswith("Not C: "):
            faults.append(f"{os.path.basename(path)}: not a list of names: {said}")
    for step in STEP.finditer(text):
        before = BEFORE.search(text, 0, step.start())
        said = [comment.strip("/* \n") for comment in COMMENTS.findall(before.group())] \
            if before else []
        if not any(NAMES.fullmatch(one) or one.startswith("Not C: ") for one in said):
            faults.append(f"{os.path.basename(path)}: {step.group(1)}: no comment before it says "
                          "which functions it is (`C: one, other`), or why none (`Not C: why`)")
    return names, faults


@functools.lru_cache(maxsize=None)
def source_of(path):
    with open(path, encoding="utf-8") as source:
        return COMMENTS.sub(" ", source.read())


def definitions(name):
    """The text of each function of that name in src/, or in one file of it (`pull.c:take_from`),
    from its name to its closing brace."""
    file, _, name = name.rpartition(":")
    start = re.compile(r"^[A-Za-z_][^\n;={}#]*\b" + name + r"\([^;{}]*\)\s*\{", re.M)
    for path in sorted(glob.glob(os.path.join(SRC, "*", file or "*.[ch]"))):
        text = source_of(path)
        for found in start.finditer(text):
            depth, at = 1, found.end()
            while depth and at < len(text):
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
            yield os.path.basename(path), text[found.start():at]


def digest(name):
    found = list(definitions(name))
    if len(found) != 1:
        return None, f"{name}: {len(found)} definitions in src/, not 1"
    file, text = found[0]
    parts = " ".join(PARTS.findall(text))
    return f"{hashlib.sha256(parts.encode()).hexdigest()[:16]} {file}", None


def read_digests():
    with open(DIGESTS, encoding="utf-8") as lines:
        rows = [line.split(maxsplit=1) for line in lines if line.strip() and line[0] != "#"]
    return {name: rest.strip() for name, rest in rows}


def check(accept):
    read = [functions_of(path) for path in models()]
    names = sorted({name for named, _ in read for name in named})
    now, faults = {}, [fault for _, found in read for fault in found]
    for name in names:
        now[name], fault = digest(name)
        faults += [fault] if fault else []
    if accept and not faults:
        with open(DIGESTS, "w", encoding="utf-8") as out:
            out.write("# Functions that the models of this folder model, as they were read:\n"
                      "# name, digest of the text, file. Written by check_models.py --accept.\n")
            out.writelines(f"{name} {now[name]}\n" for name in names)
        return 0
    known = read_digests() if os.path.exists(DIGESTS) else {}
    for name in sorted(set(names) | set(known)):
        if name not in now:
            faults.append(f"{name}: in functions.txt, but no model names it")
        elif now[name] is not None and known.get(name) != now[name]:
            faults.append(f"{name}: changed since its model was read against it "
                          "(then: check_models.py --accept)")
    for fault in faults:
        print(fault)
    print(f"{len(models())} models of {len(names)} functions, {len(faults)} findings")
    return 1 if faults else 0


def run(command, folder):
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)


def pan(path, variant, folder, wanted="errors", optimize="-O1"):
    """What Spin's verifier says of a model: (its exit status, its words), or (None, why there is
    none)."""
    made = run(["spin", "-a", *variant.split(), path], folder)
    if made.returncode == 0:
        made = run(["cc", optimize, "-w", "-DNP" if wanted == CYCLES else "-DSAFETY",
                    "-DVECTORSZ=2048", f"-DMEMLIM={LONG_MIB}", "-o", "pan", "pan.c"], folder)
    if made.returncode != 0:
        return None, made.stdout
    done = run(["./pan", "-m100000", *(["-l"] if wanted == CYCLES else [])], folder)
    return done.returncode, done.stdout


def verify_one(path, variant, folder, wanted="errors"):
    """Every order of one model: what there is to say of it, and whether none fails and none was
    left out."""
    name = " ".join([os.path.basename(path), *variant.split()])
    if wanted == CYCLES:
        name += ", cycles"
    status, words = pan(path, variant, folder, wanted)
    if status is None:
        print(words)
        return f"{name}: no verifier", False
    states = re.search(r"(\d+) states, stored", words)
    good = status == 0 and "errors: 0" in words and \
        "max search depth too small" not in words and \
        "Search not completed" not in words and states is not None
    said = f"{name}: {int(states.group(1)) if states else 0:,} states"
    print(f"{said}, {'no error' if good else 'FAILED'}", flush=True)
    if not good:
        print(words)
    return said, good


def memory_mib():
    with open("/proc/meminfo", encoding="utf-8") as lines:
        return int(re.search(r"^MemAvailable:\s+(\d+) kB", lines.read(), re.M).group(1)) >> 10


def verify(folder, is_long):
    if shutil.which("spin") is None:
        print("SKIP: no spin here (scripts/deps.sh test)")
        return 77
    if is_long and memory_mib() < LONG_MIB:
        print(f"SKIP: {memory_mib()} MiB of memory are available, {LONG_MIB} wanted")
        return 77
    os.makedirs(folder, exist_ok=True)
    done = [verify_one(path, variant, folder) for path in models()
            for variant in VARIANTS.get(os.path.basename(path), ("",)) +
            (LONG_VARIANTS.get(os.path.basename(path), ()) if is_long else ())]
    done += [verify_one(path, CYCLE_VARIANTS.get(os.path.basename(path), ""), folder, CYCLES)
             for path in models()]
    good = sum(is_good for _, is_good in done)
    print(f"{good} of {len(done)} models without an error: {'; '.join(said for said, _ in done)}")
    return 0 if good == len(done) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--accept", action="store_true", help="write functions.txt anew")
    parser.add_argument("--verify", metavar="FOLDER", help="run Spin there")
    parser.add_argument("--long", action="store_true", help="with --verify: the large ones too")
    options = parser.parse_args()
    if options.long and not options.verify:
        parser.error("--long: without --verify")
    if options.verify:
        return verify(options.verify, options.long)
    return check(options.accept)


if __name__ == "__main__":
    sys.exit(main())
