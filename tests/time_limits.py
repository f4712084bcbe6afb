"""How long one test may take, by the folder it lies in."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# Seconds by the clock, on a machine that does other work too: they end what hangs, no more.
LIMITS_S = {
    "": 60.0,
    "backends": 60.0,
    "configs": 300.0,  # builds each detector with its teacher
    "connectors": 60.0,
    "datasets": 120.0,  # some start processes that import the devkit
    "distill": 300.0,  # trains with MMEngine's Runner; some in two processes
    "docker": 60.0,
    "evaluation": 180.0,  # numba compiles mmdet3d's KITTI evaluation in one test
    "export": 120.0,
    "heads": 60.0,
    "losses": 60.0,
    "models": 120.0,
    "profiling": 60.0,
    "real_data": 300.0,  # full-size detectors on real frames; skipped where there are none
    "recipes": 300.0,  # starts training processes
    "report": 60.0,
    "tools": 300.0,  # starts the tools as a user does
}
SLOW_LIMIT_S = 900.0  # tests marked slow


class TimeLimitError(BaseException):
    """A test took too long; no ``except Exception`` of the tested code hides this."""


def folder_of(test_file: Path, tests: Path) -> str:
    """The folder right below ``tests`` that holds the file; "" for a file of ``tests`` itself."""
    parts = test_file.relative_to(tests).parts
    return parts[0] if len(parts) > 1 else ""


def folders_without_limit(tests: Path) -> list[str]:
    """Folders right below ``tests`` that hold tests and are not named in ``LIMITS_S``."""
    return sorted({folder_of(path, tests) for path in tests.rglob("test_*.py")} - LIMITS_S.keys())


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeLimitError in the main thread when the block takes longer.

    A signal ends waiting for a process or a lock; a call into C++ ends first.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeLimitError(f"took longer than {seconds:g} s, the limit in tests/time_limits.py")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
