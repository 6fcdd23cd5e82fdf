#!/usr/bin/python3
"""gen_options.py [--check]: make docs/options.md and the options of man/hakmem.1 from the tables
knobs.def and profiles.def.

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
PROFILES = os.path.join(ROOT, "src", "rt", "profiles.def")
LINE = re.compile(r'^KNOB\((\w+), (\w+), (\d+), (\d+), (\d+), (\w+), "(.*?)", "(.*)"\)$')
BUNDLE = re.compile(r"^PROFILE\((\w+), (\d+), (\d+)\)$")
TIGHT = re.compile(r"^TIGHT\((\w+), (\d+)\)$")
ALIAS = re.compile(r"^PROFILE_ALIAS\((\w+), (\w+)\)$")
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


class Knob:
    def __init__(self, groups):
        (self.name, self.kind, self.default, self.low, self.high, self.when, self.words,
         self.text) = groups

    def value(self, number):
        """A number as one would write it into the environment."""
        words = self.words.split("|") if self.words else []
        return words[int(number)] if int(number) < len(words) else value(self.kind, number)

    def range(self):
        words = self.words.replace("|", ", ")
        if self.kind == "choice":
            return words
        return (words and words + ", ") + f"{self.value(self.low)} to {self.value(self.high)}"


def lines(path):
    text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
    return [line for line in text.splitlines() if line.strip()]


def knobs():
    """One Knob a line, in the order of the table."""
    result = []
    for line in lines(KNOBS):
        found = LINE.match(line)
        if not found:
            fail(f"knobs.def: malformed line: {line}")
        result.append(Knob(found.groups()))
    return result


def profiles(table):
    """([(Knob, speed, lean)], [(alias, profile)], [(Knob, most)])."""
    named = {knob.name: knob for knob in table}
    bundles, aliases, tights = [], [], []
    for line in lines(PROFILES):
        bundle, alias, tight = BUNDLE.match(line), ALIAS.match(line), TIGHT.match(line)
        if alias:
            aliases.append((alias.group(1), alias.group(2).lower()))
        elif tight and tight.group(1) in named:
            tights.append((named[tight.group(1)], tight.group(2)))
        elif bundle and bundle.group(1) in named:
            bundles.append((named[bundle.group(1)], bundle.group(2), bundle.group(3)))
        else:
            fail(f"profiles.def: malformed line, or no such option: {line}")
    return bundles, aliases, tights


def value(kind, number):
    n = int(number)
    if kind == "bytes":
        for suffix, shift in (("G", 30), ("M", 20), ("K", 10)):
            if n and n % (1 << shift) == 0:
                return f"{n >> shift}{suffix}"
    return str(n)


HEAD = """# Options

Generated from src/rt/knobs.def and src/rt/profiles.def by scripts/gen_options.py; do not edit.

Where a value comes from; a later source beats an earlier one:

1. the default below;
2. the program: `const char hak_conf[] = "profile=lean,depot_bytes=1M";`, which
   hakmem.h declares: without the header it needs C linkage and default visibility;
3. the file `/etc/hakmem.conf`, then the file that `HAKMEM_CONF_FILE` names;
4. the environment: `HAKMEM_` + the option's name; less than that counts `HAKMEM_CONF`, a list as
   above;
5. `hak_option_set` while the program runs (hakmem.h).

A file has lines `NAME=VALUE`, and lines that begin with `#`. Variables of the environment are named
as they stand here; elsewhere, in `HAKMEM_CONF` too, in any case, with the prefix or without. In
each source a profile is set first, so that what is named beside it holds; one of a later source
sets all its options anew (the environment is one source in this, `HAKMEM_CONF` included). `PROFILE`
beats `SS_MEM_LEAN`. An empty value is a bad one. Options that are *live* take effect when
`hak_option_set` changes them; the others hold from the start.

Bytes take a suffix K, M or G; a bool is 0 or 1; words and suffixes are taken in any case. A bad
value is reported in one line and the value kept that an earlier source has set; an unknown name is
reported each time it stands there; either with the nearest word or name, if one is near. So is a
file that `HAKMEM_CONF_FILE` names, or a directory or FIFO in the place of `/etc/hakmem.conf`, with
why it cannot be read. `CONF_STRICT` ends the process in each of these cases. A set-user-ID program
ignores all sources but its own calls.
"""

TAIL = """\
Reserved names, no options: `HAKMEM_CONF` and `HAKMEM_CONF_FILE` (above), `HAKMEM_REPORT=FILE`
(each process appends one JSON line at its exit), `HAKMEM_LIB` (read by the command `hakmem`),
`HAKMEM_BENCH_*` (benchmarks), `HAKMEM_TRACE` and `HAKMEM_TRACE_MAX` (libhakmem-trace.so, see
[trace.md](trace.md)), `HAKMEM_TWIN_*` (tests).
"""


def markdown(table):
    bundles, aliases, tights = profiles(table)
    out = [HEAD, "| option | type | default | range | live | meaning |",
           "|---|---|---|---|---|---|"]
    for knob in table:
        out.append(f"| `HAKMEM_{knob.name}` | {knob.kind} | {knob.value(knob.default)} | "
                   f"{knob.range()} | {'yes' if knob.when == 'live' else 'no'} | {knob.text} |")
    out += ["", "## Profiles", "",
            "`HAKMEM_PROFILE` sets these; [tuning.md](tuning.md) says which is for whom.", "",
            "| option | speed | balanced | lean |", "|---|---|---|---|"]
    for knob, speed, lean in bundles:
        out.append(f"| `{knob.name}` | {knob.value(speed)} | {knob.value(knob.default)} | "
                   f"{knob.value(lean)} |")
    most = ", ".join(f"`{knob.name}` {knob.value(number)}" for knob, number in tights)
    out += ["", "Near a limit of memory (`MEMORY_LIMIT`, [tuning.md](tuning.md)) they move to",
            f"those of lean by steps; at the last step no more holds than: {most}."]
    names = " and ".join(f"`{alias}` (= {profile})" for alias, profile in aliases)
    out += ["", f"Names of an earlier hakmem are accepted: {names}.", "", TAIL]
    return "\n".join(out)


def man_text(table):
    bundles, aliases, _ = profiles(table)
    out = ""
    for knob in table:
        text = knob.text.replace("\\", "\\e").replace("-", "\\-")
        out += (f".TP\n.B HAKMEM_{knob.name}\n{text}\n"
                f"Type {knob.kind}, {knob.range()}, default {knob.value(knob.default)}"
                f"{', live' if knob.when == 'live' else ''}.\n")
    out += ".SS Profiles\nWhat HAKMEM_PROFILE sets:\n"
    for knob, speed, lean in bundles:
        out += (f".TP\n.B {knob.name}\nspeed {knob.value(speed)}, balanced "
                f"{knob.value(knob.default)}, lean {knob.value(lean)}\n")
    names = " and ".join(f"{alias} (= {profile})" for alias, profile in aliases)
    return out + f".PP\nNames of an earlier hakmem are accepted: {names}.\n"


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
