"""How long one test may take, by the folder it lies in."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# Seconds on a busy machine of two cores: about ten times what the slowest test of the folder needs.
LIMITS_S = {
    "": 30.0,
    "backends": 30.0,
    "configs": 120.0,  # builds each detector with its teacher
    "connectors": 30.0,
    "datasets": 30.0,
    "distill": 120.0,  # trains with MMEngine's Runner; some in two processes
    "evaluation": 30.0,
    "export": 60.0,
    "heads": 30.0,
    "losses": 30.0,
    "models": 60.0,
    "profiling": 30.0,
    "recipes": 120.0,  # starts training processes
    "report": 30.0,
    "tools": 120.0,  # starts the tools as a user does
}
SLOW_LIMIT_S = 600.0  # tests marked slow


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
