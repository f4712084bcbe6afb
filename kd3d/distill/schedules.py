"""Weights and temperatures over training. Torch-free: numbers in, numbers out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kd3d.errors import UserError

SHAPES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """A value over progress, the fraction of training done, in [0, 1].

    Attributes:
        start: value at progress 0 (after the warm-up).
        end: value at ``stop``; the start value where absent.
        shape: how it moves from start to end: "constant", "linear" or "cosine".
        warmup: fraction of training over which the value rises linearly from 0, in [0, 1].
        stop: fraction of training after which the value is 0, in (0, 1]. At 1 it never stops, not
            even with an end of 0, which no iteration reaches.
    """

    start: float
    end: float | None = None
    shape: str = "constant"
    warmup: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UserError(f"schedule: shape must be one of {SHAPES}, got {self.shape!r}")
        if self.shape == "constant" and self.end is not None:
            raise UserError(
                f"schedule: end={self.end} needs shape='linear' or 'cosine', got 'constant'"
            )
        if self.shape != "constant" and self.end is None:
            raise UserError(f"schedule: shape={self.shape!r} needs an end value")
        if not 0.0 <= self.warmup <= self.stop <= 1.0 or self.stop == 0.0:
            raise UserError(
                "schedule: expected 0 <= warmup <= stop <= 1 and stop > 0, "
                f"got warmup={self.warmup}, stop={self.stop}"
            )
        values = (self.start, self.start if self.end is None else self.end)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise UserError(f"schedule: expected finite values >= 0, got {values}")

    @classmethod
    def of(cls, value: "float | Mapping[str, Any] | Schedule", *, where: str) -> "Schedule":
        """Reads what a config gives: a number, or the fields of a Schedule as a dict.

        Args:
            value: the config's value.
            where: named in the error, such as "pair 'neck': weight".

        Raises:
            UserError: an unknown field or a value out of range.
        """
        if isinstance(value, Schedule):
            return value
        try:
            if isinstance(value, Mapping):
                return cls(**{str(key): item for key, item in value.items()})
            return cls(float(value))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{where}: expected a number or dict(start=, end=, shape=, warmup=, stop=), "
                f"got {value!r} ({error})"
            ) from None

    def at(self, progress: float) -> float:
        """The value at ``progress``; 0 from ``stop`` on (unless stop is 1)."""
        if self.stopped(progress):
            return 0.0
        value = self.start
        if self.end is not None:
            done = min(progress / self.stop, 1.0)
            if self.shape == "cosine":
                done = (1.0 - math.cos(math.pi * done)) / 2.0
            value = self.start + (self.end - self.start) * done
        if progress < self.warmup:
            value *= progress / self.warmup
        return value

    @property
    def largest(self) -> float:
        """Its largest value, warm-up aside."""
        return max(self.start, self.end or 0.0)

    def stopped(self, progress: float) -> bool:
        """Whether the value is 0 from here to the end of training."""
        constant_zero = self.start == 0.0 and not self.end
        return constant_zero or (self.stop < 1.0 and progress >= self.stop)
