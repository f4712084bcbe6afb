import os
import signal

import pytest

from kd3d.signals import ended_by_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_such_a_signal_is_an_interrupt_for_as_long_as_asked(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def work_that_cleans_up(cleaned):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        cleaned.append(True)


def test_a_second_signal_does_not_stop_the_clean_up():
    cleaned = []
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        work_that_cleans_up(cleaned)
    assert cleaned
