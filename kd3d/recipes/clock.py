"""How long a recipe took, over all the commands that worked on it, as a record."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kd3d.errors import UserError
from kd3d.profiling.environment import environment
from kd3d.report.record import Record

RECORD = "record-recipe.json"


class Clock:
    """Adds up wall-clock time by stage; what earlier commands took is taken over.

    Time between the stages and after the last ``write`` is not counted.
    """

    def __init__(self, work_dir: Path, name: str, *, jobs: int) -> None:
        """Reads what earlier commands took.

        Args:
            work_dir: of the recipe.
            name: of the recipe.
            jobs: runs at a time.
        """
        self._path, self._name, self._jobs = work_dir / RECORD, name, jobs
        self._stages_s, self._commands = _earlier(self._path)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, and writes the record however it ends."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            passed_s = time.monotonic() - started_s
            self._stages_s[name] = self._stages_s.get(name, 0.0) + passed_s
            self._write()

    @property
    def total_s(self) -> float:
        """Of all stages, in seconds."""
        return sum(self._stages_s.values())

    def _write(self) -> None:
        metrics = {f"{name}_s": round(value, 1) for name, value in self._stages_s.items()}
        Record(
            kind="recipe",
            role="",
            name=self._name,
            metrics={"wall_clock_s": round(self.total_s, 1), **metrics},
            environment=environment(),
            conditions={"jobs": self._jobs, "commands": self._commands + 1},
        ).write(self._path)


def _earlier(path: Path) -> tuple[dict[str, float], int]:
    """(seconds by stage, number of commands); nothing where no record is readable."""
    try:
        record = Record.read(path)
    except (FileNotFoundError, UserError):
        return {}, 0
    stages = {
        key.removesuffix("_s"): value
        for key, value in record.metrics.items()
        if key != "wall_clock_s"
    }
    return stages, int(record.conditions.get("commands", 0))
