"""Errors that a user can mend, and how a command shows them. Runs on the vehicle too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in what the user gave.

    The message says where it is, what was received, what was expected, and what to do next.
    """


@contextmanager
def user_errors(
    go_on: str | Callable[[], str] = "run the same command again to go on",
) -> Iterator[None]:
    """Ends a command with one clear message and exit code 2 where the user can mend the cause.

    Everything else keeps its traceback: it is a defect of ours and should be reported.
    An interrupt ends with exit code 130, as a shell expects.

    Args:
        go_on: what to do after an interrupt; a function is asked then.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if _interrupted(error):
            print(f"interrupted; {go_on if isinstance(go_on, str) else go_on()}", file=sys.stderr)
            raise SystemExit(130) from None
        if isinstance(error, _MENDABLE):
            print(f"error: {message(error)}", file=sys.stderr)
            raise SystemExit(2) from None
        raise


_MENDABLE = (
    UserError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def _interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt started it: MMEngine's config formatter turns one into a SyntaxError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def message(error: Exception) -> str:
    """What an error says, without Python's numbers and without a worker's traceback."""
    if isinstance(error, OSError) and error.filename is not None and error.filename2 is None:
        return f"{error.filename}: {str(error.strerror).lower()}"  # Python's own begins [Errno 2]
    text = str(error)
    if "\nOriginal Traceback" in text:  # as torch brings it from a worker of a data loader
        return text.rstrip().rpartition("\n")[2].partition(": ")[2]
    return text
