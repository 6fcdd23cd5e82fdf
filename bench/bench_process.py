"""Child processes of the drivers: each in a session of its own, of which nothing is left over."""
import contextlib
import os
import signal
import subprocess

import bench_interrupt
from bench_machine import RunFailed

RUN_TIMEOUT_SECONDS = 600  # arbitrary: many times the longest run


@contextlib.contextmanager
def held_on_one_core(is_pinned):
    """Who is started inside inherits one core from this process: the call itself is cheaper than a
    wrapper and leaves the child's memory alone."""
    cores = os.sched_getaffinity(0)
    try:
        if is_pinned:
            os.sched_setaffinity(0, {max(cores)})
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def started(command, pinned, **more):
    """A Popen that leads a session; the session is killed at the end if it still runs."""
    child = None
    try:
        with bench_interrupt.held(), held_on_one_core(pinned):
            child = subprocess.Popen(command, start_new_session=True, **more)
        yield child
    finally:
        if child is not None:
            end(child)


def end(child):
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def finish(child, what, timeout=RUN_TIMEOUT_SECONDS):
    """Waits for the end; (exit status, stdout, stderr), where they are pipes."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{what}: not done after {timeout} s") from None
    return child.returncode, out, err


def run(command, what, pinned=False, timeout=RUN_TIMEOUT_SECONDS, **more):
    """Runs a command to its end: finish()'s answer, stdout and stderr as text."""
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
            "text": True, "errors": "replace", **more}
    with started(command, pinned, **more) as child:
        return finish(child, what, timeout)


def failure(what, status, stderr):
    """A RunFailed that says how a command ended."""
    said = ((stderr or "").strip().splitlines() or ["nothing on stderr"])[-1]
    return RunFailed(f"{what}: {how_ended(status)}: {said}")


def how_ended(status):
    return f"exit {status}" if status >= 0 else f"signal {-status}"
