"""For tests: who outlives the process that started it, and how it ends."""
import ctypes
import os
import signal

PR_SET_CHILD_SUBREAPER = 36
SECONDS_MOST = 60  # arbitrary: who is killed ends in milliseconds


def adopt():
    """From now on, who loses its parent becomes a child of this process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def endings():
    """How the adopted end, as a set of exit statuses (-N: signal N). One that was not told to end
    keeps this waiting until the alarm ends the test."""
    seen = set()
    signal.alarm(SECONDS_MOST)
    try:
        while True:
            seen.add(os.waitstatus_to_exitcode(os.wait()[1]))
    except ChildProcessError:
        return seen
    finally:
        signal.alarm(0)
