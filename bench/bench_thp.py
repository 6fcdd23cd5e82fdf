"""The machine's mode of transparent huge pages: read, and switched for a while by root."""
import contextlib
import os
import pathlib
import re

from bench_machine import BadInput

FILE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
MODES = ("always", "madvise", "never")


def mode(file=FILE):
    """The word in brackets; None where the kernel has no such file."""
    try:
        found = re.search(r"\[(\w+)\]", file.read_text(encoding="ascii"))
    except OSError:
        return None
    return found.group(1) if found else None


def refusal(file=FILE):
    """Why the mode cannot be switched; None where it can."""
    if mode(file) is None:
        return f"no {file}"
    if os.geteuid() != 0 or not os.access(file, os.W_OK):
        return f"only root may write to {file}"
    return None


def write(word, file=FILE):
    """The kernel's refusal comes at the write, or is seen in what it says then."""
    try:
        file.write_text(word, encoding="ascii")
    except OSError as error:
        raise BadInput(f"{file}: cannot be switched to {word}: {error.strerror}") from None


@contextlib.contextmanager
def restored(file=FILE):
    """Whatever happens inside, the mode is then what it was. bench_interrupt.install() makes
    exceptions of the signals that would end the process."""
    before = mode(file)
    try:
        yield
    finally:
        write(before, file)
