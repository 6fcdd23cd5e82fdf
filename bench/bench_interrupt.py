"""SIGINT, SIGTERM and SIGHUP as an exception, and stretches of a program that hear of them at their
end."""
import contextlib
import signal


class Interrupted(Exception):
    """The first of the signals; what cleans up after it is not interrupted again."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_held = False
_pending = None  # the signal that came while held


def _on_signal(number, _):
    global _pending
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if _held:
        _pending = number
    else:
        raise Interrupted(number)


def install():
    for each in SIGNALS:
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # nohup's stays
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
