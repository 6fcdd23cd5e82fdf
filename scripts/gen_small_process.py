#!/usr/bin/python3
"""gen_small_process.py BUILD: make cmake/small_process.ld, the order of the library's functions.

What a process with few objects runs stands together at the library's beginning, and all else in a
segment of its own, of which such a process maps no page (docs/decisions/0032). Which functions
these are says callgrind, of the programs below under BUILD's libraries, which must be linked
without that order (cmake -DHAK_SMALL_PROCESS=OFF): it sees no names in the second segment. A
function that is missing from the list costs pages, nothing else; loader.small_process fails then.
Exit: 0 done, 2 bad usage, or a program that failed.
"""
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, "cmake", "small_process.ld")
LIBRARIES = ("libhakmem.so", "libhakmem-minimal.so")
PROGRAMS = (["loader_small_process"], ["bench_random_mixed", "300000", "400"],
            ["bench_random_mixed", "300000", "4000"])
SKIPPED = 77  # what the first says where there is no second segment
# What callgrind shows by another of its names, and what programs in C++ call.
ALWAYS = ("hak_malloc", "hak_free", "hak_calloc", "hak_realloc", "_Znwm", "_ZdlPv", "_ZdlPvm")
# What larger ones run often, up to a whole page: each page of the library is address space, too.
OFTEN = ("window_shrink", "flush_magazine", "entry_free_sized", "depot_add")
FUNCTION = re.compile(r"^c?fn=\((\d+)\)(?: (\S+))?$")
OBJECT = re.compile(r"^c?ob=\((\d+)\)(?: (\S+))?$")
HEAD = """/* small_process.ld - made by scripts/gen_small_process.py: cmake/HakLibrary.cmake.
 * What a small process runs, then what others run too. */
SECTIONS
{
  .text :
  {
    *(.text.startup .text.startup.* .text.exit .text.exit.*)
"""
TAIL = """    *(.text)
  }
}
INSERT BEFORE .fini;
SECTIONS
{
  /* A page is skipped, so that this becomes a mapping of its own: the kernel maps around a page
   * that is touched what is in the same mapping. Behind the data valgrind would read no symbols. */
  .text_late ALIGN(CONSTANT(MAXPAGESIZE)) + CONSTANT(MAXPAGESIZE) :
  {
    *(.text.*)
    /* Texts that a process writes at its end, or when asked. */
    *guard_verdict.c.*(.rodata.str*)
    *view_dump.c.*(.rodata.str*)
    *api_stats.c.*(.rodata.str*)
  }
}
INSERT AFTER .eh_frame;
"""


def fail(text):
    print("gen_small_process.py: " + text, file=sys.stderr)
    sys.exit(2)


def names_run(path, library):
    """The library's functions in a callgrind file, without what compilers add to a name."""
    names, objects, inside, found = {}, {}, False, set()
    with open(path, encoding="utf-8") as file:
        for line in file:
            match = OBJECT.match(line)
            if match:
                if match[2]:
                    objects[match[1]] = match[2]
                if line.startswith("ob="):
                    inside = library in objects[match[1]]
                continue
            match = FUNCTION.match(line)
            if match:
                if match[2]:
                    names[match[1]] = re.split(r"[.']", match[2])[0]
                if inside and line.startswith("fn="):
                    found.add(names[match[1]])
    return found


def sections(name):
    """Where compilers put a function, and what they split off it."""
    kinds = ("", "unlikely.", "hot.")
    return "    *(" + " ".join(f".text.{kind}{name} .text.{kind}{name}.*" for kind in kinds) + ")\n"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        fail("usage: gen_small_process.py BUILD")
    build = sys.argv[1]
    found = {*ALWAYS, *OFTEN}
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        for library in LIBRARIES:
            if not os.path.exists(os.path.join(build, library)):
                fail(f"no {library} in {build}: build it")
            for program, *arguments in PROGRAMS:
                command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out,
                           os.path.join(build, program), *arguments]
                env = dict(os.environ, LD_PRELOAD=os.path.abspath(os.path.join(build, library)))
                run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
                if run.returncode != (SKIPPED if program == PROGRAMS[0][0] else 0):
                    fail(f"{program} under {library} ended with {run.returncode}: is {build} "
                         "configured with -DHAK_SMALL_PROCESS=OFF?")
                found |= names_run(out, os.path.basename(library).removesuffix(".so"))
    names = sorted(name for name in found if re.fullmatch(r"[A-Za-z_]\w*", name))
    with open(SCRIPT, "w", encoding="utf-8") as file:
        file.write(HEAD + "".join(sections(name) for name in names) + TAIL)


if __name__ == "__main__":
    sys.exit(quiet(main))
