"""Holds every test to the time limit of its folder and to one thread, and saves idle work."""

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from time_limits import LIMITS_S, SLOW_LIMIT_S, folder_of, folders_without_limit, time_limit

TESTS = Path(__file__).parent

# Before torch is imported, and for the processes that tests start: on toys, threads wait for each
# other longer than they work, and on a busy machine by far.
os.environ.setdefault("OMP_NUM_THREADS", "1")

modules_seen = 0


def pytest_sessionstart() -> None:
    missing = folders_without_limit(TESTS)
    if missing:
        raise pytest.UsageError(f"tests/time_limits.py names no limit for tests/{missing[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    slow = item.get_closest_marker("slow") is not None
    limit_s = SLOW_LIMIT_S if slow else LIMITS_S[folder_of(item.path, TESTS)]
    with time_limit(limit_s):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Leaves out what takes half of the time and tests nothing.

    MMEngine collects garbage for every data set, and imported modules are none; and it lays out
    the text of every config that is printed or written, up to a second each.
    """
    global modules_seen
    if len(sys.modules) > modules_seen:
        gc.collect()
        gc.freeze()
        if "mmengine.config.config" in sys.modules:
            sys.modules["mmengine.config.config"].FormatCode = lambda text, **_: (text, False)
        modules_seen = len(sys.modules)


@pytest.fixture
def interrupts_heard() -> Iterator[None]:
    """SIGINT as Python has it: a shell starts its jobs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
