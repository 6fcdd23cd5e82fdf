"""The allocators of a comparison: where they are, how one is put in place, the proof that it is.

hakmem's proof is its own HAKMEM_REPORT. The benchmark programs name the library whose malloc they
call; of a program that cannot say so, the dynamic linker tells it (LD_DEBUG=bindings).
"""
import glob
import json
import os
import platform
import re
from collections import namedtuple

from bench_machine import OWN_NAMES, BadInput, RunFailed

# expect: the base name of the library whose malloc the process must call. profile: hakmem's, None:
# as the environment has it. variables: more of the environment, pairs.
Allocator = namedtuple("Allocator", "name path expect profile variables", defaults=(None, ()))

LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                   "/usr/lib"]
PEER_FILES = {"mimalloc": "libmimalloc.so.2.0", "jemalloc": "libjemalloc.so.2",
              "tcmalloc": "libtcmalloc_minimal.so.4", "tbbmalloc": "libtbbmalloc_proxy.so.2"}
SCUDO_FILE = f"libclang_rt.scudo_standalone-{platform.machine()}.so"
SCUDO_PATTERN = "/usr/lib/llvm-*/lib/clang/*/lib/linux/" + SCUDO_FILE
# The peers that 'the best peer' and 'the leanest peer' of a target mean, where they are installed.
# What --peer adds is shown and never judged by.
TARGET_PEERS = ["glibc", "mimalloc", "jemalloc", "tcmalloc", "tbbmalloc", "scudo"]
QUICK_PEERS = TARGET_PEERS[:4]
SUBJECTS = {"hakmem": "libhakmem.so", "hakmem-minimal": "libhakmem-minimal.so"}
PROFILES = ("balanced", "lean", "speed")  # hakmem's, the one that it has unasked first
SYSTEM = Allocator("glibc", None, "libc.so.6")
FLOOR = Allocator("floor", None, "floor")  # the loop without an allocator


def find_scudo():
    """The newest release's, or None: LLVM installs a folder a version."""
    def version(path):
        return [int(number) for number in re.findall(r"\d+", path.partition("llvm-")[2])]
    return max(glob.glob(SCUDO_PATTERN), key=version, default=None)


def find_installed():
    """The peers that this machine has, in the order of TARGET_PEERS."""
    found = [SYSTEM]
    for name, file in PEER_FILES.items():
        paths = [os.path.join(folder, file) for folder in LIBRARY_FOLDERS]
        path = next((path for path in paths if os.path.exists(path)), None)
        if path is not None:
            found.append(Allocator(name, path, file))
    scudo = find_scudo()
    return found + ([Allocator("scudo", scudo, SCUDO_FILE)] if scudo else [])


def find_peers(extra, wanted=None):
    """The installed peers (of `wanted`, None: all) and those of --peer."""
    found = [peer for peer in find_installed() if wanted is None or peer.name in wanted]
    names = set(TARGET_PEERS) | set(SUBJECTS) | {FLOOR.name}
    for text in extra:
        name, equals, path = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise BadInput(f"--peer takes NAME=PATH.so, not '{text}'")
        if name in names:
            raise BadInput(f"--peer: the name {name} is taken")
        if not os.path.isfile(path):
            raise BadInput(f"--peer {name}: there is no file {path}")
        names.add(name)
        found.append(Allocator(name, os.path.abspath(path), os.path.basename(path)))
    return found


def find_subjects(build):
    return [Allocator(name, str(build / file), file) for name, file in SUBJECTS.items()
            if (build / file).exists()]


def environment(allocator, report=None):
    """The environment in which a program runs on the allocator."""
    env = {name: value for name, value in os.environ.items() if name not in OWN_NAMES}
    if allocator.path is not None:
        env["LD_PRELOAD"] = allocator.path
    if allocator.profile is not None:
        env.pop("HAKMEM_PROFILE", None)
    if allocator.profile not in (None, PROFILES[0]):  # that one as who sets nothing has it
        env["HAKMEM_PROFILE"] = allocator.profile
    env.update(allocator.variables)
    if report is not None:
        env["HAKMEM_REPORT"] = report
    return env


# ---- the proof that an allocator is in place ----

def reports(allocator):
    """Whether it writes a HAKMEM_REPORT."""
    return allocator.expect.startswith("libhakmem")


def report_check(allocator, path, program=""):
    """hakmem's own word that it served the processes whose names begin so: objects > 0."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        objects = sum(line["objects"] for line in lines
                      if not program or line["program"].startswith(program))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{allocator.name} is not in place: no usable HAKMEM_REPORT ({error})") \
            from None
    if objects == 0:
        raise BadInput(f"{allocator.name} is not in place: HAKMEM_REPORT counts 0 objects"
                       + (f" of {program}" if program else ""))


BINDING = re.compile(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: \w+ symbol `(\w+)'")
ALLOCATION_NAMES = {"malloc", "free", "calloc", "realloc"}


def bindings_read(text, process, expect):
    """From the dynamic linker's LD_DEBUG=bindings output of one process: the libraries that calls
    of malloc, free, calloc and realloc go to; None when the process is another program. A program
    that takes the address of free becomes its place (a stub that goes on to the real one), and the
    allocator itself may well call another."""
    served_by, is_process = set(), False
    for caller, target, symbol in BINDING.findall(text):
        caller, target = os.path.basename(caller), os.path.basename(target)
        is_process = is_process or caller == process
        if symbol in ALLOCATION_NAMES and caller != expect and target != process:
            served_by.add(target)
    return served_by if is_process else None


def bindings_check(allocator, prefix, process):
    """The same of every process that wrote to prefix.PID: all calls go to the allocator."""
    seen = set()
    for path in glob.glob(prefix + ".*"):
        with open(path, encoding="utf-8", errors="replace") as file:
            seen |= bindings_read(file.read(), process, allocator.expect) or set()
        os.unlink(path)
    if seen != {allocator.expect}:
        raise RunFailed(f"{allocator.name} is not in place: {process} runs on "
                        f"{' and '.join(sorted(seen)) or 'no allocator that the linker knows'}, "
                        f"not on {allocator.expect}")
