#!/usr/bin/python3
"""mutants.py [--list] [--check] [--sample N] [--seed S] [--json FILE] BUILD: is each atomic access
of src/ needed?

The list has every atomic call of src/ but for base_atomic.h, one mutant each: as many as
  grep -roE '\\b(load|store|swap|add|sub|or|and|cas|bump|step_up|step_down)_
    (relaxed|acquire|release|acq_rel|seq)\\(' src --include=*.[ch] --exclude=base_atomic.h
(the pattern in one line) counts. --check compares the two, with BUILD also the list with the
accesses that the programs were compiled with, and survivors.txt with the verdicts of
docs/results/mutants.json: an access without a verdict, or a verdict of none; a survivor without a
reason, or a reason without a survivor, is an error.

A mutant is one access that goes wrong at run time, of these kinds:
  load_relaxed                     zero: gives 0; ones: all bits are set, where an assertion says
                                   that it is 0
  store_relaxed, bump, step        drop: does not happen
  add, sub                         drop: is not counted, and gives the value as it was
  swap, or, and, cas               split: falls apart into a load and a store
  all of other order than relaxed  relaxed besides: its order is gone. A load or store goes wrong in
                                   the other way only if nobody notices that; a read-modify-write
                                   in any case, and that says whether it is noticed
Two accesses of one line with the same operand go wrong together.

Judges are the unit tests (build/mutated_*: real threads, real os layer; mutant_atomic.h) and the
model's programs (build/test_model_*: weak memory; model_memory.c); the model alone judges the kind
relaxed. The unit test of the file's name comes first, then the quick ones. A mutant is killed by a
judge that fails twice of three times, or that does not end in time, twice, the second time after
a run without a mutant has told again how long one may take. Without a mutant each judge must pass.
At most 5 % of all may live on. Those, and each order whose loss nobody notices, must stand in
survivors.txt with a reason.

--again takes over the verdicts of those killed before, each with the commit that it is of, where
the text of the function is what it was then: a digest of it, comments and spaces aside, is beside
the verdict. What the function calls may have changed since.

survivors.txt: blocks of lines `file: text that a line begins with`, and below each block its
reason, indented.

Exit: 0 as it should be, 1 an unexplained survivor, a reason for none, or too many, 2 bad input or a
judge that fails.
"""
import argparse
import glob
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict, namedtuple
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SURVIVORS = os.path.join(ROOT, "tests", "model", "survivors.txt")
RESULTS = os.path.join(ROOT, "docs", "results", "mutants.json")
SCHEMA = 2
COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
PATTERN = (r"\b(load|store|swap|add|sub|or|and|cas|bump|step_up|step_down)"
           r"_(relaxed|acquire|release|acq_rel|seq)\(")
ACCESS = re.compile(PATTERN)
KILLED_LEAST = 0.95
SLOW = ("mutated_entry_resize", "mutated_entry_init", "mutated_recover",
        "mutated_entry_background", "test_model_subslab", "test_model_entry")
FIRST_TIMEOUT_S = 120
EXECUTIONS = "3000"  # of a scenario: what is not noticed in so many stays unnoticed
EXECUTIONS_PLAIN = "200"  # of a value that is wrong, whatever the order: soon noticed, or never

Mutant = namedtuple("Mutant", "file line access operand index text digest")
# how: what the judge did, once it was killed: "fails", "crashes" or "does not end".
Verdict = namedtuple("Verdict", "killed_by kind is_order_missed how commit")


def value_kind(mutant):
    """What may go wrong besides its order."""
    verb, _, order = mutant.access.partition("_")
    if verb in ("swap", "or", "and", "cas"):
        return "split"
    if verb == "load":
        return "ones" if order == "relaxed" and is_said_to_be_zero(mutant) else "zero"
    return "drop"


def is_ordered(mutant):
    return not mutant.access.endswith("_relaxed")


def is_rmw(mutant):
    return not mutant.access.startswith(("load_", "store_"))


def kinds_of(mutant):
    """What goes wrong, one after the other."""
    return ["relaxed", value_kind(mutant)] if is_ordered(mutant) else [value_kind(mutant)]


def is_said_to_be_zero(mutant):
    """Does a check of the tables pass with 0?"""
    call = f"{mutant.access}({mutant.operand})"
    pattern = r" % \w+ != 0"
    if mutant.text.startswith("ASSERT("):
        if f"> {call}" in mutant.text:
            return True
        pattern = r" == (0|NULL)"
    return re.search(re.escape(call) + pattern, mutant.text) is not None


def key_of(mutant):
    return f"{mutant.file}:{mutant.line}:{mutant.access}:{mutant.index}"


def name_of(mutant, kind):
    """What the programs take."""
    return f"{mutant.file}:{mutant.line}:{kind}:{mutant.operand}"


def statement_of(mutant):
    """What survivors.txt names: the text of the line, which stays when lines move."""
    return f"{mutant.file}: {mutant.text}"


def sources():
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, "src"))):
        for name in sorted(names):
            if name.endswith((".c", ".h")) and name != "base_atomic.h":
                yield os.path.join(folder, name)


def operand_of(text, start):
    """The first argument of a call whose arguments begin at `start`, as # in a macro gives it."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "([":
            depth += 1
        elif depth == 0 and text[i] in ",)":
            return " ".join(text[start:i].split())
        elif text[i] in ")]":
            depth -= 1
    raise ValueError(text[start:start + 40])


def digests_of(text):
    """Of each line, that of the text from one function's end to the next one's, which is a closing
    brace in a line that begins at its left edge."""
    bare = COMMENTS.sub(lambda comment: re.sub(r"[^\n]+", " ", comment.group()), text)
    digests, block = [], []
    for line in bare.splitlines():
        block.append(line)
        if line.rstrip().endswith("}") and not line[0].isspace() or line.startswith("}"):
            digests += [digest(block)] * len(block)
            block = []
    return digests + [digest(block)] * len(block)


def digest(lines):
    return hashlib.sha256(" ".join(" ".join(lines).split()).encode()).hexdigest()[:16]


def accesses():
    """All of them, comments included: as grep counts."""
    for path in sources():
        with open(path, encoding="utf-8") as source:
            text = source.read()
        lines, digests, seen = text.splitlines(), digests_of(text), {}
        for found in ACCESS.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            index = seen[line] = seen.get(line, -1) + 1
            yield Mutant(os.path.basename(path), line, found.group()[:-1],
                         operand_of(text, found.end()), index, lines[line - 1].strip(),
                         digests[line - 1])


def grep_count():
    done = subprocess.run(["grep", "-roE", PATTERN, "src", "--include=*.[ch]",
                           "--exclude=base_atomic.h"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                          check=True)
    return len(done.stdout.splitlines())


def check_list(build, mutants):
    """What is wrong with the list: lines to print."""
    wrong = []
    if len(mutants) != grep_count():
        wrong.append(f"{len(mutants)} mutants, but grep counts {grep_count()}")
    if build is None:
        return wrong
    compiled = set()
    for judge in ("mutated_entry_dump", "mutated_os_twin"):  # all but os_twin.c, and that
        done = subprocess.run([os.path.join(build, judge)], env={**os.environ, "MUTANT_LIST": "1"},
                              stdout=subprocess.PIPE, text=True, check=True)
        compiled.update(place for place in done.stdout.splitlines()
                        if not place.startswith(("test_", "unit_")))
    listed = {f"{m.file}:{m.line}:{m.access}:{m.operand}" for m in mutants}
    wrong += [f"compiled, but not in the list: {place}" for place in sorted(compiled - listed)]
    wrong += [f"in the list, but not compiled: {place}" for place in sorted(listed - compiled)]
    return wrong


def read_survivors(mutants):
    """The beginning of a line -> reason."""
    reasons, names, is_reason = {}, [], False
    with open(SURVIVORS, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            if not line.startswith("  "):
                names = [line.strip()] if is_reason else names + [line.strip()]
            for name in names:
                reasons[name] = f"{reasons.get(name, '')} {line.strip()}".strip() \
                    if line.startswith("  ") else ""
            is_reason = line.startswith("  ")
    for name, reason in reasons.items():
        if not reason:
            sys.exit(f"{SURVIVORS}: no reason after {name}")
        if not any(statement_of(mutant).startswith(name) for mutant in mutants):
            sys.exit(f"{SURVIVORS}: no line of src/ with an atomic access: {name}")
    return reasons


def reason_for(reasons, statement):
    """None where there is none."""
    for name, reason in reasons.items():
        if statement.startswith(name):
            return reason
    return None


def needs_reason(killed_by, is_order_missed):
    return killed_by is None or is_order_missed is False


def check_reasons(reasons, statements):
    """What is wrong with survivors.txt, when these statements are what needs a reason."""
    wrong = [f"no reason in survivors.txt: {statement}" for statement in statements
             if reason_for(reasons, statement) is None]
    return wrong + [f"survivors.txt: nothing lives on there, and no order is unnoticed: {name}"
                    for name in reasons
                    if not any(statement.startswith(name) for statement in statements)]


def check_results(reasons, mutants):
    """The same, of the verdicts in docs/results, which have a row for each access."""
    rows = read_rows(RESULTS)
    now = Counter((mutant.file, mutant.access, mutant.operand) for mutant in mutants)
    then = Counter((*row["mutant"].split(":")[::2][:2], row["operand"]) for row in rows)
    without = [f"{file}: {access} of {operand} has no verdict in docs/results/mutants.json: walk "
               "it, --again" for file, access, operand in sorted((now - then).elements())]
    gone = [f"{file}: {access} of {operand} is gone, and has a verdict in docs/results/"
            "mutants.json" for file, access, operand in sorted((then - now).elements())]
    return without + gone + check_reasons(reasons, [
        row["statement"] for row in rows if needs_reason(row["killed_by"], row["is_order_missed"])])


class Judge:
    """A program that is to fail under a mutant, and must not without one."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)
        self.is_model = self.name.startswith("test_model_")
        self.timeout = FIRST_TIMEOUT_S
        self.lock = threading.Lock()
        self.is_checked = False

    def run(self, mutant, kind=None, mark=None):
        """One of passes, fails, crashes, does not end."""
        env = {name: value for name, value in os.environ.items() if name != "MODEL_MUTANT"}
        env.update(HAK_BUILD_DIR=os.path.dirname(self.path), HAK_SOURCE_DIR=ROOT)
        if mutant is not None and self.is_model:
            env["MODEL_MUTANT"] = name_of(mutant, kind)
        if mark is not None:
            env["MUTANT_MARK"] = mark
        arguments = []
        if self.is_model:
            is_plain = kind in ("zero", "ones", "drop")
            arguments = ["--executions", EXECUTIONS_PLAIN if is_plain else EXECUTIONS]
        with tempfile.TemporaryDirectory() as folder:
            if mutant is not None and not self.is_model:
                with open(os.path.join(folder, "mutant"), "w", encoding="utf-8") as file:
                    file.write(name_of(mutant, kind))
            process = subprocess.Popen([self.path, *arguments], env=env, cwd=folder,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                status = process.wait(self.timeout)
                verdict = "passes" if status in (0, 77) else "fails" if status > 0 else "crashes"
            except subprocess.TimeoutExpired:
                verdict = "does not end"
            # A child that a test has left behind would run on.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        return verdict

    def check(self):
        """Passes without a mutant; how long that takes says how long one with a mutant may."""
        with self.lock:
            if not self.is_checked:
                self.measure()
                self.is_checked = True

    def measure(self):
        start = time.monotonic()
        verdict = self.run(None)
        if verdict != "passes":
            print(f"mutants.py: {self.name}: {verdict} without a mutant", file=sys.stderr)
            os._exit(2)
        self.timeout = 10 + 5 * (time.monotonic() - start)

    def run_repeated(self, mutant, kind):
        """As run, but what has not ended once may have met a machine that was busy."""
        verdict = self.run(mutant, kind)
        if verdict != "does not end":
            return verdict
        with self.lock:
            before, self.timeout = self.timeout, max(self.timeout, FIRST_TIMEOUT_S)
            self.measure()
            self.timeout = max(self.timeout, before)
        return self.run(mutant, kind)

    def kills(self, mutant, kind):
        """How, or None."""
        self.check()
        failures = 0
        for run in range(3):
            verdict = self.run_repeated(mutant, kind)
            if verdict == "does not end":
                return verdict
            failures += verdict != "passes"
            if failures == (1 if self.is_model else 2):
                return verdict
            if self.is_model or failures + 2 - run < 2:
                break
        return None


def all_judges(build):
    paths = sorted(glob.glob(os.path.join(build, "mutated_*")))
    paths += [os.path.join(build, f"test_model_{name}")
              for name in ("lock", "claim", "class", "mail", "pull")]
    paths = [path for path in paths if os.path.basename(path) not in SLOW]
    return [Judge(path) for path in paths + [os.path.join(build, name) for name in SLOW]]


def judges_for(judges, mutant, kind):
    if kind == "relaxed":
        return [judge for judge in judges if judge.is_model]
    own = "mutated_" + os.path.splitext(mutant.file)[0]
    return sorted(judges, key=lambda judge: judge.name != own)


def noticed_by(judges, mutant, kind):
    """(who, how); None, None where nobody does."""
    for judge in judges_for(judges, mutant, kind):
        how = judge.kills(mutant, kind)
        if how is not None:
            return judge.name, how
    return None, None


def verdict_on(judges, mutant, commit):
    is_order_missed = None
    if is_ordered(mutant):
        name, how = noticed_by(judges, mutant, "relaxed")
        is_order_missed = name is not None
        if is_order_missed and not is_rmw(mutant):
            return Verdict(name, "relaxed", True, how, commit)
    kind = value_kind(mutant)
    name, how = noticed_by(judges, mutant, kind)
    return Verdict(name, kind, is_order_missed, how, commit)


def is_reached(judges, mutant):
    """Does any unit test get there at all?"""
    kind = value_kind(mutant)
    with tempfile.TemporaryDirectory() as folder:
        mark = os.path.join(folder, "mark")
        for judge in judges_for(judges, mutant, kind):
            if not judge.is_model:
                judge.run(mutant, kind, mark)
            if os.path.exists(mark):
                return True
    return False


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--check", action="store_true", help="check the list and stop")
    parser.add_argument("--sample", type=int, help="this many, drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", action="append", help="those of this file: heap.c")
    parser.add_argument("--quick", action="store_true", help="without the slow judges")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--reach", action="store_true",
                        help="say of what is not noticed whether a unit test gets there")
    parser.add_argument("--again", metavar="FILE",
                        help="walk what is not killed, or not there, in this --json of before")
    parser.add_argument("--json", help="write the verdicts there")
    parser.add_argument("build", metavar="BUILD", nargs="?", help="the build folder")
    return parser.parse_args(arguments)


def walk(options, judges, mutants):
    """The verdicts, in the mutants' order."""
    def judge_one(mutant):
        verdict = verdict_on(judges, mutant, commit)
        note = f"{verdict.killed_by} {verdict.how}" if verdict.killed_by else "NOT NOTICED"
        if verdict.killed_by is None and options.reach:
            note += ", reached" if is_reached(judges, mutant) else ", not reached"
        if verdict.is_order_missed is False:
            note += "; its order is not missed"
        print(f"{key_of(mutant)} {verdict.kind}: {note}", flush=True)
        return verdict

    commit = commit_now() if options.json else None
    known = read_verdicts(options.again, mutants) if options.again else {}
    if options.again:
        print(f"{len(known)} verdicts of {options.again} stand, "
              f"{len(mutants) - len(known)} mutants to walk", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        if options.sample is None and not options.file:
            list(pool.map(Judge.check, judges))
        found = pool.map(judge_one, [mutant for mutant in mutants if mutant not in known])
        return [known[mutant] if mutant in known else next(found) for mutant in mutants]


def commit_now():
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT,
                          check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        read = json.load(file)
    if read["schema"] != SCHEMA:
        print(f"mutants.py: {path}: schema {read['schema']}, {SCHEMA} wanted: without digests of "
              "the functions nothing says what the verdicts are of", file=sys.stderr)
        sys.exit(2)
    return read["mutants"]


def read_verdicts(path, mutants):
    """Mutant -> verdict, of those that an earlier walk has killed. Whose digest is the same is the
    same, wherever its line is now; whose is another, or was not known, is walked again."""
    rows, same = defaultdict(list), defaultdict(list)
    for row in read_rows(path):
        file, _, access, _ = row["mutant"].split(":")
        if row["digest"] is not None:
            rows[file, access, row["operand"], row["digest"]].append(row)
    for mutant in mutants:
        same[mutant.file, mutant.access, mutant.operand, mutant.digest].append(mutant)
    verdicts = {}
    for key, found in same.items():
        if len(rows[key]) != len(found):
            continue
        for mutant, row in zip(found, rows[key]):
            is_whole = is_ordered(mutant) == (row["is_order_missed"] is not None)
            if is_whole and row["killed_by"] is not None:
                verdicts[mutant] = Verdict(*(row[field] for field in Verdict._fields))
    return verdicts


def figures_of(verdicts):
    """Of accesses, and of what was tried: a wrong value is not, where the order was noticed."""
    ordered = [verdict for verdict in verdicts if verdict.is_order_missed is not None]
    values = [verdict for verdict in verdicts if verdict.kind != "relaxed"]
    killed = sum(verdict.killed_by is not None for verdict in verdicts)
    missed = sum(verdict.is_order_missed for verdict in ordered)
    values_killed = sum(verdict.killed_by is not None for verdict in values)
    tried = len(values) + len(ordered)
    return {"mutants_count": len(verdicts), "killed_count": killed,
            "killed_share": killed / len(verdicts), "values_count": len(values),
            "values_killed_count": values_killed, "orders_count": len(ordered),
            "orders_missed_count": missed, "tried_count": tried,
            "tried_killed_share": (values_killed + missed) / tried}


def summary_of(figures):
    """Two shares: by far the most fall to a wrong value, which says nothing of orders."""
    values, orders = figures["values_killed_count"], figures["orders_missed_count"]
    shares = [f"{values} of {figures['values_count']} wrong values or lost stores noticed"]
    if figures["values_count"]:
        shares[0] += f" ({values / figures['values_count']:.1%})"
    shares.append(f"{orders} of {figures['orders_count']} lost orders")
    if figures["orders_count"]:
        shares[1] += f" ({orders / figures['orders_count']:.1%})"
    return (f"{', '.join(shares)}; together {values + orders} of {figures['tried_count']} "
            f"({figures['tried_killed_share']:.1%}). {figures['killed_count']} of "
            f"{figures['mutants_count']} accesses noticed in one way or the other "
            f"({figures['killed_share']:.1%})")


def report(mutants, verdicts, reasons, is_whole):
    """True when all that lives on is explained, and, of a whole walk, nothing else is."""
    print(summary_of(figures_of(verdicts)))
    wrong = []
    for mutant, verdict in zip(mutants, verdicts):
        if needs_reason(verdict.killed_by, verdict.is_order_missed) and \
                reason_for(reasons, statement_of(mutant)) is None:
            what = "its order is not missed" if verdict.killed_by else "not noticed"
            wrong.append(f"{what}, and not explained: {key_of(mutant)}  {statement_of(mutant)}")
    if is_whole:
        unused = check_reasons(reasons, [
            statement_of(mutant) for mutant, verdict in zip(mutants, verdicts)
            if needs_reason(verdict.killed_by, verdict.is_order_missed)])
        wrong += [line for line in unused if line.startswith("survivors.txt")]
    for line in wrong:
        print(line)
    return not wrong


def row_of(mutant, verdict, reasons):
    row = {"mutant": key_of(mutant), "operand": mutant.operand, **verdict._asdict(),
           "digest": mutant.digest}
    if needs_reason(verdict.killed_by, verdict.is_order_missed):
        row["statement"] = statement_of(mutant)
        row["reason"] = reason_for(reasons, row["statement"])
    return row


def write_json(path, mutants, verdicts, reasons):
    rows = [row_of(mutant, verdict, reasons) for mutant, verdict in zip(mutants, verdicts)]
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"schema": SCHEMA, "commit": commit_now(), **figures_of(verdicts),
                   "mutants": rows}, out, indent=1)
        out.write("\n")


def main():
    options = parse(sys.argv[1:])
    mutants = list(accesses())
    if options.list:
        for mutant in mutants:
            print(f"{key_of(mutant)} {' '.join(kinds_of(mutant))} {mutant.operand}")
        return 0
    if options.build is None and not options.check:
        print("mutants.py: BUILD, the build folder, is missing", file=sys.stderr)
        return 2
    if options.build is not None and not os.path.isdir(options.build):
        print(f"mutants.py: {options.build}: no such build folder; run cmake first",
              file=sys.stderr)
        return 2
    build = options.build and os.path.abspath(options.build)
    wrong = check_list(build, mutants)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    reasons = read_survivors(mutants)
    if options.check:
        wrong = check_results(reasons, mutants)
        standing = len(read_verdicts(RESULTS, mutants))
        print("\n".join([*wrong, f"{len(mutants)} atomic calls, {len(mutants)} mutants; "
                         f"{len(reasons)} lines have a reason, {len(wrong)} findings; {standing} "
                         "are killed in functions that are as they were then"]))
        return 1 if wrong else 0
    if options.file:
        without = set(options.file) - {mutant.file for mutant in mutants}
        if without:
            print(f"mutants.py: --file {min(without)}: no such file in src/, or no atomic access "
                  "in it (a name without its folder: heap.c)", file=sys.stderr)
            return 2
        mutants = [mutant for mutant in mutants if mutant.file in options.file]
    if options.sample is not None:
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    judges = all_judges(build)
    if options.quick:
        judges = [judge for judge in judges if judge.name not in SLOW]
    verdicts = walk(options, judges, mutants)
    is_whole = options.sample is None and not options.file
    is_explained = report(mutants, verdicts, reasons, is_whole)
    if options.json:
        write_json(options.json, mutants, verdicts, reasons)
    is_short = is_whole and figures_of(verdicts)["killed_share"] < KILLED_LEAST
    return 0 if is_explained and not is_short else 1


if __name__ == "__main__":
    sys.exit(main())
