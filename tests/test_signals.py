import os
import signal

import pytest

from kd3d.signals import ended_by_signals, held_back

pytestmark = pytest.mark.usefixtures("interrupts_heard")


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


def interrupted_work(number, done):
    with ended_by_signals(), held_back():
        os.kill(os.getpid(), number)
        done.append(True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_the_work_is_whole(number):
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_work(number, done)
    assert done


@held_back()
def failing_work():
    os.kill(os.getpid(), signal.SIGINT)
    raise OSError("disk full")


def test_an_error_of_such_work_stays_and_later_signals_are_heard_again():
    with pytest.raises(OSError, match="disk full"):
        failing_work()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
