"""What the readers of this folder read: files below a root, and the output of programs.

Both are given, so that a reader can be shown a tree of files made up like a board's. Runs on the
vehicle too: Python 3.8, standard library only.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence  # noqa: UP035  (evaluated; the vehicle runs Python 3.8)

_TIMEOUT_S = 10.0


def output_of(command: Sequence[str]) -> str:
    """Standard output of a program; empty if it is absent, fails, or takes longer than 10 s."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout


@dataclass(frozen=True)
class System:
    """A machine as files and programs.

    Attributes:
        root: folder that holds ``proc``, ``sys``, ``etc``; "/" is this machine.
        run: a program's standard output, empty if it cannot be had.
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str] = output_of

    def path(self, path: str) -> Path:
        """Where an absolute path of the machine lies."""
        return self.root / path.lstrip("/")

    def read(self, path: str | Path) -> str:
        """Text of a file without white space around it; empty if it cannot be read."""
        path = self.path(path) if isinstance(path, str) else path
        try:
            return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
        except OSError:  # also what sysfs answers for a sensor that is switched off
            return ""

    def number(self, path: str | Path) -> float | None:
        """A file that holds one number; None if it cannot be read or holds none."""
        return as_number(self.read(path))

    def glob(self, pattern: str) -> list[Path]:
        """Paths that match, sorted; of ``/sys/class/hwmon/hwmon*`` and the like."""
        return sorted(self.root.glob(pattern.lstrip("/")))


def as_number(text: str) -> float | None:
    """The number that a text is, or None: nvidia-smi says "[N/A]" where it knows none."""
    try:
        return float(text)
    except ValueError:
        return None
