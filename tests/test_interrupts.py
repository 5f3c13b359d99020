"""Signals become a wish; a second Ctrl-C doesn't wait."""

import os
import signal

import pytest

from helpers import interrupts


def test_signals_are_collected_and_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with interrupts.collected() as asked:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert asked == ["SIGINT", "SIGINT", "SIGTERM"]
    assert signal.getsignal(signal.SIGINT) is before


def test_impatient_second_interrupt_ends_at_once():
    with pytest.raises(KeyboardInterrupt), interrupts.collected(impatient=True):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
