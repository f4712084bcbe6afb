"""How many threads a user asks for, as OpenMP and PyTorch are told. Standard library only."""

from __future__ import annotations

import os


def openmp_threads() -> int | None:
    """What OMP_NUM_THREADS says; None where it is absent or no number above 0."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else None
