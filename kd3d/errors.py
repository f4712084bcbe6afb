"""Errors that a user can mend, and how a command shows them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in what the user gave: says where, what was received, what was expected, what next."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Ends a command with one clear line and exit code 2 where the user can mend the cause.

    Everything else keeps its traceback: it is a defect of ours and should be reported.
    An interrupt ends with exit code 130, as a shell expects.
    """
    try:
        yield
    except (UserError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
