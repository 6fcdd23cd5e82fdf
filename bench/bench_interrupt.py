"""SIGINT and SIGTERM as an exception, and stretches of a program that hear of them at their end."""
import contextlib
import signal


class Interrupted(Exception):
    """The first SIGINT or SIGTERM; what cleans up after it is not interrupted again."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


_held = False
_pending = None  # the signal that came while held


def _on_signal(number, _):
    global _pending
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    if _held:
        _pending = number
    else:
        raise Interrupted(number)


def install():
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _on_signal)


@contextlib.contextmanager
def held():
    """A signal that comes inside is raised at the end."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
    if _pending is not None:
        raise Interrupted(_pending)
