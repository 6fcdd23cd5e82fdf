#!/usr/bin/python3
"""Runs the workload under hakmem in surroundings that change how a process starts or runs.

usage: surroundings.py WHAT LIBRARY PROGRAM
WHAT: ulimit, no-proc, gdb, callgrind, memcheck, memcheck-own-malloc, first-calls
"""

import os
import re
import resource
import shutil
import subprocess
import sys


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def need(tool):
    if shutil.which(tool) is None:
        skip(f"{tool} is not installed")


def run(command, preload=None, **options):
    environment = dict(os.environ)
    if preload:
        environment["LD_PRELOAD"] = preload
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, **options
    )
    done.text = done.stdout + done.stderr
    return done


def expect(done, *patterns):
    missing = [pattern for pattern in patterns if not re.search(pattern, done.text, re.M)]
    if done.returncode == 0 and not missing:
        return 0
    print(f"exit {done.returncode}, not found: {missing}\n{done.text[-6000:]}")
    return 1


def limit_address_space():
    resource.setrlimit(resource.RLIMIT_AS, (65536 * 1024, 65536 * 1024))


def under_ulimit(library, program):
    done = run([program], library, preexec_fn=limit_address_space)
    print(done.stdout, end="")
    return expect(done, r"^3145728 B: ")


def without_proc(library, program):
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        skip("needs root and unshare for a mount namespace")
    if run(["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc"]).returncode != 0:
        skip("no mount namespace here")
    script = 'mount -t tmpfs none /proc && LD_PRELOAD="$1" "$2"; s=$?; ls -A /proc; exit $s'
    done = run(["unshare", "-m", "sh", "-c", script, "sh", library, program])
    return expect(done, r"\A(SKIP.*)?workload ok\n\Z")


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
    return expect(done, rf"Yes .*{re.escape(os.path.basename(library))}", "hak_malloc",
                  r"^workload ok$", r"exited normally")


def valgrind(library, program, *options):
    need("valgrind")
    return run(
        ["valgrind", "--quiet", "--error-exitcode=9", "--trace-children=no", *options, program],
        library,
    )


def under_callgrind(library, program):
    done = valgrind(library, program, "--tool=callgrind", "--callgrind-out-file=/dev/null")
    return expect(done, r"^workload ok$")


def under_memcheck(library, program):
    """memcheck puts its own malloc in place of ours."""
    return expect(valgrind(library, program), r"\Aworkload ok\n\Z")


def under_memcheck_own_malloc(library, program):
    done = valgrind(library, program, "--soname-synonyms=somalloc=nouserintercepts")
    return expect(done, r"\Aworkload ok\n\Z")


def first_calls(library, program):
    """Each entry point as the first call of a process."""
    names = run([program, "list"], library).stdout.split()
    failed = [name for name in names if run([program, name], library).returncode != 0]
    print(f"{len(names)} entries, failed: {failed}")
    return 1 if failed or len(names) < 20 else 0


SURROUNDINGS = {
    "ulimit": under_ulimit,
    "no-proc": without_proc,
    "gdb": under_gdb,
    "callgrind": under_callgrind,
    "memcheck": under_memcheck,
    "memcheck-own-malloc": under_memcheck_own_malloc,
    "first-calls": first_calls,
}

if __name__ == "__main__":
    sys.exit(SURROUNDINGS[sys.argv[1]](os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])))
