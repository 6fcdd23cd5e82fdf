#!/usr/bin/python3
"""test_scaling.py [--accept] SIM: docs/scaling.md has the figures that sim_scaling counts.

They repeat exactly, so the table between the two marks of the page must be equal; --accept writes
it.
Besides, what the page promises: a hit takes no read-modify-write, a remote free's sender few, and
neither grows with the number of threads.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "scaling.md")
BEGIN, END = "<!-- counted: begin -->\n", "<!-- counted: end -->\n"
HEAD = ("| workload | threads | homes | read-modify-writes an operation "
        "| transfers an operation |\n"
        "|---|---|---|---|---|\n")
THREADS_HOMES = ((1, 1), (16, 16), (256, 256), (256, 2))
REMOTE = {"remote frees, 512 B": 1 / 16, "remote frees, 1,024 B": 1 / 8}
WORKLOADS = 7
FIRST_REMOTE = 4  # and those after it: one thread alone frees nothing of another's


def rows(sim):
    for workload in range(WORKLOADS):
        for threads, homes in THREADS_HOMES:
            if workload >= FIRST_REMOTE and homes < max(threads, 2):
                continue
            done = subprocess.run([sim, str(workload), str(threads), str(homes)],
                                  stdout=subprocess.PIPE, text=True, check=True)
            yield done.stdout


def fields(row):
    name, threads, homes, rmws, transfers = [cell.strip()
                                             for cell in row.strip("|\n ").split("|")]
    return name, int(threads), int(homes), float(rmws), float(transfers)


def broken_promises(table):
    by = {(name, threads): (rmws, transfers) for name, threads, homes, rmws, transfers in table
          if homes == threads}
    for name, threads, homes, rmws, _ in table:
        if homes < threads and rmws > by[(name, threads)][0] + 0.01:
            yield f"{name}, {threads} threads: dearer in {homes} homes than in one each: {rmws}"
    for (name, threads), (rmws, transfers) in by.items():
        if name in REMOTE and threads > 1 and rmws > REMOTE[name]:
            yield f"{name}, {threads} threads: {rmws} read-modify-writes, at most {REMOTE[name]}"
        if name == "local" and transfers > 0.02:
            yield f"{name}, {threads} threads: {transfers} transfers an operation"
        few = by[(name, 16)]
        if name == "handed over":  # see the page: it grows with the owners that a thread frees for
            if rmws > 1.5:
                yield f"{name}, {threads} threads: {rmws} read-modify-writes, at most 1.5"
        elif threads == 256 and (rmws > 1.25 * few[0] + 0.01 or transfers > 1.5 * few[1] + 0.05):
            yield f"{name}: grows from 16 threads to 256: {few} to {(rmws, transfers)}"


def main():
    accept = "--accept" in sys.argv
    sim = sys.argv[-1]
    lines = list(rows(sim))
    table = HEAD + "".join(lines)
    with open(PAGE, encoding="utf-8") as page:
        text = page.read()
    found = re.search(re.escape(BEGIN) + "(.*?)" + re.escape(END), text, re.S)
    if accept:
        with open(PAGE, "w", encoding="utf-8") as page:
            page.write(text[:found.start(1)] + table + text[found.end(1):])
        found = None
    broken = list(broken_promises([fields(line) for line in lines]))
    print(table)
    for line in broken:
        print(line)
    if found is not None and found.group(1) != table:
        print("docs/scaling.md has other figures; --accept writes these")
        return 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
