#!/usr/bin/python3
"""check_layers.py [BUILD_DIR]: src/ includes and calls only its own folder or a lower rank.

Reads src/LAYERS. Checks each #include of src/, and, in BUILD_DIR (default build/), the undefined
symbols of each object file of the libraries with nm. Prints `file:line: what: what to do`.
Exit: 0 clean, 1 violations, 2 bad usage or no readable src/LAYERS.
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SRC = os.path.join(ROOT, "src")
FREESTANDING = {"stdint.h", "stddef.h", "stdbool.h", "stdalign.h", "stdarg.h", "limits.h",
                "stdatomic.h", "stdnoreturn.h", "float.h", "errno.h"}
API_HEADERS = {"malloc.h", "stdio.h", "hakmem.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
# What any folder may leave to the C library or the linker: what the compiler calls by itself for
# plain C or for a builtin that only reads or writes memory, and errno, which is freestanding here.
LIBC_ANYWHERE = {"memcpy", "memmove", "memset", "memcmp", "strlen", "__popcountdi2",
                 "__errno_location", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
# Besides: printing into the caller's FILE (malloc_info, malloc_stats), and the exceptions that
# operator new throws, by weak reference.
LIBC_API = re.compile(r"^(fputs|fwrite|fputc|fflush|stderr|_ZTISt9bad_alloc|_ZNSt9bad_allocD1Ev|"
                      r"_ZTVSt9bad_alloc|_ZSt15get_new_handlerv|_ZSt17__throw_bad_allocv|"
                      r"__cxa_\w+)$")


class Report:
    def __init__(self):
        self.lines = set()

    def add(self, place, what, action):
        """Prints a violation; each once, though a source is an object of several libraries."""
        line = f"{place}: {what}: {action}"
        if line not in self.lines:
            self.lines.add(line)
            print(line)


def read_layers(report):
    """Folder -> rank; checks the table against the folders that exist."""
    path = os.path.join(SRC, "LAYERS")
    ranks = {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        sys.exit(f"check_layers.py: {error}")
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].split()
        if not text:
            continue
        if len(text) != 2 or not text[0].isdigit() or text[1] in ranks:
            report.add(f"src/LAYERS:{number}", f"bad line '{line}'",
                       "write `rank folder`, once each")
            continue
        ranks[text[1]] = int(text[0])
    folders = sorted(e.name for e in os.scandir(SRC) if e.is_dir())
    for folder in folders:
        if folder not in ranks:
            report.add(f"src/{folder}", "folder has no rank", "give it a line in src/LAYERS")
    for folder in ranks:
        path = os.path.join(SRC, folder)
        if folder not in folders or not any(n.endswith((".c", ".h")) for n in os.listdir(path)):
            report.add("src/LAYERS", f"'{folder}' holds no source", "take its line out")
    return ranks


def may_use(ranks, user, used):
    return user == used or ranks[used] < ranks[user]


def check_includes(ranks, files, report):
    owner = {}
    for folder, path in files:
        owner[os.path.basename(path)] = folder
    for folder, path in files:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        for number, line in enumerate(lines, 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            place = f"{os.path.relpath(path, ROOT)}:{number}"
            name = found.group(2)
            base = os.path.basename(name)
            if found.group(1) == '"' and base in owner:
                if not may_use(ranks, folder, owner[base]):
                    report.add(place, f"{folder} (rank {ranks[folder]}) includes {name} of "
                               f"{owner[base]} (rank {ranks[owner[base]]})",
                               "move the code up, or what it needs down")
            elif name in FREESTANDING or folder == "os":
                continue
            elif folder == "api" and name in API_HEADERS:
                continue
            elif found.group(1) == '"':
                report.add(place, f"no file {name} in src/", "include files of src/ by their name")
            else:
                report.add(place, f"system header <{name}> outside src/os",
                           "put the call behind a function of src/os")


def object_sets(build):
    """Library -> list of (folder, object path), of every target that compiled src/.

    A shared library has files of its own besides those of its target NAME_objects."""
    sets = {}
    for top, _, names in os.walk(os.path.join(build, "CMakeFiles")):
        found = re.search(r"CMakeFiles/([^/]+)\.dir/src/([^/]+)$", top)
        if found:
            objects = [(found.group(2), os.path.join(top, n)) for n in sorted(names)
                       if n.endswith(".o") and
                       os.path.exists(os.path.join(SRC, found.group(2), n[:-len(".o")]))]
            sets.setdefault(found.group(1).removesuffix("_objects"), []).extend(objects)
    return sets


def symbols(path):
    """(defined global names, undefined names) of an object file."""
    done = subprocess.run(["nm", "-g", path], capture_output=True, text=True, check=True)
    defined, undefined = set(), set()
    for line in done.stdout.splitlines():
        kind, name = line.split()[-2:]
        (undefined if kind in "Uwv" else defined).add(name)
    return defined, undefined


def check_symbols(ranks, objects, report):
    table = [(folder, path) + symbols(path) for folder, path in objects if folder in ranks]
    owner = {}
    for folder, _, defined, _ in table:
        for name in defined:
            owner.setdefault(name, folder)
    for folder, path, _, undefined in table:
        source = f"src/{folder}/{os.path.basename(path)[:-len('.o')]}"
        for name in sorted(undefined):
            used = owner.get(name)
            if used is not None:
                if not may_use(ranks, folder, used):
                    report.add(source, f"calls {name} of {used} (rank {ranks[used]})",
                               "call only downward: move the code, or return to the caller")
            elif folder != "os" and name not in LIBC_ANYWHERE and not (
                    folder == "api" and LIBC_API.match(name)):
                report.add(source, f"calls {name} of the C library",
                           "put it behind a function of src/os")


def main():
    if len(sys.argv) > 2:
        print("usage: scripts/check_layers.py [BUILD_DIR]", file=sys.stderr)
        return 2
    build = sys.argv[1] if len(sys.argv) == 2 else os.path.join(ROOT, "build")
    report = Report()
    ranks = read_layers(report)
    files = [(folder, os.path.join(SRC, folder, name)) for folder in sorted(ranks)
             if os.path.isdir(os.path.join(SRC, folder))
             for name in sorted(os.listdir(os.path.join(SRC, folder)))
             if name.endswith((".c", ".h", ".def"))]
    check_includes(ranks, files, report)
    sets = object_sets(build)
    for target in sorted(sets):
        check_symbols(ranks, sets[target], report)
    count = sum(len(objects) for objects in sets.values())
    what = f"{count} objects" if count else f"no objects in {build}, symbols not checked"
    print(f"check_layers: {len(files)} files, {what}, {len(report.lines)} violations")
    return 1 if report.lines else 0


if __name__ == "__main__":
    sys.exit(quiet(main))
