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
from bench_machine import machine
from bench_machine import BadInput as NotInPlace

RUN_SECONDS_MOST = 120  # arbitrary: 20 million operations take half a second
# What would change the allocator or the benchmark unasked; each run gets its own.
OWN_NAMES = ("LD_PRELOAD", "HAKMEM_REPORT", "HAKMEM_BENCH_PREFAULT")


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
                                  capture_output=True, text=True, check=False,
                                  timeout=RUN_SECONDS_MOST)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BadInput(f"BENCH_BIN: {bench.name} does not run: {error}") from None
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            raise BadInput(f"BENCH_BIN: {bench.name} ends with {done.returncode}: {said}")
        try:
            record = json.loads(done.stdout)
            found = record["allocator"]
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"BENCH_BIN: {bench.name} prints no benchmark record") from None
        if preload and found != preload.name:
            raise BadInput(f"{preload.name} is not in place: {bench.name} runs on {found}")
        if found.startswith("libhakmem"):
            try:
                report_check(Allocator(found, None, found), report)
            except NotInPlace as error:
                raise BadInput(error) from None
    return record, done.stderr
