"""What run_memory.py and run_threads.py share: rows that every allocator runs in turns, the command
line, the table, and the JSON file.
"""
import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
from collections import namedtuple

import bench_allocators
import bench_backing
import bench_interrupt
import bench_machine
from quiet_pipe import quiet  # by the path that bench_machine adds
from run_targets import MET, MISSED, NOT_MEASURED, NOT_SETTLED

ROUNDS = 7
# rows(options): namedtuples with a `name`; lessened(row): the same for a smoke run. columns(
# options): the allocators. measure(row, columns, options): samples by the column's name, or
# Skipped. texts(row, samples): the cells, those of `heading` before the allocators'; verdicts(row,
# samples): Judged. result(row, samples): what the JSON keeps. flags(parser): adds those of its own.
# rounds(samples): how many the samples in a JSON file are of, ValueError where they are none; with
# it there is --from.
Driver = namedtuple("Driver", "name doc rows lessened columns heading measure texts verdicts "
                    "result flags rounds", defaults=(None, None))
# text: the figure, its interval and the target; verdict: of run_targets.py; kept: what the JSON
# keeps of it, None: nothing.
Judged = namedtuple("Judged", "text verdict kept", defaults=(None,))


class Skipped(Exception):
    """Why a row cannot be measured here; it is shown in the row's place."""


def find_subject(build):
    for allocator in bench_allocators.find_subjects(build):
        if allocator.name == "hakmem":
            return allocator
    raise bench_machine.BadInput(f"--build {build}: no libhakmem.so there; make build")


def record_of(program, args, allocator, build):
    """The JSON record of one run of a benchmark program, with the allocator seen in place."""
    command = [str(build / program), *args, "--json"]
    done = subprocess.run(command, env=bench_allocators.environment(allocator), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise bench_machine.BadInput(f"{allocator.name}: {' '.join(command)} ended with "
                                     f"{done.returncode}: {done.stderr.strip()[:200]}")
    record = json.loads(done.stdout.splitlines()[-1])
    if record["allocator"] != allocator.expect:
        raise bench_machine.BadInput(f"{allocator.name} is not in place: "
                                     f"{record['allocator']} is")
    return record


def in_turns(columns, options, once):
    """once(column) of each in every round, in an order drawn anew; lists by the column's name."""
    taken = {column.name: [] for column in columns}
    for _ in range(options.rounds):
        for column in options.order.sample(columns, len(columns)):
            taken[column.name].append(once(column))
    return taken


def parse(driver, words):
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise bench_machine.BadInput(message)

    parser = Parser(prog=driver.name, description=re.split(r":\s", driver.doc, maxsplit=1)[1])
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}; of a smoke run 1")
    parser.add_argument("--smoke", action="store_true", help="does it work? Judges nothing")
    parser.add_argument("--judge", action="store_true",
                        help="exit 1 where a target is missed for certain")
    parser.add_argument("--row", default="", help="rows whose name has this")
    parser.add_argument("--build", type=pathlib.Path, default=bench_machine.ROOT / "build")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--touch", action="store_true", help=bench_backing.HELP)
    if driver.flags is not None:
        driver.flags(parser)
    parser.set_defaults(source=None)
    if driver.rounds is not None:
        parser.add_argument("--from", dest="source", metavar="FILE", type=pathlib.Path,
                            help="the table and verdicts of what --json wrote; measures nothing")
    options = parser.parse_args(words)
    if options.source is not None and (options.smoke or options.touch
                                       or options.rounds is not None):
        raise bench_machine.BadInput("--from: the samples are there, --smoke, --touch and --rounds "
                                     "say nothing")
    if options.smoke and options.judge:
        raise bench_machine.BadInput("--judge: a smoke run judges nothing")
    if options.rounds is None:
        options.rounds = 1 if options.smoke else ROUNDS
    if options.rounds < 1:
        raise bench_machine.BadInput("--rounds: at least 1")
    options.rows = [row for row in driver.rows(options) if options.row in row.name]
    if not options.rows:
        raise bench_machine.BadInput(f"--row {options.row}: no row's name has that")
    if options.json is not None:
        bench_machine.check_writable("--json", options.json)
    options.build = options.build.resolve()  # real programs run in folders of their own
    options.order = random.Random(1)
    return options


def machine_text(machine):
    return (f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, Linux "
            f"{machine['kernel']}, THP {machine['thp']}, commit {machine['commit']}, "
            f"load {machine['load_1min']} at the start" + bench_backing.text(machine))


def heading_print(driver, machine, columns, options):
    print(f"{machine_text(machine)}, {options.rounds} rounds"
          f"{', smoke: not to be judged' if options.smoke else ''}\n")
    cells = [*driver.heading, *(column.name for column in columns), "target: bold is missed"]
    print("| " + " | ".join(cells) + " |\n" + "|---" * len(cells) + "|")


def kept_read(driver, options):
    """What --from's FILE holds: the record, its rows by name, the columns' names."""
    record = json.loads(options.source.read_text(encoding="utf-8"))
    rows = {row["row"]: row for row in record["rows"]}
    all_samples = [row["samples"] for row in rows.values() if "samples" in row]
    rounds, = {driver.rounds(samples) for samples in all_samples}
    options.rounds, options.smoke = rounds, record["smoke"]
    unknown = rows.keys() - {row.name for row in driver.rows(options)}
    options.rows = [row for row in options.rows if row.name in rows]
    if unknown or not options.rows:
        raise ValueError(f"no row is called {min(unknown)}" if unknown else "none of the rows")
    names = list(dict.fromkeys(name for samples in all_samples for name in samples))
    machine_text(record["machine"])  # is one
    return record["machine"], rows, names


def of_file(driver, options):
    """The driver whose samples are those of --from's FILE, the machine and columns there."""
    try:
        machine, rows, names = kept_read(driver, options)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise bench_machine.BadInput(f"--from {options.source}: no result of {driver.name} "
                                     f"({error})") from None
    if options.smoke and options.judge:
        raise bench_machine.BadInput("--judge: a smoke run judges nothing")

    def measure(row, columns, options):
        kept = rows[row.name]
        if "skipped" in kept:
            raise Skipped(kept["skipped"])
        if "failed" in kept:
            raise bench_machine.RunFailed(kept["failed"])
        return {name: kept["samples"].get(name) for name in names}
    columns = [bench_allocators.Allocator(name, None, None) for name in names]
    return machine, columns, driver._replace(measure=measure, lessened=lambda row: row)


def verdict_text(judged):
    if judged.verdict == MISSED:
        return f"**{judged.text}**"
    return judged.text if judged.verdict == MET else f"{judged.text}: {judged.verdict}"


def row_print(driver, row, samples, options, verdicts):
    said = "smoke: not judged" if options.smoke else "; ".join(map(verdict_text, verdicts))
    print("| " + " | ".join([*driver.texts(row, samples), said]) + " |", flush=True)


def row_measure(driver, row, columns, options):
    """Prints the row; what the JSON keeps of it."""
    said = {}
    try:
        samples = driver.measure(row, columns, options)
    except Skipped as skipped:
        said["skipped"] = str(skipped)
    except bench_machine.RunFailed as failure:
        said["failed"] = str(failure)
    for word, text in said.items():
        print(f"| {row.name} " + "| " * (len(driver.heading) + len(columns) - 1)
              + f"| {word}: {text} |", flush=True)
        return {"row": row.name, **said}
    verdicts = [] if options.smoke else list(driver.verdicts(row, samples))
    row_print(driver, row, samples, options, verdicts)
    options.judged += [(row.name, judged) for judged in verdicts]
    kept = [judged.kept for judged in verdicts if judged.kept is not None]
    return driver.result(row, samples) | ({"verdicts": kept} if kept else {})


def judgement_print(judged):
    """How many there are of each verdict, and which are missed."""
    words = [each.verdict for _, each in judged]
    counts = [f"{words.count(MISSED)} missed"]
    counts += [f"{words.count(word)} {word}" for word in (NOT_SETTLED, NOT_MEASURED, MET)
               if word in words]
    hint = "; only what is missed for certain is exit 1" if NOT_SETTLED in words else ""
    print("\n" + ", ".join(counts) + hint)
    for name, each in judged:
        if each.verdict == MISSED:
            print(f"- {name}: {each.text}")


def compare(driver, words):
    options = parse(driver, words)
    if options.source is not None:
        machine, columns, driver = of_file(driver, options)
    else:
        machine, columns = bench_machine.machine(), driver.columns(options)
        machine |= bench_backing.touched(options)
    heading_print(driver, machine, columns, options)
    rows = map(driver.lessened, options.rows) if options.smoke else options.rows
    record = {"machine": machine, "smoke": options.smoke, "rows": []}
    options.judged = []
    for row in rows:
        record["rows"].append(row_measure(driver, row, columns, options))
        if options.json is not None:  # anew after each, so that a signal loses the one at hand
            options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.judge:
        judgement_print(options.judged)
    has_failed = any("failed" in row for row in record["rows"])
    is_missed = any(each.verdict == MISSED for _, each in options.judged)
    return 1 if has_failed or (options.judge and is_missed) else 0


def main(driver):
    bench_interrupt.install()
    try:
        return quiet(compare, driver, sys.argv[1:])
    except (bench_machine.BadInput, OSError) as error:
        print(f"{driver.name}: {error}", file=sys.stderr)
        return 2
    except bench_interrupt.Interrupted as stop:
        return 128 + stop.number
