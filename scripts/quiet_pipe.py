"""What the tools here and the drivers in bench/ share at their end: a reader (head, less) that has
seen enough and closes the pipe gets no trace of errors."""
import os
import signal
import sys

BROKEN_PIPE = 128 + signal.SIGPIPE  # as the shell says of a program that the signal ended


def quiet(run, *arguments):
    """The exit status that run answers, or BROKEN_PIPE where not all that it wrote was read. The
    default action of SIGPIPE would not do: it leaves temporary files and children behind."""
    try:
        try:
            return run(*arguments)
        finally:
            sys.stdout.flush()  # here, not at the interpreter's end, where a failure is a trace
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
