#!/usr/bin/python3
"""Runs the workload under hakmem in surroundings that change how a process starts or runs.

usage: surroundings.py WHAT LIBRARY PROGRAM [ARGUMENT]...
WHAT: ulimit, no-proc, no-proc-no-sys, gdb, callgrind, memcheck, memcheck-own-malloc, first-calls,
      ld-audit AUDITOR, seccomp SECCOMP_RUN ERRNO CALLS [OPTION=VALUE]..., rseq SECCOMP_RUN,
      locked TWIN [OPTION=VALUE]...

That the library is loaded proves little: a symbol bound elsewhere would leave it idle. So each run
writes hakmem's report, and the objects in it must be as many as the program needs.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

# Either program gets some 3,700 objects out of slabs, hits in bins not counted. An idle library
# would report none, and one that serves only what ran before main a few hundred at most.
OBJECTS_MIN = 2000
IDLE = range(1)
BUSY = range(OBJECTS_MIN, sys.maxsize)
# Of madvise where all memory is locked: 50 to 160 were seen, half of them for malloc_trim, and more
# than 70,000 with a library that forgets that the kernel has refused; a second may bring some more.
ADVICE_MAX = 1000
ADVICE_MAX_PER_S = 50


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def need(tool):
    if shutil.which(tool) is None:
        skip(f"{tool} is not installed")


def objects_reported(path, library, program):
    """Objects in the one report of the program by this library, or -1."""
    try:
        with open(path, encoding="utf-8") as file:
            reports = [json.loads(line) for line in file]
    except FileNotFoundError:
        return -1
    flavour = "minimal" if "minimal" in os.path.basename(library) else "standard"
    own = [r["objects"] for r in reports
           if r["program"] == os.path.basename(program) and r["flavour"] == flavour]
    return own[0] if len(own) == 1 else -1


def run(command, preload=None, **variables):
    """preload: LD_PRELOAD of the command. done.objects: what its last word, a program, reports."""
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        environment = dict(os.environ, HAKMEM_REPORT=report, **variables)
        if preload:
            environment["LD_PRELOAD"] = preload
        done = subprocess.run(command, env=environment, capture_output=True, text=True,
                              check=False)
        done.objects = objects_reported(report, preload or LIBRARY, command[-1])
    done.text = done.stdout + done.stderr
    return done


def expect(done, objects, *patterns):
    missing = [pattern for pattern in patterns if not re.search(pattern, done.text, re.M)]
    if done.objects not in objects:
        missing.append(f"objects in the report: {done.objects}, not {objects}")
    if done.returncode == 0 and not missing:
        print(f"{done.objects} objects reported")
        return 0
    print(f"exit {done.returncode}, not found: {missing}\n{done.text[-6000:]}")
    return 1


def under_ulimit(library, program):
    done = run(["sh", "-c", 'ulimit -v 65536; export LD_PRELOAD="$0"; exec "$1"', library, program])
    print(done.stdout, end="")
    return expect(done, BUSY, r"^3145728 B: ")


def without(library, program, *folders):
    """With nothing in these, which the kernel fills: no limits, no cgroups, no processors told."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        skip("needs root and unshare for a mount namespace")
    hide = " && ".join(f"mount -t tmpfs none {folder}" for folder in folders)
    if run(["unshare", "-m", "sh", "-c", hide]).returncode != 0:
        skip("no mount namespace here")
    script = f'{hide} && LD_PRELOAD="$1" "$2"; s=$?; ls -A {folders[0]} {folders[-1]}; exit $s'
    done = run(["unshare", "-m", "sh", "-c", script, "sh", library, program])
    return expect(done, BUSY, r"\A(SKIP.*)?workload ok\n(/\w+:\n\n?)*\Z")


def without_proc(library, program):
    return without(library, program, "/proc")


def without_proc_and_sys(library, program):
    return without(library, program, "/sys", "/proc")


def under_gdb(library, program):
    """Stops once in the midst, with the library's symbols read, and goes on."""
    need("gdb")
    done = run(
        ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set confirm off",
         "-ex", f"set environment LD_PRELOAD {library}", "-ex", "set startup-with-shell off",
         "-ex", "break puts", "-ex", "run", "-ex", "info sharedlibrary",
         "-ex", "info line hak_malloc",
         "-ex", "delete", "-ex", "continue", program]
    )
    if re.search(r"ptrace: |Operation not permitted", done.text):
        skip("tracing is not permitted here")
    return expect(done, BUSY, rf"Yes .*{re.escape(os.path.basename(library))}", "hak_malloc",
                  r"^workload ok$", r"exited normally")


def valgrind(library, program, *options):
    need("valgrind")
    return run(
        ["valgrind", "--quiet", "--error-exitcode=9", "--trace-children=no", *options, program],
        library,
    )


def under_callgrind(library, program):
    done = valgrind(library, program, "--tool=callgrind", "--callgrind-out-file=/dev/null")
    return expect(done, BUSY, r"^workload ok$")


def under_memcheck(library, program):
    """memcheck puts its own malloc in place of ours, which then has nothing to do."""
    return expect(valgrind(library, program), IDLE, r"\Aworkload ok\n\Z")


def under_memcheck_own_malloc(library, program):
    done = valgrind(library, program, "--soname-synonyms=somalloc=nouserintercepts")
    return expect(done, BUSY, r"\Aworkload ok\n\Z")


def under_ld_audit(library, program, auditor):
    """The auditor has a C library of its own, whose malloc must not be in our way."""
    return expect(run([program], library, LD_AUDIT=auditor), BUSY, r"\Aworkload ok\n\Z")


def options_of(words):
    return {"HAKMEM_" + name: value for name, value in (word.split("=") for word in words)}


def kills(seccomp_run, calls, *command, **variables):
    """Whether the command makes one of these system calls: then the filter kills it."""
    done = run([seccomp_run, "KILL", calls, *command], **variables)
    if done.returncode == 77:
        skip("no seccomp filters here")
    return done.returncode == -signal.SIGSYS


def under_seccomp(library, program, seccomp_run, refusal, calls, *options):
    """Each of the calls is one that the library makes, in its one thread: libc makes none there."""
    for call in calls.split(","):
        if not kills(seccomp_run, call, program, "single", PRELOAD=library, **options_of(options)):
            print(f"{call} is never called, so nothing is refused")
            return 1
    done = run([seccomp_run, refusal, calls, program], PRELOAD=library, **options_of(options))
    return expect(done, BUSY, r"\Aworkload ok\n\Z")


def without_rseq(library, program, seccomp_run):
    """A thread has one area for restartable sequences, and whoever registers it first has it. libc
    does (2.35 and later), but for this tunable; then the call kills, so that nobody has made it."""
    by_libc = run([seccomp_run, "KILL", "rseq", program], PRELOAD=library)
    if by_libc.returncode == 77:
        skip("no seccomp filters here")
    if by_libc.returncode == 0:
        skip("libc registers no rseq area, so nothing shows that the filter works")
    if by_libc.returncode != -signal.SIGSYS:
        print(f"exit {by_libc.returncode}, not SIGSYS")
        return 1
    done = run([seccomp_run, "KILL", "rseq", program], PRELOAD=library,
               GLIBC_TUNABLES="glibc.pthread.rseq=0")
    return expect(done, BUSY, r"\Aworkload ok\n\Z")


def with_locked_memory(library, program, twin, *options):
    """The twin counts how often the kernel is asked; it is refused each time."""
    done = run([program], library, **options_of(options))
    if done.returncode == 77:
        skip("memory may not be locked here")
    if expect(done, BUSY, r"\Alocked ok in \d+ ms\n\Z") != 0:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        count = os.path.join(folder, "count")
        done = run([program], os.path.abspath(twin), HAKMEM_TWIN_COUNT=count,
                   HAKMEM_TWIN_FAIL_CALL="madvise", **options_of(options))
        if expect(done, BUSY, r"\Alocked ok in \d+ ms\n\Z") != 0:
            return 1
        with open(count, encoding="utf-8") as file:
            calls = int(re.match(r"calls=(\d+) ", file.read()).group(1))
    seconds = int(re.search(r"(\d+) ms", done.text).group(1)) / 1000
    print(f"{calls} calls of madvise in {seconds} s")
    return 0 if 0 < calls <= ADVICE_MAX + ADVICE_MAX_PER_S * seconds else 1


def first_calls(library, program):
    """Each entry point as the first call of a process."""
    names = run([program, "list"], library).stdout.split()
    failed = [name for name in names if run([program, name], library).returncode != 0]
    print(f"{len(names)} entries, failed: {failed}")
    return 1 if failed or len(names) < 20 else 0


SURROUNDINGS = {
    "ulimit": under_ulimit,
    "no-proc": without_proc,
    "no-proc-no-sys": without_proc_and_sys,
    "gdb": under_gdb,
    "callgrind": under_callgrind,
    "memcheck": under_memcheck,
    "memcheck-own-malloc": under_memcheck_own_malloc,
    "first-calls": first_calls,
    "ld-audit": under_ld_audit,
    "seccomp": under_seccomp,
    "rseq": without_rseq,
    "locked": with_locked_memory,
}

if __name__ == "__main__":
    LIBRARY = os.path.abspath(sys.argv[2])
    sys.exit(SURROUNDINGS[sys.argv[1]](LIBRARY, os.path.abspath(sys.argv[3]), *sys.argv[4:]))
