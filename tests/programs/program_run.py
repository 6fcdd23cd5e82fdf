"""How the programs of program_list.py are run: their environment, time limits and clean end."""

import os
import select
import shutil
import signal
import subprocess
import time

TAIL_BYTES = 2000  # arbitrary: of a failing command's output, enough to see why


class Failure(Exception):
    """A run that did not end well; the text says which command, how, and with what stderr."""


class Skip(Exception):
    """The machine cannot run this program; the text says why."""


def how_ended(status):
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


class Output:
    """What one command left: exit status, stdout and stderr as text."""

    def __init__(self, status, stdout, stderr):
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class Server:
    """A program in the background whose stdout is read line by line, as its signal to go on."""

    def __init__(self, run, argv, process):
        self.run = run
        self.argv = argv
        self.process = process
        self.pending = b""
        self.log = b""

    def wait_for(self, text):
        """Reads stdout until a line holds `text`."""
        wanted = text.encode()
        out = self.process.stdout.fileno()
        while wanted not in self.pending:
            if not select.select([out], [], [], self.run.seconds_left())[0]:
                self.run.kill(self.process)
                raise Failure(
                    f"TIMEOUT: {self.argv[0]} did not print {text!r} within "
                    f"{self.run.limit_seconds} s of the {self.run.kind} run; killed"
                )
            chunk = os.read(out, 65536)
            if not chunk:
                raise Failure(f"no {text!r} from {self.argv[0]} ({self.run.kind} run)")
            self.pending += chunk
            self.log += chunk
        self.pending = self.pending.split(wanted, 1)[1]

    def end(self):
        """Waits for the exit that the caller asked for."""
        return self.run.reap(self.argv, self.process)


class Run:
    """One run of a program, without (`baseline`) or with (`preloaded`) hakmem.

    Both runs work in a directory of the same name, so that paths in their results agree;
    `shared` holds what the entry's prepare() made once for both."""

    def __init__(self, kind, top, preload, report, limit_seconds):
        self.kind = kind
        self.top = top
        self.shared = os.path.join(top, "shared")
        self.dir = os.path.join(top, "work")
        self.preload = preload
        self.report = report
        self.deadline = time.monotonic() + limit_seconds
        self.limit_seconds = limit_seconds
        self.peak_rss_bytes = 0
        self.cpu_seconds = 0.0
        self.stderr_text = ""
        self.started = 0
        shutil.rmtree(self.dir, ignore_errors=True)
        os.mkdir(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def seconds_left(self):
        return max(0.0, self.deadline - time.monotonic())

    def environment(self, extra):
        env = {key: value for key, value in os.environ.items() if key.startswith("HAKMEM_")}
        env.pop("HAKMEM_REPORT", None)
        env.update(
            PATH="/usr/local/bin:/usr/bin:/bin",
            HOME=self.dir,
            TMPDIR=self.dir,
            LC_ALL="C.UTF-8",
            TZ="UTC",
        )
        if self.preload:
            env["LD_PRELOAD"] = self.preload
        if self.report:
            env["HAKMEM_REPORT"] = self.report
        env.update(extra or {})
        return env

    def start(self, argv, stdin, stdout, stderr, env, executable):
        self.started += 1
        return subprocess.Popen(
            argv,
            executable=executable,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self.dir,
            env=self.environment(env),
            start_new_session=True,
        )

    def kill(self, process):
        """Ends the session that `process` leads, and only that."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def reap(self, argv, process):
        """Waits for the end within the time limit; returns the exit status."""
        pidfd = os.pidfd_open(process.pid)
        ended = select.select([pidfd], [], [], self.seconds_left())[0]
        os.close(pidfd)
        if not ended:
            self.kill(process)
            raise Failure(
                f"TIMEOUT: the {self.kind} run did not end within {self.limit_seconds} s; "
                f"killed in: {' '.join(argv)[:200]}"
            )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.peak_rss_bytes = max(self.peak_rss_bytes, usage.ru_maxrss * 1024)
        self.cpu_seconds += usage.ru_utime + usage.ru_stime
        return process.returncode

    def command(self, argv, stdin=None, env=None, executable=None, statuses=(0,)):
        """Runs one command to its end; an exit status not in `statuses` is a Failure."""
        base = self.path(f".output{self.started}")
        with open(base, "w+b") as out, open(base + ".err", "w+b") as err:
            source = open(stdin, "rb") if stdin else subprocess.DEVNULL
            try:
                process = self.start(argv, source, out, err, env, executable)
            finally:
                if stdin:
                    source.close()
            status = self.reap(argv, process)
            out.seek(0)
            err.seek(0)
            result = Output(
                status, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
            )
        os.unlink(base)
        os.unlink(base + ".err")
        self.stderr_text += result.stderr
        if status not in statuses:
            raise Failure(
                f"{how_ended(status)} in the {self.kind} run of: {' '.join(argv)[:200]}\n"
                + (result.stderr or result.stdout)[-TAIL_BYTES:]
            )
        return result

    def server(self, argv, env=None, executable=None):
        """Starts a command whose stdout the caller follows; its stderr joins stdout."""
        process = self.start(
            argv, subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT, env, executable
        )
        return Server(self, argv, process)

    def close_server(self, server):
        """Kills a server that has not ended, and keeps its output for the checks; says how it
        ended."""
        if server.process.poll() is None:
            self.kill(server.process)
        server.log += server.process.stdout.read()
        server.process.stdout.close()
        self.stderr_text += server.log.decode("utf-8", "replace")
        return how_ended(server.process.returncode)
