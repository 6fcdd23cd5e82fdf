#!/usr/bin/python3
"""gen_options.py [--check]: make docs/options.md and the options of man/hakmem.1 from knobs.def.

--check writes nothing and fails when a file differs from what would be made.
Exit: 0 done or equal, 1 differs (--check), 2 bad usage or a malformed knobs.def or man page.
"""
import os
import re
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is
from quiet_pipe import quiet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KNOBS = os.path.join(ROOT, "src", "rt", "knobs.def")
DOCS = os.path.join(ROOT, "docs", "options.md")
MAN = os.path.join(ROOT, "man", "hakmem.1")
LINE = re.compile(r'^KNOB\((\w+), (\w+), (\d+), (\d+), (\d+), "(.*)"\)$')
BEGIN = '.\\" Generated from knobs.def by scripts/gen_options.py: begin\n'
END = '.\\" Generated: end\n'


def fail(text):
    print("gen_options.py: " + text, file=sys.stderr)
    sys.exit(2)


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        return fail(str(error))


def knobs():
    """Tuples (name, type, default, min, max, sentence), in the order of the table."""
    text = re.sub(r"/\*.*?\*/", "", read(KNOBS), flags=re.S)
    result = []
    for line in text.splitlines():
        if line.strip():
            found = LINE.match(line)
            if not found:
                fail(f"knobs.def: malformed line: {line}")
            result.append(found.groups())
    return result


def value(kind, number):
    """A number as one would write it into the environment."""
    n = int(number)
    if kind == "bytes":
        for suffix, shift in (("G", 30), ("M", 20), ("K", 10)):
            if n and n % (1 << shift) == 0:
                return f"{n >> shift}{suffix}"
    return str(n)


def markdown(table):
    lines = ["# Options", "",
             "Generated from src/rt/knobs.def by scripts/gen_options.py; do not edit.", "",
             "An option is the environment variable `HAKMEM_` + its name, read once when the",
             "process starts and constant from then on. Bytes take a suffix K, M or G; a bool is",
             "0 or 1. A bad value is reported in one line and the default kept; an unknown name is",
             "reported once, with the nearest one. A set-user-ID program ignores all of them.", "",
             "| option | type | default | range | meaning |", "|---|---|---|---|---|"]
    for name, kind, default, low, high, text in table:
        lines.append(f"| `HAKMEM_{name}` | {kind} | {value(kind, default)} | "
                     f"{value(kind, low)} to {value(kind, high)} | {text} |")
    lines += ["", "Reserved names, no options: `HAKMEM_REPORT=FILE` (each process appends one JSON",
              "line at its exit), `HAKMEM_LIB` (read by the command `hakmem`), `HAKMEM_BENCH_*`",
              "(benchmarks), `HAKMEM_TRACE` and `HAKMEM_TRACE_MAX` (libhakmem-trace.so, see",
              "[trace.md](trace.md)), `HAKMEM_TWIN_*` (tests).", ""]
    return "\n".join(lines)


def man_text(table):
    out = ""
    for name, kind, default, low, high, text in table:
        text = text.replace("\\", "\\e").replace("-", "\\-")
        out += (f".TP\n.B HAKMEM_{name}\n{text}\n"
                f"Type {kind}, {value(kind, low)} to {value(kind, high)}, "
                f"default {value(kind, default)}.\n")
    return out


def man_page(table):
    old = read(MAN)
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        fail("man/hakmem.1: the two lines that mark the generated part are not there once each")
    return old[:old.index(BEGIN) + len(BEGIN)] + man_text(table) + old[old.index(END):]


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        print("usage: scripts/gen_options.py [--check]", file=sys.stderr)
        return 2
    table = knobs()
    differs = 0
    for path, text in ((DOCS, markdown(table)), (MAN, man_page(table))):
        if os.path.exists(path) and read(path) == text:
            continue
        if sys.argv[1:]:
            print(f"{os.path.relpath(path, ROOT)} is not what knobs.def says: "
                  "run scripts/gen_options.py")
            differs = 1
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return differs


if __name__ == "__main__":
    sys.exit(quiet(main))
