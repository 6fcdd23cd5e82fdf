"""What the soak tools share at their front: bad input ends in one line on stderr and status 2."""
import argparse
import math
import os
import signal
import sys


BROKEN_PIPE = 128 + signal.SIGPIPE  # as the shell says of a program that the signal ended


class BadInput(Exception):
    """What is wrong with the input, in one line."""


class Parser(argparse.ArgumentParser):
    """argparse, without the usage text before the message."""

    def error(self, message):
        raise BadInput(message)


def positive(text):
    """An argparse type: a decimal number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def percentages(text):
    """An argparse type: numbers from 0 to 100, separated by commas."""
    values = [float(word) for word in text.split(",")]
    if not all(0 <= value <= 100 for value in values):
        raise ValueError(text)
    return values


def exit_status(program, run):
    """What run(the command's words) returns, or 2 after one line about bad input."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader (head, less) has seen enough: quiet, but it was not all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (BadInput, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
