"""What the soak tools share at their front: bad input ends in one line on stderr and status 2."""
import argparse
import math
import os
import sys

from quiet_pipe import quiet


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
        return quiet(run, sys.argv[1:])
    except (BadInput, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
