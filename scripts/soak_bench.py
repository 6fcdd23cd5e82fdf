"""One short run of bench_random_mixed under an allocator that is seen to be in place, for the soak
and for the RSS triage."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from soak_input import BadInput

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from bench_allocators import Allocator, report_check
from bench_calls import MARKER
from bench_machine import OWN_NAMES, machine
from bench_machine import BadInput as NotInPlace

RUN_SECONDS_MOST = 120  # arbitrary: 20 million operations take half a second


class NoRecord(BadInput):
    """A program that does not what a benchmark program does."""


def existing_file(name, path):
    path = pathlib.Path(path)
    if not path.is_file():
        raise BadInput(f"{name}: there is no file {path}")
    return path.absolute()


def bench_find():
    """The program that BENCH_BIN names."""
    bench = existing_file("BENCH_BIN", os.environ.get("BENCH_BIN")
                          or ROOT / "build" / "bench_random_mixed")
    if not os.access(bench, os.X_OK):
        raise BadInput(f"BENCH_BIN: {bench} is no program")
    return bench


def ws_read():
    """The slots that WS asks for, as a word for the command line."""
    ws = os.environ.get("WS", "400")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", ws):
        raise BadInput(f"WS must be a whole number from 1 to 999999999, not '{ws}'")
    return ws


def environment(preload, **more):
    env = {name: value for name, value in os.environ.items() if name not in OWN_NAMES}
    if preload:
        env["LD_PRELOAD"] = str(preload)
    return {**env, **more}


def bench_record(bench, preload, words, **more):
    """(the record of one run, what it said on stderr). Bad input when the program does not run, or
    the allocator to preload is not the one that served it."""
    with tempfile.TemporaryDirectory(prefix="hakmem-soak-") as scratch:
        report = os.path.join(scratch, "report")
        try:
            done = subprocess.run([bench, *words, "--json"], stdin=subprocess.DEVNULL,
                                  env=environment(preload, HAKMEM_REPORT=report, **more),
                                  capture_output=True, text=True, errors="replace",
                                  check=False, timeout=RUN_SECONDS_MOST)
        except subprocess.TimeoutExpired:
            raise BadInput(f"BENCH_BIN: '{bench.name} {' '.join(words)} --json' still runs after "
                           f"{RUN_SECONDS_MOST} s") from None
        except OSError as error:
            raise NoRecord(f"BENCH_BIN: {bench.name} does not run: {error}") from None
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines()  # the linker's is of the preload
                         if line and not line.startswith("ERROR: ld.so")), "nothing on stderr")
            raise NoRecord(f"BENCH_BIN: {bench.name} ends with {done.returncode}: {said}")
        try:
            record = json.loads(done.stdout)
            found = record["allocator"]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = None
        if not isinstance(found, str):
            raise NoRecord(f"BENCH_BIN: {bench.name} prints no benchmark record")
        if preload and found != preload.name:
            raise BadInput(f"{preload.name} is not in place: {bench.name} runs on {found}")
        if found.startswith("libhakmem"):
            try:
                report_check(Allocator(found, None, found), report)
            except NotInPlace as error:
                raise BadInput(error) from None
    return record, done.stderr


def bench_probe(bench, preload, ws):
    """The record of a first, short run. What else than a benchmark BENCH_BIN may be ends here."""
    words = ["1", ws, "--ops", "1000"]
    try:
        return bench_record(bench, preload, words)[0]
    except NoRecord as error:
        raise BadInput(f"{error}; it must be bench_random_mixed, or print such a record when "
                       f"called as '{bench.name} {' '.join(words)} --json' (bench/README.md)") \
            from None


def record_number(record, name):
    value = record.get(name)
    if type(value) not in (int, float) or not 0 <= value < 2**63:  # a NaN is not either
        raise BadInput(f"BENCH_BIN: no number {name} in its record (bench/README.md)")
    return value
