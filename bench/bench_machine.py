"""Where a benchmark runs: the tree, its commit, the machine; and the two ways of ending badly."""
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))  # for quiet_pipe, which the drivers share with the tools
OPTION_NAMES = re.compile(r"(HAKMEM|MALLOC|MIMALLOC|TCMALLOC|TBB_MALLOC|SCUDO)_|GLIBC_TUNABLES$")
# What would change the allocator or the benchmark unasked: each run gets its own.
OWN_NAMES = ("LD_PRELOAD", "HAKMEM_REPORT", "HAKMEM_BENCH_PREFAULT")


class BadInput(Exception):
    """What ends the run with one line and exit 2."""


class RunFailed(Exception):
    """A program that ended badly under an allocator: shown, and the run goes on without it."""


def check_writable(option, path):
    """Before a long measurement, whose figures would be lost. BadInput where it is seen already."""
    path = pathlib.Path(path)
    there = path if path.exists() else path.parent
    if path.is_dir() or not os.access(there, os.W_OK):
        raise BadInput(f"{option} {path}: cannot be written")


def first_line(path, pattern, otherwise="unknown"):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                found = re.search(pattern, line)
                if found:
                    return found.group(1).strip()
    except OSError:
        pass
    return otherwise


def commit():
    """HEAD, and whether what is measured differs from it; pages do not count, the ledger is one."""
    def git(*words):
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                              check=False)
    if shutil.which("git") is None:
        return "none"
    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode != 0:
        return "none"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".",
                  ":(exclude)docs").stdout.strip()
    return head.stdout.strip() + ("-changed" if changed else "")


def machine():
    """What a reader needs to judge the figures by, and nothing that names this host or user."""
    kib = first_line("/proc/meminfo", r"MemTotal:\s+(\d+)", "0")
    return {
        "cpu": first_line("/proc/cpuinfo", r"model name\s*:\s*(.*)"),
        "cores": os.cpu_count(),
        "ram_gib": round(int(kib) / 2**20, 1),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "thp": first_line("/sys/kernel/mm/transparent_hugepage/enabled", r"\[(\w+)\]"),
        "commit": commit(),
        "load_1min": round(os.getloadavg()[0], 2),
        "options": {name: value for name, value in sorted(os.environ.items())
                    if OPTION_NAMES.match(name) and name not in OWN_NAMES},
    }
