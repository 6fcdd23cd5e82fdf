"""Real programs as workloads: CPU and wall time, peak memory and page faults of one run.

hak-measure starts each, so that the peak is the program's own and not that of this interpreter.
What a run prints and writes must be the same under every allocator. Whether the allocator serves
the program is looked at in the warm-up run.
"""
import glob
import hashlib
import json
import os
import pathlib
import select
import shlex
import shutil
import subprocess
import time
from collections import namedtuple

import bench_allocators
import bench_inputs  # also makes the modules of tests/programs known
import bench_process
import program_redis
from bench_machine import BadInput, RunFailed
from program_run import Failure

# needs: files (patterns) and their Debian packages. process: the name of the process that counts.
# make: writes the inputs to the folder ../inputs of where the shell command runs. outputs: files
# that the command leaves. run_seconds: of a run (see Workload.prepare_seconds). drive: works a
# server that the command is, and returns what it answered. system_preload: what makes the system's
# allocator serve a program that is linked with another.
Program = namedtuple("Program", "name what needs process make command outputs run_seconds drive "
                     "system_preload", defaults=((), 1.0, None, None))


class Missing(Exception):
    """A program that is not installed; the text names its package."""


def redis_ready(server):
    """Reads the server's output up to the line that says so."""
    deadline = time.monotonic() + bench_process.RUN_TIMEOUT_SECONDS
    seen = b""
    while b"eady to accept connections" not in seen:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([server.stdout], [], [], left)[0]:
            raise RunFailed("redis-server did not get ready")
        chunk = os.read(server.stdout.fileno(), 65536)
        if not chunk:
            last = (seen.decode("utf-8", "replace").splitlines() or ["nothing said"])[-1]
            raise RunFailed(f"redis-server ended: {last}")
        seen += chunk


def redis_drive(server, folder):
    """A benchmark, then a known load; the digest of what the server then holds."""
    redis_ready(server)
    status, _, err = bench_process.run(
        ["/usr/bin/redis-benchmark", "-s", "socket", "-n", "20000", "-c", "20", "-P", "16",
         "-r", "5000", "-d", "100", "-q", "-t", program_redis.BENCHMARK], "redis-benchmark",
        cwd=folder)
    if status != 0:
        raise bench_process.failure("redis-benchmark", status, err)
    try:
        client = program_redis.Client(str(folder / "socket"), bench_process.RUN_TIMEOUT_SECONDS)
        client.call("FLUSHALL")
        program_redis.load(client)
        digest = client.call("DEBUG", "DIGEST")
        client.socket.sendall(b"SHUTDOWN NOSAVE\r\n")
        client.close()
    except (Failure, OSError, ValueError) as error:
        raise RunFailed(f"redis-server did not answer: {error}") from error
    return digest.encode()


PROGRAMS = [
    Program("prog_python", "python3 with PYTHONMALLOC=malloc works the sqlite3 module",
            [("/usr/bin/python3", "python3")], "python3", bench_inputs.copied("python_sqlite.py"),
            "PYTHONMALLOC=malloc PYTHONHASHSEED=0 exec /usr/bin/python3 -B "
            "../inputs/python_sqlite.py database", run_seconds=2.0),
    Program("prog_sqlite", "the sqlite3 shell inserts, indexes and aggregates 200,000 rows",
            [("/usr/bin/sqlite3", "sqlite3")], "sqlite3", bench_inputs.sql_rows,
            "exec /usr/bin/sqlite3 -batch -bail :memory: < ../inputs/rows.sql"),
    Program("prog_redis", "redis-server under redis-benchmark and a known load",
            [("/usr/bin/redis-benchmark", "redis-tools"),
             ("/usr/bin/redis-check-rdb", "redis-tools")], "redis-server",
            bench_inputs.redis_server,
            "exec ../inputs/redis-server --port 0 --unixsocket socket --save '' "
            "--enable-debug-command local", run_seconds=2.0, drive=redis_drive,
            system_preload="libc.so.6"),
    Program("prog_gcc", "gcc -O2 compiles a generated unit of C", [("/usr/bin/gcc", "gcc")], "cc1",
            bench_inputs.c_unit, "exec /usr/bin/gcc -O2 -c ../inputs/unit.c -o unit.o",
            ("unit.o",)),
    Program("prog_clang", "clang -O2 compiles the same", [("/usr/bin/clang-14", "clang-14")],
            "clang-14", bench_inputs.c_unit,
            "exec /usr/bin/clang-14 -O2 -c ../inputs/unit.c -o unit.o", ("unit.o",)),
    Program("prog_git", "git log with patches and renames of 1,500 generated commits",
            [("/usr/bin/git", "git")], "git", bench_inputs.git_repository,
            "exec /usr/bin/git -C ../inputs/repository log -p --stat -M -C --no-decorate main"),
    Program("prog_lua", "lua5.4: tables, strings, closures, coroutines",
            [("/usr/bin/lua5.4", "lua5.4")], "lua5.4", bench_inputs.copied("script.lua"),
            "exec /usr/bin/lua5.4 ../inputs/script.lua"),
    Program("prog_ghostscript", "ghostscript renders six pages", [("/usr/bin/gs", "ghostscript")],
            "gs", bench_inputs.copied("pages.ps"),
            "exec /usr/bin/gs -q -dSAFER -dBATCH -dNOPAUSE -r150 -sDEVICE=ppmraw "
            "-sOutputFile=page%d ../inputs/pages.ps", tuple(f"page{n}" for n in range(1, 7))),
    Program("prog_z3", "z3 places 120 jobs", [("/usr/bin/z3", "z3")], "z3",
            bench_inputs.solver_jobs, "exec /usr/bin/z3 ../inputs/jobs.smt2", run_seconds=2.0),
    Program("prog_zstd", "zstd -6 packs 24 MiB, library inside the program",
            [("/usr/bin/zstd", "zstd")], "zstd", bench_inputs.text_data,
            "exec /usr/bin/zstd -q -T1 -6 -c ../inputs/data"),
]
# In run_memory.py's rows alone: with another row in run.py's table, the files of results that are
# there would be unfinished ones.
PROGRAMS_OF_MEMORY = [
    Program("prog_ruby", "ruby: hashes, strings, objects, blocks", [("/usr/bin/ruby", "ruby")],
            "ruby", bench_inputs.copied("script.rb"),
            "exec /usr/bin/ruby --disable-gems ../inputs/script.rb"),
]
BY_NAME = {program.name: program for program in (*PROGRAMS, *PROGRAMS_OF_MEMORY)}


def needs_check(program):
    for pattern, package in program.needs:
        if not glob.glob(pattern):
            raise Missing(f"{pattern} is not installed (package {package})")


class Runs:
    """The runs of one program in a scratch folder, on the inputs that it makes there."""

    def __init__(self, program, build, scratch):
        needs_check(program)
        self.program = program
        self.measure = build / "hak-measure"
        self.top = pathlib.Path(scratch) / program.name
        self.work = self.top / "work"
        inputs = self.top / "inputs"
        inputs.mkdir(parents=True)
        program.make(inputs)
        self.output = None
        self.run(bench_allocators.SYSTEM)  # what the output must be; and files come from memory

    def close(self):
        shutil.rmtree(self.top)

    def environment(self, allocator, report):
        """That of the shell, which is not preloaded itself (see hak-measure)."""
        env = bench_allocators.environment(allocator, report)
        env.update(HOME=str(self.work), LC_ALL="C.UTF-8", TZ="UTC", GIT_CONFIG_NOSYSTEM="1")
        preload = env.pop("LD_PRELOAD", None) or self.program.system_preload
        if preload:
            env["HAK_PRELOAD"] = preload
        return env

    def run(self, allocator, check=False):
        """One run; a record as the benchmark programs print it, without the memory at the end."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        proof = str(self.top / "proof")
        asks_report = check and bench_allocators.reports(allocator)
        command = self.program.command
        if check and not asks_report:
            command = f"export LD_DEBUG=bindings LD_DEBUG_OUTPUT={shlex.quote(proof)}\n{command}"
        env = self.environment(allocator, proof if asks_report else None)
        result = self.top / "result"
        result.unlink(missing_ok=True)
        what = f"{self.program.name} under {allocator.name}"
        driven = self.program.drive
        with open(self.work / "stdout", "wb") as out, \
                bench_process.started([str(self.measure), str(result), command],
                                      pinned=True, cwd=self.work, env=env,
                                      stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                      stdout=subprocess.PIPE if driven else out) as child:
            answer = driven(child, self.work) if driven else b""
            status, _, err = bench_process.finish(child, what)
        if status != 0:
            raise bench_process.failure(what, status, err.decode("utf-8", "replace"))
        self.output_check(what, answer)
        if asks_report:
            bench_allocators.report_check(allocator, proof, self.program.process)
            os.unlink(proof)
        elif check:
            bench_allocators.bindings_check(allocator, proof, self.program.process)
        return self.record(result, allocator)

    def output_check(self, what, answer):
        digest = hashlib.sha256(answer)
        for name in ("stdout", *self.program.outputs):
            try:
                digest.update((self.work / name).read_bytes())
            except OSError as error:
                raise RunFailed(f"{what}: no output {name}: {error.strerror}") from None
        if self.output is None:
            self.output = digest.digest()
        elif self.output != digest.digest():
            raise RunFailed(f"{what}: the output differs from that of the system's allocator")

    def record(self, result, allocator):
        try:
            used = json.loads(result.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise BadInput(f"hak-measure left no result: {error}") from None
        return {"ops": 1, "cpu_ns": round((used["user"] + used["sys"]) * 1e9),
                "wall_ns": round(used["wall"] * 1e9), "rss_end_bytes": None,
                "rss_peak_bytes": used["peak_kib"] * 1024, "faults": used["faults"],
                "allocator": allocator.expect}
