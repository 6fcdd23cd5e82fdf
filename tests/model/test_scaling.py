#!/usr/bin/python3
"""test_scaling.py [--accept] SIM: docs/scaling.md has the figures that sim_scaling counts.

They repeat exactly, so the two tables between marks of the page must be equal; --accept writes
them. Besides, what the page promises: a hit takes no read-modify-write (nor a transfer), a remote
free's sender few, and none of it grows with the number of threads, but by the lines of a home that
many threads share.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "scaling.md")
MARKS = {"counted": ("<!-- counted: begin -->\n", "<!-- counted: end -->\n"),
         "posted": ("<!-- posted: begin -->\n", "<!-- posted: end -->\n")}
HEADS = {"counted": "| workload | threads | homes | read-modify-writes an operation "
                    "| transfers an operation |\n"
                    "|---|---|---|---|---|\n",
         "posted": "| workload | threads | frees | posts | of these not full | of these mixes "
                   "| objects a post | read-modify-writes a free |\n"
                   "|---|---|---|---|---|---|---|---|\n"}
COUNTED_CELLS = 5
ALL = ((1, 1), (16, 16), (256, 256), (256, 2))
ONE_EACH = ((16, 16), (256, 256))  # one thread alone frees nothing of another's
GROUPS = ((5, 5), (255, 255))
WORKLOADS = (ALL,) * 7 + (ONE_EACH,) * 3 + (GROUPS,) * 3
REMOTE = {"remote frees, 512 B": 1 / 16, "remote frees, 1,024 B": 1 / 8,
          "four to one, 512 B": 1 / 16, "four to one, 1,024 B": 1 / 8,
          "remote frees, 16-1,024 B": 1 / 8, "four to one, 16-1,024 B": 1 / 8}
# What grows besides "handed over": see the page. Read-modify-writes are bounded by the above.
PULLED, PULLED_TIMES = "four to one, 16-1,024 B", 2.5
# Every operation a slow path: where the home is shared, its lock and what that protects move too.
ALL_SLOW = ("runs, 256 KiB", "mappings, 8 MiB")
HOME_LINES = 3.6  # of these; counted are 3.46
NONE = "0"  # not one; what rounds to nothing has digits after the point


def rows(sim):
    for number, threads_homes in enumerate(WORKLOADS):
        for threads, homes in threads_homes:
            done = subprocess.run([sim, str(number), str(threads), str(homes)],
                                  stdout=subprocess.PIPE, text=True, check=True)
            yield from done.stdout.splitlines(keepends=True)


def cells(row):
    return [cell.strip() for cell in row.strip("|\n ").split("|")]


def fields(row):
    name, threads, homes, rmws, transfers = cells(row)
    return name, int(threads), int(homes), float(rmws), float(transfers)


def dearer_in_shared_homes(row, one_each):
    name, threads, homes, rmws, transfers = row
    at_most = (one_each[1] + HOME_LINES if name in ALL_SLOW else 1.5 * one_each[1] + 0.05)
    if rmws > one_each[0] + 0.01:
        yield f"{name}, {threads} threads: dearer in {homes} homes than in one each: {rmws}"
    if transfers > at_most:
        yield (f"{name}, {threads} threads: {transfers} transfers an operation in {homes} homes, "
               f"at most {at_most:.3f}")


def broken_promises(lines):
    for line in lines:
        if cells(line)[0] == "hit" and cells(line)[3:] != [NONE, NONE]:
            yield f"not one read-modify-write or transfer is in a hit: {line.strip()}"
    table = [fields(line) for line in lines]
    by = {(name, threads): (rmws, transfers) for name, threads, homes, rmws, transfers in table
          if homes == threads}
    for row in table:
        if row[2] < row[1]:
            yield from dearer_in_shared_homes(row, by[row[:2]])
    for (name, threads), (rmws, transfers) in by.items():
        if name in REMOTE and threads > 1 and rmws > REMOTE[name]:
            yield f"{name}, {threads} threads: {rmws} read-modify-writes, at most {REMOTE[name]}"
        if name == "local" and transfers > 0.02:
            yield f"{name}, {threads} threads: {transfers} transfers an operation"
        few = by[(name, 5 if name.startswith("four to one") else 16)]
        if name == "handed over":  # see the page: it grows with the owners that a thread frees for
            if rmws > 1.5:
                yield f"{name}, {threads} threads: {rmws} read-modify-writes, at most 1.5"
        elif name == PULLED:
            if transfers > PULLED_TIMES * few[1]:
                yield f"{name}, {threads} threads: {transfers} transfers an operation"
        elif threads >= 255 and (rmws > 1.25 * few[0] + 0.01 or transfers > 1.5 * few[1] + 0.05):
            yield f"{name}: grows from few threads to {threads}: {few} to {(rmws, transfers)}"


def main():
    accept = "--accept" in sys.argv
    lines = list(rows(sys.argv[-1]))
    counted = [line for line in lines if len(cells(line)) == COUNTED_CELLS]
    tables = {"counted": HEADS["counted"] + "".join(counted),
              "posted": HEADS["posted"] + "".join(line for line in lines if line not in counted)}
    with open(PAGE, encoding="utf-8") as page:
        text = page.read()
    found = text
    for name, (begin, end) in MARKS.items():
        old = re.search(re.escape(begin) + "(.*?)" + re.escape(end), found, re.S)
        found = found[:old.start(1)] + tables[name] + found[old.end(1):]
        print(tables[name])
    broken = list(broken_promises(counted))
    for line in broken:
        print(line)
    if accept:
        with open(PAGE, "w", encoding="utf-8") as page:
            page.write(found)
    elif found != text:
        print("docs/scaling.md has other figures; --accept writes these")
        return 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
