"""What the real programs work on: generated, the same bytes every time, or an input of
tests/programs. Each function writes into a folder; bench_programs.py says who needs which.
"""
import os
import pathlib
import random
import subprocess
import sys
import types

from bench_machine import ROOT

TESTS = ROOT / "tests" / "programs"
sys.path.append(str(TESTS))
import program_list  # the generators that the tests use too
import program_redis

SEED = 20240229  # arbitrary: the same inputs every time
# Sizes: arbitrary, such that a run takes a second or less of a core.
SQL_ROWS = 200_000
C_FUNCTIONS = 40
SOLVER_JOBS, SOLVER_END, SOLVER_PAIRS = 120, 90, 0.35


def copied(name):
    """Writes an input of tests/programs."""
    def write(folder):
        (folder / name).write_bytes((TESTS / "inputs" / name).read_bytes())
    return write


def sql_rows(folder):
    text = (TESTS / "inputs" / "rows.sql").read_text(encoding="utf-8")
    (folder / "rows.sql").write_text(text.replace("1000000", str(SQL_ROWS)), encoding="utf-8")


def git_repository(folder):
    program_list.git_history(types.SimpleNamespace(shared=str(folder)))
    repository = folder / "repository"
    # git works on the system's allocator here, which at its defaults gives the top of its heap back
    # and takes it again forty times a commit: 20 s instead of 1 (measured).
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
           "MALLOC_TOP_PAD_": str(16 << 20)}
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    with open(folder / "history", "rb") as history:
        subprocess.run(["git", "-C", str(repository), "fast-import", "--quiet"], stdin=history,
                       check=True, env=env)


def text_data(folder):
    program_list.compress_data(types.SimpleNamespace(shared=str(folder)))


def c_unit(folder):
    """unit.c: functions that call each other, loop, switch and copy structures."""
    pick = random.Random(SEED)
    lines = ["#include <string.h>"]
    for f in range(C_FUNCTIONS):
        lines += [f"struct s{f} {{ int a[{pick.randrange(3, 20)}]; double d; struct s{f} *next;",
                  f"  char name[{pick.randrange(8, 40)}]; }};",
                  f"int f{f}(struct s{f} *p, int n) {{ int t = 0;",
                  f"  for (struct s{f} *q = p; q != 0; q = q->next) {{",
                  f"    for (int i = 0; i < n; i++) switch ((i + {f}) % 7) {{"]
        for case in range(7):
            call = f"t ^= f{pick.randrange(f)}(0, t & 7);" if f else ""
            lines.append(f"      case {case}: t += q->a[i % 3] * {pick.randrange(1, 99)} + "
                         f"(int)(q->d / {pick.randrange(1, 9)}.5); {call} break;")
        lines.append("    } memset(q->name, t, sizeof q->name); } return t; }")
    (folder / "unit.c").write_text("\n".join(lines) + "\n", encoding="ascii")


def solver_jobs(folder):
    """jobs.smt2: jobs that may not overlap in some pairs, to be placed before an end."""
    pick = random.Random(1)  # a seed whose jobs take z3 a second, neither nothing nor a minute
    jobs = range(SOLVER_JOBS)
    lines = ["(set-logic QF_LIA)"]
    lines += [f"(declare-fun x{i} () Int)" for i in jobs]
    lines += [f"(assert (and (<= 0 x{i}) (<= x{i} {SOLVER_END})))" for i in jobs]
    for i in jobs:
        for j in range(i):
            if pick.random() < SOLVER_PAIRS:
                length = pick.randrange(1, 4)
                lines.append(f"(assert (or (<= (+ x{i} {length}) x{j}) "
                             f"(<= (+ x{j} {length}) x{i})))")
    lines.append("(check-sat)")  # not the model: z3 orders by addresses, which differ
    (folder / "jobs.smt2").write_text("\n".join(lines) + "\n", encoding="ascii")


def redis_server(folder):
    """redis-server by its own name: Debian's redis-tools has the binary as redis-check-rdb."""
    binary = next(path for path in program_redis.SERVERS if pathlib.Path(path).exists())
    (folder / "redis-server").symlink_to(binary)
