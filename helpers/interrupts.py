"""SIGINT and SIGTERM as a wish to end, so that what runs can save first."""

import contextlib
import signal


@contextlib.contextmanager
def collected(impatient=False):
    """Give a list that grows by the name of every SIGINT and SIGTERM, and keep them from killing this process.

    impatient  a second SIGINT raises KeyboardInterrupt, for a person who doesn't want to wait for the end of a step.
    Outside the main thread Python has no signals: the list stays empty.
    """
    asked = []

    def note(number, frame):
        if impatient and asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
