#!/usr/bin/python3
"""Soaks an allocator: bench_random_mixed for hours, one CSV row an epoch on stdout.

usage: soak.py single|fresh [--profile NAME], with the environment
  BENCH_BIN      the program (default build/bench_random_mixed)
  DURATION_SEC   how long (default 3600), EPOCH_SEC how long an epoch (default 10)
  WS             slots (default 400)
  SOAK_PRELOAD   the allocator to preload; none: what BENCH_BIN is linked with
  SOAK_SYSCALLS  1 (default): count system calls; 0: do not
  SOAK_RESUME    a CSV of an earlier run with the same parameters: go on in that file for the time
                 that is left (stdout stays empty)
--profile: hakmem's, balanced, lean or speed (as HAKMEM_PROFILE, which may then not say otherwise).
Exit status: 0 done, 128 and the signal's number after SIGINT or SIGTERM (finished epochs are kept),
2 bad input. docs/soak.md describes the columns.
"""
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple

sys.dont_write_bytecode = True  # the source tree stays as it is
import soak_bench
import soak_csv
from bench_allocators import PROFILES  # by the path that soak_bench adds
from soak_input import BadInput, exit_status

CYCLES = 20_000_000  # bench_random_mixed's default; a tenth of it is the warm-up
MARKER_PAIRS = 2  # bench_epoch.c: one around the timed operations, one around the others
# Arbitrary: a process that prints no epoch for this long hangs; so does one that a signal does not
# end within the grace.
EPOCHS_LATE_MOST, LATE_SECONDS_LEAST, GRACE_SECONDS = 10, 60, 20
MODES = {"single": "single_process", "fresh": "process_an_epoch"}
# What the user calls, in the place of this file: one process for all of it, a new one an epoch.
OWN_USAGE = "soak.py single|fresh"
SCRIPTS = {"single": "soak_mixed_single_process.sh", "fresh": "soak_mixed_rss.sh"}
# A file can go on only where all of these are the same.
PARAMETERS = ["schema", "mode", "bench", "ws", "epoch_s", "allocator", "options", "cpu"]

Settings = namedtuple("Settings", "mode bench duration_s epoch_s ws preload counts resume")


# ---- the environment ----

def seconds_of(name, otherwise):
    text = os.environ.get(name, otherwise)
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 1e6:
        raise BadInput(f"{name} must be a number of seconds above 0, at most 1000000, not '{text}'")
    return value


def counts_read():
    """Whether SOAK_SYSCALLS asks for system calls to be counted."""
    text = os.environ.get("SOAK_SYSCALLS", "1")
    if text not in ("0", "1"):
        raise BadInput("SOAK_SYSCALLS must be 1 (count system calls) or 0 (do not), not "
                       f"'{text}'")
    return text == "1"


def words_read(arguments):
    """(the key of MODES, which the shell scripts put before what they are given; the profile)"""
    if not arguments or arguments[0] not in MODES:
        raise BadInput(f"start it by {' or '.join(SCRIPTS.values())}")
    mode, *words = arguments
    if not words:
        return mode, None
    if words[0] != "--profile" or len(words) > 2:
        word = words[2] if words[0] == "--profile" else words[0]
        raise BadInput(f"{SCRIPTS[mode]} takes no argument but --profile, and '{word}' was given: "
                       "what else it needs is in the environment (see --help)")
    if words[1:] not in ([name] for name in PROFILES):
        raise BadInput(f"--profile takes one of {', '.join(PROFILES)}"
                       + (f", not '{words[1]}'" if words[1:] else ""))
    return mode, words[1]


def profile_set(profile):
    """For every process that is started from here, and for the head of the file."""
    if os.environ.get("HAKMEM_PROFILE", profile) != profile:
        raise BadInput(f"--profile {profile}, but HAKMEM_PROFILE={os.environ['HAKMEM_PROFILE']} is "
                       "in the environment")
    os.environ["HAKMEM_PROFILE"] = profile


def profile_check(profile, allocator):
    if "hakmem" not in allocator:
        raise BadInput(f"--profile {profile}: the program runs on {allocator}, which has none")


def settings_read(mode):
    env = os.environ
    duration_s, epoch_s = seconds_of("DURATION_SEC", "3600"), seconds_of("EPOCH_SEC", "10")
    if epoch_s > duration_s:
        raise BadInput(f"EPOCH_SEC ({epoch_s:g}) is above DURATION_SEC ({duration_s:g})")
    preload, resume = env.get("SOAK_PRELOAD"), env.get("SOAK_RESUME")
    return Settings(mode, soak_bench.bench_find(), duration_s, epoch_s,
                    soak_bench.ws_read(),
                    soak_bench.existing_file("SOAK_PRELOAD", preload) if preload else None,
                    counts_read(),
                    soak_bench.existing_file("SOAK_RESUME", resume) if resume else None)


# ---- before the first epoch ----

def counting_refused(settings):
    """Why system calls cannot be counted; None when they can."""
    if not settings.counts:
        return "not counted (SOAK_SYSCALLS=0)"
    if shutil.which("strace") is None:
        return "not counted (strace is not installed)"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        return f"not counted ({(done.stderr.strip().splitlines() or ['strace fails'])[-1]})"
    return None


def about_run(settings, allocator, refused):
    machine = soak_bench.machine()
    options = " ".join(f"{name}={value}" for name, value in machine["options"].items())
    return {
        "schema": soak_csv.SCHEMA, "mode": MODES[settings.mode], "bench": settings.bench.name,
        "ws": settings.ws, "epoch_s": f"{settings.epoch_s:g}",
        "duration_s": f"{settings.duration_s:g}", "allocator": allocator,
        "options": options or "none",
        **({"profile": os.environ["HAKMEM_PROFILE"]} if os.environ.get("HAKMEM_PROFILE") else {}),
        "syscalls": refused or "counted by strace",
        "cpu": machine["cpu"], "cores": str(machine["cores"]),
        "ram_gib": str(machine["ram_gib"]), "kernel": machine["kernel"], "thp": machine["thp"],
        "commit": machine["commit"],
        "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


# ---- one process ----

class Bench:
    """A running bench_random_mixed, under strace when calls are counted. Its lines and the counts
    come through one queue, from a thread each."""

    def __init__(self, settings, seconds, counted):
        self.events = queue.SimpleQueue()
        self.name, self.line_count, self.time_ns = settings.bench.name, 0, 0
        self.fault, self.fault_ends_output = None, False
        self.late_seconds = max(EPOCHS_LATE_MOST * settings.epoch_s, LATE_SECONDS_LEAST)
        self.counted = counted
        command = [str(settings.bench), str(CYCLES), settings.ws, "--epoch-seconds",
                   f"{settings.epoch_s:.9f}", "--seconds", f"{seconds:.9f}", "--markers"]
        env, pipe = soak_bench.environment(settings.preload), None
        if counted:
            pipe = os.pipe()
            preload = env.pop("LD_PRELOAD", None)
            command = ["strace", "-f", "-qq", "-o", f"/dev/fd/{pipe[1]}",
                       *(["-E", f"LD_PRELOAD={preload}"] if preload else []), *command]
        # A session of its own: ^C at a terminal reaches this script alone, which then ends both.
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        errors="replace",
                                        pass_fds=pipe[1:] if pipe else (), start_new_session=True)
        threads = [(self._lines_read, self.process.stdout)]
        if pipe:
            os.close(pipe[1])
            threads.append((self._calls_count, os.fdopen(pipe[0], encoding="utf-8",
                                                         errors="replace")))
        self.running = len(threads)
        for target, file in threads:
            threading.Thread(target=target, args=(file,), daemon=True).start()

    def _lines_read(self, file):
        with file:
            for line in file:
                self.events.put(("line", line))
        self.events.put(("end", None))

    def _calls_count(self, file):
        inside, calls = False, 0
        with file:
            for line in file:
                if soak_bench.MARKER in line:
                    inside = not inside
                    if not inside:
                        self.events.put(("calls", calls))
                        calls = 0
                elif inside and re.match(r"\d+\s+\w+\(", line):  # no '<... resumed', no '--- SIG'
                    calls += 1
        self.events.put(("end", None))

    def signal(self, number):
        """To strace and the program; strace holds it back until the program has ended."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def _epoch_of(self, line):
        """[the record of an epoch], or nothing. After a malformed one the program is ended: what
        came before it, and the counts of that, are still on their way."""
        self.line_count += 1
        if self.fault or '"epoch"' not in line:
            return []
        try:
            record = soak_csv.epoch_read(f"line {self.line_count} of {self.name}'s output", line,
                                         self.time_ns)
        except BadInput as fault:
            self.fault, self.fault_ends_output = fault, not line.endswith("\n")
            if not self.fault_ends_output:
                self.signal(signal.SIGKILL)
            return []
        self.time_ns = record["time_ns"]
        return [record]

    def _end_judge(self, status, stop, seen):
        """Raises where the program's end is none of a run that was well."""
        said = self.process.stderr.read().strip().splitlines()
        self.process.stderr.close()
        if self.fault and not self.fault_ends_output:
            raise self.fault
        if stop.number:
            return
        if status != 0:
            raise BadInput(f"the program ended with {status}: {(said or ['no message'])[-1]}")
        if self.fault:
            raise self.fault
        if seen == 0:
            raise BadInput("the program ended without an epoch: BENCH_BIN takes no --epoch-seconds")

    def epochs(self, stop):
        """The records, each with its `syscalls`; stop.number is the signal that was caught."""
        records, counts, seen = [], [], 0
        while self.running > 0:
            try:
                kind, value = self.events.get(
                    timeout=GRACE_SECONDS if stop.number else self.late_seconds)
            except queue.Empty:
                self.signal(signal.SIGKILL)
                raise BadInput(f"no epoch for {self.late_seconds:g} s: the program hangs") from None
            if kind == "end":
                self.running -= 1
            elif kind == "calls":
                counts.append(value)
            else:
                records += self._epoch_of(value)
            while records and (not self.counted or len(counts) >= MARKER_PAIRS):
                record = records.pop(0)
                record["syscalls"] = sum(counts[:MARKER_PAIRS]) if self.counted else None
                del counts[:MARKER_PAIRS]
                seen += 1
                yield record
        self._end_judge(self.process.wait(), stop, seen)


class Stop:
    """SIGINT and SIGTERM: remembered, and passed on to the running program."""

    def __init__(self):
        self.number, self.bench = None, None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._catch)

    def _catch(self, number, _frame):
        self.number = number
        if self.bench:
            self.bench.signal(signal.SIGTERM)

    def watch(self, bench):
        self.bench = bench
        if self.number:  # it came before there was a program to pass it on to
            bench.signal(signal.SIGTERM)


# ---- the run ----

def row_of(record, epoch, time_s):
    return {"epoch": epoch, "time_s": time_s, "ops_per_s": record["ops_per_s"],
            "rss_kib": record["rss_bytes"] // 1024, "peak_kib": record["rss_peak_bytes"] // 1024,
            **{name: record[name] for name in soak_csv.COLUMNS if name in record
               and name not in ("epoch", "ops_per_s")}}


def records_timed(settings, seconds, counted, stop):
    """(record, seconds since this run's start) of each epoch, from one process or many; at least
    one, and the last when so many seconds are over."""
    is_single = settings.mode == "single"
    begin, time_s = time.monotonic(), 0.0
    while True:
        bench = Bench(settings, max(seconds, settings.epoch_s) if is_single else settings.epoch_s,
                      counted)
        stop.watch(bench)
        try:
            for record in bench.epochs(stop):
                time_s = record["time_ns"] / 1e9 if is_single else time.monotonic() - begin
                yield record, time_s
        finally:
            if bench.process.poll() is None:
                bench.signal(signal.SIGKILL)
                bench.process.wait()
        if is_single or stop.number or time_s >= seconds:
            return


def begin_new(about):
    """The head of a new file on stdout."""
    for key, value in about.items():
        print(f"# {key}: {value}")
    print(soak_csv.header(), flush=True)
    return sys.stdout, 0, 0.0


def begin_resumed(path, about, duration_s):
    """An earlier run's file, ready for its next row: (file, the next epoch, seconds so far)."""
    earlier = soak_csv.read(path, drop_torn=True)
    for key in PARAMETERS:
        if earlier.about.get(key) != about[key]:
            raise BadInput(f"SOAK_RESUME: {path.name} has {key} '{earlier.about.get(key)}', this "
                           f"run has '{about[key]}'")
    time_s = earlier.rows[-1]["time_s"] if earlier.rows else 0.0
    file = open(path, "r+", encoding="utf-8")  # open for the rest of this process's life
    file.truncate(earlier.kept_bytes)
    file.seek(0, os.SEEK_END)
    if time_s < duration_s:
        print(f"# resumed: after {time_s:.3f} s, commit {about['commit']}, "
              f"{about['started_utc']}", file=file, flush=True)
    return file, len(earlier.rows), time_s


def run(words):
    if len(words) == 2 and words[0] in MODES and words[1] in ("-h", "--help"):
        print(__doc__.strip().replace(OWN_USAGE, SCRIPTS[words[0]]))
        return 0
    mode, profile = words_read(words)
    if profile is not None:
        profile_set(profile)
    settings = settings_read(mode)
    stop = Stop()
    probe = soak_bench.bench_probe(settings.bench, settings.preload, settings.ws)
    if profile is not None:
        profile_check(profile, probe["allocator"])
    refused = counting_refused(settings)
    about = about_run(settings, probe["allocator"], refused)
    file, epoch, begin_s = (begin_resumed(settings.resume, about, settings.duration_s)
                            if settings.resume else begin_new(about))
    left_s = settings.duration_s - begin_s
    if left_s <= 0:
        return 0  # there is nothing left to do
    for record, time_s in records_timed(settings, left_s, refused is None, stop):
        print(soak_csv.row_text(row_of(record, epoch, begin_s + time_s)), file=file, flush=True)
        epoch += 1
    return 128 + stop.number if stop.number else 0


if __name__ == "__main__":
    sys.exit(exit_status("soak", run))
