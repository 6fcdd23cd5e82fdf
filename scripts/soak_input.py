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


def check_output(option, path, *inputs):
    """Before anything is written: BadInput where `path` is an input, which would be lost, or where
    it cannot be written. None is no path."""
    if path is None:
        return
    if any(os.path.exists(path) and os.path.samefile(path, one)
           for one in inputs if os.path.exists(one)):
        raise BadInput(f"{option} {path}: is the input; name another file")
    there = path if os.path.exists(path) else os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.access(there, os.W_OK):
        raise BadInput(f"{option} {path}: cannot be written")


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
